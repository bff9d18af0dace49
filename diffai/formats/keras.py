"""Keras 3 models (``.keras``): a zip of a configuration (JSON) and weights (HDF5).

==== ======================================================================================================
code reason
==== ======================================================================================================
KE01 the archive has no ``config.json`` or no ``model.weights.h5``
KE02 the configuration is no JSON object
==== ======================================================================================================

What is wrong with the archive is numbered as in :mod:`diffai.formats.zip`, with the weights as in
:mod:`diffai.formats.hdf5`.
"""

from __future__ import annotations

import json

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget, Limits
from diffai.formats.hdf5 import keras
from diffai.formats.hdf5.reader import Hdf5Checkpoint, read_datasets
from diffai.formats.regions import Region, RegionSource, read
from diffai.formats.stored import reader
from diffai.formats.zip import Archive
from diffai.sources.base import Source

NAME = "keras"
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


class KerasCheckpoint(Hdf5Checkpoint):
    """An opened Keras 3 model; offsets are those of the weights inside."""

    def __init__(self, source: Source, limits: Limits) -> None:
        super().__init__(source, limits)
        self.format = NAME
        self.weights: Source = source

    def read_file_into(self, file: int, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` from ``offset`` of the weights."""
        self.weights.read_into(offset, buffer)


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a Keras 3 model: a zip whose first member is one of its three, or that is called so."""
    if head[:4] != b"PK\x03\x04":
        return False
    member = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return member in (b"metadata.json", b"config.json", b"model.weights.h5") or name.lower().endswith(".keras")


def _read(checkpoint: KerasCheckpoint, limits: Limits) -> None:
    budget = Budget(limits)
    archive = Archive(checkpoint.source, budget, checkpoint.spool, format=NAME)
    if limits.values:
        archive.verify()
    config = _json(archive, _CONFIG, limits)
    if not isinstance(config, dict):
        raise FormatError("has a configuration that is no JSON object", code="KE02", format=NAME)
    member = archive.members.get(_WEIGHTS)
    if member is None:
        raise FormatError(f"has no {_WEIGHTS}", code="KE01", format=NAME)
    checkpoint.weights = RegionSource(archive.open(member), checkpoint.source.label)
    read_datasets(checkpoint, checkpoint.weights, budget, config)
    about = _json(archive, _METADATA, limits) if _METADATA in archive.members else None
    keras.flatten(about, "", checkpoint.texts)
    for name, other in archive.members.items():
        if name not in (_CONFIG, _METADATA, _WEIGHTS):
            checkpoint.texts[f"file {name}"] = f"{other.size:,} bytes, crc32 {other.crc:08x}"


def _json(archive: Archive, name: str, limits: Limits) -> object:
    member = archive.members.get(name)
    if member is None:
        raise FormatError(f"has no {name}", code="KE01", format=NAME)
    if member.size > limits.max_header:
        reason = f"has a {name} of {member.size:,} bytes (diffai.maxHeader lifts the limit)"
        raise LimitError(reason, code="KE02", format=NAME)
    region: Region = archive.open(member)
    try:
        found: object = json.loads(read(region, 0, region.size))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"has a {name} that is no JSON ({error})", code="KE02", format=NAME) from error
    return found


open_checkpoint, check = reader(KerasCheckpoint, _read, "KE01")
