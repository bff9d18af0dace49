"""A fine-tune of a part: whole modules that were left alone, and the rest that moved."""

from __future__ import annotations

import re
from collections.abc import Sequence

from diffai.analyses.casts import explained_by_cast
from diffai.analyses.update import is_moved
from diffai.comparison.result import ModelDiff, TensorChange
from diffai.frozen import frozen
from diffai.model import element_count

FROZEN_SHARE = 0.2
"""Share of the parameters that whole equal modules hold in a fine-tune of the rest."""

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


@frozen
class FineTune:
    """What moved, as the fewest names that cover it, and the share of the parameters in modules that did not.

    ``how`` says what is true of those: ``untouched``, ``cast alone``, or that some are the one, some the other.
    """

    parts: tuple[str, ...]
    untouched: float
    how: str = "untouched"


def fine_tuned(diff: ModelDiff, changes: Sequence[TensorChange], moved: Sequence[TensorChange]) -> FineTune | None:
    """What was tuned; None where less than :data:`FROZEN_SHARE` of the parameters was left alone, or all of them were.

    Left alone is also what has another name, and what is exactly the old one in another dtype: those are kinds of
    their own.

    Args:
        diff: the comparison.
        changes: of its weights.
        moved: those whose values changed.
    """
    if not moved or not any(change.is_parameter and not is_moved(change) for change in changes):
        return None
    explained = explained_by_cast(diff)
    modules: dict[str, bool] = {}
    sizes: dict[str, int] = {}
    for change in changes:
        if change.old is None or change.new is None or not change.is_parameter:
            continue
        module = change.name.rpartition(".")[0]
        modules[module] = modules.get(module, False) or (is_moved(change) and not explained(change))
        sizes[module] = sizes.get(module, 0) + element_count(change.spec.shape)
    whole = sum(sizes.values())
    still = sum(size for module, size in sizes.items() if not modules[module])
    if still == whole or still < FROZEN_SHARE * whole:
        return None  # of buffers alone that moved (statistics of batches taken anew) nothing was tuned
    parts = tuple(_parts([module for module, differs in modules.items() if differs], modules))
    left = (change for change in changes if change.is_parameter and change.old is not None and change.new is not None
            and not modules[change.name.rpartition(".")[0]])  # fmt: skip
    return FineTune(parts, still / whole, " or ".join(sorted({_how(change) for change in left}, reverse=True)))


def _how(change: TensorChange) -> str:
    """What is true of a tensor of which no value moved; another name leaves it untouched."""
    return "cast alone" if "cast" in change.status else "untouched"


def _parts(moved: Sequence[str], modules: dict[str, bool]) -> list[str]:
    """The fewest prefixes that cover all modules that moved and none that did not."""
    found: list[str] = []
    still = [module for module, differs in modules.items() if not differs]
    for module in moved:
        if any(module == part or module.startswith(f"{part}.") for part in found):
            continue
        pieces = module.split(".")
        for size in range(1, len(pieces) + 1):
            prefix = ".".join(pieces[:size])
            if not any(other == prefix or other.startswith(f"{prefix}.") for other in still):
                found.append(prefix)
                break
        else:
            found.append(module)
    return _together([part or "the top" for part in dict.fromkeys(found)])


def _together(parts: Sequence[str]) -> list[str]:
    """Parts that differ in one number as one: ``layers.[0-31].attn``; the order of the first of each stays."""
    found: dict[str, list[str]] = {}
    for part in parts:
        found.setdefault(_NUMBER.sub("#", part, count=1), []).append(part)
    words = []
    for pattern, alike in found.items():
        numbers = sorted({int(match[0]) for part in alike if (match := _NUMBER.search(part))})
        if len(numbers) < 2:
            words += alike
            continue
        runs = len(numbers) == numbers[-1] - numbers[0] + 1 and len(numbers) > 2
        listed = f"{numbers[0]}-{numbers[-1]}" if runs else ",".join(map(str, numbers))
        words.append(pattern.replace("#", f"[{listed}]"))
    return words
