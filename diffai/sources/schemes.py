"""Sources by URL scheme. Another scheme is one module with ``open_url``, and one row.

A URL is opened only where a person typed it: no pointer, index or configuration leads here.
"""

from __future__ import annotations

import importlib
import re

from diffai.errors import SourceError
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from diffai.sources.base import Source

_URL = r"([A-Za-z][A-Za-z0-9+.-]*)://"


@frozen
class Scheme:
    """One scheme: its name as it stands before ``://``, and the module whose ``open_url`` opens it."""

    name: str
    module: str


SCHEMES = (
    Scheme("file", "diffai.sources.local"),
    Scheme("http", "diffai.sources.http"),
    Scheme("https", "diffai.sources.http"),
)


def is_url(word: str) -> bool:
    """Whether a word is a URL, of whatever scheme."""
    return re.match(_URL, word) is not None


def open_url(url: str) -> Source | str:
    """What a URL names: a source, or the path of a file of this machine.

    Raises:
        SourceError: the scheme is not known, or there is nothing to read there.

    """
    match = re.match(_URL, url)
    name = match[1].lower() if match is not None else ""
    row = next((row for row in SCHEMES if row.name == name), None)
    if row is None:
        known = ", ".join(f"{row.name}://" for row in SCHEMES)
        raise SourceError(f"{name}://...: URLs of this scheme are not read (read are {known}); download the file first")
    module: Any = importlib.import_module(row.module)
    found: Source | str = module.open_url(url)
    return found
