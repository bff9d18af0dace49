"""Boosted trees inside a pickle: XGBoost and LightGBM keep them as one document, which is read as a file of it is."""

from __future__ import annotations

from diffai.errors import FormatError
from diffai.formats.base import Limits
from diffai.formats.regions import BytesRegion, read
from diffai.formats.torch.numpy_pickles import region_of
from diffai.formats.torch.objects import Array, LongBytes, NumpyDType, Stub

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.formats.boosting.trees import BoostingCheckpoint

LIBRARIES = ("xgboost.", "lightgbm.")
_HELD = {"xgboost.core.Booster": "handle", "lightgbm.basic.Booster": "_handle"}
_CODES = {"F64": "f8", "F32": "f4", "I64": "i8", "I32": "i4", "U32": "u4", "U8": "u1", "I8": "i1", "BOOL": "b1",
          "I16": "i2", "U16": "u2"}  # fmt: skip


def document_of(stub: Stub, most: int) -> bytes:
    """The document in an object of one of the libraries; b"" where there is none, or a longer one than ``most``."""
    held = stub.state.get(_HELD.get(stub.of.full, "")) if isinstance(stub.state, dict) else None
    if isinstance(held, str):
        return held.encode("utf-8", "surrogatepass") if len(held) <= most else b""
    if isinstance(held, (bytes, bytearray)):
        return bytes(held) if len(held) <= most else b""
    region = region_of(held)
    return read(region, 0, region.size) if region is not None and region.size <= most else b""


def opened(stub: Stub, data: bytes, limits: Limits) -> BoostingCheckpoint | None:
    """The model in such a document; None where it cannot be read, so that it stays what it is: text, or bytes."""
    from diffai.formats.boosting import lightgbm, xgboost
    from diffai.formats.boosting.trees import BoostingCheckpoint
    from diffai.sources.local import MemoryBytes

    ours = stub.of.module.startswith("xgboost.")
    name, fill = ("xgboost", xgboost.fill) if ours else ("lightgbm", lightgbm.fill)
    checkpoint = BoostingCheckpoint(name, MemoryBytes(data), limits)
    try:
        fill(checkpoint, limits)
    except FormatError:
        return None
    return checkpoint


def state_of(stub: Stub, checkpoint: BoostingCheckpoint) -> dict[object, object]:
    """The object's state with the trees of its document in its place."""
    assert isinstance(stub.state, dict)
    state = {key: value for key, value in stub.state.items() if key != _HELD[stub.of.full]}
    state.update(checkpoint.values)
    state.update(checkpoint.inputs)
    for name, spec in checkpoint.tensors.items():
        data = bytearray(spec.nbytes)
        checkpoint.read_into(spec, 0, memoryview(data))
        array = Array()
        array.dtype, array.shape = NumpyDType(_CODES[spec.dtype]), spec.shape
        array.data, array.says = LongBytes(BytesRegion(bytes(data))), "" if spec.role == "weight" else spec.role
        state[name] = array
    return state
