"""The marked block of ``GLOB diff=diffai`` lines in a git attributes file, as bytes, and asking git who wins."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from diffai.errors import UsageError
from diffai.formats.table import model_globs
from diffai.frozen import frozen
from diffai.git.call import demand
from diffai.git.marks import Notes, ending_of, lines_of, newline_of

DRIVER = "diffai"
DEFAULT_GLOBS = (*model_globs(), "*.dvc", "dvc.lock")

BEGIN = b"# >>> diffai >>>"
END = b"# <<< diffai <<<"
_OURS = b" diff=diffai"
_LONGEST_LINE = 2048  # git ignores longer attribute lines


@frozen
class Block:
    """The block as it stands in a file: its globs, as written there, and its notes."""

    globs: tuple[bytes, ...]
    notes: Notes


def find(content: bytes | None) -> Block | None:
    """The block in an attributes file, None when there is none."""
    lines = lines_of(content or b"")
    marks = _scan(lines)
    if not any(mark == "begin" for mark in marks):
        return None
    globs = [line.strip()[: -len(_OURS)] for line, mark in zip(lines, marks, strict=True) if mark == "ours"]
    return Block(tuple(globs), Notes.read(lines[marks.index("begin")]))


def insert(content: bytes | None, globs: Sequence[str], notes: Notes) -> bytes:
    """The content with a block of these globs: at the end, or in place of the one that is there.

    Args:
        content: of the file, None when there is none.
        globs: gitignore-style patterns; those already in the block are kept.
        notes: for a new block; an existing one keeps its own.

    Raises:
        UsageError: a glob that cannot stand in an attributes file.

    """
    quoted = list(dict.fromkeys(quote_glob(glob) for glob in globs))
    block = find(content)
    if block is None:
        before = content or b""
        newline = newline_of(before)
        unended = bool(before) and not before.endswith(b"\n")
        text = _block_text(quoted, replace(notes, unended=unended), newline)
        return before + (newline if unended else b"") + text
    assert content is not None
    lines, marks = lines_of(content), _scan(lines_of(content))
    quoted += [glob for glob in block.globs if glob not in quoted]
    first = marks.index("begin")
    text = _block_text(quoted, block.notes, ending_of(lines[first]))
    kept = [line for line, mark in zip(lines[first:], marks[first:], strict=True) if mark == "foreign"]
    return b"".join(lines[:first]) + text + b"".join(kept)


def remove(content: bytes) -> bytes:
    """The content without our block; lines that others wrote into it stay."""
    lines = lines_of(content)
    marks = _scan(lines)
    if "begin" not in marks:
        return content
    first = marks.index("begin")
    head = b"".join(lines[:first])
    tail = b"".join(line for line, mark in zip(lines[first:], marks[first:], strict=True) if mark == "foreign")
    if not tail and Notes.read(lines[first]).unended:
        head = head.removesuffix(ending_of(lines[first]))
    return head + tail


def quote_glob(glob: str) -> bytes:
    """A glob as the first word of an attributes line, C-quoted where git needs that.

    Raises:
        UsageError: empty, negative, a macro, a folder, or with a control character.

    """
    if not glob or glob.isspace():
        raise UsageError("--include needs a glob, such as '*.bin'")
    if any(ord(character) < 32 or character == "\x7f" for character in glob):
        raise UsageError(f"--include {glob!r}: control characters are not possible in an attributes file")
    if glob.startswith("!"):
        raise UsageError(f"--include {glob!r}: git attributes have no negative patterns")
    if glob.startswith("[attr]"):
        raise UsageError(f"--include {glob!r}: reads as an attribute macro")
    if glob.endswith("/"):
        raise UsageError(f"--include {glob!r}: a folder has no attributes; write {glob + '**'!r}")
    raw = os.fsencode(glob)
    if re.search(rb'[ "]', raw) or raw.startswith(b"#"):
        raw = b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    if len(raw) + len(_OURS) >= _LONGEST_LINE:
        raise UsageError("--include: git ignores attribute lines longer than 2048 bytes")
    return raw


def _block_text(quoted: Iterable[bytes], notes: Notes, newline: bytes) -> bytes:
    lines = [BEGIN + notes.write(), *(glob + _OURS for glob in quoted), END]
    return b"".join(line + newline for line in lines)


def _scan(lines: Sequence[bytes]) -> list[str]:
    """For each line: ``begin``, ``end``, ``ours`` (a glob of the block) or ``foreign``.

    A block whose end was lost reaches as far as its lines look like ours.
    """
    marks: list[str] = []
    inside = False
    for index, line in enumerate(lines):
        text = line.strip()
        mark = "foreign"
        if text.startswith(BEGIN):
            mark, inside = "begin", True
        elif inside and text == END:
            mark, inside = "end", False
        elif inside and text.endswith(_OURS):
            mark = "ours"
        elif inside and not _ends_later(lines, index):
            inside = False
        marks.append(mark)
    return marks


def _ends_later(lines: Sequence[bytes], index: int) -> bool:
    for line in lines[index:]:
        if line.strip() == END:
            return True
        if line.strip().startswith(BEGIN):
            return False
    return False


# ---------------------------------------------------------------- who wins


@frozen
class Attributes:
    """What git says about one path: ``diff`` and ``filter`` as ``set``, ``unset``, ``unspecified`` or a value."""

    diff: str
    filter: str


def ask_git(paths: Sequence[str], *, cwd: str) -> dict[str, Attributes]:
    """The winning ``diff`` and ``filter`` attributes of each path, in one call of git.

    Args:
        paths: relative to ``cwd``.
        cwd: a folder of the repository.

    Raises:
        GitError: not in a repository.

    """
    if not paths:
        return {}
    stdin = b"".join(os.fsencode(path) + b"\0" for path in paths)
    fields = demand("check-attr", "-z", "--stdin", "diff", "filter", cwd=cwd, stdin=stdin).output.split(b"\0")
    found: dict[str, Attributes] = {}
    for start in range(0, len(fields) - 5, 6):
        path, _, diff, _, _, filtered = fields[start : start + 6]
        found[os.fsdecode(path)] = Attributes(os.fsdecode(diff), os.fsdecode(filtered))
    return found
