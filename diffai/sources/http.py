"""Files on web servers, read by ranges: a header costs one or two requests, and nothing that is not looked at comes.

Sources: RFC 9110, sections 13.1.5 (If-Range), 14.2 (Range) and 14.4 (Content-Range). A server that knows no ranges
sends the whole file, which is then copied once to a private temporary file.
"""

from __future__ import annotations

import os
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, BinaryIO, cast

from diffai.errors import SourceError
from diffai.sources.base import Source
from diffai.sources.spool import read_descriptor, spool_stream

_FIRST = 1 << 16
"""Bytes of the first request: the header of most models."""

_WINDOW = 1 << 18
"""A small read brings at least this much, because its neighbours are asked for next."""

_TIMEOUT = 60  # seconds without a byte
_MAX_SPOOL = 64 << 30
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class HttpFile:
    """A file behind ``http://`` or ``https://``; see :class:`diffai.sources.base.Source`.

    It has no identity: two answers of a server may differ. A validator (a strong ETag, else the time of the last
    change) serves to notice that the file changed while it is read.

    Args:
        url: as the user typed it.
        spool_limit: bytes that may be copied to a temporary file where the server knows no ranges.

    Raises:
        SourceError: the server cannot be reached, or refuses.

    """

    path = ""
    identity = ""
    random_access = True
    requests = True

    def __init__(self, url: str, *, spool_limit: int = _MAX_SPOOL) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.username or parts.password:
            raise SourceError(f"{parts.scheme}://{parts.hostname or ''}...: names and passwords in URLs are not used")
        self._url = urllib.parse.urlunsplit(parts._replace(fragment=""))
        self.label = urllib.parse.urlunsplit(parts._replace(query="", fragment=""))
        self._opener = _opener()
        self._lock = threading.Lock()
        self._copy = -1
        self._validator = ""
        with self._ask(f"bytes=0-{_FIRST - 1}") as answer:
            found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "")) if answer.status == 206 else None
            self._validator = _validator(answer)
            if found is not None:
                self.size = int(found[3])
                self._window = (0, _exactly(answer, min(_FIRST, self.size), self.label))
            else:
                self._take_whole(answer, spool_limit)

    def _take_whole(self, answer: Any, spool_limit: int) -> None:
        """Copy the answer of a server that knows no ranges."""
        length = answer.headers.get("Content-Length", "")
        if answer.status != 200 or not length.isdigit():
            raise SourceError(f"{self.label}: the server tells neither ranges nor how long the file is")
        self.size = int(length)
        self._window = (0, b"")
        self._copy = spool_stream(cast("BinaryIO", answer), self.size, spool_limit, self.label)

    def _ask(self, wanted: str = "") -> Any:
        """Send one request; the answer is a stream."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "diffai"}
        if wanted:
            headers["Range"] = wanted
        if wanted and self._validator:
            headers["If-Range"] = self._validator
        try:
            return self._opener.open(urllib.request.Request(self._url, headers=headers), timeout=_TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and not self._validator:
                return self._ask()  # an empty file has no first byte
            raise SourceError(f"{self.label}: the server says {error.code} {error.reason}") from None
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.label}: {_because(error)}") from error

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer; SourceError when the bytes are not there, or are others than at first."""
        if offset < 0 or offset + len(buffer) > self.size:
            raise SourceError(f"{self.label}: ends at offset {self.size}")
        if self._copy >= 0:
            read_descriptor(self._copy, self.label, offset, buffer)
            return
        start, data = self._window
        if not start <= offset <= offset + len(buffer) <= start + len(data):
            count = min(max(len(buffer), _WINDOW), self.size - offset)
            data, start = self._range(offset, count), offset
            if count <= _WINDOW:
                with self._lock:
                    self._window = (start, data)
        buffer[:] = data[offset - start : offset - start + len(buffer)]

    def _range(self, offset: int, count: int) -> bytes:
        if not count:
            return b""
        with self._ask(f"bytes={offset}-{offset + count - 1}") as answer:
            found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            same = _validator(answer) == self._validator and found is not None and int(found[3]) == self.size
            if answer.status != 206 or not same or found is None or int(found[1]) != offset:
                raise SourceError(f"{self.label}: changed while being read; run again")
            return _exactly(answer, count, self.label)

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes."""
        data = bytearray(max(0, min(count, self.size - offset)))
        self.read_into(offset, memoryview(data))
        return bytes(data)

    def open_stream(self) -> BinaryIO:
        """The whole file from its start, by a request of its own."""
        return cast("BinaryIO", self._ask())

    def sibling(self, name: str) -> Source:
        """The file ``name`` in the same folder of the server."""
        if not name or "/" in name or "\\" in name or name in (".", ".."):
            raise SourceError(f"{self.label}: names a file outside its own directory: {name!r}")
        return HttpFile(urllib.parse.urljoin(self._url, urllib.parse.quote(name)))

    def verify_unchanged(self) -> None:
        """Ask for one byte again: SourceError when the file is another by now."""
        if self._copy < 0 and self.size:
            self._range(0, 1)

    def close(self) -> None:
        """Give the temporary copy back; may be called twice."""
        with self._lock:
            fd, self._copy = self._copy, -1
            if fd >= 0:
                os.close(fd)


def open_url(url: str) -> HttpFile:
    """See :func:`diffai.sources.schemes.open_url`."""
    return HttpFile(url)


def _opener() -> urllib.request.OpenerDirector:
    """Follows redirections to other web servers, and to nothing else: neither to files nor to FTP."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(), urllib.request.UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _validator(answer: Any) -> str:
    """What tells one version of the file from another; "" where the server says nothing certain."""
    tag = answer.headers.get("ETag", "")
    return str(tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", ""))


def _exactly(answer: Any, count: int, label: str) -> bytes:
    data: bytes = answer.read(count)
    if len(data) < count:
        raise SourceError(f"{label}: the server sent {count - len(data):,} bytes too few")
    return data


def _because(error: OSError | ValueError) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return (reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)).lower()
