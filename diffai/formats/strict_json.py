"""JSON of files that nobody vouches for: duplicate keys are seen, nesting is bounded, nothing is guessed.

As strict as the JSON reader of the safetensors library: no NaN, no number out of range, no ``-0`` as an
integer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")


class MalformedError(Exception):
    """The text is not JSON, or not the object that was asked for.

    Attributes:
        reason: one clause.
        position: where, in characters.
        syntax: False when the text is JSON but no object.

    """

    def __init__(self, reason: str, position: int, *, syntax: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.position, self.syntax = reason, position, syntax


class Repeated(dict[str, "Any"]):
    """An object in which ``key`` stood more than once."""

    key = ""


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Hook for json: a dictionary, or a ``Repeated`` one when a key stands twice."""
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    repeated, seen = Repeated(members), set[str]()
    for key, _ in pairs:
        if key in seen:
            repeated.key = key
            break
        seen.add(key)
    return repeated


def load(text: str) -> Any:
    """The value of a whole JSON text; objects with duplicate keys come as ``Repeated``.

    Raises:
        MalformedError: it is not JSON, or nested too deeply.

    """
    try:
        at = _skip(text, 0)
        value, at = _scanner(text)(text, at)
        at = _skip(text, at)
    except (ValueError, StopIteration, RecursionError) as error:
        raise _malformed(error, 0) from None
    if at != len(text):
        raise MalformedError("more text follows its end", at)
    return value


Usual = Callable[[str, int], tuple[int, bool]]
"""Takes members of an object out of a text, from a position on; see :func:`members`."""


def members(text: str, usual: Usual | None = None) -> Iterator[tuple[str, Any, int]]:
    """Yield (key, value, position of the key in characters) of the one object that ``text`` is.

    Args:
        text: the whole JSON text.
        usual: takes over, at the position of a key, the members there that it knows how to read faster, one or many or
            none, which are then not yielded. It must take only valid JSON. It returns the position behind what it took
            and whether that was behind a member with no comma after it; a comma it takes only in front of a next key.

    Raises:
        MalformedError: the text is not one JSON object, or nested too deeply.

    """
    scan = _scanner(text)
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise _not_an_object(text, at)
    at = _skip(text, at + 1)
    more = text[at : at + 1] != "}"
    while more:
        at, through = usual(text, at) if usual else (at, False)
        if not through:
            start = at
            try:
                key, at = _key(text, at)
                value, at = scan(text, at)
            except (ValueError, StopIteration, RecursionError) as error:
                raise _malformed(error, at) from None
            yield key, value, start
        at = _skip(text, at)
        more = text[at : at + 1] == ","
        if more:
            at = _skip(text, at + 1)
    if text[at : at + 1] != "}":
        raise MalformedError("it breaks off", at)
    at = _skip(text, at + 1)
    if at != len(text):
        raise MalformedError("more text follows its end", at)


def _key(text: str, at: int) -> tuple[str, int]:
    """A key and the position of its value."""
    if text[at : at + 1] != '"':
        raise MalformedError("a name in quotes is missing", at)
    key, at = scanstring(text, at + 1, True)
    at = _skip(text, at)
    if text[at : at + 1] != ":":
        raise MalformedError("':' is missing", at)
    return key, _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    """Past white space."""
    if text[at : at + 1] in (" ", "\t", "\r", "\n"):
        return _SPACE.match(text, at).end()  # type: ignore[union-attr]
    return at


def _not_an_object(text: str, at: int) -> MalformedError:
    """JSON of another kind, or no JSON at all."""
    try:
        load(text)
    except MalformedError as error:
        return error
    return MalformedError("is not a JSON object", at, syntax=False)


def _malformed(error: Exception, at: int) -> MalformedError:
    """Python's reason as ours."""
    if isinstance(error, RecursionError):
        return MalformedError("nested too deeply", at)
    if isinstance(error, StopIteration):
        return MalformedError("a value is missing", at if error.value is None else error.value)
    if isinstance(error, json.JSONDecodeError):
        return MalformedError(error.msg[:1].lower() + error.msg[1:].removesuffix(" starting at"), error.pos)
    return MalformedError(str(error), at)


def _scanner(text: str) -> Callable[[str, int], tuple[Any, int]]:
    """The value reader of the standard library, made strict."""
    decoder = json.JSONDecoder(
        object_pairs_hook=unique,
        parse_constant=_no_constant,
        parse_float=_finite,
        # A Python call for each number is slow, and only "-0" needs it: it is no integer there.
        parse_int=_whole if "-0" in text else None,
    )
    scan: Callable[[str, int], tuple[Any, int]] = decoder.scan_once  # type: ignore[attr-defined]
    return scan


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"number {digits[:20]} is out of range")
    return value


def _whole(digits: str) -> int:
    # Typed as int for json's sake: a float where a whole number is wanted is refused later.
    return -0.0 if digits == "-0" else int(digits)  # type: ignore[return-value]
