"""Parts of a model by the names of its tensors: as many as a screen holds, those with the most to say divided most."""

from __future__ import annotations

import re

from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NUMBER = re.compile(r"\d+")
MOST = 14
"""Groups that a screen holds."""
_DIGITS = 18
_WIDEST_RANGE = 4096


@frozen
class Group:
    """Tensors of one part of the model, by name.

    Attributes:
        path: the pieces of names that they share, with the numbers that these run over: ``layers``, ``[0-31]``.
    """

    path: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def title(self) -> str:
        """The part as a pattern; the whole model is called so."""
        return ".".join(self.path) or "(all)"

    def by_index(self) -> tuple[tuple[str, ...], ...]:
        """The names by layer index, an empty tuple where an index has none; () where they run over no index."""
        place = next((n for n, part in enumerate(self.path) if "[" in part), -1)
        if place < 0:
            return ()
        layers: dict[int, list[str]] = {}
        for name in self.names:
            numbers = NUMBER.findall(name.split(".")[place])
            if numbers:
                layers.setdefault(int(numbers[0][:_DIGITS]), []).append(name)
        if len(layers) < 2 or max(layers) - min(layers) > _WIDEST_RANGE:
            return ()
        return tuple(tuple(layers.get(n, ())) for n in range(min(layers), max(layers) + 1))


def grouped(names: Sequence[str], share_of: Mapping[str, float]) -> list[Group]:
    """Parts of a model: the part with the most to say is divided further for as long as a screen holds them.

    Args:
        names: of all tensors.
        share_of: what each has to say, a share of 1; tensors that are not in it have nothing.
    """
    groups = [Group((), tuple(names))]
    while len(groups) < MOST:
        best: tuple[float, int, list[Group]] | None = None
        for place, group in enumerate(groups):
            parts = _divided(group)
            if len(parts) > 1 and len(groups) - 1 + len(parts) <= MOST + 2:
                weight = sum(share_of.get(name, 0.0) for name in group.names) + len(group.names) / len(names) / 10
                if best is None or weight > best[0]:
                    best = weight, place, parts
        if best is None:
            break
        groups[best[1] : best[1] + 1] = best[2]
    return [_deepened(group) for group in groups]


def _divided(group: Group) -> list[Group]:
    """A part by the next piece of its tensors' names; numbers are one piece, and pieces all share are walked past."""
    depth = len(group.path)
    while True:
        pieces: dict[tuple[str, ...], list[str]] = {}
        for name in group.names:
            parts = name.split(".")
            piece = skeleton(parts[depth]) if depth < len(parts) - 1 else ()
            pieces.setdefault(piece, []).append(name)
        if len(pieces) != 1:
            break
        (only,) = pieces
        if not only:
            return [group]
        group = Group((*group.path, _numbered(pieces[only], depth)), group.names)
        depth += 1
    return [
        Group((*group.path, _numbered(some, depth) if piece else "*"), tuple(some))
        for piece, some in pieces.items()
    ]


def _deepened(group: Group) -> Group:
    """One tensor alone is called by its name."""
    return Group(tuple(group.names[0].split(".")), group.names) if len(group.names) == 1 else group


def _numbered(names: Sequence[str], depth: int) -> str:
    return with_ranges([name.split(".")[depth] for name in names])


def skeleton(text: str) -> tuple[str, ...]:
    """What stands around the numbers of a text."""
    return tuple(NUMBER.split(text))


def with_ranges(texts: Sequence[str]) -> str:
    """Texts of one skeleton as one, with the numbers that they run over: ``[0-31]``, ``conv1d_[1-12]``."""
    numbers = zip(*(NUMBER.findall(text) for text in texts), strict=True)
    ranges = iter([range_text({int(number[:_DIGITS]) for number in place}) for place in numbers])
    return NUMBER.sub(lambda _: next(ranges), texts[0])


def range_text(values: set[int]) -> str:
    """``7``, ``[0-31]`` where they are whole, else ``[0..31]``."""
    numbers = sorted(values)
    if len(numbers) == 1:
        return str(numbers[0])
    whole = numbers[-1] - numbers[0] + 1 == len(numbers)
    return f"[{numbers[0]}-{numbers[-1]}]" if whole else f"[{numbers[0]}..{numbers[-1]}]"
