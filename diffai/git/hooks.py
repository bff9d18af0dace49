"""Put the gate into git's hooks, before or behind whatever stands there, and take it out again byte for byte.

A hook is a file of its own; the one that was there is moved beside it under another name, called by ours, and moved
back by uninstall. Our file carries the sha256 of its own lines, so that one that was edited is never deleted.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

from diffai.errors import DiffaiError, SourceError, UsageError
from diffai.frozen import frozen
from diffai.git.abandoned import remove_abandoned, temporary_beside
from diffai.git.call import ask, demand
from diffai.git.command import find_interpreter, find_program
from diffai.git.hook_scripts import HOOKS, MARK, hook_script
from diffai.git.scopes import Repository, find_repository

Scope = Literal["local", "global"]
Hook = Literal["pre-commit", "pre-push"]
_KEPT = ".before-diffai"


@frozen
class HookChange:
    """What became of one hook.

    Attributes:
        path: the hook's file.
        done: ``written``, ``updated``, ``unchanged``, ``removed`` or ``restored``; ``kept`` where it was edited.
        about: what to know, for people.
    """

    path: str
    done: str
    about: str


def as_hook_scope(name: str) -> Scope:
    """A scope by its name.

    Raises:
        UsageError: git has no hooks in that scope.
    """
    if name == "local":
        return "local"
    if name == "global":
        return "global"
    raise UsageError(f"git has no {name} hooks")


def install_hook(hook: Hook, *, strict: bool = False, scope: Scope = "local", dry_run: bool = False) -> HookChange:
    """Make git run the gate before a commit or a push.

    Args:
        hook: which.
        strict: block when diffai is gone, in place of only saying so.
        scope: ``global`` allows to write into a hooks folder that other repositories use, too.
        dry_run: plan and check, write nothing.

    Raises:
        UsageError: the folder is shared, or the place where a former hook is kept is taken.
        DiffaiError: it cannot be written; nothing was changed.
    """
    path = _hook_path(hook, scope)
    program = find_program()
    text = hook_script(hook, program, find_interpreter(program), strict=strict).encode("utf-8", "surrogateescape")
    before = _read(path)
    if before == text:
        return HookChange(path, "unchanged", "runs diffai gate")
    ours = before is not None and is_ours(before)
    if ours and before is not None and not is_untouched(before):
        raise UsageError(f"{path} was written by diffai and edited since; move your lines elsewhere and delete it")
    kept = path + _KEPT
    chained = os.path.lexists(path) and not ours
    if chained and os.path.lexists(kept) and not _same_entry(path, kept):
        raise UsageError(f"{kept} is in the way: the hook that is there now would be kept under that name")
    if not dry_run:
        _write(path, text, kept if chained else "")
    about = f"runs diffai gate{', and blocks when diffai is gone' if strict else ''}"
    if chained or os.path.lexists(kept):
        order = "first" if hook == "pre-commit" else "last"
        about += f"; the hook that was there runs {order} ({os.path.basename(kept)})"
    return HookChange(path, "updated" if ours else "written", about)


def uninstall_hooks(
    hooks: Sequence[Hook] = HOOKS, *, scope: Scope = "local", dry_run: bool = False
) -> tuple[HookChange, ...]:
    """Remove our hooks and put back what was there; a hook of others is left alone.

    Raises:
        DiffaiError: a file cannot be removed.
    """
    changes = []
    for hook in hooks:
        path = _hook_path(hook, scope, shared=True)
        if not path:
            continue
        change = _uninstall(path, dry_run=dry_run)
        if change is not None:
            changes.append(change)
    return tuple(changes)


def _uninstall(path: str, *, dry_run: bool) -> HookChange | None:
    before, kept = _read(path), path + _KEPT
    if before is None or not is_ours(before):
        below = [name for name in (f"{path}.legacy", f"{path}.old") if is_ours(_read(name) or b"")]
        if below:
            return HookChange(below[0], "kept", "is diffai's hook, but another program moved it there and runs it")
        return None
    if not is_untouched(before):
        return HookChange(path, "kept", "was written by diffai and edited since; remove it by hand")
    restored = os.path.lexists(kept)
    if not dry_run:
        try:
            os.replace(kept, path) if restored else os.unlink(path)
        except OSError as error:
            raise DiffaiError(f"cannot change {path}: {error.strerror}") from error
    return HookChange(path, "restored" if restored else "removed",
                      "as it was without diffai" if restored else "was created by diffai install --hook")  # fmt: skip


def is_ours(content: bytes) -> bool:
    """Whether some version of diffai wrote this hook."""
    return MARK.encode() in b"\n".join(content.split(b"\n")[:3])


def is_untouched(content: bytes) -> bool:
    """Whether our hook is as it was written: its sha256 stands in its own second line."""
    lines = content.split(b"\n", 2)
    if len(lines) < 3:
        return False
    return lines[1].endswith(sha256(lines[2]).hexdigest().encode("ascii"))


def _hook_path(hook: Hook, scope: Scope, *, shared: bool = False, cwd: str | None = None) -> str:
    """Where git looks for the hook: in ``core.hooksPath``, else in the common git directory.

    Args:
        shared: answer "" in place of refusing a folder that is none of this repository's.
    """
    repository = find_repository(cwd)
    if scope == "global":
        answer = ask("config", "--global", "--type=path", "--get", "core.hooksPath", outside=True)
        if answer.status != 0 or not os.path.isabs(answer.line):
            if shared:
                return ""
            raise UsageError(
                "git has no hooks folder for all repositories; give it one first, such as: "
                'git config --global core.hooksPath "$HOME/.config/git/hooks" (those of repositories are then unused)'
            )
        return os.path.join(answer.line, hook)
    if repository is None:
        if shared:
            return ""
        raise UsageError("not in a git repository: hooks are installed in one")
    folder = os.path.abspath(os.path.join(cwd or os.curdir, demand("rev-parse", "--git-path", "hooks", cwd=cwd).line))
    if not _belongs(folder, repository):
        if shared:
            return ""
        origin = ask("config", "--show-origin", "--get", "core.hooksPath").line.partition("\t")[0]
        raise UsageError(
            f"core.hooksPath is {folder} ({origin}), which other repositories use, too; write there with --global, or "
            "give this repository its own: git config core.hooksPath .git/hooks"
        )
    return os.path.join(folder, hook)


def _belongs(folder: str, repository: Repository) -> bool:
    real = os.path.realpath(folder)
    return any(
        top and os.path.commonpath([real, os.path.realpath(top)]) == os.path.realpath(top)
        for top in (repository.common, repository.top)
    )


def _read(path: str) -> bytes | None:
    """A hook's content; None when there is no file; a link that leads nowhere is no file either."""
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error


def half_installed(cwd: str | None = None) -> list[tuple[str, Hook]]:
    """Hooks of this repository that an install was killed over: the path, and which.

    The one that was there has its second name, and no hook of ours calls it.
    """
    found: list[tuple[str, Hook]] = []
    for hook in HOOKS:
        path = _hook_path(hook, "local", shared=True, cwd=cwd)
        kept = path + _KEPT
        if path and os.path.lexists(kept) and (not os.path.lexists(path) or _same_entry(path, kept)):
            found.append((path, hook))
    return found


def _write(path: str, text: bytes, kept: str) -> None:
    """Give what is there a second name, then put ours in its place in one step; or change nothing.

    Killed at any moment, the hook that was there still stands under its first name or is called by ours; the next
    install goes on from there.
    """
    temporary = temporary_beside(path)
    named = False
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        remove_abandoned(path)
        remove_abandoned(path + _KEPT)
        with open(temporary, "xb") as file:
            file.write(text)
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(file.fileno(), (stat.S_IRWXU | 0o055) & ~mask)
        if kept and not os.path.lexists(kept):
            _second_name(path, kept)
            named = True
        os.replace(temporary, path)
    except OSError as error:
        for name in (temporary, *([kept] if named else [])):
            with contextlib.suppress(OSError):
                os.unlink(name)
        raise DiffaiError(f"cannot write {path}: {error.strerror}") from error


def _second_name(path: str, name: str) -> None:
    """A second name for a file or a symbolic link; a copy where the file system has no hard links."""
    with contextlib.suppress(OSError, NotImplementedError):
        os.link(path, name, follow_symlinks=False)
        return
    if os.path.islink(path):
        os.symlink(os.readlink(path), name)
        return
    import shutil

    copy = f"{name}.{os.getpid()}.tmp"
    shutil.copy2(path, copy)
    os.replace(copy, name)


def _same_entry(path: str, kept: str) -> bool:
    """Whether two names are one file, or links to one place: what an install that was killed leaves."""
    if os.path.islink(path) or os.path.islink(kept):
        return os.path.islink(path) and os.path.islink(kept) and os.readlink(path) == os.readlink(kept)
    return os.path.samefile(path, kept) or _read(path) == _read(kept)
