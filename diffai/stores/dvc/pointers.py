"""What DVC's pointer files say: ``*.dvc``, ``dvc.lock`` and ``*.dir`` manifests, parsed without DVC.

A pointer names its outputs by content address. Nothing here opens a cache; a text that makes no sense is an error
with its reason, and a path that leads elsewhere is refused where it is read.

Source: https://dvc.org/doc/user-guide/project-structure/dvc-files and what DVC 2.58 and 3.67 really write. Scalars
are kept as text, so that an md5 made of digits stays what it is.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType

from diffai.frozen import frozen, replace
from diffai.stores.dvc import MAX_POINTER_BYTES, is_pointer_name
from diffai.stores.dvc.yaml_text import DvcTextError, load, merged_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_MANIFEST_BYTES = 1 << 30
_HEXADECIMAL = frozenset("0123456789abcdef")
_KEYS = ("md5", "etag", "checksum")


@frozen
class DvcEntry:
    """One file of a directory: its path in it, its md5 ("" when DVC gave none), bytes (-1 unknown)."""

    relpath: str
    md5: str
    size: int = -1
    version: str = ""


@frozen
class DvcOut:
    """One output of a pointer.

    Attributes:
        path: as it is written: relative to the pointer's folder (for a stage: to its ``wdir``), with ``/``.
        stage: name of the stage; "" in a ``.dvc`` file.
        key: which kind of name the content has: ``md5``, ``etag``, ``checksum``; "" when it was not downloaded.
        value: that name; an md5 of a directory ends in ``.dir``.
        legacy: written by DVC 2 or older, which keeps objects elsewhere and hashes text with line ends normalised.
        size: bytes; -1 when unknown.
        nfiles: files of a directory; -1 when unknown.
        files: the directory's own list, where the pointer holds it (cloud-versioned remotes); None otherwise.
        remote: the remote it asks for; "" is the default one.
        versions: version of the object by remote, for cloud-versioned remotes.
        model: it is said to be a model (``type: model``).
        cached: DVC keeps it in its cache, and does not leave it to git.
        source, source_version: URL and version of an import, which has the same content as long as there are versions.

    """

    path: str
    stage: str = ""
    key: str = ""
    value: str = ""
    legacy: bool = False
    size: int = -1
    nfiles: int = -1
    files: tuple[DvcEntry, ...] | None = None
    remote: str = ""
    versions: Mapping[str, str] = MappingProxyType({})
    model: bool = False
    cached: bool = True
    source: str = ""
    source_version: str = ""

    @property
    def is_directory(self) -> bool:
        """Whether it stands for a directory."""
        return self.files is not None or self.value.endswith(".dir")

    @property
    def address(self) -> str:
        """The content address, 32 hexadecimal digits and perhaps ``.dir``; "" when it has none."""
        return self.value if self.key == "md5" and _is_address(self.value) else ""

    @property
    def same_as(self) -> tuple[object, ...]:
        """Equal for equal content, as far as the pointer tells."""
        return (self.key, self.value, self.files)


@frozen
class DvcImport:
    """Where an imported output comes from: a repository (``rev``, ``commit``) or a URL (``etag`` or the like)."""

    url: str
    path: str = ""
    rev: str = ""
    commit: str = ""
    version: str = ""


@frozen
class DvcFile:
    """One parsed pointer.

    Attributes:
        lock: whether it is a ``dvc.lock``.
        wdir: working directory of a ``.dvc`` file's outputs, relative to its folder.
        outs: in the order written.
        imports: where a ``.dvc`` file's outputs come from.

    """

    lock: bool
    wdir: str = ""
    outs: tuple[DvcOut, ...] = ()
    imports: tuple[DvcImport, ...] = ()


@lru_cache(maxsize=512)
def parse_dvc_file(data: bytes, name: str) -> DvcFile:
    """Parse a whole pointer.

    Args:
        data: its content.
        name: its file name; ``dvc.lock`` is read as a lock file of schema 2.0 or 1.0, anything else as ``.dvc``.

    Raises:
        DvcTextError: no YAML, or not the shape of a pointer.

    """
    if len(data) > MAX_POINTER_BYTES:
        raise DvcTextError(f"longer than {MAX_POINTER_BYTES >> 20} MB, too long for a DVC pointer")
    document = load(data)
    if document in (None, ""):
        return DvcFile(posixpath.basename(name) == "dvc.lock")
    if not isinstance(document, dict):
        raise DvcTextError("is no DVC pointer (not a mapping)")
    if posixpath.basename(name) == "dvc.lock":
        return _lock_file(document)
    outs = tuple(_outs(document.get("outs"), ""))
    deps = document.get("deps")
    if len(outs) == 1 and isinstance(deps, list) and len(deps) == 1 and isinstance(deps[0], dict):
        url, version = _text(deps[0].get("path")), _text(deps[0].get("version_id"))
        if version and "://" in url:
            outs = (replace(outs[0], source=url, source_version=version),)
    return DvcFile(False, _text(document.get("wdir")), outs, tuple(_imports(document.get("deps"))))


@lru_cache(maxsize=64)
def parse_manifest(data: bytes) -> tuple[DvcEntry, ...]:
    """Parse the manifest of a directory: a JSON list of ``{"md5": ..., "relpath": ...}``.

    Raises:
        DvcTextError: no such list, or a path in it that leads out of the directory.

    """
    import json  # only a directory has one

    try:
        entries = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DvcTextError(f"the directory's manifest is not JSON ({error})") from error
    if not isinstance(entries, list):
        raise DvcTextError("the directory's manifest is not a list of files")
    return tuple(_entry(entry) for entry in entries)


@lru_cache(maxsize=256)
def stage_folders(data: bytes) -> Mapping[str, str]:
    """``wdir`` of every stage that a ``dvc.yaml`` gives one; empty where it cannot be read or is a template."""
    folders = ((name, _text(stage.get("wdir"))) for name, stage in _stages(data))
    return {name: folder for name, folder in folders if folder and "${" not in folder}


@lru_cache(maxsize=256)
def uncached_paths(data: bytes) -> frozenset[tuple[str, str]]:
    """(stage, path) of every output with ``cache: false`` in a ``dvc.yaml``; DVC leaves those to git."""
    return frozenset(
        (name, path)
        for name, stage in _stages(data)
        for path, facts in _described(stage, ("outs", "metrics", "plots"))
        if _text(facts.get("cache")).lower() == "false"
    )


@lru_cache(maxsize=256)
def model_paths(data: bytes) -> frozenset[str]:
    """Paths, from the folder of a ``dvc.yaml``, that it calls models: ``artifacts``, and outputs of stages."""
    found = set[str]()
    for facts in merged_keys(_yaml(data).get("artifacts")).values():
        facts = merged_keys(facts)
        if facts.get("type") == "model" and _text(facts.get("path")):
            found.add(posixpath.normpath(facts["path"]))
    for _, stage in _stages(data):
        for path, facts in _described(stage, ("outs",)):
            if facts.get("type") == "model":
                found.add(posixpath.normpath(posixpath.join(_text(stage.get("wdir")), path)))
    return frozenset(found)


@lru_cache(maxsize=64)
def _yaml(data: bytes) -> dict[Any, Any]:
    """A ``dvc.yaml``; empty where it cannot be read."""
    if len(data) > MAX_POINTER_BYTES:
        return {}
    try:
        return merged_keys(load(data))
    except DvcTextError:
        return {}


def _stages(data: bytes) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Name and body of each stage of a ``dvc.yaml``; of a ``foreach`` or ``matrix`` its ``do``."""
    for name, stage in merged_keys(_yaml(data).get("stages")).items():
        body = merged_keys(stage)
        if isinstance(name, str):
            yield name, merged_keys(body["do"]) if "do" in body else body


def _described(stage: Mapping[Any, Any], kinds: tuple[str, ...]) -> Iterator[tuple[str, dict[Any, Any]]]:
    """Outputs of a stage that stand there with facts: ``- model.pt: {cache: false}``."""
    for kind in kinds:
        items = stage.get(kind)
        for item in items if isinstance(items, list) else ():
            for path, facts in merged_keys(item).items():
                if isinstance(facts, dict):
                    yield str(path), merged_keys(facts)


def stage_folder(data: bytes, stage: str) -> str:
    """The ``wdir`` of a stage; ``train@a`` and ``train@b`` are items of ``train``. "" when it has none."""
    return stage_folders(data).get(stage.partition("@")[0], "")


def inside(folder: str, path: str) -> str:
    """``path`` below ``folder``, relative to the top of the repository.

    Raises:
        DvcTextError: it is absolute, a URL, or leads out of the repository.

    """
    joined = posixpath.normpath(posixpath.join(folder, path.replace("\\", "/")))
    if "://" in path or "\0" in joined or joined.startswith(("/", "../")) or joined in ("..", "."):
        raise DvcTextError(f"{path}: lies outside the repository")
    return joined


# ---------------------------------------------------------------- parsing


def _lock_file(document: dict[Any, Any]) -> DvcFile:
    """Schema 2.0 keeps its stages below ``stages``; 1.0 had no schema and the stages at the top."""
    stages = document.get("stages") if "schema" in document else document
    if stages in (None, ""):
        return DvcFile(True)
    if not isinstance(stages, dict):
        raise DvcTextError("is no dvc.lock (its stages are not a mapping)")
    outs = [
        out
        for name, stage in stages.items()
        if isinstance(stage, dict)
        for out in _outs(stage.get("outs"), _text(name))
    ]
    return DvcFile(True, "", tuple(outs))


def _outs(items: object, stage: str) -> Iterator[DvcOut]:
    if items in (None, ""):
        return
    if not isinstance(items, list):
        raise DvcTextError("its outs are not a list")
    for item in items:
        if not isinstance(item, dict) or not _text(item.get("path")):
            raise DvcTextError("an out has no path")
        key = next((key for key in _KEYS if _text(item.get(key))), "")
        files = item.get("files")
        cloud = item.get("cloud")
        yield DvcOut(
            path=_text(item["path"]),
            stage=stage,
            key=key,
            value=_text(item.get(key)) if key else "",
            legacy="hash" not in item,
            size=_number(item.get("size")),
            nfiles=_number(item.get("nfiles")),
            files=tuple(_entry(entry) for entry in files) if isinstance(files, list) else None,
            remote=_text(item.get("remote")),
            versions=_versions(cloud),
            model=_text(item.get("type")) == "model",
            cached=_text(item.get("cache")).lower() != "false",
        )


def _entry(entry: object) -> DvcEntry:
    """One file of a directory, its path checked."""
    if not isinstance(entry, dict):
        raise DvcTextError("the directory's manifest is not a list of files")
    relpath = _text(entry.get("relpath")).replace("\\", "/")
    if not relpath or "\0" in relpath or posixpath.normpath(relpath) != relpath or relpath.startswith(("/", "../")):
        raise DvcTextError(f"the directory's manifest names a file outside of it: {relpath!r}")
    if relpath in (".", ".."):
        raise DvcTextError(f"the directory's manifest names no file: {relpath!r}")
    md5 = _text(entry.get("md5"))
    version = next(iter(_versions(entry.get("cloud")).values()), _text(entry.get("version_id")))
    return DvcEntry(relpath, md5 if _is_address(md5) else "", _number(entry.get("size")), version)


def _versions(cloud: object) -> Mapping[str, str]:
    if not isinstance(cloud, dict):
        return {}
    return {_text(name): _text(facts.get("version_id")) for name, facts in cloud.items() if isinstance(facts, dict)}


def _imports(items: object) -> Iterator[DvcImport]:
    for item in items if isinstance(items, list) else ():
        if not isinstance(item, dict):
            continue
        repo = item.get("repo")
        path = _text(item.get("path"))
        if isinstance(repo, dict):
            yield DvcImport(_text(repo.get("url")), path, _text(repo.get("rev")), _text(repo.get("rev_lock")))
        elif "://" in path or any(_text(item.get(key)) for key in ("etag", "version_id", "checksum", "md5")):
            version = next((_text(item[key]) for key in ("version_id", "etag", "checksum", "md5") if item.get(key)), "")
            yield DvcImport(path, version=version)


def _is_address(text: str) -> bool:
    """Whether it is an md5 in 32 hexadecimal digits, with or without ``.dir`` behind it."""
    return len(text.removesuffix(".dir")) == 32 and _HEXADECIMAL.issuperset(text[:32])


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> int:
    """A count; -1 when there is none (manifests of JSON hold numbers, pointers text)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else -1
    text = _text(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1


__all__ = [
    "MAX_MANIFEST_BYTES", "MAX_POINTER_BYTES", "DvcEntry", "DvcFile", "DvcImport", "DvcOut", "DvcTextError", "inside",
    "is_pointer_name", "model_paths", "parse_dvc_file", "parse_manifest", "stage_folder", "stage_folders",
    "uncached_paths",
]  # fmt: skip
