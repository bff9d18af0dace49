"""What an analysis may ask for beside the comparison: the open checkpoints, files beside them, its options, values.

It is made where both checkpoints are open (:mod:`diffai.analyses.run`). Without one, or where a side could not be
opened, everything is simply not there, and an analysis says so. numpy is loaded when values are asked for.
"""

from __future__ import annotations

from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Literal

    from diffai.analyses.row import Analysis, Option
    from diffai.comparison.result import TensorChange
    from diffai.model import Checkpoint, TensorSpec
    from diffai.models.inputs import Input
    from diffai.tensors.dtypes import Array

    Which = Literal["old", "new", "base"]
    Progress = Callable[[int, int], None]
else:
    Which = str

MOST_BESIDE = 64 << 20
"""Bytes of a file beside a model that are read at most (a vocabulary of 250,000 words takes 20 MB)."""

MOST_ELEMENTS = 4_000_000
"""Elements of one tensor that are held at most, as float64: 32 MB; of larger ones evenly spread rows are."""

NOT_OPEN = "no file is open here"


@frozen
class Sides:
    """What is open.

    Attributes:
        old, new: both sides of the comparison; None where nothing is open.
        base: a third model (``--base FILE``); None where none was named.
        unread: why values cannot be read; "" where they can.
        threads: worker threads; 0 = as many as help.
        progress: called with (bytes done, bytes in all).
    """

    old: Input | None = None
    new: Input | None = None
    base: Input | None = None
    unread: str = NOT_OPEN
    threads: int = 0
    progress: Progress | None = None

    def of(self, which: Which) -> Input | None:
        """One of them."""
        return {"old": self.old, "new": self.new, "base": self.base}[which]


_NOTHING = Sides()


class Context:
    """What one analysis is given of one pair.

    Args:
        row: the analysis.
        options: what ``[analyses.NAME]`` says; the rest is by default.
        sides: what is open.
        asked: whether its flag was given, so that it should say why it has nothing to say.
    """

    def __init__(
        self, row: Analysis, options: Mapping[str, Option] = {}, sides: Sides = _NOTHING, *, asked: bool = False
    ) -> None:
        self._row, self._options, self._sides = row, options, sides
        self.asked = asked
        self.caps: list[str] = []

    # ------------------------------------------------------------ options

    def number(self, name: str) -> float:
        """The value of a key of kind ``number``."""
        return float(self._value(name))

    def count(self, name: str) -> int:
        """The value of a key of kind ``count``."""
        return int(self._value(name))

    def flag(self, name: str) -> bool:
        """The value of a key of kind ``flag``."""
        return bool(self._value(name))

    def word(self, name: str) -> str:
        """The value of a key of kind ``text``."""
        return str(self._value(name))

    def _value(self, name: str) -> Option:
        default = next(key.default for key in self._row.keys if key.name == name)
        return self._options.get(name, default)

    # ------------------------------------------------------------ what is open

    @property
    def old(self) -> Checkpoint | None:
        """The old checkpoint with all that its headers say (training state too); None where it is not open."""
        return self.checkpoint("old")

    @property
    def new(self) -> Checkpoint | None:
        """The new one."""
        return self.checkpoint("new")

    @property
    def base(self) -> Checkpoint | None:
        """The third model, of ``--base FILE``; None where none was named."""
        return self.checkpoint("base")

    def checkpoint(self, which: Which) -> Checkpoint | None:
        """One of the three."""
        side = self._sides.of(which)
        return side.checkpoint if side is not None else None

    @property
    def unread(self) -> str:
        """Why no values can be read here; "" where both sides can be read."""
        if self._sides.unread:
            return self._sides.unread
        for which in ("old", "new"):
            if self.checkpoint(which) is None:
                return f"there is no model on the {which} side"
        return ""

    def sibling(self, which: Which, name: str) -> bytes | None:
        """A file beside a model, at the same moment; None where there is none or it is above :data:`MOST_BESIDE`.

        ``name`` is one of those that the row declares: they are part of what a remembered finding rests on. Beside a
        model of another machine nothing is asked for unless the analysis was.
        """
        assert name in self._row.siblings, name
        side = self._sides.of(which)
        if not self.asked and side is not None and side.found is not None and side.found.requests:
            return None
        return read_sibling(self._sides, which, name)

    # ------------------------------------------------------------ the second pass

    @property
    def threads(self) -> int:
        """Worker threads that may be used; 0 = as many as help."""
        return self._sides.threads

    def progress(self, done: int, whole: int) -> None:
        """Say how far the second pass is, in bytes."""
        if self._sides.progress is not None:
            self._sides.progress(done, whole)

    def cap(self, text: str) -> None:
        """Record a cap that acted; it is printed with the finding, once."""
        if text not in self.caps:
            self.caps.append(text)

    def readable(self, spec: TensorSpec) -> bool:
        """Whether the values of a tensor can be read as numbers."""
        from diffai.tensors.reading import has_numbers

        return bool(spec.elements) and has_numbers(spec)

    def array(self, which: Which, spec: TensorSpec, most: int = MOST_ELEMENTS) -> Array | None:
        """A tensor as float64 in its shape, decoded; of a larger one evenly spread rows (first axis), and the cap said.

        The rows depend on the shape alone, so that two sides give the same ones. None where it has no values, or
        where one row alone is above ``most``. Complex numbers are their moduli.

        Raises:
            SourceError: bytes are gone.
        """
        checkpoint = self.checkpoint(which)
        if checkpoint is None or not self.readable(spec):
            return None
        from diffai.tensors.reading import matrix_shape, some_rows, spread, values

        if not spec.shape:
            return values(checkpoint, spec, 0, 1).reshape(())
        count, width = matrix_shape(spec)
        if width > most:
            self.cap(f"one row of {spec.name} is over {most:,} elements: left out")
            return None
        rows = spread(count, most // width)
        if len(rows) < count:
            self.cap(f"{len(rows):,} of {count:,} rows of {spec.name} were read (cap {most:,} elements)")
        return some_rows(checkpoint, spec, rows).reshape(len(rows), *spec.shape[1:])

    def rows(self, which: Which, spec: TensorSpec, rows: Sequence[int]) -> Array | None:
        """Rows (first axis) of a tensor by their numbers, ascending, as float64; None where it has no values."""
        checkpoint = self.checkpoint(which)
        if checkpoint is None or not spec.shape or not self.readable(spec):
            return None
        from diffai.tensors.reading import some_rows

        return some_rows(checkpoint, spec, rows).reshape(len(rows), *spec.shape[1:])

    def blocks(self, change: TensorChange, size: int = 1 << 18) -> Iterator[tuple[Array, Array]]:
        """The values of a pair of equal shape, flat, as float64, in blocks of ``size`` elements; none if unreadable.

        Raises:
            SourceError: bytes are gone.
        """
        old, new, left, right = change.old, change.new, self.old, self.new
        if old is None or new is None or left is None or right is None or old.shape != new.shape:
            return
        if not (self.readable(old) and self.readable(new)):
            return
        from diffai.tensors.reading import blocks

        yield from zip(blocks(left, old, size), blocks(right, new, size), strict=True)


def read_sibling(sides: Sides, which: Which, name: str) -> bytes | None:
    """A file beside one of what is open; None where there is none."""
    side = sides.of(which)
    if side is None or side.found is None:
        return None
    from diffai.models.beside import read_beside

    return read_beside(side.found, name, MOST_BESIDE)
