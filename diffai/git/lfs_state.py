"""What git-LFS will do with the model files of a repository when git compares them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Literal

from diffai.frozen import frozen
from diffai.git.call import ask
from diffai.git.scopes import Repository
from diffai.git.survey import ModelFile
from diffai.stores.lfs import MAX_BYTES, LfsText, parse_lfs

Presence = Literal["here", "missing", "not a pointer"]


@frozen
class LfsSetup:
    """How git-LFS is set up.

    Attributes:
        program: the version line of git-lfs; "" when it is not installed.
        filtered: whether ``filter.lfs`` is configured, so that git runs git-lfs at all.
        required: whether ``filter.lfs.required`` makes git die when git-lfs fails.
        remote: whether there is any place to download from.
        gone: a remote on this machine that does not exist; "" when there is none such.

    """

    program: str
    filtered: bool
    required: bool
    remote: bool
    gone: str


@frozen
class LfsFile:
    """One file under ``filter=lfs``.

    Attributes:
        object: whether the committed object is in the local store, or no pointer was committed at all.
        size: of the object in bytes, -1 when unknown.
        pointer_on_disk: whether the work tree holds the pointer's text instead of the model.

    """

    object: Presence
    size: int
    pointer_on_disk: bool


def read_setup(cwd: str) -> LfsSetup:
    """Ask git and git-lfs how they are set up; nothing is contacted."""
    program = ""
    if shutil.which("git-lfs"):
        program = ask("lfs", "version", cwd=cwd).line.partition(" (")[0].replace("/", " ")
    entries = ask("config", "-z", "--get-regexp", r"^(filter\.lfs\.|remote\..*\.(url|lfsurl)$|lfs\.url$)", cwd=cwd)
    values: dict[str, str] = {}
    for entry in entries.output.split(b"\0")[:-1]:
        key, _, value = entry.decode("utf-8", "surrogateescape").partition("\n")
        values[key] = value
    required = ask("config", "--type=bool", "--get", "filter.lfs.required", cwd=cwd).line == "true"
    urls = [value for key, value in values.items() if not key.startswith("filter.")]
    gone = next((url for url in urls if _is_gone(url, cwd)), "")
    return LfsSetup(
        program,
        filtered=bool(values.get("filter.lfs.process") or values.get("filter.lfs.smudge")),
        required=required,
        remote=bool(urls),
        gone=gone,
    )


def read_files(files: Sequence[ModelFile], repository: Repository) -> dict[str, LfsFile]:
    """The state of each file under ``filter=lfs``, by path; blobs are read by two calls of git in all."""
    tracked = [file for file in files if file.filter == "lfs"]
    if not tracked:
        return {}
    pointers = _pointers([file.oid for file in tracked], repository.common)
    stores = _stores(repository)
    found: dict[str, LfsFile] = {}
    for file in tracked:
        pointer = pointers.get(file.oid)
        on_disk = bool(repository.top) and _is_pointer(os.path.join(repository.top, file.path))
        if pointer is None:
            found[file.path] = LfsFile("not a pointer", -1, on_disk)
        else:
            here = any(_is_object(store, pointer) for store in stores)
            found[file.path] = LfsFile("here" if here else "missing", pointer.size, on_disk)
    return found


def _pointers(oids: Sequence[str], cwd: str) -> dict[str, LfsText]:
    """The pointers among these blobs, by blob; larger blobs are never read."""
    sizes = ask("cat-file", "--batch-check=%(objectname) %(objectsize)", cwd=cwd, stdin=_lines(oids)).output
    small = [
        words[0].decode("ascii")
        for words in (line.split() for line in sizes.splitlines())
        if len(words) == 2 and words[1].isdigit() and int(words[1]) < MAX_BYTES
    ]
    output = ask("cat-file", "--batch=%(objectname) %(objectsize)", cwd=cwd, stdin=_lines(small)).output
    found: dict[str, LfsText] = {}
    position = 0
    while (end := output.find(b"\n", position)) >= 0:
        oid, size = output[position:end].split()
        content = output[end + 1 : end + 1 + int(size)]
        position = end + 1 + int(size) + 1
        pointer = parse_lfs(content)
        if pointer is not None:
            found[oid.decode("ascii")] = pointer
    return found


def _lines(oids: Sequence[str]) -> bytes:
    return "".join(f"{oid}\n" for oid in oids).encode("ascii")


def _stores(repository: Repository) -> list[str]:
    """The LFS folders that git-lfs looks into: its own, and one beside each alternate object store."""
    configured = ask("config", "--type=path", "--get", "lfs.storage", cwd=repository.common)
    own = os.path.join(repository.common, configured.line if configured.status == 0 else "lfs")
    counted = ask("count-objects", "-v", cwd=repository.common).output
    alternates = [
        os.path.join(os.path.dirname(os.fsdecode(line[len(b"alternate: ") :]).rstrip("/")), "lfs")
        for line in counted.splitlines()
        if line.startswith(b"alternate: ")
    ]
    return [own, *alternates]


def _is_object(store: str, pointer: LfsText) -> bool:
    try:
        path = os.path.join(store, "objects", pointer.oid[:2], pointer.oid[2:4], pointer.oid)
        return os.path.getsize(path) == pointer.size
    except OSError:
        return False


def _is_pointer(path: str) -> bool:
    try:
        if not os.path.isfile(path) or os.path.getsize(path) >= MAX_BYTES:
            return False
        with open(path, "rb") as file:
            return parse_lfs(file.read(MAX_BYTES)) is not None
    except OSError:
        return False


def _is_gone(url: str, cwd: str) -> bool:
    """Whether a remote is a folder of this machine that does not exist."""
    if url.startswith("file://"):
        return not os.path.exists(url[len("file://") :])
    looks_local = url.startswith(("/", "./", "../"))
    return looks_local and not os.path.exists(os.path.join(cwd, url))
