"""Which shards make up a model: what an index says, or the numbers in the names of a directory's files.

Reasons for refusal are those of :mod:`diffai.models.sharded`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diffai.errors import FormatError, LimitError, SourceError
from diffai.formats.base import Limits
from diffai.formats.safetensors_header import shown
from diffai.formats.strict_json import MalformedError, Repeated, load
from diffai.formats.table import named_like_a_model
from diffai.frozen import frozen
from diffai.model import Problem
from diffai.models.names import find_models
from diffai.sources.base import Source
from diffai.sources.directory import Directory, checked_name

NAME = "sharded"

# What writers derive from the tensors; it changes with the sharding, or says nothing more than they do.
_DERIVED = ("total_size", "total_parameters")

Report = Callable[[Problem], None]


@frozen
class Plan:
    """Which shards make up a model.

    Attributes:
        label: what the user named.
        names: shard names in order; a tensor's ``file`` is an index into it.
        weight_map: shard by tensor, empty when there is no index.
        holds: tensors by shard, as the index says.
        metadata: what the index adds.
        open_shard: opens a shard by its name.
        index: the index file, None for a directory without one.

    """

    label: str
    names: tuple[str, ...]
    weight_map: Mapping[str, str]
    holds: Mapping[str, list[str]]
    metadata: Mapping[str, str]
    open_shard: Callable[[str], Source]
    index: Source | None


def refusal(code: str, reason: str, tensor: str = "") -> FormatError:
    """A refusal with its number."""
    return FormatError(reason, code=code, tensor=tensor, format=NAME)


def plan_of_index(
    source: Source, limits: Limits, report: Report, open_shard: Callable[[str], Source] | None = None
) -> Plan:
    """Read an index; its shards are the files beside it unless the caller knows better."""
    index = _read_index(source, limits, report)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not all(type(shard) is str for shard in weight_map.values()):
        raise refusal("SH02", "index has no weight_map of tensors to shards")
    if isinstance(weight_map, Repeated):
        key = weight_map.key
        report(Problem("SH08", "error", "stands twice in the weight_map", key))
    holds: dict[str, list[str]] = {}
    for tensor, name in weight_map.items():
        holds.setdefault(name, []).append(tensor)
    names = sorted(holds)
    for name in names:
        try:
            checked_name("", name)
        except SourceError:
            tensor = holds[name][0]
            message = f"is said to be in {shown(name)}, outside the model's own directory"
            raise refusal("SH03", message, tensor) from None
    extra = index.get("metadata")
    metadata = {} if not isinstance(extra, dict) else {
        key: _as_text(value) for key, value in extra.items() if key not in _DERIVED
    }  # fmt: skip
    return Plan(source.label, tuple(names), weight_map, holds, metadata, open_shard or source.sibling, source)


def _read_index(source: Source, limits: Limits, report: Report) -> dict[str, Any]:
    """The index as a dictionary."""
    if source.size > limits.max_header:
        reason = f"index of {source.size:,} bytes is over the limit of {limits.max_header:,} bytes"
        raise LimitError(f"{reason} (diffai.maxHeader lifts it)", code="SH11", format=NAME)
    try:
        index = load(source.read(0, source.size).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise FormatError("index is not UTF-8", code="SH01", offset=error.start, format=NAME) from None
    except MalformedError as error:
        raise refusal("SH01", f"index is not valid JSON: {error.reason}") from None
    if not isinstance(index, dict):
        raise refusal("SH01", "index is JSON, but not an object")
    if isinstance(index, Repeated):
        report(Problem("SH08", "error", f"key {shown(index.key)} stands twice in the index"))
    return index


def _as_text(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def first_of(plan: Plan, shard: str) -> str:
    """The first tensor that the index has in a shard; "" without an index."""
    return plan.holds.get(shard, [""])[0]


def plan_of_directory(directory: Directory, limits: Limits, report: Report) -> Plan:
    """Find the one model in a directory: its index, else its numbered shards."""
    found = find_models(directory.names())
    if not found:
        single = [name for name in directory.names() if named_like_a_model(name)]
        if single:
            raise refusal("SH10", f"holds several models: {', '.join(single[:8])}; name one")
        lacks = "model.safetensors or the like, an index JSON, or files like x-00001-of-00004.safetensors"
        raise refusal("SH12", f"holds no model ({lacks})")
    if len(found) > 1:
        raise refusal("SH10", f"holds several models: {', '.join(model.title for model in found)}; name one")
    model = found[0]
    if model.index:
        return plan_of_index(directory.open(model.index), limits, report, directory.open)
    if model.missing:
        more = f" and {len(model.missing) - 1} more" if len(model.missing) > 1 else ""
        report(Problem("SH09", "error", f"shard {shown(model.missing[0])}{more} is missing"))
    return Plan(directory.label, model.shards, {}, {}, {}, directory.open, None)
