"""Find the object of a DVC pointer: in the cache, in the work tree, or in git; never by running DVC or the network.

Only hexadecimal content addresses are opened below a cache, and only files inside the repository (or links of them
into a cache) in the work tree. Nothing is ever written.

Layouts: DVC 3 keeps ``files/md5/ab/cdef...``, DVC 2 and older ``ab/cdef...``; both are tried, because a cache can
hold both and a hash names the same content in either.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import lru_cache

from diffai.frozen import frozen
from diffai.repository.place import GitPlace
from diffai.sources.local import LocalFile
from diffai.stores.dvc.config import cache_folders, default_remote, is_configured, read_text
from diffai.stores.dvc.pointers import MAX_MANIFEST_BYTES, DvcEntry, DvcOut, DvcTextError, parse_manifest

_BLOCK = 1 << 20
_HEXADECIMAL = frozenset("0123456789abcdef")


@frozen
class DvcPlace:
    """One DVC repository.

    Attributes:
        root: the folder that holds its ``.dvc``; "" when there is none on disk (a bare repository).
        caches: folders that may hold objects, likeliest first.
        git: the git repository around it, None when there is none.

    """

    root: str
    caches: tuple[str, ...]
    git: GitPlace | None

    @property
    def top(self) -> str:
        """Top of the work tree, which nothing is read above; the DVC root where git is not used."""
        return self.git.top if self.git is not None and self.git.top else self.root

    @property
    def folder(self) -> str:
        """The DVC root relative to the top, with ``/``; "" when they are the same."""
        if not self.root or not self.top:
            return ""
        inside = os.path.relpath(os.path.realpath(self.root), os.path.realpath(self.top))
        return "" if inside == os.curdir else inside.replace(os.sep, "/")


    @property
    def default_remote(self) -> str:
        """The remote that its configuration names as the default now; "" when there is none."""
        return _default_remote(self.root)

    def lacks_remote(self, remote: str, committed: bytes | None) -> bool:
        """Whether a commit's ``.dvc/config`` does not have a remote that the one of the work tree has now."""
        if not self.root or not remote:
            return False
        text = read_text(os.path.join(self.root, ".dvc", "config"))
        return is_configured(remote, text) and not is_configured(remote, (committed or b"").decode("utf-8", "replace"))


@lru_cache(maxsize=16)
def _default_remote(root: str) -> str:
    return default_remote(os.path.join(root, ".dvc")) if root else ""


def find_dvc(
    folder: str, git: GitPlace | None, *, committed: Callable[[], str | None] = lambda: None
) -> DvcPlace | None:
    """The DVC repository that holds ``folder``: the nearest ``.dvc`` from there upwards, inside the work tree.

    In a linked work tree the main one's cache is searched too, since DVC gives each work tree an empty cache of its
    own. A folder that is not on disk (any more) is looked for from its nearest parent that is.

    Args:
        folder: absolute, or relative to the working directory.
        git: the git repository around it.
        committed: gives the text of ``.dvc/config`` out of git, asked only where there is no work tree.

    """
    if git is not None and not git.top:
        text = committed()
        return DvcPlace("", cache_folders("", committed=text), git) if text is not None else None
    top = os.path.realpath(git.top) if git is not None else ""
    at = os.path.realpath(folder or os.curdir)
    main = _main_top(git)
    while True:
        own = _dvc_dir(at)
        inside = os.path.relpath(at, top) if top else ""
        other = _dvc_dir(os.path.join(main, inside)) if main and not inside.startswith(os.pardir) else ""
        if own or other:
            caches = [cache for dvc_dir in (own, other) if dvc_dir for cache in cache_folders(dvc_dir)]
            return DvcPlace(at, tuple(dict.fromkeys(caches)), git)
        parent = os.path.dirname(at)
        if at == top or parent == at:
            return None
        at = parent


def find_object(address: str, legacy: bool, place: DvcPlace) -> str:
    """Path of the object with this content address (as :attr:`DvcOut.address` gives it); "" when it is not here."""
    if not address:
        return ""
    first, rest = address[:2], address[2:]
    layouts = [os.path.join("files", "md5", first, rest), os.path.join(first, rest)]
    for cache in place.caches:
        for below in reversed(layouts) if legacy else layouts:
            path = os.path.join(cache, below)
            try:
                if stat.S_ISREG(os.lstat(path).st_mode) and _stays_in(cache, below):
                    return path
            except OSError:
                continue
    return ""


def _stays_in(cache: str, below: str) -> bool:
    """Whether no link leads out of a cache on the way to an object: DVC makes none there, but a clone could."""
    return os.path.realpath(os.path.join(cache, below)) == os.path.join(os.path.realpath(cache), below)


def read_manifest(out: DvcOut, place: DvcPlace) -> tuple[DvcEntry, ...] | None:
    """The files of a directory; None when its manifest is not here.

    Raises:
        DvcTextError: the object in the cache is no manifest.

    """
    if out.files is not None:
        return out.files
    path = find_object(out.address, out.legacy, place)
    if not path:
        return None
    source = LocalFile(path)
    try:
        if source.size > MAX_MANIFEST_BYTES:
            raise DvcTextError(f"the directory's manifest is longer than {MAX_MANIFEST_BYTES >> 20} MB")
        return parse_manifest(source.read(0, source.size))
    finally:
        source.close()


def work_tree_file(place: DvcPlace, path: str) -> str:
    """The file of the work tree at ``path`` (from the top); "" when there is none, or it leads out of the repository.

    A link may lead to an object of one of the caches, which is how DVC links large files; to nothing else there,
    because the folder of a cache can come with the clone.
    """
    if not place.top:
        return ""
    full = os.path.realpath(os.path.join(place.top, path))
    inside = full.startswith(os.path.realpath(place.top).rstrip(os.sep) + os.sep)
    if not inside and not any(_is_object(full, os.path.realpath(cache)) for cache in place.caches):
        return ""
    return full if os.path.isfile(full) else ""


def _is_object(path: str, cache: str) -> bool:
    """Whether a path is that of an object of a cache: ``files/md5/ab/cdef...``, or ``ab/cdef...`` of older ones."""
    before, _, name = path.rpartition(os.sep)
    above, _, first = before.rpartition(os.sep)
    folders = (os.path.join(cache, "files", "md5"), cache.rstrip(os.sep))
    return above in folders and len(first) == 2 and len(name) == 30 and _HEXADECIMAL.issuperset(first + name)


def matches(path: str, address: str, size: int) -> bool:
    """Whether a file has the content that an address names: size first, then its md5.

    DVC 2 hashed text with its line ends normalised; models are binary, for which both are the same.
    """
    try:
        if size >= 0 and os.path.getsize(path) != size:
            return False
        return md5_of(path) == address
    except OSError:
        return False


def md5_of(path: str) -> str:
    """The md5 of a file's bytes, read in blocks."""
    import hashlib  # loads OpenSSL, for what lies outside the cache alone

    digest = hashlib.md5(usedforsecurity=False)
    buffer = memoryview(bytearray(_BLOCK))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def _dvc_dir(folder: str) -> str:
    """The ``.dvc`` folder in ``folder``; "" when there is none."""
    path = os.path.join(folder, ".dvc")
    return path if os.path.isdir(path) else ""


def _main_top(git: GitPlace | None) -> str:
    """Top of the main work tree of a linked one; "" for any other."""
    if git is None or os.path.realpath(git.git_dir) == os.path.realpath(git.common_dir):
        return ""
    common = os.path.realpath(git.common_dir)
    return os.path.dirname(common) if os.path.basename(common) == ".git" else ""
