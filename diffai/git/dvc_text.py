"""The textconv text of one output of a DVC pointer: the same tensor lines that the model itself would give."""

from __future__ import annotations

from collections.abc import Iterator

from diffai.errors import DiffaiError, FormatError, SourceError
from diffai.git.environment import GitEnvironment
from diffai.model import State
from diffai.snapshots.directory import Directory
from diffai.stores.dvc.items import DvcItem, entries_of, entry_item, open_item
from diffai.views.state import describe_state
from diffai.views.style import escape, plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.sources.base import Source


def out_lines(item: DvcItem, environment: GitEnvironment) -> Iterator[str]:
    """One heading, then the lines of the model; outputs that are no models are named by their heading alone."""
    out = item.out
    name = escape(f"{out.stage}: {out.path}" if out.stage else out.path, longest=0)
    if not out.is_directory:
        yield from _file_lines(item, f"# {name}", environment)
        return
    try:
        entries = entries_of(item)
    except DiffaiError as error:
        yield f"# {name}/: {escape(str(error), longest=500)}"
        return
    if entries is None:
        yield f"# {name}/: {describe_state(_state(item))}"
        return
    from diffai.comparison.directories import is_model_name

    models = [entry for entry in entries if is_model_name(entry.relpath)]
    yield f"# {name}/: {plural(len(entries), 'file')}, {len(models):,} of them models"
    for entry in models:
        label = f"# {name}/{escape(entry.relpath, longest=0)}"
        yield from _file_lines(entry_item(item, entry), label, environment)


def _state(item: DvcItem) -> State:
    found = open_item(item).opened
    assert isinstance(found, State)
    return found


def _file_lines(item: DvcItem, heading: str, environment: GitEnvironment) -> Iterator[str]:
    from diffai.comparison.directories import is_model_name

    wanted = item.out.model or is_model_name(item.label)
    if not wanted:
        yield f"{heading}: not called like a model"
        return
    try:
        found = open_item(item).opened
    except DiffaiError as error:
        yield f"{heading}: {escape(str(error), longest=500)}"
        return
    if isinstance(found, State):
        yield f"{heading}: {describe_state(found)}"
        return
    assert not isinstance(found, Directory)
    try:
        yield heading
        yield from _model_lines(found, environment)
    finally:
        found.close()


def _model_lines(source: Source, environment: GitEnvironment) -> Iterator[str]:
    from diffai.formats.registry import open_checkpoint
    from diffai.git.driver import limits_of
    from diffai.git.textconv import checkpoint_text
    from diffai.models.inputs import unreadable

    try:
        checkpoint = open_checkpoint(source, limits_of(environment))
    except FormatError as error:
        yield f"# {describe_state(unreadable(error))}"
        return
    try:
        yield from checkpoint_text(checkpoint, source, environment)
    except SourceError as error:
        yield f"# {escape(str(error), longest=500)}"
    finally:
        checkpoint.close()
