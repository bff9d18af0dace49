"""``diffai textconv FILE``: one model as text, for ``git log -p``, ``git show``, ``git blame`` and merges.

It always exits 0, prints no colour, and prints something that differs when the content differs.
"""

from __future__ import annotations

import os
import sys

from diffai.cache.places import digest_of
from diffai.errors import DiffaiError, FormatError, SourceError
from diffai.git.environment import GitEnvironment, ask_environment, read_environment
from diffai.model import Checkpoint, LfsPointer, NotAModel, State
from diffai.snapshots.directory import Directory
from diffai.stores.dvc.names import is_pointer_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from diffai.sources.base import Source

_TEXT_LIMIT = 50_000_000


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
        from diffai.views.style import escape

        text = f"diffai: {type(error).__name__}: {error}" if not isinstance(error, DiffaiError) else f"diffai: {error}"
        print(f"{escape(text, longest=500)}, {_fingerprint(argv[0])}")
    return 0


def _run(path: str) -> None:
    asked = ask_environment()  # git answers while the next modules are loaded
    import diffai.git.remember  # noqa: F401
    from diffai.snapshots.resolve import open_file

    environment = read_environment(asked)
    if is_pointer_name(os.path.basename(path)) and _print_text(path):
        from diffai.git.dvc_text import pointer_text

        _print(pointer_text(path, environment, checkpoint_text))
        return
    if path.endswith(".index.json"):
        from diffai.git.shard_index import index_text, read_weight_map

        weights = read_weight_map(path)
        if weights is not None:
            _print(index_text(weights))
            return
    found = open_file(path, path="")
    if isinstance(found, Directory):  # only a DVC pointer stands for one, and those were told apart by name
        _print([f"diffai: {_fingerprint(path)}"])
        return
    if isinstance(found, State):
        _print_state(path, found)
        return
    try:
        _print_source(path, found, environment)
    finally:
        found.close()


def _print_source(path: str, source: Source, environment: GitEnvironment) -> None:
    from diffai.formats.registry import open_checkpoint
    from diffai.git.remember import RememberedText
    from diffai.models.inputs import unreadable
    from diffai.views.state import describe_state
    from diffai.views.textconv import SCHEMA

    remembered = RememberedText(source, path, SCHEMA, environment)
    known = remembered.get()
    if known is not None:
        _print(known)
        return
    try:
        checkpoint = open_checkpoint(source, environment.limits())
    except FormatError as error:
        state = unreadable(error)
        if isinstance(state, NotAModel) and _print_text(path):
            return
        _print([f"diffai: {describe_state(state)}, {source.size} bytes, xxh3:{digest_of(source)}"])
        return
    try:
        lines = checkpoint_text(checkpoint, source, environment)
        _print(lines)
        remembered.put(lines)
    finally:
        checkpoint.close()


def checkpoint_text(checkpoint: Checkpoint, source: Source, environment: GitEnvironment) -> list[str]:
    """The text of one model: what it is, metadata, and a line a tensor."""
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
