"""What files beside a model say, as plain values: ``config.json`` and the like, read with distrust."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from diffai.analyses.context import Context, Which

CONFIGURATION = "config.json"


def object_beside(context: Context, which: Which, name: str) -> Mapping[str, Any]:
    """A JSON object beside a model; an empty one where there is none, or where the file is no such object."""
    data = context.sibling(which, name)
    return json_object(data) if data is not None else {}


def json_object(data: bytes) -> Mapping[str, Any]:
    """A JSON object; an empty one where the bytes are none."""
    from diffai.formats.strict_json import MalformedError, load

    try:
        told = load(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, MalformedError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def count_of(told: Mapping[str, object], *names: str) -> int | None:
    """The first of some keys that holds a whole number above 0, ``text_config`` of multimodal models included."""
    inner = told.get("text_config")
    for table in (told, inner if isinstance(inner, dict) else {}):
        for name in names:
            value = table.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return None
