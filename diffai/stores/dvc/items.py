"""From an output of a DVC pointer to its bytes, or to the state that says why they are not here.

Three places are tried: the cache, the work tree (an output that was not committed to the cache yet), and git itself
(an output with ``cache: false``). What is found outside the cache counts only when its md5 is the one asked for.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence

from diffai.errors import SourceError
from diffai.frozen import frozen, replace
from diffai.model import FetchCommand, NotPulled, State, Unreadable
from diffai.sources.base import Source
from diffai.sources.directory import Directory, UnresolvedError
from diffai.sources.local import checked_place
from diffai.stores import lfs
from diffai.stores.dvc.cache import DvcPlace, find_object, matches, read_manifest, work_tree_file
from diffai.stores.dvc.pointers import DvcEntry, DvcFile, DvcOut, DvcTextError, inside, model_paths, stage_folder
from diffai.stores.store import PointerAt, StoredObject, no_option

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, Protocol

    Where = Literal["", "cache", "workspace", "git", "remote"]

    class Fetch(Protocol):
        """Brings what is not here from a DVC remote (asked for by the user)."""

        def __call__(self, item: DvcItem) -> Source | State | None:
            """The bytes, or why there are none; None when it cannot say anything better."""

        def manifest(self, item: DvcItem) -> tuple[DvcEntry, ...] | None:
            """The list of files of a directory; None when the remote has none either."""

else:
    Where = str
    Fetch = object
"""Where bytes were found; "" when they were not."""


@frozen
class Reach:
    """What may be brought: ``fetch`` brings what is not here (None: nothing does), for its header alone or whole."""

    fetch: Fetch | None = None
    header_only: bool = False


HERE = Reach()
"""Nothing is brought."""


@frozen
class DvcItem:
    """One file or directory that a pointer stands for.

    Attributes:
        out: what the pointer says of it.
        path: where it lies, from the top of the repository; "" when that is not known.
        pointer: path of the pointer, from the top; "" when that is not known.
        place: the DVC repository; None when there is none.
        entry: the one file meant of a directory; None for the output itself.
        elsewhere: the pointer in the work tree is another one, so that DVC needs to be told to look at all commits.
        unconfigured: the commit of the pointer does not configure the remote that the work tree configures now.

    """

    out: DvcOut
    path: str
    pointer: str
    place: DvcPlace | None
    entry: DvcEntry | None = None
    elsewhere: bool = False
    unconfigured: bool = False

    @property
    def label(self) -> str:
        """How messages name it."""
        return self.path or (posixpath.join(self.out.path, self.entry.relpath) if self.entry else self.out.path)

    @property
    def is_directory(self) -> bool:
        """Whether a directory is meant, and not one file of it."""
        return self.entry is None and self.out.is_directory

    @property
    def address(self) -> str:
        """Its content address; "" when it has none."""
        return self.entry.md5 if self.entry is not None else self.out.address

    @property
    def size(self) -> int:
        """Bytes; -1 when unknown."""
        return self.entry.size if self.entry is not None else self.out.size

    @property
    def fetch(self) -> tuple[FetchCommand, ...]:
        """What brings it into the cache."""
        place, elsewhere = self.place, ("--all-commits",) if self.elsewhere else ()
        remote = self.out.remote or (place.default_remote if place is not None else "")
        chosen = ("-r", remote) if remote and (self.elsewhere or self.out.remote) else ()
        if not self.pointer:
            return (FetchCommand("dvc", ("dvc", "fetch", *elsewhere, *chosen)),)
        # An older commit that does not configure the remote yet is passed over, unless the user's configuration does.
        known = ("DVC_GLOBAL_CONFIG_DIR", posixpath.join(place.folder, ".dvc")) if place is not None else ("", "")
        unknown = self.unconfigured and place is not None and bool(remote)
        return (self._command("fetch", *elsewhere, *chosen, environment=(known,) if unknown else ()),)

    @property
    def download(self) -> tuple[FetchCommand, ...]:
        """What downloads an import whose content the pointer does not name yet; nothing does for an old pointer."""
        return () if self.elsewhere or not self.pointer else (self._command("update"),)

    def _command(self, *verb: str, environment: tuple[tuple[str, str], ...] = ()) -> FetchCommand:
        folder = self.place.folder if self.place is not None else ""
        target = posixpath.relpath(self.pointer, folder) if folder else self.pointer
        if self.out.stage:
            beside = posixpath.dirname(target)
            plain = not beside and not self.out.stage.startswith("-")
            target = self.out.stage if plain else posixpath.join(beside, f"dvc.yaml:{self.out.stage}")
        at = ("--cd", no_option(folder)) if folder else ()
        return FetchCommand("dvc", ("dvc", *at, *verb), (no_option(target),), environment=environment)


@frozen
class Found:
    """What stands for an item, and where it was found."""

    opened: Source | Directory | State
    where: Where = ""


def items_of(
    file: DvcFile, pointer: str, place: DvcPlace | None, *, yaml: bytes = b"", elsewhere: bool = False
) -> list[DvcItem]:
    """The outputs of a pointer with their paths.

    Args:
        pointer: path of the pointer from the top of the repository; "" when it is not known (paths are not then).
        yaml: content of the ``dvc.yaml`` beside a lock file, which alone knows where its stages work.

    Raises:
        DvcTextError: an output lies outside the repository.

    """
    items = []
    for out in file.outs:
        wdir = stage_folder(yaml, out.stage) if file.lock else file.wdir
        path = inside(posixpath.join(posixpath.dirname(pointer), wdir), out.path)
        if yaml and posixpath.normpath(posixpath.join(wdir, out.path)) in model_paths(yaml):
            out = replace(out, model=True)
        items.append(DvcItem(out, path if pointer else "", pointer, place, elsewhere=elsewhere))
    return items


def open_item(item: DvcItem, *, label: str = "", fetch: Fetch | None = None) -> Found:
    """The bytes of an item, its directory, or its state.

    Args:
        label: how messages name it; its path by default. Formats look at the end of it for a suffix.
        fetch: asked for what is nowhere here.

    Raises:
        DvcTextError: a manifest makes no sense.

    """
    label = label or item.label
    if item.is_directory:
        return _open_directory(item, label, fetch)
    if not item.address:
        fetched = fetch(item) if fetch else None
        return Found(_unnamed(item)) if fetched is None else _fetched(fetched)
    found = _open_here(item, label, fetch)
    if found is not None:
        return _behind_lfs(found, item, label)
    fetched = fetch(item) if fetch else None
    return Found(_not_pulled(item)) if fetched is None else _fetched(fetched)


def _fetched(found: Source | State) -> Found:
    return Found(found, "" if isinstance(found, State) else "remote")


def entries_of(item: DvcItem, fetch: Fetch | None = None) -> tuple[DvcEntry, ...] | None:
    """The files of a directory; None when its manifest is not here, nor can be had.

    Raises:
        DvcTextError: the manifest makes no sense.

    """
    if item.place is None:
        return item.out.files
    found = read_manifest(item.out, item.place)
    return fetch.manifest(item) if found is None and fetch is not None else found


def entry_item(item: DvcItem, entry: DvcEntry) -> DvcItem:
    """One file of a directory as an item of its own."""
    path = posixpath.join(item.path, entry.relpath) if item.path else ""
    return DvcItem(item.out, path, item.pointer, item.place, entry, item.elsewhere)


def _open_here(item: DvcItem, label: str, fetch: Fetch | None) -> Found | None:
    """From the cache, the work tree or git; None when it is in none of them."""
    if item.place is None:
        return None
    stored = find_object(item.address, item.out.legacy, item.place)
    if stored:
        source = StoredObject(stored, _name_of(item), label=label, sibling=beside(item, fetch))
        if item.size >= 0 and source.size != item.size:
            state = Unreadable(
                f"the object in the DVC cache has {source.size:,} bytes instead of {item.size:,}: it is damaged"
                f" ({item.address})"
            )
            source.close()
            return Found(state)
        return Found(source, "cache")
    if not item.path:
        return None
    path = work_tree_file(item.place, item.path)
    if path and matches(path, item.address, item.size):
        return Found(StoredObject(path, f"md5:{item.address}", label=label, sibling=beside(item, fetch)), "workspace")
    if item.place.git is not None and item.entry is None:
        from diffai.stores.dvc.blobs import find_blob

        blob = find_blob(item.place.git, item.path, item.address, item.size, label)
        if blob is not None:
            return Found(blob, "git")
    return None


def _behind_lfs(found: Found, item: DvcItem, label: str) -> Found:
    """What was found, or what stands behind it: a clone without LFS objects has pointers, which ``dvc add`` takes."""
    source = found.opened
    if isinstance(source, (State, Directory)) or source.size >= lfs.MAX_BYTES or item.place is None:
        return found
    pointer = lfs.recognise(source.read(0, source.size), source.size, "")
    if pointer is None:
        return found
    source.close()
    return Found(lfs.open_pointer(pointer, PointerAt(item.label, label, item.place.git, source.sibling)), found.where)


def _name_of(item: DvcItem) -> str:
    """The content's own name; "" for DVC 2's, whose equal addresses of text files need not mean equal bytes."""
    return "" if item.out.legacy else f"md5:{item.address}"


def _not_pulled(item: DvcItem) -> State:
    if item.place is None:
        where = "there is no .dvc folder here, so no cache"
    elif not item.place.root:
        where = "a bare repository has no DVC cache of its own"
    else:
        return NotPulled(f"DVC object {item.address[:8]} of {item.label}", item.size, item.fetch)
    return NotPulled(f"DVC object {item.address[:8]} of {item.label} ({where})", item.size)


def _unnamed(item: DvcItem) -> State:
    """An output without a content address."""
    out = item.out
    if item.entry is not None:
        return NotPulled(f"{item.label} (DVC's list has no md5 of it)", item.size, item.fetch)
    if not out.key:
        return NotPulled(f"{item.label} (imported without download)", item.size, item.download)
    if out.key == "md5":
        return Unreadable(f"md5 {out.value[:64]!r} of {item.label} is no content address")
    return NotPulled(f"{item.label} (DVC knows it by its {out.key} {out.value[:64]} only)", item.size)


# ---------------------------------------------------------------- directories


class DvcDirectory(Directory):
    """The files of one folder of a directory that DVC tracks.

    Args:
        item: the directory.
        entries: all files below it.
        folder: the folder of it that is meant; "" is the directory itself.
        label: how messages name it.
        fetch: as in :func:`open_item`.

    """

    path = ""

    def __init__(
        self, item: DvcItem, entries: Sequence[DvcEntry], folder: str = "", *, label: str, fetch: Fetch | None = None
    ) -> None:
        self.label = label
        self.item = item
        self.entries = tuple(entries)
        self._fetch = fetch
        self.folder = folder
        prefix = f"{folder}/" if folder else ""
        self._files = {
            entry.relpath[len(prefix) :]: entry
            for entry in entries
            if entry.relpath.startswith(prefix) and "/" not in entry.relpath[len(prefix) :]
        }

    @property
    def inside(self) -> str:
        """Where it lies, from the top of the repository."""
        return posixpath.join(self.item.path, self.folder)

    def below(self) -> list[str]:
        """Paths of all files in it and in the folders below."""
        prefix = f"{self.folder}/" if self.folder else ""
        return [e.relpath[len(prefix) :] for e in self.entries if e.relpath.startswith(prefix)]

    def names(self) -> tuple[str, ...]:
        """Names of the files, sorted."""
        return tuple(sorted(self._files))

    def open(self, name: str) -> Source:
        """One file, in it or below; UnresolvedError when its object is not here."""
        label = posixpath.join(self.label, checked_place(self.label, name))
        relpath = posixpath.normpath(posixpath.join(self.folder, name))
        entry = next((entry for entry in self.entries if entry.relpath == relpath), None)
        if entry is None:
            raise SourceError(f"{label}: no such file")
        return _expected(open_item(entry_item(self.item, entry), label=label, fetch=self._fetch).opened, label)


def _expected(found: Source | Directory | State, label: str) -> Source:
    if isinstance(found, State):
        raise UnresolvedError(f"{label}: its object is not here", found)
    assert not isinstance(found, Directory)
    return found


def _open_directory(item: DvcItem, label: str, fetch: Fetch | None) -> Found:
    entries = entries_of(item, fetch)
    if entries is not None:
        return Found(DvcDirectory(item, entries, label=label, fetch=fetch), "cache")
    if not item.address:
        return Found(_unnamed(item))
    size = item.size
    return Found(NotPulled(f"the list of files of {item.label}/ (DVC manifest {item.address[:8]})", size, item.fetch))


def beside(item: DvcItem, fetch: Fetch | None = None) -> Callable[[str], Source] | None:
    """Opens the files beside one file of a directory; None for what lies in none."""
    if item.entry is None:
        return None
    folder = posixpath.dirname(item.entry.relpath)

    def opened(name: str) -> Source:
        whole = DvcItem(item.out, _parent(item), item.pointer, item.place, elsewhere=item.elsewhere)
        entries = entries_of(whole, fetch) or ()
        label = posixpath.dirname(item.label)
        return DvcDirectory(whole, entries, folder, label=label, fetch=fetch).open(name)

    return opened


def _parent(item: DvcItem) -> str:
    """Path of the directory that one of its files lies in."""
    assert item.entry is not None
    return item.path.removesuffix(item.entry.relpath).rstrip("/") if item.path else ""


__all__ = [
    "HERE", "DvcDirectory", "DvcItem", "DvcTextError", "Fetch", "Found", "Reach", "Where", "beside", "entries_of",
    "entry_item", "items_of", "open_item",
]  # fmt: skip
