"""The stores: each recognises its pointers, and opens what they stand for or says why that is not here.

Another store is one module with these functions, and one row.
"""

from __future__ import annotations

from collections.abc import Callable

from diffai.frozen import frozen
from diffai.stores import annex, dvc, lfs
from diffai.stores.store import Opened, PointerAt

PointerText = lfs.LfsText | annex.AnnexText | dvc.DvcText

HEAD_BYTES = 4096
"""Read this much of a file to recognise any pointer."""


@frozen
class Store:
    """One store.

    Attributes:
        name: as messages and :attr:`diffai.model.FetchCommand.store` have it.
        pointer: the class of its pointers.
        recognise: (the first :data:`HEAD_BYTES` of a file, its size in bytes, its name) -> the pointer that it is.
        open: (that pointer, where it was met) -> the bytes behind it, the files of a directory, or a state.

    """

    name: str
    pointer: type[PointerText]
    recognise: Callable[[bytes, int, str], PointerText | None]
    open: Callable[..., Opened]


def _open_dvc(pointer: dvc.DvcText, at: PointerAt) -> Opened:
    from diffai.stores.dvc.tracked import open_pointer

    return open_pointer(pointer, at)


STORES = (
    Store("git-lfs", lfs.LfsText, lfs.recognise, lfs.open_pointer),
    Store("git-annex", annex.AnnexText, annex.recognise, annex.open_pointer),
    Store("dvc", dvc.DvcText, dvc.recognise, _open_dvc),
)


def recognise(head: bytes, size: int, name: str = "") -> PointerText | None:
    """The pointer that a file is; None when it is none.

    Args:
        head: the first :data:`HEAD_BYTES` of the file (all, when shorter).
        size: bytes of the file.
        name: its name; DVC pointers are only looked for in ``*.dvc`` and ``dvc.lock`` files.

    """
    for store in STORES:
        pointer = store.recognise(head, size, name)
        if pointer is not None:
            return pointer
    return None


def follow(pointer: PointerText, at: PointerAt) -> Opened:
    """The bytes that a pointer stands for, or the state that says why they are not here."""
    return next(store for store in STORES if isinstance(pointer, store.pointer)).open(pointer, at)


def pointer_limit(name: str) -> int:
    """Bytes above which a file of this name is not looked at as a pointer; a ``dvc.lock`` can be long."""
    return dvc.MAX_POINTER_BYTES if dvc.is_pointer_name(name) else annex.MAX_BYTES
