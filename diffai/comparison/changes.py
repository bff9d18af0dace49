"""What happened to one thing of two models, as frozen data: to a tensor, a value, repeating parts, a product."""

from __future__ import annotations

from diffai.frozen import frozen
from diffai.model import PairFigures, Role, Scalar, TensorSpec, TensorSummary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    TensorStatus = Literal[
        "added", "removed", "renamed", "reshaped", "cast", "changed", "equal", "identical", "uncompared"
    ]
    RenameEvidence = Literal["", "map", "digest", "prefix", "suffix", "segment", "permuted", "use", "values"]
else:
    TensorStatus = RenameEvidence = str

STRUCTURAL: frozenset[TensorStatus] = frozenset(("added", "removed", "renamed", "reshaped"))
UNCHANGED: frozenset[TensorStatus] = frozenset(("equal", "identical", "uncompared"))


@frozen
class TensorChange:
    """One tensor, or one pair of tensors, and what happened to it.

    ``old`` is None for an added tensor, ``new`` is None for a removed one. ``figures`` is None where no
    values were compared. Summaries hold statistics of sides that have no partner of equal shape.
    ``reason`` says why values were not compared (status ``uncompared``, or a reshape). ``axes``: those of the old
    tensor in the order in which it is, element for element, the new one; () = it is not, or not in another order.
    """

    name: str
    status: tuple[TensorStatus, ...]
    old: TensorSpec | None = None
    new: TensorSpec | None = None
    figures: PairFigures | None = None
    old_summary: TensorSummary | None = None
    new_summary: TensorSummary | None = None
    evidence: RenameEvidence = ""
    reason: str = ""
    axes: tuple[int, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether anything about it is a difference."""
        return self.status[0] not in UNCHANGED

    @property
    def over_finite(self) -> bool:
        """Whether its figures leave out elements that are not finite on both sides."""
        figures = self.figures
        return figures is not None and figures.delta is not None and figures.delta.nonfinite_count > 0

    @property
    def relative_l2(self) -> float:
        """Size of the change for sorting: relative L2, infinity where it is undefined but not zero."""
        if self.figures is None or self.figures.delta is None:
            return float("inf") if self.differs and self.status != ("cast",) else 0.0
        delta = self.figures.delta
        if delta.relative_l2 is None:
            return float("inf") if delta.l2 > 0 or delta.changed_count else 0.0
        return delta.relative_l2

    @property
    def role(self) -> Role:
        """What it is: what is a weight on either side is a weight."""
        old, new = self.old, self.new
        if old is not None and new is not None and old.role != new.role:
            return "weight"
        return self.spec.role

    @property
    def is_parameter(self) -> bool:
        """Whether its elements count as parameters on either side; a tensor tied on both sides does not."""
        old, new = self.old, self.new
        return (new is not None and new.is_parameter) or (old is not None and old.is_parameter)

    @property
    def spec(self) -> TensorSpec:
        """The new side's spec, or the old one's for a removed tensor."""
        spec = self.new or self.old
        assert spec is not None
        return spec


@frozen
class ValueChange:
    """A metadata key or a training-state path whose value differs; ``status`` says on which sides it is."""

    key: str
    status: Literal["added", "removed", "changed"]
    old: Scalar = None
    new: Scalar = None


@frozen
class PartsChange:
    """Parts that repeat (the trees of a forest): how many there are, and how many of the old ones the new side has."""

    kind: str
    old: int
    new: int
    identical: int


@frozen
class ProductChange:
    """What a low-rank adapter adds to one weight, B·A·scale, on both sides.

    Attributes:
        name: of the module.
        factors: names of A and B on the new side.
        ranks: of both sides.
        scales: of both sides; None where the configuration that says it is not here. Figures are of B·A alone then.
        old_l2, new_l2, l2: norms of both products and of their difference; None where a factor is not finite.
        relative_l2: ``l2 / old_l2``; None where the old product is zero.
        cosine: of both products; None where one of them is zero.
    """

    name: str
    factors: tuple[str, ...]
    ranks: tuple[int, int]
    scales: tuple[float | None, float | None]
    old_l2: float | None
    new_l2: float | None
    l2: float | None
    relative_l2: float | None
    cosine: float | None


@frozen
class LeftOut:
    """Something that was not compared, with its reason; every limit and filter that acted is one of these.

    ``origin`` is file and line where a setting of the clone did it; "" where the user or a limit did.
    """

    what: str
    count: int
    reason: str
    origin: str = ""
