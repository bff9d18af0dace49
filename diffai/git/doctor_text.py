"""What doctor prints: grouped, aligned, and the next commands at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence

from diffai.git.doctor import Diagnosis, Finding, Group
from diffai.views.blocks import Block, Gap, Labelled, Line, Tone, View, Word, line, said
from diffai.views.screen import Screen
from diffai.views.terminal import present, present_plain

_FEW = 5
_SIGNS = {"ok": "ok", "note": "--", "todo": "!!"}
_TONES: dict[str, Tone] = {"ok": "added", "note": "renamed", "todo": "problem"}


def doctor_lines(
    diagnosis: Diagnosis, *, verbose: bool = False, color: bool = False, screen: Screen | None = None
) -> list[str]:
    """The text of ``diffai doctor``.

    Args:
        diagnosis: what was found.
        verbose: list every model file; else a few of each group.
        color: paint the signs.
        screen: fit the lines to this screen; None = lines of any length.

    """
    view = doctor_view(diagnosis, verbose=verbose)
    return present(view, screen) if screen is not None else present_plain(view, color=color)


def doctor_view(diagnosis: Diagnosis, *, verbose: bool = False) -> View:
    """The same as blocks."""
    blocks: list[Block] = [said(", ".join(diagnosis.versions))]
    if diagnosis.repository:
        blocks.append(Line((Word(f"repository {diagnosis.repository}"),), whole=True))
    else:
        blocks.append(said("not in a repository: only what holds for all of them is shown"))
    blocks += _section("Registered in git", diagnosis.registration)
    blocks += _section("Also seen", diagnosis.surroundings)
    count = sum(len(group.paths) for group in diagnosis.groups)
    if diagnosis.repository:
        blocks += [Gap(), line(f"Model files: {count}" if count else "Model files: none tracked yet")]
    for group in diagnosis.groups:
        blocks += _group(group, diagnosis.repository, verbose)
    blocks += _section("git-LFS", diagnosis.lfs)
    return (*blocks, *_next(diagnosis))


def _section(title: str, findings: Sequence[Finding]) -> list[Block]:
    if not findings:
        return []
    return [Gap(), line(title), *(_finding(finding, finding.text) for finding in findings)]


def _finding(finding: Finding, text: str) -> Labelled:
    return Labelled(_SIGNS[finding.level], ((Word(text),),), _TONES[finding.level], wraps=True)


def _group(group: Group, repository: str, verbose: bool) -> list[Block]:
    shown = group.paths if verbose or len(group.paths) <= _FEW else group.paths[: _FEW - 1]
    blocks: list[Block] = [_finding(group.finding, f"diff={group.driver}: {group.finding.text}")]
    if group.rule is not None:
        file = group.rule.file
        if os.path.isabs(file) and file.startswith(repository + os.sep):
            file = file[len(repository) + 1 :]
        elif file.startswith(":"):
            file = f"{file[1:]} (in the index)"
        blocks.append(Line((Word(f"{file}:{group.rule.number}: {group.rule.text}"),), 3, whole=True))
    blocks += [Line((Word(path),), 4, whole=True) for path in shown]
    if len(shown) < len(group.paths):
        blocks.append(line(f"… and {len(group.paths) - len(shown)} more (-v lists them)", indent=4))
    return blocks


def _next(diagnosis: Diagnosis) -> list[Block]:
    todo = [finding for finding in diagnosis.findings if finding.level == "todo"]
    commands = dict.fromkeys(finding.command for finding in todo if finding.command)
    if not todo:
        example = next((path for group in diagnosis.groups for path in group.paths), "")
        return [Gap(), line("All is well." + (" Try: git diff, git log -p" if example else ""))]
    if not commands:
        return [Gap(), said("Something is left to do by hand; see the lines marked !! above.")]
    return [Gap(), line("Next:"), *(Line((Word(command),), 1, whole=True) for command in _merged(list(commands)))]


def _merged(commands: list[str]) -> list[str]:
    """Several installs of the same scope as one."""
    plain = "diffai install"
    includes = dict.fromkeys(command[len(plain) :] for command in commands if command.startswith(plain + " --include"))
    merged = [command for command in commands if not command.startswith(plain + " --include")]
    if includes:
        whole = plain + "".join(includes)
        return [whole, *(command for command in merged if command != plain)]
    return merged
