"""Digests of what a file says, for people and for telling parts apart; never for security."""

from __future__ import annotations

from diffai.formats.regions import Region, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import blake2b

_BLOCK = 1 << 20


def _digest(size: int) -> blake2b:
    from hashlib import blake2b  # only here: it takes as long as reading a small model

    return blake2b(digest_size=size)


def digest_of(*parts: str | bytes) -> bytes:
    """16 bytes of several parts, each with its length, so that none runs into the next."""
    digest = _digest(16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(4, "little") + data)
    return digest.digest()


def shown_digest(content: str | bytes | bytearray) -> str:
    """16 hexadecimal digits of a text or of bytes, to be shown."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    digest = _digest(8)
    digest.update(data)
    return digest.hexdigest()


def region_digest(region: Region) -> str:
    """As :func:`shown_digest`, of a region that is read a megabyte at a time."""
    digest = _digest(8)
    for at in range(0, region.size, _BLOCK):
        digest.update(read(region, at, min(_BLOCK, region.size - at)))
    return digest.hexdigest()


def shortened(text: str, longest: int) -> str:
    """A text; of one that is longer than ``longest`` its beginning, its length and a digest."""
    return text if len(text) <= longest else f"{text[:60]}... {len(text):,} characters, {shown_digest(text)}"
