"""The table of analyses: one row each, whose module is loaded when it is used."""

from __future__ import annotations

from diffai.analyses.finding import Finding
from diffai.comparison.result import ModelDiff
from diffai.errors import UsageError
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal

    Need = Literal["diff", "training", "values", "siblings", "second pass", "history"]


@frozen
class Analysis:
    """One analysis.

    Attributes:
        name: of its findings.
        module: where its function ``find(ModelDiff) -> Finding | None`` stands.
        automatic: it runs without being asked for.
        needs: what it is computed from: ``diff`` (what the first pass over the values gave), ``training`` (training
            state in the checkpoints), ``values`` (fed with blocks during the first pass), ``siblings`` (files
            beside the model), ``second pass`` (reads tensors again), ``history`` (three or more versions).
    """

    name: str
    module: str
    automatic: bool = True
    needs: tuple[Need, ...] = ("diff",)

    def find(self, diff: ModelDiff) -> Finding | None:
        """What it says of a comparison; None when it has nothing to say."""
        from importlib import import_module

        found: Finding | None = import_module(f"diffai.analyses.{self.module}").find(diff)
        return found


ANALYSES: tuple[Analysis, ...] = (
    Analysis("change_kind", "change_kind"),
    Analysis("look_first", "look_first"),
    Analysis("non_finite", "nonfinite"),
    Analysis("update_size", "update"),
    Analysis("structure", "structure"),
    Analysis("cast", "casts"),
    Analysis("training_state", "training"),
    Analysis("rename", "renames"),
)


def find(diff: ModelDiff, names: Iterable[str] = ()) -> tuple[Finding, ...]:
    """Findings in the order of the table: of the analyses of these names, or of all automatic ones.

    Raises:
        UsageError: there is no such analysis.
    """
    wanted = set(names)
    unknown = wanted - {row.name for row in ANALYSES}
    if unknown:
        known = ", ".join(row.name for row in ANALYSES)
        raise UsageError(f"there is no analysis {min(unknown)!r}; there are {known}")
    rows = [row for row in ANALYSES if (row.name in wanted if wanted else row.automatic)]
    return tuple(found for row in rows if (found := row.find(diff)) is not None)
