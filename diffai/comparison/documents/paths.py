"""Paths of documents as text, and the options that choose by them.

``optimizer.lr``, ``layers[2].name``, ``layers[id=7]``, ``labels["a.b"]``. A key that is no name stands in brackets: a
text in quotes, as JSON writes it; a number of YAML's without them.
"""

from __future__ import annotations

import json
import re

from diffai.comparison.documents.result import Identified, Key, Path, Step
from diffai.comparison.result import CompareOptions, LeftOut
from diffai.comparison.selection import compiled
from diffai.globs import name_matches

_NAME = re.compile(r"[^\W\d][\w-]*|[@#][\w:.-]+|[\w-]*[^\W\d][\w-]*")
_LONGEST = 2000


def path_text(path: Path) -> str:
    """A path as it is printed and matched; "." is the whole document.

    >>> path_text(("layers", 2, "a.b", Key("integer", "7"))), path_text(())
    ('layers[2]["a.b"][7]', '.')
    """
    return "".join([step_text(step, first=not place) for place, step in enumerate(path)]) or "."


def step_text(step: Step, *, first: bool = False) -> str:
    """One step; a name has a dot before it unless it is the first."""
    if isinstance(step, str):
        if _NAME.fullmatch(step):
            return step if first else f".{step}"
        return f"[{json.dumps(step[:_LONGEST], ensure_ascii=False)}]"
    if isinstance(step, int):
        return f"[{step}]"
    if isinstance(step, Key):
        return f"[{step.text[:_LONGEST]}]"
    return f"[{step.key}={step.value[:_LONGEST]}]"


class Chosen:
    """Which paths are compared, and how many were left out by which option or setting.

    Raises:
        UsageError: a regular expression of the options is none.
    """

    def __init__(self, options: CompareOptions) -> None:
        self._prefix = options.path
        self._filter = compiled(options.filter, "--filter") if options.filter else None
        self._ignore = [(compiled(pattern, "--ignore-keys-regex"), pattern) for pattern in options.ignore]
        self._globs = [(glob, options.ignore_origin or "configuration") for glob in options.ignore_globs]
        self._origin = options.committed_origin("ignore")
        self._counts: dict[tuple[str, str], int] = {}
        self.everything = not (self._prefix or self._filter or self._ignore or self._globs)

    def leaf(self, text: str) -> bool:
        """Whether a difference at a path is shown; one that is not is counted."""
        if self.everything:
            return True
        if not self._inside(text):
            return self._leave(f"outside --path {self._prefix}")
        if self._filter and not self._filter.search(text):
            return self._leave(f"do not match --filter {self._filter.pattern}")
        for pattern, given in self._ignore:
            if pattern.search(text):
                return self._leave(f"ignored by --ignore-keys-regex {given}")
        for glob, origin in self._globs:
            if name_matches(text, (glob,)):
                return self._leave(f"ignored by {glob!r} ({origin})", self._origin)
        return True

    def reaches(self, text: str) -> bool:
        """Whether a path is one that is compared; nothing is counted."""
        ignored = any(pattern.search(text) for pattern, _ in self._ignore) or any(
            name_matches(text, (glob,)) for glob, _ in self._globs
        )
        return not ignored and self.wanted(text)

    def wanted(self, text: str) -> bool:
        """Whether ``path`` and ``filter`` choose a path, whatever is ignored."""
        return self._inside(text) and (self._filter is None or bool(self._filter.search(text)))

    def left_out(self) -> tuple[LeftOut, ...]:
        """One for each option or setting that left differences out."""
        return tuple(LeftOut("differences", count, why, origin) for (why, origin), count in self._counts.items())

    def _inside(self, text: str) -> bool:
        """Whether a path is the one of ``--path``, or below it."""
        prefix = self._prefix.removesuffix(".")
        return not prefix or text == prefix or (text.startswith(prefix) and text[len(prefix)] in ".[")

    def _leave(self, why: str, origin: str = "") -> bool:
        self._counts[why, origin] = self._counts.get((why, origin), 0) + 1
        return False


def key_text(key: object) -> str:
    """A key as one text, for the order of what is only counted."""
    return key.text if isinstance(key, Key) else str(key)


__all__ = ["Chosen", "Identified", "key_text", "path_text", "step_text"]
