"""Globs over the paths of a repository, as .gitignore has them, and globs over tensor names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache


def path_matches(path: str, globs: Sequence[str]) -> bool:
    """Whether a path (from the top of the repository, ``/`` between names) matches one of the globs.

    A glob without ``/`` matches the last name at any depth; one with ``/`` the whole path. ``*`` and ``?`` stop at
    ``/``, ``**`` does not; a trailing ``/`` means everything below that folder.
    """
    return any(_path_pattern(glob).fullmatch(path) for glob in globs)


def name_matches(name: str, globs: Sequence[str]) -> bool:
    """Whether a whole tensor name matches one of the globs; ``*`` matches dots too (``encoder.*``)."""
    return any(_name_pattern(glob).fullmatch(name) for glob in globs)


@lru_cache(maxsize=256)
def _path_pattern(glob: str) -> re.Pattern[str]:
    text = glob + "**" if glob.endswith("/") else glob
    anchored = "/" in text.rstrip("/") and not text.startswith("**/")
    text = text.removeprefix("/") if anchored else text
    prefix = "" if anchored else "(?:.*/)?"
    return re.compile(prefix + _translate(text.removeprefix("**/") if not anchored else text), re.DOTALL)


@lru_cache(maxsize=256)
def _name_pattern(glob: str) -> re.Pattern[str]:
    from fnmatch import translate

    return re.compile(translate(glob))


def _translate(glob: str) -> str:
    """A glob as a regular expression in which ``*`` and ``?`` stop at a slash."""
    out, at = [], 0
    while at < len(glob):
        if glob.startswith("**/", at):
            out.append("(?:.*/)?")
            at += 3
        elif glob.startswith("**", at):
            out.append(".*")
            at += 2
        elif glob[at] in "*?":
            out.append("[^/]*" if glob[at] == "*" else "[^/]")
            at += 1
        elif glob[at] == "[" and (end := glob.find("]", at + 2)) > 0:
            inside = glob[at + 1 : end].replace("\\", "\\\\")
            out.append("[" + ("^" + inside[1:] if inside[0] in "!^" else inside) + "]")
            at = end + 1
        else:
            out.append(re.escape(glob[at]))
            at += 1
    return "".join(out)
