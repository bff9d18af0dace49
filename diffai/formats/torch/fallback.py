"""The last resort: ``torch.load(weights_only=True)`` for what our reader does not know, where torch is installed."""

from __future__ import annotations

from typing import Any

from diffai.errors import FormatError
from diffai.formats.torch.document import Document
from diffai.formats.torch.objects import DTYPES, Global, PickledSet, Storage, Stub, Tensor
from diffai.model import Problem
from diffai.sources.base import Source

# What torch may know and we do not: constructors, element types, containers. Damage stays damage.
HELPED = frozenset(("PT10",))
_MINIMUM = (2, 6)


class TorchRegion:
    """The bytes of a loaded tensor."""

    file_offset = -1

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor
        self.size = tensor.numel() * tensor.element_size()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Copy out of torch's memory."""
        import torch

        data = self._tensor.reshape(-1).view(torch.uint8)[offset : offset + len(buffer)]
        buffer[:] = memoryview(data.numpy())


def with_hint(error: FormatError) -> FormatError:
    """The error, naming the extra where that could help."""
    if error.code in HELPED:
        error.reason += "; torch may read it: pip install 'diffai[torch]'"
        error.args = (error.reason,)
    return error


def available() -> bool:
    """Whether a torch that may be trusted with weights_only is installed; it is not imported."""
    import importlib.util

    if importlib.util.find_spec("torch") is None:
        return False
    from importlib.metadata import PackageNotFoundError, version

    try:
        parts = version("torch").split(".")
        return (int(parts[0]), int(parts[1])) >= _MINIMUM
    except (PackageNotFoundError, ValueError, IndexError):
        return False


def load(source: Source, error: FormatError) -> Document:
    """Read with torch; ``error`` is why our reader did not, and is raised again when torch does not either."""
    import torch

    try:
        stream = source.path or source.open_stream()
        value = torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as refusal:  # torch raises anything on damaged input
        raise error from refusal
    document = Document("torch.load")
    document.value = _inert(value)
    document.problems.append(
        Problem("PT28", "warning", f"read by torch.load(weights_only=True), since our reader says: {error.reason}")
    )
    return document


def _inert(value: Any, depth: int = 0) -> object:
    """Torch's objects as ours."""
    import torch

    if depth > 100:
        raise FormatError("objects nested more than 100 deep", code="PT11")
    if isinstance(value, dict):
        return {key: _inert(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_inert(item, depth + 1) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, (set, frozenset)):
        return PickledSet([_inert(item, depth + 1) for item in value])
    if isinstance(value, torch.dtype):
        return Global("torch", str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return Stub(Global("torch", "device"), (value.type,) if value.index is None else (value.type, value.index))
    if isinstance(value, torch.Tensor):
        return _tensor(value)
    return value


def _tensor(value: Any) -> object:
    tensor = value.detach()
    if tensor.layout is not __import__("torch").strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    tensor = tensor.resolve_conj().resolve_neg().contiguous()
    dtype = DTYPES[str(tensor.dtype).removeprefix("torch.")]
    region = TorchRegion(tensor)
    storage = Storage("torch", dtype, region.size)
    storage.region = region
    strides, step = [], 1
    for size in reversed(tensor.shape):
        strides.append(step)
        step *= max(size, 1)
    made = Tensor(storage, 0, tuple(tensor.shape), tuple(reversed(strides)))
    made.requires_grad = bool(value.requires_grad)
    return made
