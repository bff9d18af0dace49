"""TOML that came with a clone: looked at before it is parsed, since the standard parser has no limits.

A key of n dotted parts takes it time and memory that grow with the square of n (40 kB of them take 1.5 GB).
"""

from __future__ import annotations

import re

from diffai.errors import UsageError

MAX_BYTES = 1 << 20
MAX_PARTS = 32
"""Parts of a dotted key; a configuration that people write has four at most."""

# A string, closed or not, or a comment: none of their dots is a key's. Possessive, so that nothing is tried twice.
_TEXTS = re.compile(
    r'"""(?:\\.|(?!""").)*+(?:"{3,5}|\Z)'
    r"|'''(?:(?!''').)*+(?:'{3,5}|\Z)"
    r'|"(?:\\.|[^"\\\n])*+(?:"|$)'
    r"|'[^'\n]*+(?:'|$)"
    r"|\#[^\n]*+",
    re.DOTALL | re.MULTILINE,
)
_RUN = re.compile(r"[\w.\-' \t]+")


def parse_toml(data: bytes, label: str) -> dict[str, object]:
    """The tables of a TOML text.

    Args:
        data: the whole file.
        label: how messages name it.

    Raises:
        UsageError: not UTF-8, not TOML, too large, nested too deeply, or with keys of too many parts.
    """
    import tomllib

    if len(data) > MAX_BYTES:
        raise UsageError(f"{label}: larger than {MAX_BYTES:,} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{label}: not UTF-8 at byte {error.start}") from error
    line = _crowded(text)
    if line:
        raise UsageError(f"{label}:{line}: a key of more than {MAX_PARTS} dotted parts")
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{label}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{label}: nested too deeply") from error


def _crowded(text: str) -> int:
    """The line of the first key with too many parts; 0 when there is none."""
    if text.count(".") < MAX_PARTS:
        return 0
    bare = _TEXTS.sub(lambda found: "''" + "\n" * found[0].count("\n"), text)
    for found in _RUN.finditer(bare):
        if found[0].count(".") >= MAX_PARTS:
            return bare.count("\n", 0, found.start()) + 1
    return 0
