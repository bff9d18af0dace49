"""``WeightParams``: the weights of a layer of a neural network, as they are or quantized."""

from __future__ import annotations

from diffai.errors import FormatError
from diffai.formats.coreml.decoding import Codes, Cut, decoded, looked_up, scaled
from diffai.formats.regions import Region, read
from diffai.formats.tflite.quantized import Copied
from diffai.model import byte_count, element_count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from diffai.formats.coreml.records import Record
    from diffai.formats.stored import StoredCheckpoint

    Numbers = np.ndarray[Any, np.dtype[Any]]

_MATRICES = (
    ("innerProduct", "outputChannels", "inputChannels"), ("embedding", "outputChannels", "inputDim"),
    ("embeddingND", "embeddingSize", "vocabSize"),
    ("batchedMatmul", "weightMatrixFirstDimension", "weightMatrixSecondDimension"),
)  # fmt: skip
_RAW = {"floatValue": "F32", "float16Value": "F16", "int8RawValue": "I8"}


def shapes(kind: str, layer: Record) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's weights by the names of their fields, as far as the specification gives them."""
    number, outputs = layer.number, layer.number("outputChannels")
    if kind == "convolution":
        size = tuple(layer.integers("kernelSize", 8)) or (3, 3)
        inside = (outputs, number("kernelChannels"))
        if number("isDeconvolution"):
            inside = (number("kernelChannels"), outputs // max(1, number("nGroups", 1)))
        return {"weights": (*inside, *size), "bias": (outputs,)}
    for name, one, other in _MATRICES:
        if kind == name:
            last = other if name == "batchedMatmul" else one
            return {"weights": (number(one), number(other)), "bias": (number(last),)}
    if kind == "batchnorm":
        return dict.fromkeys(("gamma", "beta", "mean", "variance"), (number("channels"),))
    if kind in ("loadConstant", "loadConstantND"):
        return {"data": tuple(layer.integers("shape", 64))}
    if kind in ("scale", "bias"):
        return {kind: tuple(layer.integers("shapeScale" if kind == "scale" else "shape", 64)),
                "bias": tuple(layer.integers("shapeBias" if kind == "scale" else "shape", 64))}  # fmt: skip
    inputs, outputs = number("inputVectorSize"), number("outputVectorSize")
    if not outputs:
        return {}
    whole: dict[str, tuple[int, ...]] = {"weightMatrix": (outputs, inputs), "recursionMatrix": (outputs, outputs)}
    for gate in ("inputGate", "forgetGate", "blockInput", "outputGate", "updateGate", "resetGate"):
        whole |= {f"{gate}WeightMatrix": (outputs, inputs), f"{gate}RecursionMatrix": (outputs, outputs)}
        whole |= {f"{gate}BiasVector": (outputs,), f"{gate}PeepholeVector": (outputs,)}
    return whole | {"biasVector": (outputs,)}


def place(checkpoint: StoredCheckpoint, name: str, weights: Record, shape: tuple[int, ...]) -> None:
    """Add a layer's weights under a name; ``shape``: what it should be, flat where that does not fit."""
    for field, dtype in _RAW.items():
        if field not in weights.types:
            continue
        found = weights.reals(field) if field == "floatValue" else weights.raw(field)
        if found is None or not found.size:
            continue
        width = byte_count(dtype, 1)
        if found.size % width:
            raise FormatError(f"has {found.size:,} bytes of {dtype}", code="CM03", tensor=name, offset=weights.at)
        count = found.size // width
        checkpoint.place(name, dtype, shape if element_count(shape) == count else (count,), found)
        return
    codes, quantization = weights.raw("rawValue"), weights.record("quantization")
    if codes is not None and codes.size and quantization is not None:
        _quantized(checkpoint, name, codes, quantization, shape)


def _numbers(region: Region) -> Numbers:
    import numpy as np

    with np.errstate(all="ignore"):  # NaN of the kind that signals, in a damaged file
        return np.frombuffer(read(region, 0, region.size), "<f4").astype("f8")


def _quantized(
    checkpoint: StoredCheckpoint, name: str, codes: Region, quantization: Record, shape: tuple[int, ...]
) -> None:
    """Codes of 1 to 8 bits: of a line (``scale * code + bias``) or a table, of the tensor or of each output."""
    import numpy as np

    bits = quantization.number("numberOfBits")
    if not 1 <= bits <= 8:
        raise FormatError(f"has codes of {bits} bits", code="CM03", tensor=name, offset=quantization.at)
    count = element_count(shape)
    if not shape or -(-count * bits // 8) != codes.size:
        shape = (codes.size * 8 // bits,)
        count = shape[0]
    line, table = quantization.record("linearQuantization"), quantization.record("lookupTableQuantization")
    stored = Codes(codes, bits, False, first_high=True)
    if table is not None:
        entries = _numbers(table.reals("floatValue"))
        if len(entries) != 1 << bits:
            reason = f"has a table of {len(entries):,} entries for {bits} bits"
            raise FormatError(reason, code="CM03", tensor=name, offset=quantization.at)
        make = looked_up(stored, Cut(shape, (1,) * len(shape)), entries[None])
        said = f"palette of {len(entries)}"
    else:
        scales = _numbers(line.reals("scale")) if line is not None else np.ones(1)
        biases = _numbers(line.reals("bias")) if line is not None else np.zeros(1)
        biases = biases if len(biases) else np.zeros(len(scales))
        axis = next((axis for axis, size in enumerate(shape) if size == len(scales)), 0)
        parts = tuple(len(scales) if number == axis else 1 for number in range(len(shape)))
        if len(biases) != len(scales) or not len(scales) or (len(scales) > 1 and shape[axis] != len(scales)):
            reason = f"has {len(scales):,} scales and {len(biases):,} biases"
            raise FormatError(reason, code="CM03", tensor=name, offset=quantization.at)
        make = scaled(stored, Cut(shape, parts), scales, np.zeros(len(scales)), biases)
        said = "linear" if len(scales) == 1 else f"linear, {len(scales):,} scales"
    region = decoded(checkpoint.spool, "F32", count, make)
    checkpoint.place_coded(name, f"U{bits}", shape, region, Copied(4), values="F32", encoding=said)
