"""Which repository holds a directory, found as git finds it, without calling git."""

from __future__ import annotations

import os

from diffai.frozen import frozen


@frozen
class GitPlace:
    """Where a repository keeps its things.

    Attributes:
        git_dir: the git directory of this work tree.
        common_dir: the one that all its linked work trees share.
        top: top of the work tree; "" when it has none, or is not known without git.

    """

    git_dir: str
    common_dir: str
    top: str = ""


def find_repository(start: str = "") -> GitPlace | None:
    """The repository that holds the directory ``start``, found as git does, without calling git.

    Args:
        start: a directory; "" is the working directory, for which ``GIT_DIR`` and ``GIT_COMMON_DIR`` count.

    Returns:
        None when there is no repository.

    """
    if not start and os.environ.get("GIT_DIR"):
        git_dir = os.environ["GIT_DIR"]
        common_dir = os.environ.get("GIT_COMMON_DIR") or _common_dir(git_dir)
        return GitPlace(git_dir, common_dir, os.environ.get("GIT_WORK_TREE", ""))
    folder = os.path.realpath(start or os.curdir)
    while True:
        dot_git = os.path.join(folder, ".git")
        git_dir = dot_git if _is_git_dir(dot_git) else _linked(dot_git)
        if git_dir:
            return GitPlace(git_dir, _common_dir(git_dir), folder)
        if _is_git_dir(folder):
            return GitPlace(folder, _common_dir(folder))
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def _is_git_dir(path: str) -> bool:
    """As git decides: HEAD, objects and refs (a linked work tree's has a commondir file instead)."""
    if not os.path.lexists(os.path.join(path, "HEAD")):
        return False
    if os.path.isfile(os.path.join(path, "commondir")):
        return True
    return os.path.isdir(os.path.join(path, "objects")) and os.path.isdir(os.path.join(path, "refs"))


def _linked(dot_git: str) -> str:
    """Target of a ``.git`` file (linked work tree, submodule); "" when there is none."""
    text = _text(dot_git)
    if not text.startswith("gitdir:"):
        return ""
    target = os.path.join(os.path.dirname(dot_git), text[len("gitdir:") :].strip())
    return target if _is_git_dir(target) else ""


def _common_dir(git_dir: str) -> str:
    """The git directory that all linked work trees share."""
    text = _text(os.path.join(git_dir, "commondir")).strip()
    return os.path.normpath(os.path.join(git_dir, text)) if text else git_dir


def _text(path: str) -> str:
    """Content of a small file; "" when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
