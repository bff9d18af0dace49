"""A torch file as a checkpoint: names and validated views, values on demand."""

from __future__ import annotations

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget, Limits, problem_of
from diffai.formats.layout import View, is_contiguous
from diffai.formats.stored import StoredCheckpoint
from diffai.formats.torch.document import Document
from diffai.formats.torch.flatten import Flat, Leaf, flatten
from diffai.formats.torch.plain_values import Digest, sizes
from diffai.formats.torch.views import view_of
from diffai.model import Problem, TensorSpec
from diffai.sources.base import Source

_OVERLAP = 16  # times that all bytes may be shown under different names: tied weights, views of one buffer
DICT_ATTRIBUTES = "attributes of dictionaries (versions of modules, _metadata)"


class TorchCheckpoint(StoredCheckpoint):
    """Named and validated views of storages."""

    not_expressible = frozenset(("graph",))

    def __init__(self, kind: str, source: Source, limits: Limits) -> None:
        super().__init__(source, kind, limits.max_spool)

    def fill(self, document: Document, budget: Budget, collected: list[Problem] | None = None) -> None:
        """Name and validate everything. With ``collected``, problems of tensors go there instead of being raised.

        Raises:
            FormatError: the first tensor that cannot be read.

        """
        self.format = document.format
        if document.has_estimators and budget.limits.values:
            self._describe(document, budget)
        # joblib writes an array as often as it is reached, and estimators share arrays by the way they were made.
        shared = not document.has_estimators and not document.format.startswith("joblib")
        if not shared:
            self.not_expressible = frozenset(("graph", "ties"))
        flat = _with_constants(document, budget)
        tensors: dict[str, TensorSpec] = {}
        seen: dict[tuple[object, ...], str] = {}
        expansion = _Expansion(budget, flat)
        for name, leaf in flat.leaves.items():
            try:
                view = expansion.bounded(view_of(leaf.value, name), name)
            except FormatError as error:
                error.tensor, error.format = name, document.format
                if collected is None:
                    raise
                collected.append(problem_of(error))
                continue
            self._views[name] = view
            alias = seen.setdefault((*view.identity, view.values), name) if view.nbytes and shared else name
            tensors[name] = _spec(name, view, leaf, "" if alias == name else alias)
        self.tensors = tensors
        if document.siblings:
            self.identity = ""  # the file's own identity says nothing of the files beside it
        self.metadata, self.training = {**document.metadata, **flat.metadata}, flat.training
        self.series = flat.series
        self.classes, self.requires_grad = flat.classes, frozenset(flat.requires_grad)
        self.asides = _asides(document, budget)
        self.problems = (*document.problems, *flat.problems)

    def _describe(self, document: Document, budget: Budget) -> None:
        """Trees and importances of estimators; what repeats in them is left out."""
        from diffai.formats.torch import estimators

        found = estimators.describe(document.value, budget)
        self.facts, self.parts = found.facts, found.parts
        document.asides = {**document.asides, **found.asides}


def _with_constants(document: Document, budget: Budget) -> Flat:
    try:
        flat = flatten(document.value, budget)
        if document.constants:
            constants = flatten({"constants": document.constants}, budget)
            for name, leaf in constants.leaves.items():
                flat.leaves.setdefault(name, leaf)
            for kept, more in ((flat.metadata, constants.metadata), (flat.training, constants.training)):
                kept.update(more)
            flat.classes.update(constants.classes)
    except FormatError as error:
        error.format = document.format
        raise
    return flat


def _asides(document: Document, budget: Budget) -> dict[str, str]:
    """What is not compared, by digest: files for debuggers, attributes of dictionaries."""
    if not document.dict_attributes:
        return document.asides
    digest = Digest()
    for name, value in flatten(document.dict_attributes, budget).metadata.items():
        digest.update(f"{name}={value!r}\n".encode("utf-8", "backslashreplace"))
    return {**document.asides, DICT_ATTRIBUTES: str(digest)}


def _spec(name: str, view: View, leaf: Leaf, alias: str) -> TensorSpec:
    values = "F32" if view.quantizer else ""
    dtype = view.dtype.name
    if view.values and view.values != dtype:
        dtype, values = view.values, dtype
    encoding = view.quantizer.described if view.quantizer else ""
    return TensorSpec(
        name, dtype, view.shape, view.nbytes, view.file_offset, 0, leaf.role, values, alias, encoding
    )  # fmt: skip


class _Expansion:
    """Keeps the values of all tensors together in proportion to the bytes that the file has for them.

    A tensor that repeats itself (stride 0) beyond the budget is taken as what is stored of it; its metadata then says
    the shape to which it is expanded.
    """

    def __init__(self, budget: Budget, flat: Flat) -> None:
        self._budget = budget
        self._flat = flat
        self._stored: dict[object, int] = {}
        self._held = self._shown = 0

    def bounded(self, view: View, name: str) -> View:
        """The view, or what is stored of it.

        Raises:
            LimitError: views that overlap each other or themselves add up to too much.

        """
        if view.region is None:
            return view
        root = view.identity[0]
        if root not in self._stored:
            self._stored[root] = view.region.size
            self._held += view.region.size
        most = self._budget.limits.max_made
        if not view.contiguous and view.nbytes > view.region.size and self._shown + view.nbytes > most:
            shape = tuple(1 if stride == 0 else size for size, stride in zip(view.shape, view.strides, strict=True))
            if shape != view.shape and view.quantizer is None:
                self._flat.metadata[f"{name}.expanded"] = sizes(view.shape)
                view = view._replace(shape=shape, contiguous=is_contiguous(shape, view.strides))
        self._shown += view.nbytes
        if self._shown > _OVERLAP * self._held + most:
            reason = f"views of the same bytes add up to {self._shown:,} (limit diffai.maxMade)"
            raise LimitError(reason, code="PT12", tensor=name)
        return view
