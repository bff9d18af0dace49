"""What doctor prints: grouped, aligned, and the next commands at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence

from diffai.git.doctor import Diagnosis, Finding, Group
from diffai.views.style import escape, paint

_FEW = 5
_SIGNS = {"ok": "ok", "note": "--", "todo": "!!"}
_PAINT = {"ok": "+", "note": ">", "todo": "!"}


def doctor_lines(diagnosis: Diagnosis, *, verbose: bool = False, color: bool = False) -> list[str]:
    """The text of ``diffai doctor``.

    Args:
        diagnosis: what was found.
        verbose: list every model file; else a few of each group.
        color: paint the signs.

    """
    lines = [escape(", ".join(diagnosis.versions))]
    if diagnosis.repository:
        lines.append(f"repository {escape(diagnosis.repository, longest=0)}")
    else:
        lines.append("not in a repository: only what holds for all of them is shown")
    lines += _section("Registered in git", diagnosis.registration, color)
    lines += _section("Also seen", diagnosis.surroundings, color)
    count = sum(len(group.paths) for group in diagnosis.groups)
    if diagnosis.repository:
        lines += ["", f"Model files: {count}" if count else "Model files: none tracked yet"]
    for group in diagnosis.groups:
        lines += _group(group, diagnosis.repository, verbose, color)
    lines += _section("git-LFS", diagnosis.lfs, color)
    return lines + _next(diagnosis)


def _section(title: str, findings: Sequence[Finding], color: bool) -> list[str]:
    if not findings:
        return []
    return ["", title, *(_finding(finding, color) for finding in findings)]


def _finding(finding: Finding, color: bool) -> str:
    return f"  {_sign(finding, color)}  {escape(finding.text, longest=0)}"


def _sign(finding: Finding, color: bool) -> str:
    return paint(_SIGNS[finding.level], _PAINT[finding.level], color)


def _group(group: Group, repository: str, verbose: bool, color: bool) -> list[str]:
    shown = group.paths if verbose or len(group.paths) <= _FEW else group.paths[: _FEW - 1]
    lines = [f"  {_sign(group.finding, color)}  diff={group.driver}: {escape(group.finding.text, longest=0)}"]
    if group.rule is not None:
        file = group.rule.file
        if os.path.isabs(file) and file.startswith(repository + os.sep):
            file = file[len(repository) + 1 :]
        elif file.startswith(":"):
            file = f"{file[1:]} (in the index)"
        lines.append(f"      {escape(file, longest=0)}:{group.rule.number}: {escape(group.rule.text, longest=0)}")
    lines += [f"        {escape(path, longest=0)}" for path in shown]
    if len(shown) < len(group.paths):
        lines.append(f"        … and {len(group.paths) - len(shown)} more (-v lists them)")
    return lines


def _next(diagnosis: Diagnosis) -> list[str]:
    todo = [finding for finding in diagnosis.findings if finding.level == "todo"]
    commands = dict.fromkeys(finding.command for finding in todo if finding.command)
    if not todo:
        example = next((path for group in diagnosis.groups for path in group.paths), "")
        return ["", "All is well." + (" Try: git diff, git log -p" if example else "")]
    if not commands:
        return ["", "Something is left to do by hand; see the lines marked !! above."]
    return ["", "Next:", *(f"  {escape(command, longest=0)}" for command in _merged(list(commands)))]


def _merged(commands: list[str]) -> list[str]:
    """Several installs of the same scope as one."""
    plain = "diffai install"
    includes = dict.fromkeys(command[len(plain) :] for command in commands if command.startswith(plain + " --include"))
    merged = [command for command in commands if not command.startswith(plain + " --include")]
    if includes:
        whole = plain + "".join(includes)
        return [whole, *(command for command in merged if command != plain)]
    return merged
