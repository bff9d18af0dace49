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

from diffai.errors import FormatError, LimitError, SourceError
from diffai.formats.base import Budget, Limits
from diffai.formats.hdf5 import keras
from diffai.formats.hdf5.reader import Hdf5Checkpoint, read_datasets
from diffai.formats.regions import Region, RegionSource, Spool, read
from diffai.formats.zip import Archive
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source
from diffai.sources.spool import spool

NAME = "keras"
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


class KerasCheckpoint(Hdf5Checkpoint):
    """An opened Keras 3 model; offsets are not those of the archive, so nothing is read in place by others."""

    def __init__(self, source: Source, weights: RegionSource, limits: Limits, unpacked: Spool) -> None:
        super().__init__(weights, limits)
        self.format = "keras"
        self._archive, self._unpacked = source, unpacked

    def verify_unchanged(self) -> None:
        """Raise SourceError when the archive was changed."""
        self._archive.verify_unchanged()

    def release(self) -> None:
        """Remove temporary files; the source stays the caller's."""
        self.spool.close()
        self._unpacked.close()

    def close(self) -> None:
        """Close the archive and remove temporary files."""
        self.release()
        self._archive.close()


def recognise(head: bytes, size: int, name: str) -> bool:
    """Whether content is a Keras 3 model: a zip whose first member is one of its three."""
    if head[:4] != b"PK\x03\x04":
        return False
    member = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return member in (b"metadata.json", b"config.json", b"model.weights.h5")


def open_checkpoint(source: Source, limits: Limits) -> Checkpoint:
    """Open a model; configuration and structure are read, weights are not.

    Raises:
        FormatError: see the tables; LimitError: over a limit.

    """
    given = source
    source = spool(source, limits.max_spool)
    try:
        return _open(source, limits)
    except BaseException:
        if source is not given:
            source.close()
        raise


def _open(source: Source, limits: Limits) -> KerasCheckpoint:
    budget, unpacked = Budget(limits), Spool(limits.max_spool)
    try:
        archive = Archive(source, budget, unpacked, format=NAME)
        if limits.values:
            archive.verify()
        config = _json(archive, _CONFIG, limits)
        if not isinstance(config, dict):
            raise FormatError("has a configuration that is no JSON object", code="KE02", format=NAME)
        member = archive.members.get(_WEIGHTS)
        if member is None:
            raise FormatError(f"has no {_WEIGHTS}", code="KE01", format=NAME)
        weights = RegionSource(archive.open(member), source.label)
        checkpoint = KerasCheckpoint(source, weights, limits, unpacked)
        try:
            read_datasets(checkpoint, budget, config)
        except BaseException:
            checkpoint.spool.close()
            raise
        about = _json(archive, _METADATA, limits) if _METADATA in archive.members else None
        keras.flatten(about, "", checkpoint.texts)
        for name, other in archive.members.items():
            if name not in (_CONFIG, _METADATA, _WEIGHTS):
                checkpoint.texts[f"file {name}"] = f"{other.size:,} bytes, crc32 {other.crc:08x}"
        return checkpoint
    except BaseException:
        unpacked.close()
        raise


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


def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
    """The first structural problem, or links that lead elsewhere and code in layers.

    Raises:
        LimitError: over a limit, so that nothing was checked.

    """
    try:
        checkpoint = _open(spool(source, limits.max_spool), limits)
    except LimitError:
        raise
    except FormatError as error:
        return (Problem(error.code or "KE01", "error", error.reason, error.tensor, error.offset),)
    except SourceError as error:
        return (Problem("KE01", "error", str(error)),)
    checkpoint.release()
    return checkpoint.problems
