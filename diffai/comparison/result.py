"""The result of a comparison as frozen data: the single source for every output."""

from __future__ import annotations

from collections.abc import Iterator

from diffai.comparison.changes import (
    STRUCTURAL,
    UNCHANGED,
    LeftOut,
    PartsChange,
    ProductChange,
    RenameEvidence,
    TensorChange,
    TensorStatus,
    ValueChange,
)
from diffai.frozen import frozen
from diffai.model import Absent, NotRead, Problem, Scalar, State

__all__ = [
    "MOST_JUDGED", "STRUCTURAL", "UNCHANGED", "BesideChange", "CompareOptions", "DirectoryDiff", "FileChange",
    "LeftOut", "ModelDiff", "PartsChange", "ProductChange", "RenameEvidence", "Side", "TensorChange", "TensorStatus",
    "Totals", "TrainingTotals", "ValueChange", "WhileOpen",
]  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from diffai.comparison.documents.result import DocumentChange
    from diffai.finding import Finding
    from diffai.models.inputs import Input

    WhileOpen = Callable[["ModelDiff", Input, Input], "ModelDiff"]
else:
    WhileOpen = str

MOST_JUDGED = 4096
"""Pairs of a model's tensors up to which its kind of change rests on their statistics, whatever is shown of them."""


@frozen
class CompareOptions:
    """What to compare and how; every field has the meaning of the option of the same name.

    Attributes:
        epsilon, rtol: elements within ``epsilon + rtol * abs(old)`` of each other do not count as changed.
        shape_only: read headers only; no value is looked at.
        filter: regular expression a tensor name must match (searched) to be compared.
        path: dotted prefix a tensor name must have.
        ignore: regular expressions; tensors, metadata and training keys that match (searched) are left out.
        ignore_globs: the same as globs over whole names (``*.num_batches_tracked``), as configuration has them.
        ignore_origin: where ``ignore_globs`` come from, for the output.
        committed: (name, file and line) of ``epsilon``, ``rtol`` and ``ignore`` where a file of the clone set them.
        rtol_at_roundoff: ``rtol`` counts up to the unit roundoff of a pair's dtype (the coarser of two).
        find_renames: pair unmatched names by a rule that many share, by digest and by values.
        statistics: ``all`` computes both sides' statistics of everything that differs; ``few`` those of pairs, of which
            there are at most :data:`MOST_JUDGED`, and of what came, went or was reshaped only where that is at most
            ``few_limit`` tensors (a folded output shows none); ``pairs`` the first of these alone; ``none`` never.
        update_size: compute what the size of the whole update needs beside the changed tensors: the norms of
            identical ones.
        threads: 0 = as many as help.
        max_bytes: above this many bytes of values on both sides together nothing is read; 0 = no limit.
        name_map: rules (old, new) of names that belong together (``--map``), before all that is found.
        cache_size: bytes that the repository's cache may hold, where large models that git or git-LFS names by their
            content are remembered as compared; 0 = not looked at.
        by_magnitude: outputs show what moved farthest first (relative L2), not in the order of names.
        while_open: called with a comparison and its two sides before they are closed; gives it back with findings.

    """

    epsilon: float = 0.0
    rtol: float = 0.0
    shape_only: bool = False
    filter: str = ""
    path: str = ""
    ignore: tuple[str, ...] = ()
    ignore_globs: tuple[str, ...] = ()
    ignore_origin: str = ""
    committed: tuple[tuple[str, str], ...] = ()
    rtol_at_roundoff: bool = False
    find_renames: bool = True
    statistics: Literal["all", "few", "pairs", "none"] = "all"
    few_limit: int = 40
    threads: int = 0
    max_bytes: int = 0
    update_size: bool = False
    cache_size: int = 0
    name_map: tuple[tuple[str, str], ...] = ()
    by_magnitude: bool = False
    while_open: WhileOpen | None = None

    def committed_origin(self, name: str) -> str:
        """File and line where a clone set an option; "" where it did not."""
        return dict(self.committed).get(name, "")


@frozen
class Side:
    """One side of a comparison.

    ``state`` is set when there is no checkpoint on this side; then all counts are 0. ``size`` is bytes of
    the file (all shards together), -1 where unknown. ``parameters`` and ``elements`` as in the vocabulary.
    ``training``: whether it holds training state, in tensors or in values. ``recorded``: plain values of that,
    whether they differ or not, ``series``: lists of numbers in it (loss curves), and ``metadata``, all by path.
    """

    label: str
    format: str = ""
    size: int = -1
    tensors: int = 0
    parameters: int = 0
    elements: int = 0
    dtypes: tuple[tuple[str, int], ...] = ()
    problems: tuple[Problem, ...] = ()
    state: State | None = None
    identity: str = ""
    training: bool = False
    recorded: tuple[tuple[str, Scalar], ...] = ()
    series: tuple[tuple[str, tuple[float, ...]], ...] = ()
    metadata: tuple[tuple[str, Scalar], ...] = ()


@frozen
class TrainingTotals:
    """Counts over the tensors of training state (optimizer moments and the like), which are no part of the model.

    ``changed``: of those on both sides, the ones that differ in anything. ``significant``, ``modified`` and the like
    are not asked of them.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    unchanged: int = 0
    uncompared: int = 0


@frozen
class Totals:
    """Counts over a model diff. Tensors are counted of the model; those of training state stand apart.

    Attributes:
        pairs: tensors that both sides have, under whatever names.
        modified: parameters whose values differ beyond the tolerance, over pairs of equal shape, without
            casts that are pure rounding.
        comparable: parameters in pairs of equal shape whose values were compared.
        changed_relative_l2: *relative L2 of the changed tensors*: L2 of the update over L2 of the old values, over the
            changed parameters; None when nothing changed, all of those were zero, or they are too large for a sum.
            The size of the whole update is :mod:`diffai.analyses.update`.
        significant: changed tensors with a relative L2 above 1e-3.
        tolerated: elements that differ within the tolerance, of training state too.
        equal_by_value: pairs whose bytes differ but whose values are equal (or tolerated), of training state too.
        training: the same of training state.

    """

    added: int = 0
    removed: int = 0
    renamed: int = 0
    reshaped: int = 0
    cast: int = 0
    changed: int = 0
    unchanged: int = 0
    uncompared: int = 0
    equal_by_value: int = 0
    significant: int = 0
    modified: int = 0
    comparable: int = 0
    tolerated: int = 0
    changed_relative_l2: float | None = None
    pairs: int = 0
    training: TrainingTotals = TrainingTotals()


@frozen
class BesideChange:
    """A configuration or a record that lies beside a changed model and differs; it is no part of the model.

    Attributes:
        name: of the file.
        changes: by path in the document; of a list how many of its elements differ.
        more: changes that are not among them.
        problem: why nothing of it was compared; "" otherwise.
    """

    name: str
    changes: tuple[ValueChange, ...] = ()
    more: int = 0
    problem: str = ""


@frozen
class ModelDiff:
    """Everything a comparison of two checkpoints found.

    Attributes:
        tensors: every tensor of either side in natural order, unchanged ones included.
        metadata, training, classes, graph: keys whose value differs, of the facets of :class:`diffai.model.Checkpoint`.
        facts: figures that follow from the content and differ; never a difference by themselves.
        parts: parts that repeat, where any side has them and they are not all identical.
        not_expressible: facets that one side says something of and the other side's format cannot hold.
        same_bytes: whether both files have the same bytes; None where that was not looked at.
        products: what changed in low-rank adapters as a whole, beside the changes of their factors in ``tensors``.
        nearest: where ``path`` or ``filter`` chose no tensor, the nearest name ("" = none is near); else None.
        beside: files that lie beside the model and differ, where directories, revisions or DVC are compared.
        findings: of the analyses that ran while both sides were open.
        analysed: whether all automatic ones are among these, as far as they have something to say.
    """

    old: Side
    new: Side
    options: CompareOptions
    tensors: tuple[TensorChange, ...] = ()
    metadata: tuple[ValueChange, ...] = ()
    training: tuple[ValueChange, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    totals: Totals = Totals()
    classes: tuple[ValueChange, ...] = ()
    graph: tuple[ValueChange, ...] = ()
    facts: tuple[ValueChange, ...] = ()
    parts: tuple[PartsChange, ...] = ()
    not_expressible: tuple[str, ...] = ()
    same_bytes: bool | None = None
    nearest: str | None = None
    products: tuple[ProductChange, ...] = ()
    findings: tuple[Finding, ...] = ()
    beside: tuple[BesideChange, ...] = ()
    analysed: bool = False

    @property
    def changes(self) -> tuple[TensorChange, ...]:
        """The tensors that differ."""
        return tuple(change for change in self.tensors if change.differs)

    @property
    def ordered(self) -> tuple[TensorChange, ...]:
        """The tensors in the order that the options ask for; equal sizes stay in the order of names."""
        if not self.options.by_magnitude:
            return self.tensors
        return tuple(sorted(self.tensors, key=lambda change: -change.relative_l2))

    @property
    def comparable(self) -> bool:
        """Whether both sides are checkpoints, or one is and the other is absent."""
        states = [side.state for side in (self.old, self.new) if side.state is not None]
        return all(isinstance(state, Absent) for state in states) and len(states) < 2

    @property
    def differs(self) -> bool:
        """Whether there is any difference, or there may be one in a side that could not be read."""
        if self.old.state is not None or self.new.state is not None:
            return self.equal is not True
        texts = self.metadata or self.training or self.classes or self.graph
        return bool(texts) or any(change.differs for change in self.tensors)

    @property
    def equal(self) -> bool | None:
        """Whether both sides are equal: the same bytes, or all was compared and nothing differs.

        None where that is not known: a side with other bytes is damaged or not here, values were not compared, or a
        setting of the clone hides something. Of formats that are not read the bytes decide.
        """
        if self.same_bytes:
            return True
        old, new = self.old.state, self.new.state
        if isinstance(old, Absent) or isinstance(new, Absent):
            return old == new
        if old is not None or new is not None:
            # Of what is not read the bytes decide, as of any file; what is damaged or not here is not known.
            not_read = isinstance(old, NotRead) or isinstance(new, NotRead)
            return False if not_read and self.same_bytes is False else None
        if self.differs:
            return False
        return None if self.hidden or self.totals.uncompared or self.totals.training.uncompared else True

    @property
    def hidden(self) -> tuple[LeftOut, ...]:
        """What settings of the clone left out or let count as equal; the user did not ask for it."""
        return tuple(left for left in self.left_out if left.origin)

    @property
    def unread(self) -> bool:
        """Whether not all that was asked could be compared: something that differs, or may, could not be read."""
        if any(side.state is not None and not isinstance(side.state, Absent) for side in (self.old, self.new)):
            return self.equal is not True
        if self.equal is not None:
            return False
        return bool(self.totals.uncompared or self.totals.training.uncompared) and not self.options.shape_only

    @property
    def structure_changes(self) -> int:
        """Tensors of the model added, removed, renamed or reshaped; neither a cast nor training state is structure."""
        return sum(1 for c in self.tensors if c.role != "training" and not STRUCTURAL.isdisjoint(c.status))


@frozen
class FileChange:
    """One path of two directories: on one side only, or a pair with its model diff.

    ``diff`` is None for files on one side; for a pair that could not be read its sides carry the state.
    """

    path: str
    status: Literal["added", "removed", "compared", "unreadable"]
    diff: ModelDiff | None = None
    reason: str = ""

    @property
    def equal(self) -> bool | None:
        """As :attr:`ModelDiff.equal`; a file on one side only is a difference."""
        if self.status in ("added", "removed"):
            return False
        return self.diff.equal if self.diff is not None else None

    @property
    def unread(self) -> bool:
        """Whether it could not be read, though the bytes leave that open."""
        if self.diff is None:
            return self.status == "unreadable"
        if self.status in ("added", "removed"):
            sides = (self.diff.old.state, self.diff.new.state)
            return any(state is not None and not isinstance(state, Absent) for state in sides)
        return self.diff.unread


@frozen
class DirectoryDiff:
    """Two directories, paired by relative path.

    ``other_files`` counts files that are no models: (equal, different, only old, only new). ``same_models`` counts
    models that were not opened, because their content addresses prove them equal. ``documents`` are files that are no
    models, and that the user chose (``--include``): what they say decides, not their bytes.
    """

    old: str
    new: str
    files: tuple[FileChange, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    other_files: tuple[int, int, int, int] = (0, 0, 0, 0)
    same_models: int = 0
    documents: tuple[DocumentChange, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether any file differs or is on one side only, or may differ and could not be read."""
        models = any(f.diff.differs if f.diff else True for f in self.files)
        return models or any(self.other_files[1:]) or any(one.differs for one in self.documents)

    @property
    def equal(self) -> bool | None:
        """Whether both directories are equal; as :attr:`ModelDiff.equal`, and the bytes decide of other files."""
        known = [f.equal for f in self.files] + [one.equal for one in self.documents]
        if any(self.other_files[1:]) or False in known:
            return False
        return None if None in known else True

    @property
    def unread(self) -> bool:
        """Whether a file could not be read, on either side or alone."""
        return any(f.unread for f in self.files) or any(one.equal is None for one in self.documents)

    @property
    def hidden(self) -> tuple[LeftOut, ...]:
        """What settings of the clone hid in all files together."""
        counts: dict[tuple[str, str, str], int] = {}
        lefts = [left for file in self.files if file.diff is not None for left in file.diff.hidden]
        lefts += [left for one in self.documents if one.diff is not None for left in one.diff.hidden]
        for left in lefts:
            key = (left.what, left.reason, left.origin)
            counts[key] = counts.get(key, 0) + left.count
        return tuple(LeftOut(what, count, reason, origin) for (what, reason, origin), count in counts.items())

    @property
    def unreadable(self) -> int:
        """Number of files, on either side or alone, that could not be read."""
        return sum(f.unread for f in self.files) + sum(one.status == "unreadable" for one in self.documents)

    def __iter__(self) -> Iterator[FileChange]:
        return iter(self.files)
