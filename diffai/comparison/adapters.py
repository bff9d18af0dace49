"""Low-rank adapters: what a pair of factors adds to a weight, B·A·scale, compared without ever being made.

Factors alone say little: with any invertible R, (B R⁻¹)(R A) is the same adapter. With G_A = A Aᵀ and G_B = Bᵀ B,
‖B A‖² = tr(G_A G_B) (Hu et al. 2021 for the product; the trace is cyclic), and a difference of products is one product
of stacked factors: B₁A₁ − B₀A₀ = [B₁−B₀, B₀][A₁; A₁−A₀] where ranks are equal, else [B₁, −B₀][A₁; A₀].
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffai.comparison.result import ProductChange, TensorChange
from diffai.frozen import frozen
from diffai.model import Checkpoint, Scalar, TensorSpec, byte_count
from diffai.tensors.dtypes import decode64, has_values

Array = NDArray[Any]
Specs = Mapping[str, TensorSpec]

_A = re.compile(r"(?P<stem>.+)\.lora_(?P<kind>|embedding_)A(?P<rest>(\.[^.]+){0,2})")
_COLUMNS = 1 << 12  # of factors, taken at a time
_MOST_RANK = 1024
_NAME = re.compile(r"[\w.\-/]*")


@frozen
class _Factors:
    """One side's factors; ``scale`` is None where the configuration that says it is not here."""

    a: TensorSpec
    b: TensorSpec
    scale: float | None

    @property
    def rank(self) -> int:
        """Columns of B, rows of A."""
        return self.a.shape[0]

    @property
    def outer(self) -> tuple[int, int]:
        """Size of the product: what B gives, what A takes."""
        return self.b.shape[0], self.a.elements // max(self.rank, 1)


def compare_products(
    old: Checkpoint, new: Checkpoint, sides: tuple[Specs, Specs], changes: Iterable[TensorChange]
) -> tuple[ProductChange, ...]:
    """What changed in the products of factors that differ, or whose scale does, in the order of the new side.

    Adapters with a magnitude vector (DoRA) are left to their factors: their update needs the base weight.

    Raises:
        SourceError: bytes are gone.

    """
    differing = {change.name for change in changes if change.differs}
    found = []
    for name in sides[1]:
        match = _A.fullmatch(name)
        pair = [_factors(side, specs, match) for side, specs in zip((old, new), sides, strict=True)] if match else []
        before, now = pair if pair else (None, None)
        if match is None or before is None or now is None or before.outer != now.outer:
            continue
        if {now.a.name, now.b.name}.isdisjoint(differing) and before.scale == now.scale:
            continue
        found.append(_product(match["stem"].removeprefix("base_model.model."), (old, before), (new, now)))
    return tuple(found)


def _factors(checkpoint: Checkpoint, specs: Specs, match: re.Match[str]) -> _Factors | None:
    """The factors of one module on one side; None where they are not there, or are no such pair."""
    stem, kind, rest = match["stem"], match["kind"], match["rest"]
    a, b = (specs.get(f"{stem}.lora_{kind}{side}{rest}") for side in "AB")
    if a is None or b is None or len(a.shape) < 2 or len(b.shape) < 2 or not a.elements or not b.elements:
        return None
    rank = a.shape[0]
    if b.shape[1] != rank or rank > _MOST_RANK or any(size != 1 for size in b.shape[2:]):
        return None
    if not all(has_values(spec.values_dtype) for spec in (a, b)):
        return None
    if any(name.startswith(f"{stem}.lora_magnitude_vector") for name in (*_magnitudes(stem, rest),) if name in specs):
        return None
    return _Factors(a, b, scale_of(checkpoint.beside, stem.removeprefix("base_model.model."), rank))


def _magnitudes(stem: str, rest: str) -> Sequence[str]:
    adapter = rest.removesuffix(".weight")
    return [f"{stem}.lora_magnitude_vector{end}" for end in ("", adapter, rest, ".weight", ".default.weight")]


def scale_of(beside: Mapping[str, Scalar], module: str, rank: int) -> float | None:
    """The scale: alpha / rank, or alpha / sqrt(rank) of rsLoRA; None where the configuration does not plainly say it.

    Keys of ``alpha_pattern`` are names, or the ends of names, of modules (PEFT takes them as regular expressions;
    one that is more than a name is not followed).
    """
    alpha = beside.get("lora_alpha")
    for key, value in beside.items():
        if key.startswith("alpha_pattern."):
            pattern = key.removeprefix("alpha_pattern.").removeprefix("^")
            if not _NAME.fullmatch(pattern):
                return None
            if module == pattern or module.endswith(f".{pattern}"):
                alpha = value
                break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        return None
    return alpha / (math.sqrt(rank) if beside.get("use_rslora") is True else rank)


def _product(name: str, before: tuple[Checkpoint, _Factors], now: tuple[Checkpoint, _Factors]) -> ProductChange:
    """Figures of one pair of products; scales count where both are known."""
    factors = (before[1], now[1])
    scales = [1.0 if any(f.scale is None for f in factors) else f.scale or 0.0 for f in factors]
    gram = _Gram([before, now])
    parts = [slice(0, before[1].rank), slice(before[1].rank, before[1].rank + now[1].rank)]
    first, last = (scale * gram.norm(part) for scale, part in zip(scales, parts, strict=True))
    difference = gram.difference(scales, parts)
    dot = gram.dot(parts) * scales[0] * scales[1]
    finite = all(math.isfinite(value) for value in (first, last, difference))
    both = finite and first > 0 and last > 0
    return ProductChange(
        name, (now[1].a.name, now[1].b.name), (before[1].rank, now[1].rank), (before[1].scale, now[1].scale),
        first if finite else None, last if finite else None, difference if finite else None,
        difference / first if finite and first > 0 else None,
        min(1.0, max(-1.0, dot / (first * last))) if both else None,
    )  # fmt: skip


class _Gram:
    """Inner products of all rows of both A, of all columns of both B, and of their differences where ranks agree."""

    def __init__(self, sides: Sequence[tuple[Checkpoint, _Factors]]) -> None:
        self._same_rank = sides[0][1].rank == sides[1][1].rank
        with np.errstate(all="ignore"):
            self.a = self._sum(sides, columns=True)
            self.b = self._sum(sides, columns=False)

    def _sum(self, sides: Sequence[tuple[Checkpoint, _Factors]], *, columns: bool) -> Array:
        size = sides[0][1].outer[1 if columns else 0]
        total: Array | float = 0.0
        for start in range(0, size, _COLUMNS):
            stop = min(start + _COLUMNS, size)
            blocks = [(_columns if columns else _rows)(side, factors, start, stop) for side, factors in sides]
            if self._same_rank:
                blocks.append(blocks[1] - blocks[0])
            stack = np.concatenate(blocks)
            total = total + stack @ stack.T
        assert not isinstance(total, float)
        return total

    def norm(self, part: slice) -> float:
        """Of one side's product."""
        return math.sqrt(max(0.0, float((self.a[part, part] * self.b[part, part]).sum())))

    def dot(self, parts: Sequence[slice]) -> float:
        """Inner product of both products."""
        return float((self.a[parts[0], parts[1]] * self.b[parts[0], parts[1]]).sum())

    def difference(self, scales: Sequence[float], parts: Sequence[slice]) -> float:
        """Norm of the difference, by the form in which least cancels."""
        old, new = parts
        if self._same_rank and scales[0] == scales[1]:
            change = slice(new.stop, None)
            left, right = (change, old), (new, change)  # (B₁−B₀) A₁ + B₀ (A₁−A₀)
            weights = (scales[0], scales[0])
        else:
            left, right = (new, old), (new, old)
            weights = (scales[1], -scales[0])
        total = 0.0
        for i in (0, 1):
            for j in (0, 1):
                product = self.b[left[i], left[j]] * self.a[right[i], right[j]]
                total += weights[i] * weights[j] * float(product.sum())
        return math.sqrt(total) if total > 0 or math.isnan(total) else 0.0


def _columns(checkpoint: Checkpoint, factors: _Factors, start: int, stop: int) -> Array:
    """Columns of A (of all inputs, whatever its kernel), one row a rank."""
    width = factors.outer[1]
    rows = [_read(checkpoint, factors.a, row * width + start, row * width + stop) for row in range(factors.rank)]
    return np.stack(rows)


def _rows(checkpoint: Checkpoint, factors: _Factors, start: int, stop: int) -> Array:
    """Rows of B as columns: one row a rank."""
    rank = factors.rank
    return _read(checkpoint, factors.b, start * rank, stop * rank).reshape(-1, rank).T


def _read(checkpoint: Checkpoint, spec: TensorSpec, start: int, stop: int) -> Array:
    size = byte_count(spec.values_dtype, 1)
    raw = np.empty((stop - start) * size, np.uint8)
    checkpoint.read_into(spec, start * size, raw.data)
    return np.asarray(decode64(spec.values_dtype, raw, stop - start).high, np.float64)
