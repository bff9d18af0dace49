"""The fingerprint of a structure: sha256 over names, dtypes and shapes, which is what an approval vouches for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from types import MappingProxyType

from diffai.comparison.result import ModelDiff
from diffai.frozen import frozen
from diffai.model import Absent, Checkpoint, TensorSpec

ABSENT = "absent"
_NONE: Mapping[str, str] = MappingProxyType({})


@frozen
class StructureChange:
    """The structure of both sides: ``sha256:<64 hex digits>``, or ``absent`` where there is no model."""

    old: str
    new: str


def structure_change(diff: ModelDiff, old: Checkpoint | None, new: Checkpoint | None) -> StructureChange:
    """Fingerprints of both sides of a diff that compared all tensors; ``old`` and ``new`` are what was compared."""
    sides = []
    for side, checkpoint, specs in (
        (diff.old, old, (change.old for change in diff.tensors)),
        (diff.new, new, (change.new for change in diff.tensors)),
    ):
        if isinstance(side.state, Absent) or checkpoint is None:
            sides.append(ABSENT)
        else:
            found = (spec for spec in specs if spec is not None)
            sides.append(fingerprint(found, checkpoint.classes, checkpoint.graph))
    return StructureChange(*sides)


def fingerprint(
    specs: Iterable[TensorSpec], classes: Mapping[str, str] = _NONE, graph: Mapping[str, str] = _NONE
) -> str:
    """sha256 of one JSON line a tensor, a class and an entry of the graph, sorted.

    ``[name, dtype, shape, role]``, ``["class", path, name]``, ``["graph", path, text]``; the order in the file does not
    count.

    >>> fingerprint([]) == fingerprint([TensorSpec("w", "F32", (2,), 8)])
    False
    """
    lines = [json.dumps([s.name, s.dtype, list(s.shape), s.role]) for s in specs]
    for facet, entries in (("class", classes), ("graph", graph)):
        lines += [json.dumps([facet, path, text]) for path, text in entries.items()]
    return "sha256:" + sha256("\n".join(sorted(lines)).encode("ascii")).hexdigest()
