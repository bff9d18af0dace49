"""Compressed streams: which they are, and their content in blocks, bounded.

gzip, zlib, bzip2, xz, lzma are Python's own; zstd and lz4 need the extra ``compressed``. joblib's first container
(``ZF``, the size in hexadecimal, then zlib) is one more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from diffai.errors import FormatError
from diffai.formats.base import Budget
from diffai.formats.regions import COPY_BLOCK
from diffai.sources.base import Source

FORMAT = "compressed"
_ZFILE = 2 + 19  # letters, and the size padded to 19 characters; Python 2 padded to 20
_MEMORY = 128 << 20  # bytes that a decoder may need for itself
_SLICE = 1024  # bytes given at a time to a decoder that makes all of them at once: up to 128 KiB of four


MAGICS = (
    (b"\x1f\x8b\x08", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x5d\0\0", "lzma"),
    (b"\x28\xb5\x2f\xfd", "zstd"), (b"\x04\x22\x4d\x18", "lz4"), (b"ZF0x", "zfile"),
    (b"\x78\x01", "zlib"), (b"\x78\x5e", "zlib"), (b"\x78\x9c", "zlib"), (b"\x78\xda", "zlib"),
)  # fmt: skip
_SEVERAL = ("gzip", "bzip2", "xz", "zstd", "lz4")
"""Kinds whose streams may follow one another and are then one content."""


def kind_of(head: bytes) -> str:
    """Which compression content begins with; "" when none."""
    kind = next((kind for magic, kind in MAGICS if head.startswith(magic)), "")
    if kind == "bzip2" and not (head[3:4].isdigit() and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90")):
        return ""
    return kind


def beginning(head: bytes, kind: str, most: int = 4096) -> bytes:
    """The first bytes of the content, as far as the first bytes of the file show them; b"" when they show none."""
    start = _ZFILE + (head[_ZFILE : _ZFILE + 1] == b" ") if kind == "zfile" else 0
    try:
        make, step = _DECODERS[kind]()
        return step(make(), head[start:])[0][:most]
    except Exception:  # each library has errors of its own; whoever opens the file says what is wrong
        return b""


def unpacked(source: Source, kind: str, budget: Budget) -> Iterator[bytes]:
    """The content in pieces of about 1 MiB.

    Raises:
        FormatError: damaged or cut off (GZ01), something follows (GZ02), an extra is missing (GZ03).
        LimitError: it unpacks to more than the budget allows.

    """
    make, step = _decoder(kind)
    at, stated = _zfile(source) if kind == "zfile" else (0, -1)
    decoder, pending, hungry, made = make(), b"", True, 0
    while True:
        if hungry and not pending:
            pending = source.read(at, COPY_BLOCK)
            at += len(pending)
            if not pending:
                raise FormatError(f"ends inside its {kind} stream", code="GZ01", offset=at, format=FORMAT)
        try:
            piece, pending, hungry = step(decoder, pending)
        except Exception as error:  # each library has errors of its own
            reason = f"has damaged {kind} data ({type(error).__name__} before byte {at:,})"
            raise FormatError(reason, code="GZ01", format=FORMAT) from error
        made += len(piece)
        budget.inflate(at, made)
        if piece:
            yield piece
        if decoder.eof:
            if not pending:
                pending = source.read(at, COPY_BLOCK)
                at += len(pending)
            if not pending or (at >= source.size and not pending.strip(b"\0")):
                break  # the end, or padding as tapes leave it
            if kind not in _SEVERAL or kind_of(pending[:16]) != kind:
                reason = f"has other bytes behind its {kind} stream"
                raise FormatError(reason, code="GZ02", offset=at - len(pending), format=FORMAT)
            decoder, hungry = make(), True
    if stated >= 0 and made != stated:
        raise FormatError(f"unpacks to {made:,} bytes, not the {stated:,} it claims", code="GZ01", format=FORMAT)


def _zfile(source: Source) -> tuple[int, int]:
    """Where the data starts and how long its content is, by the header that joblib up to 0.9 writes."""
    head = source.read(0, _ZFILE + 1)
    try:
        stated = int(head[2:_ZFILE].decode("ascii").strip(), 16)
    except ValueError as error:
        raise FormatError("has a damaged header of joblib", code="GZ01", offset=0, format=FORMAT) from error
    return _ZFILE + (head[_ZFILE:] == b" "), stated


Step = Callable[[Any, bytes], tuple[bytes, bytes, bool]]
"""Takes a decoder and input; gives output, input that is left, and whether more input is wanted."""


def _decoder(kind: str) -> tuple[Callable[[], Any], Step]:
    """What makes a decoder, and what feeds it. Raises FormatError where an extra is missing."""
    try:
        return _DECODERS[kind]()
    except ImportError as error:
        reason = f"is compressed with {kind}, which needs the extra: pip install 'diffai[compressed]'"
        raise FormatError(reason, code="GZ03", format=FORMAT) from error


def _zlib(wbits: int) -> Callable[[], tuple[Callable[[], Any], Step]]:
    def load() -> tuple[Callable[[], Any], Step]:
        import zlib

        def step(decoder: Any, data: bytes) -> tuple[bytes, bytes, bool]:
            piece = decoder.decompress(data, COPY_BLOCK)
            return piece, decoder.unused_data if decoder.eof else decoder.unconsumed_tail, True

        return lambda: zlib.decompressobj(wbits), step

    return load


def _bounded(decoder: Any, data: bytes) -> tuple[bytes, bytes, bool]:
    """Feed a decoder that keeps what it was given and makes no more than it is asked for."""
    piece = decoder.decompress(data, COPY_BLOCK)
    return piece, decoder.unused_data or b"" if decoder.eof else b"", decoder.needs_input


def _bzip2() -> tuple[Callable[[], Any], Step]:
    import bz2

    return bz2.BZ2Decompressor, _bounded


def _lzma() -> tuple[Callable[[], Any], Step]:
    import lzma

    return lambda: lzma.LZMADecompressor(lzma.FORMAT_AUTO, memlimit=_MEMORY), _bounded


def _lz4() -> tuple[Callable[[], Any], Step]:
    import lz4.frame

    return lz4.frame.LZ4FrameDecompressor, _bounded


def _zstd() -> tuple[Callable[[], Any], Step]:
    import zstandard

    def step(decoder: Any, data: bytes) -> tuple[bytes, bytes, bool]:
        piece = decoder.decompress(data[:_SLICE])
        return piece, (decoder.unused_data if decoder.eof else b"") + data[_SLICE:], True

    return lambda: zstandard.ZstdDecompressor(max_window_size=_MEMORY).decompressobj(), step


_DECODERS: dict[str, Callable[[], tuple[Callable[[], Any], Step]]] = {
    "gzip": _zlib(31), "zlib": _zlib(15), "zfile": _zlib(15), "bzip2": _bzip2, "xz": _lzma, "lzma": _lzma,
    "lz4": _lz4, "zstd": _zstd,
}  # fmt: skip
