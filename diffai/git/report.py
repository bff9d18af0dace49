"""What install and uninstall print: one line per fact, then what to do next."""

from __future__ import annotations

import os

from diffai.git import attributes, config_section
from diffai.git.install import Change, Report
from diffai.views.style import escape

_WHERE = {
    "local": "in this repository",
    "global": "for all repositories of this user",
    "system": "for all repositories on this machine",
}


def install_lines(report: Report, *, dry_run: bool) -> list[str]:
    """The lines of ``diffai install``."""
    where = _WHERE[report.scope]
    if not report.changed:
        lines = [f"diffai is already installed {where}; nothing was changed"]
    elif dry_run:
        lines = [f"diffai would be installed {where}:"]
    else:
        lines = [f"diffai is installed {where}:"]
    for change in report.changes:
        lines.append(f"  {change.done:<9}  {_shown(change.path)}")
        lines.append(f"             {_shown(change.about)}")
        if dry_run and change.before != change.after:
            lines += [f"             | {line}" for line in _new_lines(change)]
    lines += [f"  ! {_shown(note)}" for note in report.notes]
    if not dry_run:
        example = report.example or "MODEL"
        lines += ["", "Try:", "  git diff", f"  git log -p -- {_shown(_word(example))}", "  diffai doctor"]
    return lines


def uninstall_lines(report: Report, *, dry_run: bool) -> list[str]:
    """The lines of ``diffai uninstall``."""
    where = _WHERE[report.scope]
    if not report.changed:
        lines = [f"diffai is not installed {where}; nothing was changed"]
    elif dry_run:
        lines = [f"diffai would be uninstalled {where}:"]
    else:
        lines = [f"diffai is uninstalled {where}:"]
    for change in report.changes:
        if change.before != change.after:
            lines.append(f"  {change.done:<9}  {_shown(change.path)} ({change.about})")
    lines += [f"  ! {_shown(note)}" for note in report.notes]
    return lines


def _new_lines(change: Change) -> list[str]:
    """The lines of our part, as they would stand in the file."""
    after = (change.after or b"").decode("utf-8", "replace").splitlines()
    starts = (attributes.BEGIN.decode(), config_section.HEADER.decode())
    first = next(index for index, line in enumerate(after) if line.startswith(starts))
    ours = after[first : first + 1]
    for line in after[first + 1 :]:
        if line.startswith("["):
            break
        ours.append(line)
        if line == attributes.END.decode():
            break
    return [_shown(line) for line in ours]


def _shown(text: str) -> str:
    return escape(text.replace("\t", "    "), longest=0)


def _word(path: str) -> str:
    """A path as one word for a shell, plain where it can be."""
    from shlex import quote

    return quote(os.fsencode(path).decode("utf-8", "replace"))
