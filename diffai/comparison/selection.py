"""Which names are compared: the options that choose, what they leave out, and whether they chose nothing at all."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from diffai.comparison.result import CompareOptions, DirectoryDiff, LeftOut, ModelDiff, Totals
from diffai.errors import UsageError
from diffai.globs import name_matches
from diffai.model import Checkpoint, Scalar, TensorSpec

_MOST_LOOKED_AT = 2000


class Selection:
    """Which names are compared, and how many were left out by which option or setting.

    ``path`` may begin with ``tensor.`` or ``tensors.``, as older guides write it, where no name of either side does.

    Raises:
        UsageError: a regular expression of the options is none.
    """

    def __init__(self, options: CompareOptions, *sides: Checkpoint | None) -> None:
        self._options = options
        self._path = options.path
        older = re.fullmatch(r"tensors?\.(.+)", options.path)
        if older and not any(_below(name, options.path) for side in sides if side for name in side.tensors):
            self._path = older[1]
        self._filter = compiled(options.filter, "--filter") if options.filter else None
        self._ignore = [(compiled(pattern, "--ignore-keys-regex"), pattern) for pattern in options.ignore]
        self._seen: dict[tuple[str, str], set[str]] = {}

    def specs(self, checkpoint: Checkpoint | None) -> Mapping[str, TensorSpec]:
        """The tensors that are compared."""
        options = self._options
        if checkpoint is None:
            return {}
        if not (self._filter or self._ignore or self._path or options.ignore_globs):
            return checkpoint.tensors
        return {name: spec for name, spec in checkpoint.tensors.items() if self._keeps(name)}

    def keys(self, values: Mapping[str, Scalar] | Mapping[str, str]) -> Mapping[str, Scalar]:
        """The keys that are compared; ``path`` and ``filter`` speak of tensors alone."""
        if not (self._ignore or self._options.ignore_globs):
            return values
        return {key: value for key, value in values.items() if not self._ignored(key)}

    def left_out(self) -> tuple[LeftOut, ...]:
        """One for each option or setting that left something out."""
        return tuple(
            LeftOut("tensors or keys", len(names), why, origin) for (why, origin), names in self._seen.items()
        )

    def nearest(self, *sides: Mapping[str, TensorSpec]) -> str | None:
        """The name nearest to a ``path`` or ``filter`` that chose no tensor ("" = none is near); None when one did."""
        wanted = self._path or re.sub(r"\\(?=\W)|[\^$]|\.\*", "", self._options.filter)
        if any(sides) or not wanted or not self._seen:
            return None
        return nearest_name(wanted, {name for names in self._seen.values() for name in names})

    def _keeps(self, name: str) -> bool:
        if self._path and not _below(name, self._path):
            return self._leave(name, f"outside --path {self._path}")
        if self._filter and not self._filter.search(name):
            return self._leave(name, f"not matching --filter {self._options.filter}")
        return not self._ignored(name)

    def _ignored(self, name: str) -> bool:
        for pattern, text in self._ignore:
            if pattern.search(name):
                return not self._leave(name, f"ignored by --ignore-keys-regex {text}")
        for glob in self._options.ignore_globs:
            if name_matches(name, (glob,)):
                origin = self._options.ignore_origin or "configuration"
                return not self._leave(
                    name, f"ignored by {glob!r} ({origin})", self._options.committed_origin("ignore")
                )
        return False

    def _leave(self, name: str, why: str, origin: str = "") -> bool:
        self._seen.setdefault((why, origin), set()).add(name)
        return False


def _below(name: str, prefix: str) -> bool:
    """Whether a name is this dotted prefix, or begins with it."""
    return name == prefix or name.startswith(prefix if prefix.endswith(".") else prefix + ".")


def compiled(pattern: str, option: str) -> re.Pattern[str]:
    """A regular expression of the command line."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"{option}: {pattern!r} is not a regular expression: {error}") from error


def within_tolerance(options: CompareOptions, totals: Totals) -> tuple[LeftOut, ...]:
    """What differs and counts as equal by a tolerance that a file of the clone set."""
    committed = [
        (f"compare.{name} = {value:g} ({options.committed_origin(name)})", options.committed_origin(name))
        for name, value in (("epsilon", options.epsilon), ("rtol", options.rtol))
        if value and options.committed_origin(name)
    ]
    if not totals.tolerated or not committed:
        return ()
    reason = "differ within " + " and ".join(text for text, _ in committed)
    return (LeftOut("values", totals.tolerated, reason, committed[0][1]),)


def require_selection(diff: ModelDiff | DirectoryDiff) -> None:
    """Refuse a ``--path`` or ``--filter`` that chose no tensor at all: nothing was compared by it.

    Raises:
        UsageError: it did, with the nearest name that there is.
    """
    diffs = [diff] if isinstance(diff, ModelDiff) else [file.diff for file in diff.files if file.diff is not None]
    nearest = [one.nearest for one in diffs if one.nearest is not None]
    if not nearest or any(one.old.tensors or one.new.tensors for one in diffs):
        return
    options = next(one.options for one in diffs if one.nearest is not None)
    raise nothing_chosen("--path" if options.path else "--filter", options.path or options.filter, max(nearest))


def nothing_chosen(option: str, value: str, near: str) -> UsageError:
    """The error about an option that chose no tensor."""
    hint = f"; did you mean {near}?" if near else ""
    return UsageError(f"{option} {value} selects no tensor{hint}")


def require_globs(globs: Iterable[str], names: Collection[str]) -> None:
    """Refuse a glob that chooses no tensor.

    Raises:
        UsageError: one does, with the nearest name that there is.
    """
    for glob in globs:
        if not any(name_matches(name, (glob,)) for name in names):
            raise nothing_chosen("the glob", repr(glob), nearest_name(glob.strip("*."), names))


def nearest_name(wanted: str, names: Iterable[str]) -> str:
    """The name or part of a name nearest to a word; "" where none is near."""
    from difflib import get_close_matches

    near = get_close_matches(wanted, list(_parts_of(names)), 1, 0.6)
    return near[0] if near else ""


def _parts_of(names: Iterable[str]) -> dict[str, None]:
    """Names, their dotted beginnings and their parts, each once and in order."""
    parts: dict[str, None] = {}
    for name in sorted(names):
        pieces = name.split(".")
        parts.update(dict.fromkeys(".".join(pieces[:count]) for count in range(1, min(len(pieces), 16) + 1)))
        parts.update(dict.fromkeys(pieces[:16]))
        if len(parts) > _MOST_LOOKED_AT:
            break
    return parts
