"""The documents among the files of two trees that are no models, where the user chose them (``--include``)."""

from __future__ import annotations

from collections.abc import Sequence

from diffai.comparison.documents.compare import compare_documents
from diffai.comparison.documents.result import DocumentChange, DocumentOptions
from diffai.comparison.documents.table import kind_named
from diffai.errors import DiffaiError, UsageError
from diffai.model import State, natural_key
from diffai.snapshots.files import sentence
from diffai.sources.directory import Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.models.reference import File
    from diffai.snapshots.snapshot import Snapshot

    Others = Sequence[tuple[File | None, File | None]]


def documents_among(
    others: Others, old: Snapshot, new: Snapshot, options: DocumentOptions
) -> tuple[tuple[DocumentChange, ...], list[tuple[File | None, File | None]]]:
    """The change of each document, in natural order, and the files that are none."""
    found: list[DocumentChange] = []
    rest = []
    for before, after in others:
        path = next(file.path for file in (after, before) if file is not None)
        if kind_named(path) is None:
            rest.append((before, after))
        elif before is None or after is None:
            found.append(DocumentChange(path, "added" if before is None else "removed"))
        else:
            found.append(_compared(path, (before, old), (after, new), options))
    return tuple(sorted(found, key=lambda change: natural_key(change.path))), rest


def _compared(
    path: str, old: tuple[File, Snapshot], new: tuple[File, Snapshot], options: DocumentOptions
) -> DocumentChange:
    sources = []
    try:
        for file, snapshot in (old, new):
            opened = file.open(snapshot)
            if isinstance(opened, State):
                raise DiffaiError(f"{snapshot.name(path)}: {sentence(opened)}")
            if isinstance(opened, Directory):
                raise DiffaiError(f"{snapshot.name(path)}: is a directory")
            sources.append(opened)
        return DocumentChange(path, "compared", compare_documents(sources[0], sources[1], options, alone=False))
    except UsageError:
        raise
    except DiffaiError as error:
        return DocumentChange(path, "unreadable", reason=str(error))
    finally:
        for source in sources:
            source.close()
