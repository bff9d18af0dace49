"""TOML by the standard library, which has no limits of its own: size and dotted keys are looked at first."""

from __future__ import annotations

import datetime
import re

from diffai.comparison.documents.reading import CODE, Document, DocumentError, read_text
from diffai.comparison.documents.result import Special, Value
from diffai.config.toml import MAX_PARTS, crowded
from diffai.errors import LimitError
from diffai.formats.base import Limits
from diffai.sources.base import Source

MAX_BYTES = 4 << 20
"""The parser takes about a second for two of these megabytes."""

_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$")


def read(source: Source, limits: Limits) -> Document:
    """Read a document.

    Raises:
        DocumentError: it is not TOML, with line and column.
        LimitError: it is too large, too deep, or has keys of too many parts.
    """
    import tomllib

    if source.size > MAX_BYTES:
        raise LimitError(f"is larger than {MAX_BYTES:,} bytes, the most that is read of TOML", code=CODE)
    told = read_text(source, limits)
    line = crowded(told.text)
    if line:
        raise LimitError(f"has a key of more than {MAX_PARTS} dotted parts at line {line}", code=CODE)
    try:
        value = tomllib.loads(told.text, parse_float=_float)
    except ValueError as error:
        reason = str(error)
        place = _PLACE.search(reason)
        if place is None:
            raise DocumentError(f"is not TOML: {reason}") from error
        reason = f"is not TOML: {reason[: place.start()].lower()}"
        raise DocumentError(reason, line=int(place[1]), column=int(place[2])) from error
    except RecursionError:
        raise LimitError("has objects nested too deeply to be read", code=CODE) from None
    return Document(_plain(value), told.encoding, told.notes)


def _float(digits: str) -> float | Special:
    value = float(digits.replace("_", ""))
    return Special("number", digits) if value in (float("inf"), float("-inf")) and "inf" not in digits else value


def _plain(value: Value) -> Value:
    if isinstance(value, dict):
        return {key: _plain(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_plain(inside) for inside in value]
    if isinstance(value, datetime.datetime):
        return Special("datetime", value.isoformat())
    if isinstance(value, datetime.date):
        return Special("date", value.isoformat())
    return Special("time", value.isoformat()) if isinstance(value, datetime.time) else value
