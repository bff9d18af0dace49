"""Objects in a DVC remote, read through DVC's own file systems: the header by exact byte ranges, or all of it.

Only asked for by the user (``diffai.remote`` of git's configuration, ``--fetch-header``), never by a clone. The remote
is the one that the work tree configures now, since an older commit may know of none.

``open()`` of DVC's file systems reads 50 MB ahead; ``cat_file`` with a start and an end reads what is asked for.
"""

from __future__ import annotations

import io
import os
import posixpath
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, BinaryIO

from diffai.errors import SourceError
from diffai.model import NotPulled, State, TooLarge, Unreadable
from diffai.sources.base import Source
from diffai.stores.dvc.cache import DvcPlace, md5_of
from diffai.stores.dvc.items import HERE, DvcItem, Reach, beside
from diffai.stores.dvc.pointers import MAX_MANIFEST_BYTES, DvcEntry, parse_manifest
from diffai.stores.store import StoredObject

_FIRST = 64 << 10
"""The first request of a file: holds the whole header of most models, so that one request is enough."""

_BLOCK = 16 << 10
"""Later requests begin and end at multiples of this."""


class RemoteError(SourceError):
    """The remote cannot be used; the text says why, in a clause."""


class RemoteObject:
    """An object of a remote as a source; reads are exact ranges of few blocks, and what was read is kept.

    Args:
        read_range: gives the bytes from start to end.
        size: bytes of the object.
        label: how the user names what it stands for.
        md5: its content address.

    See :class:`diffai.sources.base.Source`.
    """

    path = ""
    random_access = True
    requests = True

    def __init__(self, read_range: Callable[[int, int], bytes], size: int, label: str, md5: str) -> None:
        self.label = label
        self.size = size
        self.identity = f"md5:{md5}" if md5 else ""
        self._read_range = read_range
        self._blocks: dict[int, bytes] = {}
        self.beside: Callable[[str], Source] | None = None

    def read(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes; SourceError when the remote does not give them."""
        count = max(0, min(count, self.size - offset))
        if not count:
            return b""
        first, last = offset // _BLOCK, (offset + count - 1) // _BLOCK
        ahead = _FIRST // _BLOCK - 1 if not first and not self._blocks else 0
        self._fetch(first, min(max(last, ahead), (self.size - 1) // _BLOCK))
        data = b"".join(self._blocks[number] for number in range(first, last + 1))
        return data[offset - first * _BLOCK :][:count]

    def _fetch(self, first: int, last: int) -> None:
        """Blocks that are not known yet, neighbours by one request."""
        number = first
        while number <= last:
            if number in self._blocks:
                number += 1
                continue
            behind = next((n for n in range(number, last + 1) if n in self._blocks), last + 1)
            start, end = number * _BLOCK, min(behind * _BLOCK, self.size)
            data = self._ask(start, end)
            if len(data) != end - start:
                raise SourceError(f"{self.label}: the DVC remote gave {len(data)} bytes instead of {end - start}")
            self._blocks |= {number + at // _BLOCK: data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK)}
            number = behind

    def _ask(self, start: int, end: int) -> bytes:
        try:
            return self._read_range(start, end)
        except Exception as error:  # every remote has errors of its own
            raise SourceError(f"{self.label}: reading from the DVC remote failed ({_words(error)})") from error

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the buffer."""
        data = self.read(offset, len(buffer))
        if len(data) != len(buffer):
            raise SourceError(f"{self.label}: ends at offset {self.size}")
        buffer[:] = data

    def open_stream(self) -> BinaryIO:
        """All bytes, in memory."""
        return io.BytesIO(self.read(0, self.size))

    def sibling(self, name: str) -> Source:
        """A file beside what this stands for."""
        if self.beside is None:
            raise SourceError(f"{self.label}: the file {name!r} beside it is not in the same DVC pointer")
        return self.beside(name)

    def verify_unchanged(self) -> None:
        """An object of a remote has the content of its name."""

    def close(self) -> None:
        """Forget what was read."""
        self._blocks.clear()


class RemoteFetch:
    """Brings what the cache has not; used as :data:`diffai.stores.dvc.items.Fetch`.

    Args:
        mode: ``header`` reads ranges, ``full`` downloads into a private temporary file that is gone with the process.
        max_spool: bytes that are downloaded at most for one object.
    """

    def __init__(self, mode: str, max_spool: int) -> None:
        self._mode = mode
        self._max_spool = max_spool
        self._remotes: dict[tuple[str, str], _Remote] = {}

    def __call__(self, item: DvcItem) -> Source | State | None:
        """The object, or a state that says why the remote does not give it; None when there is nothing to ask."""
        if (
            item.place is None
            or not item.place.root
            or not (item.address or item.out.versions or item.out.source_version)
        ):
            return None
        try:
            return self._fetch(item.place, item)
        except RemoteError as error:
            what = f"DVC object {item.address[:8]} of {item.label} ({error})"
            return NotPulled(what, item.size, item.fetch)

    def _fetch(self, place: DvcPlace, item: DvcItem) -> Source | State:
        """From the remote; of an import that is not there, the version that was imported, from where it came."""
        remote = self._remote(place, item.out.remote) if item.address or item.out.versions else None
        if remote is None or (item.out.source_version and item.entry is None and not remote.has(item)):
            remote = _Remote(place, "", item.out.source)
        if self._mode == "full":
            return self._download(remote, item)
        source = remote.open(item)
        source.beside = beside(item, self)
        return source

    def manifest(self, item: DvcItem) -> tuple[DvcEntry, ...] | None:
        """The list of files of a directory; None when the remote has none either."""
        if item.place is None or not item.place.root or not item.address:
            return None
        try:
            source = self._remote(item.place, item.out.remote).open(replace(item, out=replace(item.out, size=-1)))
            return parse_manifest(source.read(0, min(source.size, MAX_MANIFEST_BYTES)))
        except SourceError:
            return None

    def _remote(self, place: DvcPlace, name: str) -> _Remote:
        key = (place.root, name)
        if key not in self._remotes:
            self._remotes[key] = _Remote(place, name)
        return self._remotes[key]

    def _download(self, remote: _Remote, item: DvcItem) -> Source | State:
        source = remote.open(item)
        if source.size > self._max_spool:
            return TooLarge(f"{item.label} has {source.size:,} bytes in the DVC remote", "git config diffai.maxSpool")
        handle, path = tempfile.mkstemp(prefix="diffai-")
        os.close(handle)
        try:
            remote.download(item, path)
            if not item.out.legacy and item.address and md5_of(path) != item.address:
                return Unreadable(f"the DVC remote gave another content than {item.address}")
            # The open file outlives its name.
            name = f"md5:{item.address}" if item.address else ""
            return StoredObject(path, name, label=item.label, sibling=beside(item, self))
        finally:
            with suppress(OSError):
                os.unlink(path)


class _Remote:
    """One remote of one DVC repository, by DVC's own configuration and file system; or the URL of an import."""

    def __init__(self, place: DvcPlace, name: str, url: str = "") -> None:
        try:
            from dvc.config import Config, ConfigError, NoRemoteError
            from dvc.fs import get_cloud_fs
        except ImportError as error:
            raise RemoteError("reading a DVC remote needs dvc: pip install 'diffai[dvc]'") from error
        try:
            dvc_dir = os.path.join(place.root, ".dvc")
            config = Config(dvc_dir, local_dvc_dir=_local_dir(place, dvc_dir))
            self._name = url or name or config["core"].get("remote", "")
            if not self._name:
                raise RemoteError("no DVC remote is configured as the default")
            which = {"url": url, "version_aware": True} if url else {"name": self._name}
            cls, options, base = get_cloud_fs(config, **which)
            self._fs: Any = cls(**options)
        except (NoRemoteError, ConfigError) as error:
            raise RemoteError(_words(error)) from error
        except (SourceError, KeyboardInterrupt):
            raise
        except Exception as error:  # a missing plug-in, wrong credentials: DVC's own words
            raise RemoteError(f"DVC remote {name or 'default'}: {_words(error)}") from error
        self._base = base
        self._root = place
        self._is_source = bool(url)

    def has(self, item: DvcItem) -> bool:
        """Whether it has the object; a remote that cannot be asked is said by what opens it."""
        try:
            self._find(item)
        except RemoteError:
            return False
        return True

    def open(self, item: DvcItem) -> RemoteObject:
        """The object, for reading by ranges.

        Raises:
            RemoteError: the remote has none, or cannot be reached.
        """
        path, size = self._find(item)
        files = self._fs.fs

        def read_range(start: int, end: int) -> bytes:
            data: bytes = files.cat_file(path, start=start, end=end)
            return data

        return RemoteObject(read_range, size, item.label, "" if item.out.legacy else item.address)

    def download(self, item: DvcItem, to: str) -> None:
        """The whole object into a file."""
        path, _ = self._find(item)
        try:
            self._fs.fs.get_file(path, to)
        except Exception as error:
            raise RemoteError(f"download from DVC remote {self._name} failed: {_words(error)}") from error

    def _find(self, item: DvcItem) -> tuple[str, int]:
        """Path and size of an object, as the remote has them."""
        reason = f"not in DVC remote {self._name} either"
        for path in self._paths(item):
            try:
                return path, int(self._fs.fs.info(path)["size"])
            except FileNotFoundError:
                continue
            except Exception as error:
                raise RemoteError(f"DVC remote {self._name}: {_words(error)}") from error
        raise RemoteError(reason)

    def _paths(self, item: DvcItem) -> list[str]:
        """Where the object can lie: by address in both layouts, or by its path and version."""
        if self._is_source:
            return [self._version(self._base, item.out.source_version)]
        fs, version = self._fs, item.entry.version if item.entry else item.out.versions.get(self._name, "")
        if version:
            folder = self._root.folder
            inside = posixpath.relpath(item.path, folder) if folder else item.path
            return [self._version(fs.join(self._base, *inside.split("/")), version)]
        first, rest = item.address[:2], item.address[2:]
        layouts = [fs.join(self._base, "files", "md5", first, rest), fs.join(self._base, first, rest)]
        return layouts[::-1] if item.out.legacy else layouts


    def _version(self, path: str, version: str) -> str:
        """One version of a path. Where there are none, a pointer could name any file of this machine, or any page."""
        if not hasattr(self._fs, "version_path"):
            raise RemoteError(f"{self._name} keeps no versions of its files, though the pointer names one")
        named: str = self._fs.version_path(path, version)
        return named


def reach_of(mode: str, max_spool: int) -> Reach:
    """What ``diffai.remote`` allows: ``never``, ``header`` or ``full``."""
    return HERE if mode == "never" else Reach(RemoteFetch(mode, max_spool), mode == "header")


def _local_dir(place: DvcPlace, dvc_dir: str) -> str:
    """Where ``config.local`` lies, which holds the credentials: a linked work tree has none of its own."""
    if os.path.exists(os.path.join(dvc_dir, "config.local")) or place.git is None:
        return dvc_dir
    common = os.path.realpath(place.git.common_dir)
    main = os.path.join(os.path.dirname(common), place.folder, ".dvc")
    return main if os.path.basename(common) == ".git" and os.path.isdir(main) else dvc_dir


def _words(error: BaseException) -> str:
    """An error of somebody else's in one line."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:300]}" if text else type(error).__name__
