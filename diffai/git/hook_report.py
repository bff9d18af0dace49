"""What install and uninstall say about hooks: one line per fact, then what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from diffai.git.hooks import HookChange
from diffai.views.style import escape


def installed_lines(changes: Sequence[HookChange], *, dry_run: bool) -> list[str]:
    """The lines of ``diffai install --hook``."""
    lines = ["the gate would be installed:" if dry_run else "the gate is installed:"]
    if all(change.done == "unchanged" for change in changes):
        lines = ["the gate is already installed; nothing was changed"]
    for change in changes:
        lines += [f"  {change.done:<9}  {escape(change.path, longest=0)}", f"             {change.about}"]
    flags = "".join(f" --hook {change.path.rpartition('/')[2]}" for change in changes)
    if not dry_run:
        lines += ["", "Try:", "  diffai gate --explain", "Undo:", f"  diffai uninstall{flags}"]
    return lines


def uninstalled_lines(changes: Sequence[HookChange], *, hooks: bool, dry_run: bool) -> list[str]:
    """The lines of ``diffai uninstall`` about hooks; none where there was none and none was asked for."""
    if not changes:
        return ["the gate is not installed as a hook; nothing was changed"] if hooks else []
    lines = ["the gate's hooks would be removed:" if dry_run else "the gate's hooks:"]
    for change in changes:
        mark = "!" if change.done == "kept" else " "
        lines.append(f"{mark} {change.done:<9}  {escape(change.path, longest=0)} ({change.about})")
    return lines
