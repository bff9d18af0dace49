"""Which stored tensors are one quantized tensor, recognised by their names and proved by their dtypes and shapes.

Sources: AutoGPTQ (``qlinear_cuda``: the stored zero point is one too low, unless ``checkpoint_format`` is
``gptq_v2``), AutoAWQ (``gemm`` and ``gemv``; ``gemv_fast`` is left as codes), bitsandbytes (``QuantState``),
compressed-tensors (``pack_quantized``, ``nvfp4_pack_quantized``), transformers (``mxfp4``), ONNX
(``DequantizeLinear``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from diffai.formats.quantized.configuration import Configuration
from diffai.formats.strict_json import MalformedError, load
from diffai.frozen import frozen
from diffai.model import Checkpoint, Decoding, TensorSpec, element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Tensors = Mapping[str, TensorSpec]

LONGEST_ROW = 1 << 20
"""Elements of a row, which is decoded whole."""

_MOST_STATE = 1 << 16
_MOST_RANK = 8
_FLOATS = ("F32", "F16", "BF16", "F64")
_MARKS = (".qweight", ".weight_packed", ".weight.absmax", ".SCB", "_blocks", "_scale", "_scale_inv")
_NOT_HERE = "the configuration that says what the codes mean is not beside the file"
_NO_FIT = "shapes of codes and scales do not fit together"


@frozen
class Left:
    """Why codes are left as codes."""

    reason: str


@frozen
class Recipe:
    """How one tensor is made of those that are stored.

    Attributes:
        name, dtype, shape: of the logical tensor.
        kind: which decoder of :mod:`diffai.formats.quantized.decoding` makes it.
        main: the part that stands for it: the codes.
        parts: stored tensors by what they are: ``codes``, ``scales``, ``zeros``, ...
        numbers: what the decoder needs beside: ``bits``, ``group``, ``offset``, ...
        encoding: for people; two tensors of equal parts, dtype and encoding have equal values.
        dropped: stored tensors that say nothing more.

    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: str
    parts: Mapping[str, TensorSpec]
    numbers: Mapping[str, float]
    encoding: str
    main: str = "codes"
    dropped: tuple[str, ...] = ()


def marked(tensors: Tensors) -> Iterator[tuple[str, str, str]]:
    """Tensors called like part of a quantized one: name, what stands before the mark, and the mark."""
    for name in tensors:
        if name.endswith(_MARKS):
            mark = max((mark for mark in _MARKS if name.endswith(mark)), key=len)
            yield name, name[: -len(mark)], mark


def recipes(checkpoint: Checkpoint, config: Configuration) -> tuple[dict[str, Recipe], dict[str, Left]]:
    """The quantized tensors of a checkpoint by logical name, and codes that are left, by the name they are stored by.

    Raises:
        SourceError: what describes a tensor cannot be read.

    """
    tensors = checkpoint.tensors
    found, left = _by_graph(checkpoint)
    taken = {part.name for recipe in found.values() for part in recipe.parts.values()} | set(left)
    for _name, stem, mark in marked(tensors):
        if taken and any(stem + end in taken for end in ("", "_quantized")):
            continue
        kind = _KINDS[mark]
        made = kind(_Stem(checkpoint, tensors, stem, mark, config))
        if made is None:
            continue
        if isinstance(made, Left):
            codes = [stem + end for end in (".qweight", ".qzeros", ".weight_packed", "", "_quantized", ".weight")]
            left.update((code, made) for code in codes if code in tensors and tensors[code].dtype[:1] in "IU")
            continue
        stored = made.parts[made.main].name
        if made.name in found or (made.name in tensors and made.name != stored):
            left[stored] = Left(f"another tensor is called {made.name}")
        elif (made.shape[-1] if made.shape else 1) > LONGEST_ROW:
            left[stored] = Left(f"its rows are longer than {LONGEST_ROW:,} elements")
        elif element_count(made.shape):
            found[made.name] = made
    return found, left


def _by_graph(checkpoint: Checkpoint) -> tuple[dict[str, Recipe], dict[str, Left]]:
    """The tensors that the graph itself decodes (``DequantizeLinear``), whatever they are called."""
    tensors = checkpoint.tensors
    found: dict[str, Recipe] = {}
    left: dict[str, Left] = {}
    for name, how in checkpoint.scaled.items():
        codes, scales, zeros = tensors.get(name), tensors.get(how.scale), tensors.get(how.zeros)
        if codes is None or codes.values_dtype not in _CODES:
            continue
        if scales is None or scales.values_dtype not in _FLOATS or (how.zeros and zeros is None):
            left[name] = Left("the graph decodes it in several ways" if not how.scale else _NO_FIT)
            continue
        steps = _steps_along(codes.shape, scales.shape, how)
        if steps is None or (zeros is not None and zeros.elements != scales.elements):
            left[name] = Left(_NO_FIT)
            continue
        logical = name.removesuffix("_quantized")
        title = name if logical in tensors or logical in found else logical
        parts = {"codes": codes, "scales": scales, **({"zeros": zeros} if zeros else {})}
        if element_count(codes.shape) and (codes.shape[-1] if codes.shape else 1) <= LONGEST_ROW:
            found[title] = _scaled(title, parts, steps)
    return found, left


def _steps_along(shape: tuple[int, ...], scales: tuple[int, ...], how: Decoding) -> tuple[int, ...] | None:
    """How many elements of each dimension share a scale, as ``DequantizeLinear`` has it; None where nothing fits."""
    if element_count(scales) == 1:
        return tuple(max(size, 1) for size in shape)
    axis = how.axis + len(shape) if how.axis < 0 else how.axis
    if not 0 <= axis < len(shape):
        return None
    if len(scales) == 1 and scales[0] == shape[axis]:
        return tuple(1 if place == axis else size for place, size in enumerate(shape))
    if len(scales) != len(shape):
        return None
    steps = tuple(how.block if place == axis else 1 for place in range(len(shape)))
    fits = how.block > 0 and all(-(-size // step) == n for size, step, n in zip(shape, steps, scales, strict=True))
    return steps if fits else None


def _scaled(name: str, parts: Mapping[str, TensorSpec], steps: tuple[int, ...]) -> Recipe:
    """(code - zero point) * scale, where ``steps`` elements of each dimension share a scale."""
    codes, scales = parts["codes"], parts["scales"]
    numbers: dict[str, float] = {"divisor": 1.0}
    numbers |= {f"step{axis}": step for axis, step in enumerate(steps)}
    shared = "one scale" if scales.elements == 1 else f"scales of {'x'.join(str(step) for step in steps)}"
    return Recipe(name, f"{codes.dtype} scaled", codes.shape, "scaled", parts, numbers, shared)


class _Stem:
    """The tensors around one mark."""

    def __init__(self, checkpoint: Checkpoint, tensors: Tensors, stem: str, mark: str, config: Configuration) -> None:
        self.checkpoint, self.stem, self.mark, self.config = checkpoint, stem, mark, config
        self._tensors = tensors

    def get(self, end: str, *dtypes: str, rank: int = -1) -> TensorSpec | None:
        """The tensor of this ending where it has one of the dtypes and this rank."""
        spec = self._tensors.get(self.stem + end)
        if spec is None or (dtypes and spec.values_dtype not in dtypes) or rank not in (-1, len(spec.shape)):
            return None
        return spec

    def names(self, start: str) -> list[str]:
        """Names of the tensors that begin with this after the stem; a few, so that the file is not walked each time."""
        return [name for name in (self.stem + start + end for end in _STATES) if name in self._tensors]

    def bytes_of(self, spec: TensorSpec) -> bytes:
        """All bytes of a small tensor."""
        data = bytearray(spec.nbytes)
        self.checkpoint.read_into(spec, 0, memoryview(data))
        return bytes(data)


_STATES = ("bitsandbytes__nf4", "bitsandbytes__fp4")


def _qweight(stem: _Stem) -> Recipe | Left | None:
    """GPTQ or AWQ, told apart by the axis on which codes are packed."""
    codes, zeros = stem.get(".qweight", "I32", rank=2), stem.get(".qzeros", "I32", rank=2)
    scales = stem.get(".scales", *_FLOATS, rank=2)
    if codes is None or zeros is None or scales is None:
        other = stem.get(".qweight", "I16", "I32", "U8", "I8")  # gemv_fast of AWQ, and what is not known
        layout = stem.config.layout or "a layout"
        return Left(f"codes in {layout} that is not decoded") if other and scales is not None else None
    groups, outputs = scales.shape
    if stem.config.method == "awq" and stem.config.layout == "gemv":
        return _gemv(stem, codes, zeros, scales)
    if not groups or not outputs or zeros.shape[0] != groups:
        return Left(_NO_FIT)
    bits = 32 * zeros.shape[1] // outputs
    if bits not in (2, 3, 4, 8) or zeros.shape[1] * 32 != outputs * bits:
        return Left(_NO_FIT)
    if not stem.config.method:
        return Left(_NOT_HERE)
    if stem.config.bits not in (0, bits):
        return Left(f"the configuration says {stem.config.bits} bits, the shapes say {bits}")
    parts = {"codes": codes, "zeros": zeros, "scales": scales}
    if codes.shape[1] == outputs and stem.config.method == "gptq":
        inputs = codes.shape[0] * 32 // bits
        index = stem.get(".g_idx", "I32", rank=1)
        if index is not None:
            parts["index"] = index
        if stem.config.layout not in ("gptq", "gptq_v2") or (index is None and inputs % groups):
            return Left(f"GPTQ in the layout {stem.config.layout} is not known")
        if index is not None and index.shape != (inputs,):
            return Left(_NO_FIT)
        one = int(stem.config.layout == "gptq")
        encoding = f"{'GPTQ' if one else 'GPTQ v2'}, {bits} bits, {groups:,} groups"
        numbers = {"bits": bits, "group": -(-inputs // groups), "offset": one}
        return Recipe(f"{stem.stem}.weight", f"GPTQ-{bits}", (outputs, inputs), "gptq", parts, numbers, encoding)
    if codes.shape[1] * 8 == outputs and bits == 4 and stem.config.method == "awq" and stem.config.layout == "gemm":
        inputs = codes.shape[0]
        if inputs % groups:
            return Left(_NO_FIT)
        encoding = f"AWQ, 4 bits, {groups:,} groups"
        numbers = {"bits": 4, "group": inputs // groups, "offset": 0}
        return Recipe(f"{stem.stem}.weight", "AWQ-4", (outputs, inputs), "awq", parts, numbers, encoding)
    return Left(f"{stem.config.method} in the layout {stem.config.layout or '?'} is not known for these shapes")


def _gemv(stem: _Stem, codes: TensorSpec, zeros: TensorSpec, scales: TensorSpec) -> Recipe | Left:
    """AWQ for products of a matrix and a vector: rows are outputs, codes lie in order."""
    outputs, inputs = codes.shape[0], codes.shape[1] * 8
    group = inputs if stem.config.group == -1 else stem.config.group
    if stem.config.bits not in (0, 4):
        return Left(f"AWQ of {stem.config.bits} bits is not known")
    if group < 1:
        return Left("the configuration does not say how many inputs share a scale")
    fits = scales.shape == (outputs, zeros.shape[1] * 8) and zeros.shape[0] == outputs
    if not fits or inputs % group or inputs // group > scales.shape[1]:
        return Left(_NO_FIT)
    parts = {"codes": codes, "zeros": zeros, "scales": scales}
    encoding = f"AWQ gemv, 4 bits, {inputs // group:,} groups"
    numbers = {"bits": 4, "group": group}
    return Recipe(f"{stem.stem}.weight", "AWQ-4", (outputs, inputs), "awq rows", parts, numbers, encoding)


def _absmax(stem: _Stem) -> Recipe | Left | None:
    """NF4 and FP4 of bitsandbytes: the quant state says everything."""
    codes, table = stem.get(".weight", "U8"), stem.get(".weight.quant_map", "F32")
    absmax = stem.get(".weight.absmax", "F32", "U8", rank=1)
    states = stem.names(".weight.quant_state.")
    if codes is None or table is None or absmax is None or not states:
        return None
    state = stem.get(states[0][len(stem.stem) :], "U8")
    if state is None or state.nbytes > _MOST_STATE or table.elements != 16:
        return Left("its quant state is not one")
    told = _state(stem.bytes_of(state))
    shape, block = told.get("shape"), told.get("blocksize")
    sizes = isinstance(shape, list) and len(shape) <= _MOST_RANK and all(type(n) is int and n >= 0 for n in shape)
    if not isinstance(shape, list) or not sizes or type(block) is not int:
        return Left("its quant state is not one")
    count = element_count(tuple(shape))
    if not count or block < 2 or block % 2 or codes.elements != -(-count // 2) or absmax.elements != -(-count // block):
        return Left(_NO_FIT)
    parts = {"codes": codes, "table": table, "scales": absmax}
    numbers: dict[str, float] = {"block": block, "offset": 0.0, "nested": 0}
    if absmax.dtype == "U8":
        scales, nested = stem.get(".weight.nested_absmax", "F32"), stem.get(".weight.nested_quant_map", "F32")
        size, offset = told.get("nested_blocksize"), told.get("nested_offset")
        if scales is None or nested is None or type(size) is not int or not isinstance(offset, int | float):
            return Left("its quant state is not one")
        if size < 1 or nested.elements != 256 or scales.elements != -(-absmax.elements // size):
            return Left(_NO_FIT)
        parts |= {"nested_scales": scales, "nested_table": nested}
        numbers |= {"offset": float(offset), "nested": size}
    kind = "NF4" if states[0].endswith("nf4") else "FP4"
    encoding = f"bitsandbytes, blocks of {block}{', nested' if numbers['nested'] else ''}"
    name = f"{stem.stem}.weight"
    return Recipe(name, kind, tuple(shape), "table", parts, numbers, encoding, dropped=(state.name,))


def _state(data: bytes) -> dict[str, Any]:
    try:
        told = load(data.decode("utf-8"))
    except (UnicodeDecodeError, MalformedError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _scb(stem: _Stem) -> Recipe | Left | None:
    """INT8 of bitsandbytes: 127 stands for the greatest magnitude of a row."""
    codes, scales = stem.get(".weight", "I8", rank=2), stem.get(".SCB", *_FLOATS, rank=1)
    if codes is None or scales is None:
        return None
    if scales.shape != codes.shape[:1]:
        return Left(_NO_FIT)
    numbers = {"divisor": 127.0, "step0": 1, "step1": codes.shape[1]}
    dropped = tuple(spec.name for spec in [stem.get(".weight_format")] if spec)
    parts = {"codes": codes, "scales": scales}
    encoding = "bitsandbytes, a scale a row"
    return Recipe(f"{stem.stem}.weight", "I8 scaled", codes.shape, "scaled", parts, numbers, encoding, dropped=dropped)


def _packed(stem: _Stem) -> Recipe | Left | None:
    """Packed integers and NVFP4 of compressed-tensors."""
    wide = stem.get(".weight_packed", "U8", rank=2)
    scales = stem.get(".weight_scale", *_FLOATS, "F8_E4M3", rank=2)
    if scales is None:
        return None
    if wide is not None:
        scale = stem.get(".weight_global_scale", "F32")
        shape = (wide.shape[0], 2 * wide.shape[1])
        if scale is None or scale.elements != 1 or scales.shape != (shape[0], shape[1] // 16) or shape[1] % 16:
            return Left(_NO_FIT)
        parts = {"codes": wide, "scales": scales, "global": scale}
        return Recipe(f"{stem.stem}.weight", "NVFP4", shape, "nvfp4", parts, {}, "NVFP4, blocks of 16")
    codes, told = stem.get(".weight_packed", "I32", rank=2), stem.get(".weight_shape", "I64", "I32")
    if codes is None or told is None or told.elements != 2:
        return None
    half = told.nbytes // 2
    data = stem.bytes_of(told)
    rows, inputs = (int.from_bytes(data[at : at + half], "little", signed=True) for at in (0, half))
    fitting = [bits for bits in (2, 4, 8) if inputs > 0 and codes.shape == (rows, -(-inputs * bits // 32))]
    groups = scales.shape[1]
    if len(fitting) != 1 or scales.shape[0] != rows or not groups:
        return Left(_NO_FIT)
    bits = fitting[0]
    parts = {"codes": codes, "scales": scales}
    zeros, index = stem.get(".weight_zero_point", "I32", rank=2), stem.get(".weight_g_idx", "I32", rank=1)
    if zeros is not None:
        parts["zeros"] = zeros
    if index is not None:
        parts["index"] = index
    fits = index.shape == (inputs,) if index is not None else inputs % groups == 0
    if not fits or (zeros is not None and zeros.shape != (-(-rows * bits // 32), groups)):
        return Left(_NO_FIT)
    encoding = f"compressed-tensors, {bits} bits, {groups:,} groups"
    numbers = {"bits": bits, "group": -(-inputs // groups)}
    return Recipe(f"{stem.stem}.weight", f"I{bits} packed", (rows, inputs), "packed", parts, numbers, encoding,
                  dropped=(told.name,))  # fmt: skip


def _blocks(stem: _Stem) -> Recipe | Left | None:
    """MXFP4 of gpt-oss: (..., rows, groups, 16) bytes are (..., 32 groups, rows) elements."""
    codes, scales = stem.get("_blocks", "U8"), stem.get("_scales", "U8")
    if codes is None or scales is None:
        return None
    if len(codes.shape) < 3 or codes.shape[-1] != 16 or scales.shape != codes.shape[:-1]:
        return Left(_NO_FIT)
    *before, rows, groups, _ = codes.shape
    parts = {"codes": codes, "scales": scales}
    shape = (*before, groups * 32, rows)
    return Recipe(stem.stem, "MXFP4", shape, "mxfp4", parts, {}, "MXFP4, blocks of 32, transposed")


_CODES = ("I8", "U8", "I16", "U16", "I32", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")


def _scale(stem: _Stem) -> Recipe | Left | None:
    """Codes ``x`` (``x_quantized``) with ``x_scale`` or ``x_scale_inv``, and perhaps ``x_zero_point``."""
    scales = stem.get(stem.mark, *_FLOATS, "F8_E8M0")
    codes = stem.get("", *_CODES) or stem.get("_quantized", *_CODES)
    if scales is None or codes is None or codes.dtype.startswith("Q"):
        return None
    steps = _steps(codes.shape, scales.shape, stem.config.block)
    if steps is None:
        return Left("its scales could be along several dimensions, or along none")
    parts = {"codes": codes, "scales": scales}
    zeros = stem.get("_zero_point", "I8", "U8", "I16", "U16", "I32", "F32", "F16", "BF16")
    if zeros is not None:
        if zeros.shape != scales.shape and zeros.elements != scales.elements:
            return Left(_NO_FIT)
        parts["zeros"] = zeros
    return _scaled(stem.stem, parts, steps)


def _steps(shape: tuple[int, ...], scales: tuple[int, ...], block: tuple[int, int]) -> tuple[int, ...] | None:
    """How many elements of each dimension share a scale; None where that is not certain."""
    if element_count(scales) == 1:
        return tuple(max(size, 1) for size in shape)
    if len(scales) == 1 and len(shape) > 1:
        axes = [axis for axis, size in enumerate(shape) if size == scales[0]]
        if len(axes) != 1:
            return None
        return tuple(1 if axis == axes[0] else size for axis, size in enumerate(shape))
    if len(scales) != len(shape) or 0 in scales:
        return None
    steps = []
    for axis, (size, count) in enumerate(zip(shape, scales, strict=True)):
        known = block[axis - len(shape)] if axis >= len(shape) - 2 else 0
        tried = (known, size if count == 1 else 0, 1 if count == size else 0, 128, -(-size // count))
        step = next((step for step in tried if step and -(-size // step) == count), 0)
        if not step:
            return None
        steps.append(step)
    return tuple(steps)


_KINDS = {
    ".qweight": _qweight, ".weight.absmax": _absmax, ".SCB": _scb, ".weight_packed": _packed, "_blocks": _blocks,
    "_scale": _scale, "_scale_inv": _scale,
}  # fmt: skip
