"""The vocabulary: what a tensor, a checkpoint and a model diff are, as frozen data.

This module knows no file, no format and no output, and imports nothing of ours. It loads no numpy:
header-only questions are answered from these classes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod

from diffai.figures import Cast, Delta, NonFinite, PairFigures, Statistics, TensorSummary
from diffai.frozen import frozen
from diffai.states import (
    Absent,
    DvcPointer,
    FetchCommand,
    LfsPointer,
    NotAModel,
    NotPulled,
    NotRead,
    State,
    TooLarge,
    Unreadable,
)

__all__ = [
    "DTYPE_BITS",
    "Absent",
    "Cast",
    "Checkpoint",
    "Codes",
    "Decoding",
    "Delta",
    "DvcPointer",
    "FetchCommand",
    "LfsPointer",
    "NonFinite",
    "NotAModel",
    "NotPulled",
    "NotRead",
    "PairFigures",
    "Problem",
    "Role",
    "Scalar",
    "State",
    "Statistics",
    "TensorSpec",
    "TensorSummary",
    "TooLarge",
    "Unreadable",
    "byte_count",
    "element_count",
    "natural_key",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import Literal

    Role = Literal["weight", "training", "index"]
else:
    Role = str

Scalar = str | int | float | bool | None

# Bits an element takes, by dtype name. Names are those of the safetensors specification, extended by
# C128/C32 (torch complex) and the torch quantized kinds Q*, whose values are compared decoded.
DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8, "I8": 8, "U8": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64,
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
    "C32": 32, "C64": 64, "C128": 128,
    "QI8": 8, "QU8": 8, "QI32": 32,
}  # fmt: skip

_BUFFER_SUFFIXES = ("running_mean", "running_var", "num_batches_tracked")


def element_count(shape: tuple[int, ...]) -> int:
    """Number of elements of a tensor of ``shape``; 1 for a scalar ``()``, 0 when any dimension is 0."""
    return prod(shape)


def byte_count(dtype: str, elements: int) -> int:
    """Bytes that ``elements`` values of ``dtype`` take when packed, rounded up to a whole byte.

    Raises:
        KeyError: the dtype is not in :data:`DTYPE_BITS`.
    """
    return (DTYPE_BITS[dtype] * elements + 7) // 8


@frozen
class TensorSpec:
    """A tensor without its values: what it is called, what it is, and where its bytes lie.

    Attributes:
        name: full dotted name, exactly as stored (it may hold any character; escape it on output).
        dtype: name out of :data:`DTYPE_BITS`, or an unknown name that is compared as bytes.
        shape: sizes in elements; ``()`` for a scalar.
        nbytes: length of the logical values (row-major, little-endian) that ``read_into`` yields.
        offset: absolute position of those bytes in file ``file`` when they lie there raw, in one run; else -1.
        file: index into the checkpoint's files (shards); 0 for a single file.
        role: ``weight`` (parameters and buffers), ``training`` (optimizer state and the like) or ``index`` (where the
            values of a sparse or nested tensor belong; no parameters).
        values: dtype of what ``read_into`` yields where that is not ``dtype`` (quantized kinds); "" = same.
        alias_of: name of an earlier tensor that is the same storage, offset, shape and strides (tied); "" = none.
        encoding: how the stored form maps to values, for people: ``scale=0.1, zero_point=3``; "" = plain.
        lacking: why the values are not at hand, though all else about the tensor is: they lie in a file that is not
            here. Such a tensor is never read; it is paired by its name and listed as not compared. "" = they are.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    offset: int = -1
    file: int = 0
    role: Role = "weight"
    values: str = ""
    alias_of: str = ""
    encoding: str = ""
    lacking: str = ""

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def values_dtype(self) -> str:
        """The dtype of the bytes that ``read_into`` yields."""
        return self.values or self.dtype

    @property
    def is_buffer(self) -> bool:
        """Whether this is a batch-norm style buffer, which is no parameter."""
        return self.name.rpartition(".")[2] in _BUFFER_SUFFIXES

    @property
    def is_parameter(self) -> bool:
        """Whether its elements count as parameters: a weight, no buffer, and not a tied second name."""
        # Most names end in nothing like a buffer's, and that is known soonest.
        maybe_buffer = self.name.endswith(_BUFFER_SUFFIXES)
        return self.role == "weight" and not self.alias_of and not (maybe_buffer and self.is_buffer)


@frozen
class Codes:
    """How the elements of a tensor are coded: in blocks of ``elements`` that take ``size`` bytes each.

    Attributes:
        kind: two tensors of one kind and equal codes have equal values.
        elements, size: of one block, of which none can be split; the last may be longer than the tensor.
    """

    kind: str
    elements: int
    size: int


@frozen
class Decoding:
    """How a graph decodes a constant: ``(codes - zeros) * scale``.

    Attributes:
        scale, zeros: names of tensors; ``zeros`` "" = 0. ``scale`` is "" where the graph decodes it in several ways.
        axis: the dimension along which a scale of one dimension lies.
        block: elements along ``axis`` that share a scale; 0 = all or one of them, as the shape of the scale says.
    """

    scale: str
    zeros: str = ""
    axis: int = 1
    block: int = 0


@frozen
class Problem:
    """Something wrong or unsafe in a file that could still be opened, or one reason why it could not.

    ``code`` is stable and documented (``ST04``, ``PT02``); ``offset`` is -1 where there is no place. Of a global that a
    pickle names, ``name`` is ``module.name`` exactly, and ``use`` the worst that would be done with it on loading.
    """

    code: str
    severity: Literal["error", "warning"]
    message: str
    tensor: str = ""
    offset: int = -1
    name: str = ""
    use: Literal["", "import", "construct", "walk"] = ""


class Checkpoint:
    """An opened model: ordered tensors, what the file says beside them, and a way to read values in blocks.

    A reader derives from this class, sets ``format`` and ``tensors``, and overrides what its format has; whatever it
    leaves alone the format does not have.

    Attributes:
        format: the format's name, such as ``safetensors`` or ``torch zip``.
        identity: of a model of several files, made of the identities of all of them, "" when one is not known; None
            for a model of one file, whose source has it.
        tensors: all tensors by name, in file order.
        metadata: what the file says by key: ``__metadata__`` of safetensors, hyper-parameters of an estimator
            (``n_estimators``), plain values of a pickle, key-value pairs of a GGUF. Part of what the file says: a
            difference here is a difference.
        metadata_types: how the file stores values of ``metadata`` whose type their values do not tell, by key
            (``uint32``). A difference here is one of the metadata, where both sides have the type.
        training: training state that is no tensor, by dotted path: ``epoch``, ``optimizer.param_groups.0.lr``.
        series: lists of numbers in the training state (loss curves), by the path that ``training`` has of them, whole
            as long as there are few enough; what is compared is ``training``.
        lone_numbers: of training state that are kept as tensors of one element, where they are known without reading.
        classes: the class of each object that the file names, by path: ``Sequential.1`` is ``torch.nn.Tanh``. A
            difference here is a change of structure.
        graph: what a graph format says of its computation, by path, each value one line of text: ``opset ai.onnx`` is
            ``17``, ``input x`` is ``F32 [1, 3, 224, 224]``, ``operator Conv`` is ``53`` (how many), ``node /c1/Conv``
            is ``Conv(kernel_shape=[3, 3])``. A difference here is a change of structure.
        facts: figures that follow from the content, for people (``trees``: 75, ``nodes``: 2507, ``max depth``: 6,
            ``importance f22``: 0.11). Shown beside a difference, never one themselves.
        parts: digests of parts that repeat, by kind (``trees``: one digest a tree, in order), so that a comparison can
            say how many are identical.
        uses: of tensors whose names every export gives anew (``onnx::MatMul_123``), keys of what uses them: by all
            that leads there, then by the nodes next to it. What has one key on both sides does the same work.
        scaled: how the graph decodes constants, by name of the codes.
        requires_grad: names of the tensors that are marked as requiring a gradient.
        asides: what a file says and a comparison deliberately leaves aside, by what it is, each as a digest. What
            differs is listed as not compared.
        beside: what a configuration beside the file says of the model and is as much part of it (``lora_alpha`` of an
            adapter); compared as metadata where both sides have it.
        undecoded: names of tensors that are only codes here, because what they mean is not known.
        not_expressible: facets that this format cannot hold: of ``metadata``, ``training``, ``classes``, ``graph``,
            ``ties``, ``requires_grad``. Their absence is not a difference.
        problems: what is unsafe or odd, though readable: pickle globals, ...
        safety: the verdict on its pickles, by exact names and what is done with them; "" where it has none.
    """

    format: str = ""
    identity: str | None = None
    tensors: Mapping[str, TensorSpec] = {}
    metadata: Mapping[str, Scalar] = {}
    metadata_types: Mapping[str, str] = {}
    training: Mapping[str, Scalar] = {}
    series: Mapping[str, tuple[float, ...]] = {}
    lone_numbers: Mapping[str, Scalar] = {}
    classes: Mapping[str, str] = {}
    graph: Mapping[str, str] = {}
    facts: Mapping[str, Scalar] = {}
    parts: Mapping[str, tuple[str, ...]] = {}
    uses: Mapping[str, tuple[str, ...]] = {}
    scaled: Mapping[str, Decoding] = {}
    requires_grad: frozenset[str] = frozenset()
    asides: Mapping[str, str] = {}
    beside: Mapping[str, Scalar] = {}
    undecoded: frozenset[str] = frozenset()
    not_expressible: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()
    safety: Literal["", "safe", "builds classes", "unsafe"] = ""

    @property
    def lacking(self) -> bool:
        """Whether values of it lie in files that are not here."""
        return any(spec.lacking for spec in self.tensors.values())

    @property
    def random_access(self) -> bool:
        """Whether ``read_into`` may be called in any order and from several threads at once.

        Where False, calls from one thread in ascending file order are fast; any other order spools
        the stream to a private temporary file first.
        """
        return True

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with the tensor's logical bytes (row-major, little-endian) from byte ``offset`` on.

        Raises:
            SourceError: the bytes are gone (file changed or truncated while being read).
        """
        raise NotImplementedError  # a checkpoint without tensors is never asked

    def made_of(self, spec: TensorSpec) -> tuple[TensorSpec, ...]:
        """The stored tensors that one is made of (codes, scales, ...), readable by :meth:`read_into`; () = itself.

        Where dtype, encoding and the bytes of these are equal, so are the values.
        """
        return ()

    def as_codes(self, names: frozenset[str]) -> Checkpoint:
        """The same with the tensors whose codes are stored under these names left as codes; else itself."""
        return self

    def codes(self, spec: TensorSpec) -> Codes | None:
        """How the tensor is coded in blocks; None where it is not, or where blocks mean nothing by themselves.

        Where this is not None, equal codes need not be decoded to be known as equal values.
        """
        return None

    def read_codes_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` with stored bytes of a tensor that has :meth:`codes`, from byte ``offset`` of them on.

        Raises as :meth:`read_into`.
        """
        raise NotImplementedError

    def decode_codes(self, spec: TensorSpec, codes: memoryview, values: memoryview) -> None:
        """Decode whole blocks that :meth:`read_codes_into` gave; ``values`` is as long as all their elements take."""
        raise NotImplementedError

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from absolute ``offset`` of file ``file``: several raw neighbours in one read.

        Only meaningful for runs of specs whose ``offset`` is not -1. Raises as :meth:`read_into`.
        """
        raise NotImplementedError

    def verify_unchanged(self) -> None:
        """Raise SourceError when a file was changed since it was opened."""

    def close(self) -> None:
        """Release files and temporary copies; may be called twice."""


# ---------------------------------------------------------------- order of names

def natural_key(name: str) -> str:
    """A sort key that puts ``layer.2`` before ``layer.10``.

    One string a name, not a tuple of parts: a checkpoint may have 100,000 names.
    """
    return ".".join(map(_part_key, name.split(".")))


@lru_cache(2048)
def _part_key(part: str) -> str:
    """Of one dotted part: 10,000 names are made of a few hundred."""
    import re  # is slow to load, and what git calls a second time orders nothing

    return re.sub(r"\d+", _by_length_first, part)


def _by_length_first(match: re.Match[str]) -> str:
    digits = match[0].lstrip("0") or "0"
    return f"{chr(0x30 + min(len(digits), 70))}{digits}"
