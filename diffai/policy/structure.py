"""The fingerprint of a structure: sha256 over names, dtypes and shapes, which is what an approval vouches for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256

from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.model import Absent, TensorSpec

ABSENT = "absent"


@frozen
class StructureChange:
    """The structure of both sides: ``sha256:<64 hex digits>``, or ``absent`` where there is no model."""

    old: str
    new: str


def structure_change(diff: ModelDiff) -> StructureChange:
    """Fingerprints of both sides of a diff that compared all tensors."""
    sides = []
    for side, specs in (
        (diff.old, (change.old for change in diff.tensors)),
        (diff.new, (change.new for change in diff.tensors)),
    ):
        absent = isinstance(side.state, Absent)
        sides.append(ABSENT if absent else fingerprint(spec for spec in specs if spec is not None))
    return StructureChange(*sides)


def fingerprint(specs: Iterable[TensorSpec]) -> str:
    """sha256 of one JSON line ``[name, dtype, shape, role]`` a tensor, sorted; the order in the file does not count.

    >>> fingerprint([]) == fingerprint([TensorSpec("w", "F32", (2,), 8)])
    False
    """
    lines = sorted(json.dumps([s.name, s.dtype, list(s.shape), s.role]) for s in specs)
    return "sha256:" + sha256("\n".join(lines).encode("ascii")).hexdigest()
