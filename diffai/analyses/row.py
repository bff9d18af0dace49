"""What a row of the table of analyses is: its name, what it needs, its flag and its options."""

from __future__ import annotations

from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from diffai.analyses.context import Context
    from diffai.comparison.result import ModelDiff
    from diffai.finding import Finding

    Need = Literal["diff", "norms", "training", "values", "siblings", "second pass", "history"]
    Kind = Literal["number", "count", "flag", "text"]
    Looser = Literal["", "higher", "lower"]
    Option = float | int | bool | str
else:
    Need = Kind = Looser = Option = str

LEARNING = "Learning and convergence"
ARCHITECTURE = "Architecture and performance"
MLOPS = "MLOps"
EXPERIMENT = "Experiment and documentation"
ADVANCED = "Advanced"
ADDITIONAL = "Additional"
GROUPS = (LEARNING, ARCHITECTURE, MLOPS, EXPERIMENT, ADVANCED, ADDITIONAL)
"""Headings of the flags in the help, in this order."""


@frozen
class Key:
    """One option of an analysis, set under ``[analyses.NAME]``.

    Attributes:
        name: of the key.
        default: what holds where nobody says otherwise.
        what: what it means, with its unit, for the reference.
        kind: ``number`` (finite, at least 0), ``count`` (whole, at least 0), ``flag`` or ``text``.
        looser: in which direction a value lets more pass; a looser one in a committed file is named in the output.
    """

    name: str
    default: Option
    what: str
    kind: Kind = "number"
    looser: Looser = ""


@frozen
class Analysis:
    """One analysis.

    Attributes:
        name: of its findings.
        module: where its function ``find(ModelDiff, Context) -> Finding | None`` stands; the whole name where that is
            another room (what judges findings is in ``diffai.policy``).
        automatic: it runs without being asked for.
        needs: what it is computed from: ``diff`` (what the first pass over the values gave), ``norms`` (those of equal
            tensors too, which the size of the update takes), ``training`` (training state in the checkpoints),
            ``values`` (fed with blocks during the first pass), ``siblings`` (files beside the model), ``second pass``
            (reads tensors again), ``history`` (three or more versions).
        help: one line for the help; "" = no flag asks for it.
        group: heading in the help: one of :data:`GROUPS`.
        keys: its options.
        siblings: names of the files beside the model that it reads.
        flag: the option that asks for it; "" = made of the name.
    """

    name: str
    module: str
    automatic: bool = True
    needs: tuple[Need, ...] = ("diff",)
    help: str = ""
    group: str = ""
    keys: tuple[Key, ...] = ()
    siblings: tuple[str, ...] = ()
    flag: str = ""

    @property
    def option(self) -> str:
        """The option that asks for it, ``--learning-progress``; "" where there is none."""
        return (self.flag or f"--{self.name.replace('_', '-')}") if self.help else ""

    @property
    def record(self) -> str:
        """The kind of its records in the change list: ``LearningProgress``."""
        return record_of(self.name)

    @property
    def place(self) -> str:
        """The whole name of its module."""
        return self.module if self.module.startswith("diffai.") else f"diffai.analyses.{self.module}"

    @property
    def second_pass(self) -> bool:
        """Whether it reads tensors again."""
        return "second pass" in self.needs

    def find(self, diff: ModelDiff, context: Context | None = None) -> Finding | None:
        """What it says of a comparison; None when it has nothing to say.

        Without a context no file is open: it then speaks of what the comparison holds.
        """
        from importlib import import_module

        if context is None:
            from diffai.analyses.context import Context

            context = Context(self)
        found: Finding | None = import_module(self.place).find(diff, context)
        return found


def record_of(name: str) -> str:
    """The kind of the records of an analysis in the change list."""
    return "".join(part.capitalize() for part in name.split("_"))
