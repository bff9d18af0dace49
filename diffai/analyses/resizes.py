"""Models that grew or shrank: rows of a head or vocabulary, layers of a stack, the width of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from diffai.comparison.result import TensorChange


def resized(changes: Sequence[TensorChange], named: Callable[[Sequence[str], str], str]) -> tuple[list[str], list[str]]:
    """What grew or shrank, in words, and the names of the tensors; ``named`` says one name, or how many there are."""
    words: list[str] = []
    names: list[str] = []
    rows = [change for change in changes if "reshaped" in change.status]
    longer = [change for change in rows if _rows_changed(change)]
    if longer:
        words.append(_longer(longer))
        names += [change.name for change in longer]
    if len(rows) > len(longer):
        wider = [change.name for change in rows if change not in longer]
        words.append(f"{named(wider, 'tensor')} reshaped")
        names += wider
    words += _depth(changes, names, named)
    return words, names


def _longer(longer: Sequence[TensorChange]) -> str:
    """The rows of one tensor, and how many more there are: in the same words where they went the same way."""
    went = [(change.old.shape[0], change.new.shape[0]) for change in longer if change.old and change.new]
    rest = len(longer) - 1
    same = f" and {rest:,} more" if rest and len(set(went)) == 1 else ""
    others = f", rows of {rest:,} more" if rest and not same else ""
    return f"{longer[0].name}{same} {went[0][0]:,} -> {went[0][1]:,} rows{others}"


def _rows_changed(change: TensorChange) -> bool:
    old, new = change.old, change.new
    matrices = old is not None and new is not None and len(old.shape) == len(new.shape) >= 2
    return bool(matrices and old and new and old.shape[1:] == new.shape[1:])


def _depth(
    changes: Sequence[TensorChange], names: list[str], named: Callable[[Sequence[str], str], str]
) -> list[str]:
    """Layers of one pattern that came or went, and other tensors that did."""
    words = []
    for status, word in (("added", "added"), ("removed", "removed")):
        alone = [change.name for change in changes if change.status == (status,) and not is_factor(change.name)]
        if not alone:
            continue
        stacks: dict[str, set[int]] = {}
        kept: dict[str, set[int]] = {}
        for change in changes:
            for stack, number in layers_in(change.name):
                (stacks if change.status == (status,) else kept).setdefault(stack, set()).add(number)
        whole = {stack: numbers - kept[stack] for stack, numbers in stacks.items() if stack in kept}
        stack, layers = max(whole.items(), key=lambda item: len(item[1]), default=("", set()))
        if layers:
            inside = {(stack, number) for number in layers}
            rest = [name for name in alone if inside.isdisjoint(layers_in(name))]
            more = f" and {named(rest, 'other tensor')}" if rest else ""
            words.append(f"{len(layers):,} layer{'' if len(layers) == 1 else 's'} of {stack}{more} {word}")
        else:
            words.append(f"{named(alone, 'tensor')} {word}")
        names += alone
    return words


def layers_in(name: str) -> Iterable[tuple[str, int]]:
    """(stack, index) of every number in a name: ``("layers", 3)``."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdigit() and place:
            yield ".".join(parts[:place]), int(part)


_ADAPTER = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")


def is_factor(name: str) -> bool:
    """Whether a tensor is a low-rank factor of an adapter."""
    return any(part in _ADAPTER for part in name.split("."))
