"""Figures of the values of tensors, as frozen data: of one, of a pair, of a cast."""

from __future__ import annotations

from diffai.frozen import frozen


@frozen
class Statistics:
    """Figures of one tensor. mean, std (population), min, max are over the finite values.

    They are None where there is no finite value (empty tensor, all NaN) or where the dtype has no numbers.
    Complex tensors: figures of the moduli.
    """

    mean: float | None
    std: float | None
    min: float | int | None
    max: float | int | None
    element_count: int
    zero_count: int
    nan_count: int
    pos_inf_count: int
    neg_inf_count: int


@frozen
class NonFinite:
    """How many elements of a tensor are no finite numbers, by kind."""

    nan: int = 0
    pos_inf: int = 0
    neg_inf: int = 0


@frozen
class Delta:
    """Element-wise figures of d = new - old over the jointly finite elements.

    Attributes:
        changed_count: elements whose values differ by more than the tolerance (exactly: differ at all);
            non-finite values that are not of the same kind on both sides count as changed.
        tolerated_count: elements that differ, but within epsilon + rtol * abs(old).
        nonfinite_count: changed elements of which at least one side is NaN or infinite.
        max_abs, mean_abs, rms, l2: over all jointly finite elements, tolerated ones included.
        relative_l2: l2 / L2(old); None when old is all zero.
        cosine: of old and new as vectors; None when either is all zero.
        old_l2, new_l2: of each side's jointly finite elements.
    """

    element_count: int
    changed_count: int
    tolerated_count: int
    nonfinite_count: int
    max_abs: float
    mean_abs: float
    rms: float
    l2: float
    relative_l2: float | None
    cosine: float | None
    old_l2: float = 0.0
    new_l2: float = 0.0


@frozen
class Cast:
    """What a change of dtype did to the values.

    Attributes:
        exact: every value survived (a lossless cast).
        rounded: new is exactly old rounded to the new dtype (to nearest, ties to even); True when exact.
        relative_l2: rounding error, L2(new - old) / L2(old); None when old is all zero.
        sqnr_db: signal to quantisation noise, 20 log10(L2(old) / L2(new - old)); None without noise or signal.
        overflow_count: finite values beyond the new dtype's range that became infinite, NaN, or the largest value.
        underflow_count: non-zero values that became zero.
        beyond_ulp_count: values more than one ulp of the new dtype from the old ones (all that changed, where it has
            no ulp); 0 where ``rounded``.
    """

    exact: bool
    rounded: bool
    relative_l2: float | None
    sqnr_db: float | None
    overflow_count: int
    underflow_count: int
    beyond_ulp_count: int = 0


@frozen
class PairFigures:
    """What comparing the values of one pair of equal shape gave.

    Attributes:
        identical: same dtype and bytes; then nothing else was computed.
        delta: figures, None when identical.
        cast: set where the dtypes differ.
        old_statistics, new_statistics: set where asked for and not identical.
        as_bytes: the dtype defines no values, so ``changed_count`` counts bytes and the other figures are 0.
        nonfinite: of the old and the new side; None where neither holds any, and of identical pairs.
        norm: L2 of the finite elements of an identical pair, where it was asked for.
    """

    identical: bool
    delta: Delta | None = None
    cast: Cast | None = None
    old_statistics: Statistics | None = None
    new_statistics: Statistics | None = None
    as_bytes: bool = False
    nonfinite: tuple[NonFinite, NonFinite] | None = None
    norm: float | None = None


@frozen
class TensorSummary:
    """Statistics and digest of one tensor; each is None / "" where it was not asked for.

    ``digest`` is the xxh3-128 of the logical bytes, 32 hexadecimal digits. ``constant``: all elements have
    the same bytes (so an equal digest proves nothing about identity).
    """

    statistics: Statistics | None = None
    digest: str = ""
    constant: bool = False
