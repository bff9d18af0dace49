"""What the files beside a model say of it: the configurations of its quantization, and of an adapter."""

from __future__ import annotations

from diffai.errors import SourceError
from diffai.formats.quantized import configuration_of, quantized
from diffai.formats.strict_json import MalformedError, load
from diffai.model import Checkpoint, Scalar
from diffai.sources.base import Source
from diffai.sources.directory import Directory

_MOST = 1 << 20  # bytes of a configuration


def read_beside(found: Source | Directory, name: str, most: int = _MOST) -> bytes | None:
    """A file of at most ``most`` bytes in the folder of a model; None where it is not there, not readable from here, or
    larger.
    """
    try:
        source = found.open(name) if isinstance(found, Directory) else found.sibling(name)
    except SourceError:
        return None
    try:
        return source.read(0, source.size) if source.size <= most else None
    except SourceError:
        return None
    finally:
        source.close()


def adapted(checkpoint: Checkpoint, found: Source | Directory) -> None:
    """Give an adapter what its ``adapter_config.json`` says, as part of its identity: another alpha, another model."""
    from hashlib import blake2b

    data = read_beside(found, "adapter_config.json")
    told = _object(data) if data is not None else {}
    if data is None or "peft_type" not in told:
        return
    checkpoint.beside = _flat("", told)
    identity = found.identity if checkpoint.identity is None else checkpoint.identity
    checkpoint.identity = f"{identity} {blake2b(data, digest_size=8).hexdigest()}" if identity else ""


def _object(data: bytes) -> dict[str, object]:
    try:
        told = load(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, MalformedError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _flat(before: str, told: dict[str, object]) -> dict[str, Scalar]:
    """Keys by dotted path. A list is one value; its order means nothing in PEFT, which writes sets."""
    flat: dict[str, Scalar] = {}
    for key, value in told.items():
        if isinstance(value, dict):
            flat |= _flat(f"{before}{key}.", value)
        elif isinstance(value, list):
            flat[before + key] = ", ".join(sorted(map(str, value)))
        elif value is None or isinstance(value, str | int | float):
            flat[before + key] = value
    return flat


def logical(checkpoint: Checkpoint, found: Source | Directory) -> Checkpoint:
    """The checkpoint with its quantized tensors as the logical ones, by the configuration beside it.

    Where a configuration decided, it is part of the identity: other zero points are other values.

    Raises:
        SourceError: what describes a tensor cannot be read.

    """
    configuration = configuration_of(lambda name: read_beside(found, name))
    made = quantized(checkpoint, configuration)
    if made is not checkpoint and configuration.method:
        identity = found.identity if checkpoint.identity is None else checkpoint.identity
        made.identity = f"{identity} {configuration.text}" if identity else ""
    return made
