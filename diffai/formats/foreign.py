"""What content is when diffai does not read it: other model formats, and files that are no model at all.

Only consulted after every supported format has declined, so that its guesses cannot shadow a real reader.
Pickles never come here: the torch reader looks into all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from diffai.frozen import frozen


@frozen
class Kind:
    """What content looks like.

    Attributes:
        kind: for a sentence, with its article where it needs one: ``ONNX``, ``an HTML page``; "" = unknown.
        model: whether it is a model format, which may be read one day.
        hint: a likely reason, in parentheses, with a leading space.
    """

    kind: str
    model: bool = True
    hint: str = ""


UNKNOWN = Kind("")

_TEXT_HINT = " (a failed download?)"
_MAGIC: tuple[tuple[bytes, int, Kind], ...] = (
    (b"lmgg", 0, Kind("GGML")), (b"fmgg", 0, Kind("GGML")), (b"tjgg", 0, Kind("GGML")),
    (b"ET12", 4, Kind("ExecuTorch (.pte)")), (b"ftrt", 0, Kind("TensorRT")),
    (b"binf", 0, Kind("XGBoost (old binary)")), (b"bs64\t", 0, Kind("XGBoost (old binary)")),
    (b"\x0c\xdb\x3a\x2a", 0, Kind("Orbax (OCDBT)")),
    (b"\x89PNG\r\n\x1a\n", 0, Kind("a PNG image", False)),
    (b"\xff\xd8\xff", 0, Kind("a JPEG image", False)),
    (b"GIF8", 0, Kind("a GIF image", False)),
    (b"%PDF-", 0, Kind("a PDF document", False)),
    (b"PAR1", 0, Kind("a Parquet table", False)),
    (b"\x7fELF", 0, Kind("a program (ELF)", False)),
    (b"SQLite format 3\0", 0, Kind("an SQLite database", False)),
    (b"\x1f\x8b", 0, Kind("a gzip archive", False, "; unpack it first")),
    (b"\xfd7zXZ\0", 0, Kind("an xz archive", False, "; unpack it first")),
    (b"BZh", 0, Kind("a bzip2 archive", False, "; unpack it first")),
    (b"\x28\xb5\x2f\xfd", 0, Kind("a zstd archive", False, "; unpack it first")),
    (b"7z\xbc\xaf\x27\x1c", 0, Kind("a 7z archive", False, "; unpack it first")),
    (b"Rar!\x1a\x07", 0, Kind("a RAR archive", False, "; unpack it first")),
    (b"ustar", 257, Kind("a tar archive", False, "; unpack it first")),
)  # fmt: skip


def identify(head: bytes, size: int) -> Kind:
    """What ``head``, the first 4 KiB of a file of ``size`` bytes, looks like."""
    for magic, at, kind in _MAGIC:
        if head.startswith(magic, at):
            return kind
    for guess in (_zip, _old_xgboost):
        kind = guess(head)
        if kind.kind:
            return kind
    return _text(head, size)


def _zip(head: bytes) -> Kind:
    """Zip archives by the name of their first member."""
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return UNKNOWN
    if b"com.apple.CoreML" in head[30 : 30 + int.from_bytes(head[26:28], "little")]:
        return Kind("Core ML (.mlpackage in a zip)")
    return Kind("a zip archive", False, "; unpack it first")


def _old_xgboost(head: bytes) -> Kind:
    """The binary form before JSON, where it has no magic: an objective's name behind 136 bytes of parameters."""
    length = int.from_bytes(head[136:144], "little")
    objective = head[144 : 144 + length] if 0 < length < 64 else b""
    return Kind("XGBoost (old binary)") if re.fullmatch(rb"[a-z]+:[a-z0-9_]+", objective) else UNKNOWN


def _text(head: bytes, size: int) -> Kind:
    """Text of some sort: no control characters, valid UTF-8."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4 or size <= len(head):  # not merely cut inside a character
            return UNKNOWN
        text = head[: error.start].decode("utf-8")
    if any(character < " " and character not in "\t\r\n\f\x1b" for character in text):
        return UNKNOWN
    start = text.lstrip("\ufeff \t\r\n")
    for title, sign in _TEXTS:
        if sign(start):
            return Kind(title, False, _TEXT_HINT if title == "an HTML page" else "")
    return Kind("text", False, _TEXT_HINT if size < 512 else "")


_TEXTS: tuple[tuple[str, Callable[[str], object]], ...] = (
    ("a git-LFS pointer", re.compile(r"version https?://(git-lfs|hawser|git-media)\S*[\s\S]*\boid sha256:").match),
    ("an HTML page", re.compile(r"<(!doctype html|html|head|body)\b", re.IGNORECASE).match),
    ("XML", re.compile(r"<\?xml|<[a-z]", re.IGNORECASE).match),
    ("a DVC pointer", re.compile(r"(?m)(?=[\s\S]*^outs:)(?=[\s\S]*^[ -]*(md5|hash|etag): )").match),
    ("JSON text", re.compile(r"[\[{]").match),
)
