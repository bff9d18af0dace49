"""Our ``[diff "diffai"]`` section in a git configuration file, as bytes.

``git config`` could write it, but could not take it out again so that every byte is as before (it leaves
section headers, and adds a final newline). So the section is written and removed as text, and git is asked,
before anything reaches the disk, whether it reads the new text as meant (:func:`verify`).

The marker is a comment on the header line: ``git config --remove-section diff.diffai`` takes it along.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from diffai.errors import SourceError
from diffai.frozen import frozen
from diffai.git.call import ask
from diffai.git.command import is_ours
from diffai.git.marks import Notes, ending_of, lines_of, newline_of

SECTION = "diff.diffai"
# The hunk header of a converted diff names the module of the tensor above it: "@@ ... @@ model.layers.3.mlp".
XFUNCNAME = r"^([^ ]+)\.[^. ]+  "

HEADER = b'[diff "diffai"]'
_MARK = b" # diffai install; to undo: diffai uninstall"
_KEY = re.compile(rb"[ \t]*(command|textconv|xfuncname)[ \t]*=[ \t]*(.*?)[ \t\r\n]*$", re.IGNORECASE | re.DOTALL)


@frozen
class _Line:
    text: bytes
    kind: str  # header (marked as ours), ours, key (foreign, in our section), other


def find(content: bytes | None) -> Notes | None:
    """The notes of our section, None when the file has none."""
    for line in _scan(content or b""):
        if line.kind == "header":
            return Notes.read(line.text)
    return None


def insert(content: bytes | None, values: Mapping[str, str], notes: Notes) -> bytes:
    """The content with our section holding ``values``: at the end, or in place of the one that is there.

    Args:
        content: of the file, None when there is none.
        values: by variable name without the section.
        notes: for a new section; an existing one keeps its own, ``committed`` excepted.

    """
    lines = _scan(content or b"")
    old = find(content)
    if old is None:
        before = b"".join(line.text for line in lines if line.kind != "ours")
        newline = newline_of(before)
        unended = bool(before) and not before.endswith(b"\n")
        text = _section_text(values, replace(notes, unended=unended), newline)
        return before + (newline if unended else b"") + text
    merged = replace(old, committed=old.committed or notes.committed)
    out: list[bytes] = []
    written = False
    for line in lines:
        if line.kind == "header" and not written:
            out.append(_section_text(values, merged, ending_of(line.text)))
            written = True
        elif line.kind not in ("header", "ours"):
            out.append(line.text)
    return b"".join(out)


def remove(content: bytes) -> bytes:
    """The content without our section; keys that others wrote into it stay, under a bare header."""
    lines = _scan(content)
    out: list[bytes] = []
    unended = b""
    for index, line in enumerate(lines):
        if line.kind == "header":
            if _holds_foreign_key(lines[index + 1 :]):
                out.append(HEADER + ending_of(line.text))
            unended = ending_of(line.text) if Notes.read(line.text).unended else b""
        elif line.kind != "ours":
            out.append(line.text)
            unended = b""
    return b"".join(out).removesuffix(unended)


def verify(before: bytes | None, after: bytes, values: Mapping[str, str], *, path: str) -> None:
    """Make sure that git reads ``after`` as ``before`` with exactly ``values`` as our keys.

    Raises:
        SourceError: it does not, or the file was broken already.

    """
    wanted = [f"{SECTION}.{key}\n{value}".encode("utf-8", "surrogateescape") for key, value in values.items()]
    kept = _entries(before or b"", path)
    result = _entries(after, path)
    foreign = [entry for entry in kept if not _is_our_entry(entry)]
    if sorted(result) != sorted(foreign + wanted):
        raise SourceError(f"{path}: cannot be edited without changing what it says; edit its end by hand")


def _entries(content: bytes, path: str) -> list[bytes]:
    answer = ask("config", "--file", "-", "--no-includes", "--list", "-z", stdin=content)
    if answer.status != 0:
        reason = answer.error.splitlines()[0] if answer.error else f"exit {answer.status}"
        raise SourceError(f"{path}: git cannot read it: {reason.removeprefix('fatal: ')}")
    return answer.output.split(b"\0")[:-1]


def _is_our_entry(entry: bytes) -> bool:
    key, _, value = entry.partition(b"\n")
    text = value.decode("utf-8", "replace")
    name = key.decode("utf-8", "replace")
    if name in (f"{SECTION}.command", f"{SECTION}.textconv"):
        return is_ours(text)
    return name == f"{SECTION}.xfuncname" and text == XFUNCNAME


def _section_text(values: Mapping[str, str], notes: Notes, newline: bytes) -> bytes:
    lines = [HEADER + _MARK + notes.write()]
    lines += [f"\t{key} = {_quote(value)}".encode("utf-8", "surrogateescape") for key, value in values.items()]
    return b"".join(line + newline for line in lines)


def _quote(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _scan(content: bytes) -> list[_Line]:
    """Each line with what it is to us."""
    out: list[_Line] = []
    inside = False
    for text in lines_of(content):
        bare = text.strip()
        kind = "other"
        if bare.startswith(b"["):
            inside = bare.startswith(HEADER)
            if bare.startswith(HEADER + _MARK):
                kind = "header"
        elif inside and bare and not bare.startswith((b"#", b";")):
            kind = "ours" if _is_our_line(text) else "key"
        out.append(_Line(text, kind))
    return out


def _is_our_line(text: bytes) -> bool:
    match = _KEY.match(text)
    if match is None or not match[2].startswith(b'"') or not match[2].endswith(b'"'):
        return False
    value = match[2][1:-1].decode("utf-8", "replace")
    return value == _quote(XFUNCNAME)[1:-1] if match[1].lower() == b"xfuncname" else is_ours(value)


def _holds_foreign_key(lines: Sequence[_Line]) -> bool:
    for line in lines:
        if line.kind == "key":
            return True
        if line.kind == "header" or line.text.strip().startswith(b"["):
            return False
    return False
