"""A torch file as a checkpoint: names and validated views, values on demand."""

from __future__ import annotations

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget, Limits
from diffai.formats.gather import Gatherer
from diffai.formats.layout import View
from diffai.formats.regions import Spool
from diffai.formats.torch.document import Document
from diffai.formats.torch.flatten import Flat, Leaf, flatten
from diffai.formats.torch.plain_values import Digest
from diffai.formats.torch.views import view_of
from diffai.model import Checkpoint, Problem, TensorSpec
from diffai.sources.base import Source

DICT_ATTRIBUTES = "attributes of dictionaries (versions of modules, _metadata)"


class TorchCheckpoint(Checkpoint):
    """See :class:`diffai.model.Checkpoint`; ``random_access`` is always True."""

    not_expressible = frozenset(("graph",))

    def __init__(self, source: Source, spool: Spool, kind: str) -> None:
        self.format = kind
        self._source = source
        self._spool = spool
        self._views: dict[str, View] = {}
        self._gatherer = Gatherer()

    def fill(self, document: Document, budget: Budget, collected: list[Problem] | None = None) -> None:
        """Name and validate everything. With ``collected``, problems of tensors go there instead of being raised.

        Raises:
            FormatError: the first tensor that cannot be read.

        """
        flat = _with_constants(document, budget)
        tensors: dict[str, TensorSpec] = {}
        seen: dict[tuple[object, ...], str] = {}
        expanded = 0
        for name, leaf in flat.leaves.items():
            try:
                view = view_of(leaf.value, name)
                nbytes = view.nbytes
                if not view.contiguous and view.region is not None and nbytes > view.region.size:
                    expanded += nbytes
                    _check_expansion(expanded, budget.limits, name)
            except FormatError as error:
                error.tensor, error.format = name, document.format
                if collected is None:
                    raise
                collected.append(Problem(error.code, "error", error.reason, name, error.offset))
                continue
            self._views[name] = view
            alias = seen.setdefault((*view.identity, view.values), name) if nbytes else name
            tensors[name] = _spec(name, view, leaf, "" if alias == name else alias)
        self.tensors = tensors
        self.metadata, self.training = {**document.metadata, **flat.metadata}, flat.training
        self.classes, self.requires_grad = flat.classes, frozenset(flat.requires_grad)
        self.asides = _asides(document, budget)
        self.problems = (*document.problems, *flat.problems)

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Fill the buffer with the tensor's logical bytes from ``offset`` on."""
        view = self._views[spec.name]
        if offset < 0 or offset + len(buffer) > spec.nbytes:
            raise FormatError("read beyond the end of a tensor", code="PT09", tensor=spec.name, format=self.format)
        if not len(buffer):
            return
        if view.plain and view.region is not None:
            view.region.read_into(view.start + offset, buffer)
        else:
            self._gatherer.read_into(spec.name, view, offset, buffer)

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        """Raw bytes of the file."""
        self._source.read_into(offset, buffer)

    def verify_unchanged(self) -> None:
        """SourceError when the file was changed since."""
        self._source.verify_unchanged()

    def close(self) -> None:
        """Close the source and remove temporary files."""
        self._spool.close()
        self._source.close()


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


def _check_expansion(total: int, limits: Limits, name: str) -> None:
    if total > limits.max_spool:
        reason = f"expands to more than {limits.max_spool:,} bytes (limit diffai.maxSpool)"
        raise LimitError(reason, code="PT12", tensor=name)
