"""What the words of a command line mean where they name two documents and no model."""

from __future__ import annotations

import os
from collections.abc import Sequence

from diffai.comparison.documents.compare import is_document
from diffai.comparison.documents.table import kind_called, kind_named
from diffai.errors import SourceError
from diffai.formats.registry import HEAD_BYTES, recognised
from diffai.model import Absent, State
from diffai.models.names import is_model_name
from diffai.snapshots.files import sentence
from diffai.sources.base import Source
from diffai.sources.directory import Directory
from diffai.stores.dvc import is_pointer_name
from diffai.stores.store import Opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.snapshots.snapshot import Snapshot

Pair = tuple[Source, Source]


def two_documents(old: str, new: str, kind: str = "") -> Pair | None:
    """The opened files that two words name, where both are documents; None where one is a model or anything else.

    ``kind`` is what ``--input-format`` says. What is wrong with a word is left to those who open it as a model.
    """
    forced = kind_called(kind) is not None
    if (kind and not forced) or any(map(os.path.isdir, (old, new))):
        return None
    if not forced and any(is_model_name(word) or is_pointer_name(word) for word in (old, new)):
        return None
    from diffai.snapshots.resolve import open_source

    found: list[Opened] = []
    for word in (old, new):
        try:
            found.append(open_source(word))
        except SourceError:
            break
    return _both(found, (old, new), forced=forced)


def documents_at(old: Snapshot, new: Snapshot, path: str, kind: str = "") -> Pair | None:
    """The same for a path at two moments; None where it is a model, or not a file on both sides."""
    forced = kind_called(kind) is not None
    if (kind and not forced) or (not forced and (is_model_name(path) or is_pointer_name(path))):
        return None
    found: list[Opened] = []
    for side in (old, new):
        try:
            found.append(side.open(path))
        except SourceError:
            break
    return _both(found, (old.name(path), new.name(path)), forced=forced)


def _both(found: Sequence[Opened], labels: tuple[str, str], *, forced: bool) -> Pair | None:
    """Both sides, where they are files of a kind; what is not handed on is closed.

    Raises:
        SourceError: a side is called like a document, and its bytes are not here.
    """
    for one, label in zip(found, labels, strict=False):
        if isinstance(one, State) and not isinstance(one, Absent) and (forced or kind_named(label) is not None):
            for other in found:
                if not isinstance(other, State | Directory):
                    other.close()
            raise SourceError(f"{label}: {sentence(one)}")
    sources: list[Source] = [one for one in found if not isinstance(one, State | Directory)]
    if len(sources) == 2 and (forced or all(map(_is_plain_document, sources))):
        return (sources[0], sources[1])
    for one in found:
        if not isinstance(one, State | Directory):
            one.close()
    return None


def _is_plain_document(source: Source) -> bool:
    """Whether a file is a document and no model; some models are JSON or plain text."""
    if not is_document(source):
        return False
    head = source.read(0, min(source.size, HEAD_BYTES))
    return not recognised(head, source.size, source.label)


__all__ = ["documents_at", "two_documents"]
