"""``diffai textconv FILE``: one model as text, for ``git log -p``, ``git show``, ``git blame`` and merges.

It always exits 0, prints no colour, and prints something that differs when the content differs.
"""

from __future__ import annotations

import os
import sys

from diffai.git.environment import GitEnvironment, ask_environment, read_environment
from diffai.git.remember import RememberedCall, is_one_file
from diffai.stores.dvc import is_pointer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from diffai.model import Checkpoint, State
    from diffai.sources.base import Source

_TEXT_LIMIT = 50_000_000
_INDEX_SUFFIX = ".index.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the text of one file; whatever happens, exit 0 and say something of the content."""
    argv = list(sys.argv[2:] if arguments is None else arguments)
    if sys.stdout is None:  # started with standard output closed: there is nobody to tell
        return 0
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    if len(argv) != 1:
        print("diffai textconv: expected one file; it is called by git: see diffai install --help", file=sys.stderr)
        return 0
    try:
        _run(argv[0])
        sys.stdout.flush()
    except (BrokenPipeError, KeyboardInterrupt):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(0)
    except Exception as error:  # git must live, and two unequal files must stay unequal
        if os.environ.get("DIFFAI_DEBUG"):
            raise
        from diffai.errors import DiffaiError
        from diffai.views.style import escape

        text = f"diffai: {type(error).__name__}: {error}" if not isinstance(error, DiffaiError) else f"diffai: {error}"
        print(f"{escape(text, longest=500)}, {_fingerprint(argv[0])}")
    return 0


def _run(path: str) -> None:
    asked = ask_environment()  # git answers while the bytes are read
    name = os.path.basename(path)
    special = is_pointer_name(name) or name.endswith(_INDEX_SUFFIX)
    call = None if special else RememberedCall("side", ("textconv", os.path.splitext(name)[1].lower()), (path,), asked)
    known = call.get() if call is not None else None
    if known is not None:
        sys.stdout.write(known)
        return
    from diffai.model import State
    from diffai.sources.directory import Directory

    environment = read_environment(asked)
    if special and _printed_without_model(path, environment):
        return
    from diffai.snapshots.files import open_file

    found = open_file(path, path="")
    if isinstance(found, Directory):  # only a DVC pointer stands for one, and those were told apart by name
        _print([f"diffai: {_fingerprint(path)}"])
        return
    if isinstance(found, State):
        _print_state(path, found)
        return
    try:
        text, alone = _source_text(path, found, environment)
    finally:
        found.close()
    sys.stdout.write(text)
    if text and alone and call is not None:
        call.put(text, environment.settings.cache_size)


def _printed_without_model(path: str, environment: GitEnvironment) -> bool:
    """Whether a DVC pointer or a shard index was printed, which say what they say without a tensor's value."""
    if is_pointer_name(os.path.basename(path)) and _print_text(path):
        from diffai.git.dvc_text import pointer_text

        _print(pointer_text(path, environment, checkpoint_text))
        return True
    from diffai.git.shard_index import index_text, read_weight_map

    weights = read_weight_map(path) if path.endswith(_INDEX_SUFFIX) else None
    if weights is not None:
        _print(index_text(weights))
    return weights is not None


def _source_text(path: str, source: Source, environment: GitEnvironment) -> tuple[str, bool]:
    """The text of a model, and whether this file is all of it; "" where it is none and was printed as what it is."""
    from diffai.cache.places import digest_of
    from diffai.errors import FormatError
    from diffai.model import NotAModel
    from diffai.models.inputs import open_alone, unreadable
    from diffai.views.state import describe_state

    try:
        checkpoint = open_alone(source, environment.limits())
    except FormatError as error:
        state = unreadable(error)
        if not (isinstance(state, NotAModel) and _print_text(path)):
            _print([f"diffai: {describe_state(state)}, {source.size} bytes, xxh3:{digest_of(source)}"])
        return "", False
    try:
        return "\n".join([*checkpoint_text(checkpoint, source, environment), ""]), is_one_file(checkpoint)
    finally:
        checkpoint.close()


def checkpoint_text(checkpoint: Checkpoint, source: Source, environment: GitEnvironment) -> list[str]:
    """The text of one model: what it is, metadata, and a line a tensor."""
    from diffai.cache.places import digest_of
    from diffai.model import TensorSummary
    from diffai.views import textconv

    specs = textconv.in_order(checkpoint.tensors)
    settings = environment.settings
    lines = textconv.render_header(checkpoint, source.size, digest_of(source)) + textconv.render_values(checkpoint)
    if settings.shape_only or (settings.max_bytes and source.size > settings.max_bytes):
        key = "shapeOnly" if settings.shape_only else "maxBytes"
        lines.append(f"# values were not read (git config diffai.{key})")
        summaries = [TensorSummary()] * len(specs)
    else:
        from diffai.tensors.engine import summarise

        summaries = summarise(checkpoint, specs, statistics=True, digest=True, threads=settings.threads)
    return lines + textconv.render_tensors(specs, summaries)


def _print_state(path: str, state: State) -> None:
    """An unresolved pointer is printed verbatim, plus its state."""
    from diffai.model import LfsPointer, NotAModel
    from diffai.views.state import describe_state

    if not _print_text(path):
        print(f"diffai: {describe_state(state)}, {_fingerprint(path)}")
        return
    if isinstance(state, LfsPointer) or not isinstance(state, NotAModel):
        print(f"diffai: {describe_state(state)}")


def _print_text(path: str) -> bool:
    """Print a text file as it is; False when it is not text."""
    try:
        if os.path.getsize(path) > _TEXT_LIMIT:
            return False
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return False
    if b"\0" in data[:8000]:  # git's own test for binary content
        return False
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    if data and not data.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()
    return True


def _fingerprint(path: str) -> str:
    """Size and digest of a file, or why there is none."""
    from diffai.cache.places import digest_of
    from diffai.errors import SourceError
    from diffai.sources.local import LocalFile

    try:
        source = LocalFile(path)
    except SourceError as error:
        return str(error)
    try:
        return f"{source.size} bytes, xxh3:{digest_of(source)}"
    except SourceError as error:
        return str(error)
    finally:
        source.close()


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
