"""YAML by PyYAML's event parser, which does not recurse, and a constructor of our own, which makes only plain values.

Scalars mean what YAML 1.1 says, as PyYAML has it, which most programs that train models read their files with; where
YAML 1.2 would say otherwise (``yes``, ``010``, ``1e-3``), it is noted. A tag that is not YAML's own makes nothing: it
is kept as the key of what it stands before.
"""

from __future__ import annotations

import datetime
import json
import re

from diffai.comparison.documents.reading import CODE, Document, DocumentError, read_text, twice
from diffai.comparison.documents.result import Key, Special, Value
from diffai.errors import LimitError
from diffai.formats.base import Budget, Limits
from diffai.frozen import slotted
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TAG = "tag:yaml.org,2002:"
_TRUE, _FALSE = ("yes", "true", "on"), ("no", "false", "off")
_NUMBER_OF_12 = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+")
_NULL = ("", "~", "null", "Null", "NULL")
_MOST_DIGITS = 4300
_MOST_SEXAGESIMAL = 20
_MOST_REMEMBERED = 100_000
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def read(source: Source, limits: Limits) -> Document:
    """Read a document, or a stream of several, which become a list.

    Raises:
        DocumentError: it is not YAML, or an alias stands for what contains it, with line and column.
        LimitError: it holds too much, aliases written out.
    """
    import yaml

    told = read_text(source, limits)
    constructor = _Constructor(yaml, Budget(limits, CODE))
    try:
        for event in yaml.parse(told.text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            constructor.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        reason = f"is not YAML: {error.problem or error.context}"
        raise DocumentError(reason, line=line, column=column) from None
    except yaml.reader.ReaderError as error:
        raise DocumentError(f"is not YAML: {error.reason}", offset=error.position) from None
    except RecursionError:
        raise LimitError("has objects nested too deeply to be read", code=CODE) from None
    documents = constructor.documents
    value = documents[0] if len(documents) == 1 else documents or None
    return Document(value, told.encoding, (*told.notes, *constructor.notes()), len(documents) > 1)


@slotted
class _Open:
    """A collection that is open: what it is so far, the key that waits for its value, its anchor and own tag."""

    value: Value
    anchor: str
    tag: str
    line: int
    key: Value = None
    waits: bool = False
    nodes: int = 1
    merged: tuple[Value, ...] = ()


class _Constructor:
    """Makes values of events. An alias is the value itself, and counts as much as what it stands for."""

    def __init__(self, yaml: Any, budget: Budget) -> None:
        self.documents: list[Value] = []
        self._yaml = yaml
        self._budget = budget
        self._resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = yaml.SafeLoader.yaml_implicit_resolvers
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Value, int]] = {}
        self._plain: dict[str, Value] = {}
        self._tags: dict[str, Key] = {}
        self._twice: list[str] = []
        self._others: dict[str, tuple[int, int, str]] = {}  # kind: how often, first line, text
        self._handlers = {
            yaml.ScalarEvent: self._scalar, yaml.AliasEvent: self._alias,
            yaml.MappingStartEvent: self._start, yaml.SequenceStartEvent: self._start,
            yaml.MappingEndEvent: self._end, yaml.SequenceEndEvent: self._end,
            yaml.DocumentEndEvent: self._end_document,
        }  # fmt: skip

    def take(self, event: Any) -> None:
        """Take the next event of the stream."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def notes(self) -> tuple[str, ...]:
        """What is odd, each one sentence."""
        words = {
            "bool": "is true or false to YAML 1.1 only",
            "int": "is another number, or text, to YAML 1.2",
            "text": "is text to YAML 1.1 (PyYAML) and a number to YAML 1.2",
            "tag": "is a tag that makes nothing here",
        }
        notes = []
        for kind, (count, line, text) in self._others.items():
            more = f", and {count - 1:,} more like it" if count > 1 else ""
            notes.append(f"{text[:60]} (line {line}{more}) {words[kind]}")
        return (*twice(self._twice), *notes)

    def _end_document(self, _event: Any) -> None:
        self._anchors.clear()

    # ---------------------------------------------------------------- collections

    def _start(self, event: Any) -> None:
        self._budget.value()
        self._budget.deep(len(self._open) + 1)
        value: Value = {} if isinstance(event, self._yaml.MappingStartEvent) else []
        tag = event.tag if event.tag and event.tag != "!" else ""
        self._open.append(_Open(value, event.anchor or "", tag, event.start_mark.line + 1))
        if event.anchor:
            self._anchors.pop(event.anchor, None)

    def _end(self, _event: Any) -> None:
        done = self._open.pop()
        value = done.value
        if done.merged:
            self._merge(value, done)
        if done.tag and not done.tag.startswith(_TAG):
            value = self._tagged(done.tag, value, done.line)
        elif done.tag.removeprefix(_TAG).partition("/")[0] == "python":
            value = self._tagged(done.tag.replace(_TAG, "!!"), value, done.line)
        if done.anchor:
            self._anchors[done.anchor] = (value, done.nodes)
        self._put(value, done.nodes, done.line)

    def _merge(self, value: dict[Value, Value], done: _Open) -> None:
        """Add what ``<<`` brings; a mapping's own keys, and earlier ones, win."""
        for merged in done.merged:
            for other in merged if isinstance(merged, list) else [merged]:
                if not isinstance(other, dict):
                    raise DocumentError("is not YAML: << stands before what is no mapping", line=done.line)
                for key, inside in other.items():
                    value.setdefault(key, inside)

    def _put(self, value: Value, nodes: int, line: int) -> None:
        """Put a finished value where it belongs."""
        if not self._open:
            self.documents.append(value)
            return
        into = self._open[-1]
        into.nodes += nodes
        if isinstance(into.value, list):
            into.value.append(value)
        elif not into.waits:
            into.key, into.waits = self._key(value), True
        else:
            into.waits = False
            if into.key == Key("merge", "<<"):
                into.merged = (*into.merged, value)
                return
            if into.key in into.value:
                self._twice.append(into.key.text if isinstance(into.key, Key) else into.key)
            into.value[into.key] = value

    def _key(self, value: Value) -> Value:
        if isinstance(value, str | Key):
            return value
        if isinstance(value, Special):
            return Key(value.kind, value.text)
        if isinstance(value, dict | list):
            return Key("complex", json.dumps(value, default=str, skipkeys=True)[:1000])
        kind = {bool: "boolean", int: "integer", float: "float"}.get(type(value), "null")
        return Key(kind, json.dumps(value))

    def _alias(self, event: Any) -> None:
        line = event.start_mark.line + 1
        known = self._anchors.get(event.anchor)
        if known is None:
            reason = f"is not YAML: alias *{event.anchor[:40]} stands for something that contains it, or for nothing"
            raise DocumentError(reason, line=line)
        self._budget.value(known[1])
        self._put(known[0], known[1], line)

    def _tagged(self, tag: str, value: Value, line: int) -> Value:
        self._budget.value()
        self._note("tag", tag, line)
        key = self._tags.get(tag)
        if key is None:
            key = self._tags[tag] = Key("tag", tag[:200])
        return {key: value}

    def _note(self, kind: str, text: str, line: int) -> None:
        count, first, shown = self._others.get(kind, (0, line, text))
        self._others[kind] = (count + 1, first, shown)

    # ---------------------------------------------------------------- scalars

    def _scalar(self, event: Any) -> None:
        self._budget.value()
        text, line = event.value, event.start_mark.line + 1
        if event.implicit[0] and not event.tag:
            value = self._plain_value(text, line)
        elif event.tag in (None, "!", f"{_TAG}str"):
            value = text
        else:
            value = self._explicit(event.tag, text, line)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._put(value, 1, line)

    def _plain_value(self, text: str, line: int) -> Value:
        """What a plain scalar means; remembered unless there is something to be noted of it."""
        if text in self._plain:
            return self._plain[text]
        kind = self._resolved(text)
        if kind == "merge":
            return Key("merge", text)
        noted = self._odd(kind, text)
        if noted:
            self._note(noted, text, line)
        value = self._made(kind, text)
        if not noted and len(self._plain) < _MOST_REMEMBERED:
            self._plain[text] = value
        return value

    def _resolved(self, text: str) -> str:
        for tag, pattern in self._resolvers.get(text[:1], ()):
            if pattern.match(text):
                return tag.removeprefix(_TAG)
        return "str"

    def _odd(self, kind: str, text: str) -> str:
        """What YAML 1.2 would take for something else, and how; "" for nothing."""
        if kind == "bool":
            return "" if text.lower() in ("true", "false") else "bool"
        if kind in ("int", "float"):
            bare = text.lstrip("+-").replace("_", "")
            octal = kind == "int" and len(bare) > 1 and bare[0] == "0" and bare[1:].isdigit()
            return "int" if octal or ":" in text or "_" in text or bare[:2].lower() == "0b" else ""
        return "text" if kind == "str" and _NUMBER_OF_12.fullmatch(text) else ""

    def _explicit(self, tag: str, text: str, line: int) -> Value:
        kind = tag.removeprefix(_TAG) if tag.startswith(_TAG) else ""
        if kind == "binary":
            return Special("binary", "".join(text.split()))
        if kind in ("bool", "int", "float", "null", "timestamp"):
            try:
                return self._made(kind, text)
            except (ValueError, KeyError):
                raise DocumentError(f"is not YAML: {text[:40]!r} is no {kind}", line=line) from None
        return self._tagged(tag.replace(_TAG, "!!"), text, line)

    def _made(self, kind: str, text: str) -> Value:
        if kind == "null":
            return None
        if kind == "bool":
            low = text.lower()
            return {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}[low]
        if kind == "int":
            return _whole(text)
        if kind == "float":
            return _float(text)
        return _moment(text) if kind == "timestamp" else text


def _whole(text: str) -> Value:
    """A whole number as YAML 1.1 writes it: decimal, 0b, 0x, octal behind 0, to base 60."""
    bare = text.replace("_", "")
    sign = -1 if bare.startswith("-") else 1
    bare = bare.lstrip("+-")
    if len(bare) > _MOST_DIGITS or bare.count(":") > _MOST_SEXAGESIMAL:
        return Special("number", text)
    if ":" in bare:
        value = 0
        for part in bare.split(":"):
            value = value * 60 + int(part)
        return sign * value
    base = {"0b": 2, "0x": 16}.get(bare[:2], 8 if len(bare) > 1 and bare[0] == "0" else 10)
    return sign * int(bare, base)


def _float(text: str) -> Value:
    """A number as YAML 1.1 writes it; one beyond floats stays as it is written."""
    bare = text.replace("_", "").lower()
    sign = -1.0 if bare.startswith("-") else 1.0
    bare = bare.lstrip("+-")
    if bare == ".inf":
        return sign * float("inf")
    if bare == ".nan":
        return float("nan")
    if bare.count(":") > _MOST_SEXAGESIMAL:
        return Special("number", text)
    value = 0.0
    for part in bare.split(":"):
        value = value * 60 + float(part)
    return Special("number", text) if value == float("inf") else sign * value


def _moment(text: str) -> Special:
    """A date or a moment; one that no calendar has stays as it is written."""
    if _DATE.fullmatch(text):
        return Special("date", text)
    bare = re.sub(r"[Tt]|[ \t]+", " ", text, count=1).replace("Z", "+00:00")
    try:
        return Special("datetime", datetime.datetime.fromisoformat(re.sub(r"[ \t]+(?=[-+])", "", bare)).isoformat())
    except ValueError:
        return Special("datetime", text)
