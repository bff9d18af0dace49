"""The textconv text of a DVC pointer: the same tensor lines that its models themselves would give."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator

from diffai.errors import DiffaiError, FormatError, SourceError
from diffai.git.dvc_driver import beside, git_place, place_of, read
from diffai.git.environment import GitEnvironment
from diffai.model import State
from diffai.repository.runner import GitError, Repository
from diffai.sources.directory import Directory
from diffai.stores.dvc.cache import DvcPlace, find_dvc
from diffai.stores.dvc.items import DvcItem, entries_of, entry_item, items_of, open_item
from diffai.stores.dvc.pointers import parse_dvc_file
from diffai.views.state import describe_state
from diffai.views.style import escape, plural

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from diffai.model import Checkpoint
    from diffai.repository.place import GitPlace
    from diffai.sources.base import Source

    TextOf = Callable[[Checkpoint, Source, GitEnvironment], list[str]]


def pointer_text(file: str, environment: GitEnvironment, text_of: TextOf) -> Iterator[str]:
    """The lines behind the verbatim text of a pointer: what its outputs hold, tensor by tensor.

    git tells textconv no path, so an object is looked for in every DVC cache of the work tree: its address says that
    it is the right one wherever it lies.
    """
    git = git_place()
    try:
        parsed = parse_dvc_file(read(file), posixpath.basename(file.replace(os.sep, "/")))
        place = _any_place(git)
        if os.path.isabs(file):
            items = [DvcItem(out, "", "", place) for out in parsed.outs]
        else:  # the work tree's own file
            items = items_of(parsed, file, place, yaml=beside(git, file))
    except SourceError as error:
        yield f"# diffai: {escape(str(error), longest=500)}"
        return
    for item in items:
        yield from out_lines(item, environment, text_of)


def _any_place(git: GitPlace | None) -> DvcPlace | None:
    """All caches of the DVC repositories of the work tree, the one at its top first."""
    place = place_of("", git)
    if git is None or not git.top:
        return place
    try:
        listed = Repository().ask("ls-files", "-z", "--full-name", "--", ":(top,glob)**/.dvc/config")
    except GitError:
        listed = b""
    caches = list(place.caches) if place is not None else []
    for record in listed.split(b"\0"):
        folder = posixpath.dirname(posixpath.dirname(os.fsdecode(record)))
        other = find_dvc(os.path.join(git.top, folder), git) if folder else None
        caches += other.caches if other is not None else ()
    if place is None and not caches:
        return None
    return DvcPlace(git.top, tuple(dict.fromkeys(caches)), git)


def out_lines(item: DvcItem, environment: GitEnvironment, text_of: TextOf) -> Iterator[str]:
    """One heading, then the lines of the model; outputs that are no models are named by their heading alone."""
    out = item.out
    name = escape(f"{out.stage}: {out.path}" if out.stage else out.path, longest=0)
    if not out.is_directory:
        yield from _file_lines(item, f"# {name}", environment, text_of)
        return
    try:
        entries = entries_of(item)
    except DiffaiError as error:
        yield f"# {name}/: {escape(str(error), longest=500)}"
        return
    if entries is None:
        yield f"# {name}/: {describe_state(_state(item))}"
        return
    from diffai.models.names import is_model_name

    models = [entry for entry in entries if is_model_name(entry.relpath)]
    yield f"# {name}/: {plural(len(entries), 'file')}, {len(models):,} of them models"
    for entry in models:
        label = f"# {name}/{escape(entry.relpath, longest=0)}"
        yield from _file_lines(entry_item(item, entry), label, environment, text_of)


def _state(item: DvcItem) -> State:
    found = open_item(item).opened
    assert isinstance(found, State)
    return found


def _file_lines(item: DvcItem, heading: str, environment: GitEnvironment, text_of: TextOf) -> Iterator[str]:
    from diffai.models.names import is_model_name

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
        yield from _model_lines(found, environment, text_of)
    finally:
        found.close()


def _model_lines(source: Source, environment: GitEnvironment, text_of: TextOf) -> Iterator[str]:
    from diffai.models.inputs import open_alone, unreadable

    try:
        checkpoint = open_alone(source, environment.limits())
    except FormatError as error:
        yield f"# {describe_state(unreadable(error))}"
        return
    try:
        yield from text_of(checkpoint, source, environment)
    except SourceError as error:
        yield f"# {escape(str(error), longest=500)}"
    finally:
        checkpoint.close()
