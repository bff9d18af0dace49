"""The files that DVC's pointers of a snapshot speak of, as they stand at that moment."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from diffai.snapshots.snapshot import Snapshot
from diffai.stores.dvc.items import DvcItem, Fetch, entries_of, entry_item, items_of
from diffai.stores.dvc.pointers import parse_dvc_file, uncached_paths
from diffai.stores.dvc.tracked import DvcHistory, as_configured, work_tree_text
from diffai.stores.dvc.workspace import as_on_disk


def files_below(item: DvcItem, fetch: Fetch | None = None) -> list[DvcItem]:
    """The files of an output: itself, or those of a folder; a folder whose list is not here stands for itself.

    Raises:
        DvcTextError: the list makes no sense.

    """
    entries = entries_of(item, fetch) if item.is_directory else None
    return [item] if entries is None else [entry_item(item, entry) for entry in entries]


class Outputs:
    """What the pointers of one snapshot speak of.

    Args:
        snapshot: the moment. In the work tree a model counts as it is on disk, ``dvc add`` or not.
        is_model: whether a path is a model's, for which files of the work tree are looked at.
        history: what is known of DVC's places, where that is shared with other snapshots.
        fetch: brings the lists of folders that are not here.

    """

    def __init__(
        self, snapshot: Snapshot, is_model: Callable[[str], bool], history: DvcHistory | None = None,
        fetch: Fetch | None = None,
    ) -> None:  # fmt: skip
        self._fetch = fetch
        self._snapshot = snapshot
        self._is_model = is_model
        self._history = history or DvcHistory(snapshot.repository.directory)

    def of(self, pointer: str) -> list[DvcItem]:
        """The files behind a pointer; a folder whose list of files is not here stands for itself.

        Raises:
            DvcTextError: the pointer, or the list of a folder, makes no sense.

        """
        found = []
        for item in self.roots(pointer):
            found += files_below(item, self._fetch)
        return found

    def cached(self, pointer: str) -> list[DvcItem]:
        """The outputs that DVC keeps itself; those with ``cache: false`` it leaves to git.

        Raises:
            DvcTextError: the pointer makes no sense.

        """
        beside = posixpath.join(posixpath.dirname(pointer), "dvc.yaml")
        yaml = self._snapshot.tree.read(beside) if posixpath.basename(pointer) == "dvc.lock" else None
        left = uncached_paths(yaml or b"")
        return [
            item
            for item in self.roots(pointer)
            if item.out.cached and (item.out.stage.partition("@")[0], item.out.path) not in left
        ]

    def roots(self, pointer: str) -> list[DvcItem]:
        """The outputs that a pointer names: files and folders.

        Raises:
            DvcTextError: it makes no sense.

        """
        tree = self._snapshot.tree
        text = tree.read(pointer)
        if text is None:
            return []
        file = parse_dvc_file(text, pointer)
        beside = posixpath.join(posixpath.dirname(pointer), "dvc.yaml")
        yaml = (tree.read(beside) or b"") if file.lock else b""
        elsewhere = bool(tree.revision) and text != work_tree_text(pointer, self._snapshot.repository.place())
        items = items_of(file, pointer, self._history.place(pointer), yaml=yaml, elsewhere=elsewhere)
        if tree.revision:
            return [as_configured(item, tree.read) for item in items]
        return [as_on_disk(item, self._is_model) for item in items]

    def close(self) -> None:
        """Let go of git."""
        self._history.close()
