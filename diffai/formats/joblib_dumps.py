"""Dumps of joblib: pickles with the values of arrays between their opcodes, or in files beside them.

They are read by the machine of :mod:`diffai.formats.torch`, whose reasons are theirs, and judged like any pickle;
compressed ones by :mod:`diffai.formats.compressed`, which finds one of these inside.
"""

from __future__ import annotations

from diffai.formats import torch
from diffai.formats.base import Limits
from diffai.model import Checkpoint, Problem
from diffai.sources.base import Source

NAME = "joblib"


def recognise(head: bytes, size: int, name: str) -> bool:
    """Never from its first bytes, which are those of any pickle; the name of a damaged one decides."""
    return False


def open_checkpoint(source: Source, limits: Limits) -> Checkpoint:
    """As :func:`diffai.formats.torch.open_checkpoint`."""
    return torch.open_checkpoint(source, limits)


def check(source: Source, limits: Limits) -> tuple[Problem, ...]:
    """As :func:`diffai.formats.torch.check`."""
    return torch.check(source, limits)
