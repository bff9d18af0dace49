"""YAML that came with a clone: looked at before it is loaded, so that no text can exhaust the stack, memory or time.

PyYAML's C loader recurses without a limit, and merge keys can multiply a few lines beyond any memory. Here the events
of the text are counted first, by a parser that does not recurse: how deep it goes, and how much it becomes when every
alias stands for its content. Scalars stay text, so that none is computed (``1:1:1:...`` is a number to base 60).
"""

from __future__ import annotations

from diffai.errors import SourceError
from diffai.stores.dvc.plain_yaml import NotPlainError, parse_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_LINES = 400_000
"""A ``dvc.lock`` of a thousand stages has about 15,000."""

MAX_DEPTH = 64
MAX_NODES = 1_000_000
_MOST_PLAIN_DEPTH = 24  # a text that cannot be deeper, and names nothing twice, is not counted
_MAX_FOREIGN_BYTES = 8 << 20


class DvcTextError(SourceError):
    """A pointer or a manifest that cannot be understood; the text says why and where."""


def load(data: bytes) -> Any:
    """One document: dictionaries, lists and text.

    Raises:
        DvcTextError: no YAML, or over a limit.
    """
    if data.count(b"\n") > MAX_LINES:
        raise DvcTextError(f"longer than {MAX_LINES:,} lines")
    try:
        return parse_plain(data)
    except NotPlainError:
        pass
    if len(data) > _MAX_FOREIGN_BYTES:
        raise DvcTextError(f"longer than {_MAX_FOREIGN_BYTES >> 20} MB, and not as DVC writes it")
    import yaml

    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        if not _is_flat(data):
            _count(yaml, data, loader)
        return yaml.load(data, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}" if mark else ""
        raise DvcTextError(f"not valid YAML{where}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise DvcTextError(f"not valid YAML: {str(error).splitlines()[0] if str(error) else 'too deep'}") from error


def _is_flat(data: bytes) -> bool:
    """Whether a text cannot be deep or multiply, seen without parsing it.

    A block that is deeper begins further right, behind spaces, dashes and question marks, save a list in a mapping;
    a flow collection has a bracket.
    """
    if data.count(b"[") + data.count(b"{") > _MOST_PLAIN_DEPTH or (b"*" in data and b"&" in data):
        return False
    return all(len(line) - len(line.lstrip(b" \t-?:\r")) <= _MOST_PLAIN_DEPTH for line in data.split(b"\n"))


def _count(yaml: Any, data: bytes, loader: Any) -> None:
    """Refuse what is too deep, too much, or contains itself."""
    nodes: list[int] = [0]  # of each collection that is open
    anchors: dict[str, int] = {}
    names: list[str] = []
    for event in yaml.parse(data, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise DvcTextError(f"alias *{event.anchor[:40]} stands for something that contains it, or for nothing")
            nodes[-1] += anchors[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            nodes.append(1)
            names.append(event.anchor or "")
        elif isinstance(event, yaml.CollectionEndEvent):
            inside = nodes.pop()
            nodes[-1] += inside
            _name(anchors, names.pop(), inside)
        elif isinstance(event, yaml.ScalarEvent):
            nodes[-1] += 1
            _name(anchors, event.anchor or "", 1)
        if len(nodes) > MAX_DEPTH:
            raise DvcTextError(f"deeper than {MAX_DEPTH} levels at line {event.start_mark.line + 1}")
        if nodes[-1] > MAX_NODES:
            raise DvcTextError(f"more than {MAX_NODES:,} values, aliases written out")


def _name(anchors: dict[str, int], anchor: str, nodes: int) -> None:
    if anchor:
        anchors[anchor] = nodes


def merged_keys(mapping: Any) -> dict[Any, Any]:
    """A mapping with what its merge key (``<<``) adds; empty for what is none. :func:`load` bounds how much that is."""
    found: dict[Any, Any] = {}
    if not isinstance(mapping, dict):
        return found
    added = mapping.get("<<")
    for other in added if isinstance(added, list) else [added]:
        for key, value in merged_keys(other).items():
            found.setdefault(key, value)
    return {**found, **{key: value for key, value in mapping.items() if key != "<<"}}
