"""``diffai git-driver``: what git runs for one changed model file. It always exits 0 and never stops ``git diff``.

git calls it with 7 arguments (path, then file, oid and mode of both sides), 9 on a rename or copy, or 1 for an
unmerged path. Either file may be /dev/null, a temporary copy, the work-tree file, or a pointer's text.
"""

from __future__ import annotations

import os
import sys

from diffai.errors import DiffaiError, FormatError, SourceError
from diffai.git.environment import Change, GitEnvironment, ask_environment, quote_path, read_environment
from diffai.model import Absent, NotAModel, Unreadable
from diffai.stores.dvc import is_pointer_name
from diffai.views.style import escape, paint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from diffai.comparison.models import Input
    from diffai.comparison.result import ModelDiff
    from diffai.config.quick_git import Question
    from diffai.formats.base import Limits
    from diffai.git.remember import RememberedCall

_ZERO = "0" * 40
_ABBREV = 7
_LINK, _SUBMODULE = "120000", "160000"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the diff of one file; whatever happens, exit 0."""
    argv = list(sys.argv[2:] if arguments is None else arguments)
    if sys.stdout is None:  # started with standard output closed: there is nobody to tell
        return 0
    try:
        _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_quietly()
    except KeyboardInterrupt:
        _leave_quietly()
    except DiffaiError as error:
        _complain(f"diffai: {escape(str(error), longest=2000)}")
    except MemoryError:
        _complain("diffai: out of memory")
    except Exception as error:  # git must live: name the bug in one line, the traceback on request
        if os.environ.get("DIFFAI_DEBUG"):
            raise
        text = f"diffai: unexpected {type(error).__name__}: {error}"
        _complain(escape(text, longest=2000) + " (DIFFAI_DEBUG=1 shows where; please report it)")
    return 0


def _run(argv: list[str]) -> None:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    if len(argv) == 1:
        _unmerged(argv[0])
        return
    if len(argv) not in (7, 9):
        print(f"diffai git-driver: git passed {len(argv)} arguments; 1, 7 or 9 are known. "
              "It is called by git: see diffai install --help")  # fmt: skip
        return
    change = Change(
        argv[0], argv[7] if len(argv) == 9 else argv[0], argv[1], argv[2], argv[3], argv[4], argv[5], argv[6],
        argv[8] if len(argv) == 9 else "",
    )  # fmt: skip
    asked = ask_environment()  # git answers while the bytes are read
    pointer = is_pointer_name(change.old_path) and is_pointer_name(change.new_path)
    call = None if pointer or not _is_about_bytes(change) else _remembered(change, asked)
    known = call.get() if call is not None else None
    if known is not None:
        sys.stdout.write(known)
        return
    if pointer:
        from diffai.git.dvc_driver import pointer_diff, with_object_name

        change = with_object_name(change)
    else:
        import diffai.comparison.result  # noqa: F401
    environment = read_environment(asked)
    header = _header(change, environment)
    if environment.complaint:
        complaint = f"! diffai: {escape(environment.complaint, longest=500)}; defaults are used"
        header.append(paint(complaint, "!", environment.color))
    _print(header)
    sys.stdout.flush()  # the file's name stands before heavy work starts
    if pointer and not (change.old_absent and change.new_absent) and not _is_special(change):
        _print(pointer_diff(change, environment))
    elif call is not None:
        body = _compared_body(change, environment, call)
        if body:
            call.put("\n".join([*header, *body, ""]), environment.settings.cache_size)
    else:
        _body(change, environment)


def _unmerged(path: str) -> None:
    """A path in conflict, of which git tells nothing but its name."""
    print(f"* Unmerged path {quote_path('', path)}")
    sys.stdout.flush()
    from diffai.git.unmerged import unmerged_diff
    from diffai.views.text import presented

    environment = read_environment(ask_environment())
    _print(presented(unmerged_diff(path, environment), environment.text_options()))


def _is_about_bytes(change: Change) -> bool:
    """Whether what is printed depends on the bytes of both files, and on nothing that lies beside them."""
    both_absent = change.old_absent and change.new_absent
    return not (both_absent or _is_special(change) or change.old_path.endswith(".index.json"))


def _remembered(change: Change, asked: Question | None) -> RememberedCall:
    from diffai.git.remember import RememberedCall

    words = (
        "driver", change.old_path, change.new_path, change.old_hex, change.old_mode, change.new_hex, change.new_mode,
        change.note,
    )  # fmt: skip
    files = [
        os.devnull if absent else file
        for absent, file in ((change.old_absent, change.old_file), (change.new_absent, change.new_file))
    ]
    return RememberedCall("pair", words, files, asked)


def _is_special(change: Change) -> bool:
    """Whether a side is a symbolic link or a submodule, which has no content of its own.

    A link into git-annex is a pointer: git hands its target over as a file's text.
    """
    sides = ((change.old_mode, change.old_file), (change.new_mode, change.new_file))
    return any(mode == _SUBMODULE or (mode == _LINK and not _is_annexed(file)) for mode, file in sides)


def _is_annexed(file: str) -> bool:
    try:
        with open(file, "rb") as text:
            return b"annex/objects/" in text.read(4096)
    except OSError:
        return False


def _header(change: Change, environment: GitEnvironment) -> list[str]:
    """The lines that pagers and readers know: ``diff --git``, modes, rename, ``index``."""
    a, b = ("", "") if environment.no_prefix else ("a/", "b/")

    def named(prefix: str, path: str) -> str:
        return quote_path(prefix, path, quote_high=environment.quote_path)

    lines = [f"diff --git {named(a, change.old_path)} {named(b, change.new_path)}"]
    if change.old_absent and change.new_absent:
        return [environment.meta(line) for line in lines]
    if change.old_absent:
        lines.append(f"new file mode {change.new_mode}")
    elif change.new_absent:
        lines.append(f"deleted file mode {change.old_mode}")
    elif change.old_mode != change.new_mode:
        lines += [f"old mode {change.old_mode}", f"new mode {change.new_mode}"]
    lines += [escape(line, longest=0) for line in change.note.split("\n") if line]
    if not any(line.startswith("index ") for line in lines) and change.old_hex != change.new_hex:
        old = _ZERO if change.old_absent else change.old_hex
        new = _ZERO if change.new_absent else change.new_hex
        mode = f" {change.old_mode}" if change.old_mode == change.new_mode else ""
        lines.append(f"index {old[:_ABBREV]}..{new[:_ABBREV]}{mode}")
    return [environment.meta(line) for line in lines]


def _body(change: Change, environment: GitEnvironment) -> None:
    """What there is to say of what has no bytes of its own, or more than its own."""
    if change.old_absent and change.new_absent:
        _print(["  (neither side has this file)"])
        return
    if _is_special(change):
        _plain(change, environment)
        return
    from diffai.git.shard_index import index_diff

    _print(index_diff(change, environment))


def _compared_body(change: Change, environment: GitEnvironment, call: RememberedCall) -> list[str]:
    """Print what differs between two models; the lines come back where they may be remembered."""
    from diffai.cache.places import open_store
    from diffai.comparison.remembered import RememberedComparison
    from diffai.git.remember import is_one_file

    suffixes = (os.path.splitext(path)[1].lower() for path in (change.old_path, change.new_path))
    names = [f"{content} {suffix}" if content else "" for content, suffix in zip(call.contents, suffixes, strict=False)]
    store = open_store(limit=environment.settings.cache_size if names else 0)
    remembered = RememberedComparison(store, names, environment.compare_options())
    known = remembered.get()
    if known is not None:
        lines = _rendered(known, environment)
        _print(lines)
        return lines
    limits = environment.limits()
    old = _open(change.old_file, change.old_path, change.old_absent, limits)
    new = _open(change.new_file, change.new_path, change.new_absent, limits)
    try:
        if not any(_is_model(side) for side in (old, new)):
            _plain(change, environment)
            return []
        diff = _compared(old, new, environment)
        lines = _rendered(diff, environment) + _elsewhere(diff, change)
        _print(lines)
        if any(side.state is not None and not isinstance(side.state, Absent) for side in (old, new)):
            _print(_sizes(change))
            return []
        if not call.unchanged or any(s.checkpoint is not None and not is_one_file(s.checkpoint) for s in (old, new)):
            return []
        remembered.put(diff)
        return lines
    finally:
        for side in (old, new):
            if side.checkpoint is not None:
                side.checkpoint.close()


def _plain(change: Change, environment: GitEnvironment) -> None:
    from diffai.git.plain import plain_diff

    _print(plain_diff(change, environment))


def _compared(old: Input, new: Input, environment: GitEnvironment) -> ModelDiff:
    from diffai.comparison.models import compare_models

    return compare_models(old, new, environment.compare_options())


def _rendered(diff: ModelDiff, environment: GitEnvironment) -> list[str]:
    from diffai.views.text import render_text

    return render_text(diff, environment.text_options())


def _open(file: str, path: str, absent: bool, limits: Limits) -> Input:
    """One side as git handed it over; a pointer is followed to its object in the local store."""
    from diffai.comparison.models import Input
    from diffai.models.inputs import as_input, unreadable
    from diffai.snapshots.files import open_file

    if absent:
        return Input("", state=Absent())
    try:
        return as_input(open_file(file, path=path), limits, label=path)
    except (SourceError, FormatError) as error:
        return Input(path, state=unreadable(error))


def _is_model(side: Input) -> bool:
    return side.checkpoint is not None or not isinstance(side.state, (Absent, NotAModel))


def _elsewhere(diff: ModelDiff, change: Change) -> list[str]:
    """What can compare values that lie beside the file that git handed over."""
    path = change.new_path or change.old_path
    lacking = any(spec is not None and spec.lacking for tensor in diff.tensors for spec in (tensor.old, tensor.new))
    if not lacking and any(isinstance(side.state, Unreadable) for side in (diff.old, diff.new)):
        from diffai.models.at import may_have_companions

        lacking = may_have_companions(path)
    return [f"  (the whole model: diffai A..B -- {escape(path)})"] if lacking else []


def _sizes(change: Change) -> list[str]:
    """The byte-level fact that remains when a side could not be read."""
    words = []
    for file, oid, absent in (
        (change.old_file, change.old_hex, change.old_absent),
        (change.new_file, change.new_hex, change.new_absent),
    ):
        if absent:
            words.append("absent")
            continue
        try:
            size = f"{os.stat(file).st_size} bytes"
        except OSError:
            size = "unknown size"
        words.append(f"{oid[:_ABBREV]} {size}" if oid != _ZERO else size)
    return [f"  (bytes given by git: {words[0]} -> {words[1]})"]


def _print(lines: Iterable[str]) -> None:
    out = sys.stdout
    for line in lines:
        out.write(line + "\n")


def _complain(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        _leave_quietly()


def _leave_quietly() -> None:
    """The reader is gone, or the user pressed ^C: no traceback, no non-zero exit, not even at shutdown."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os._exit(0)
