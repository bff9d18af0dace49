"""Parsers of everything that DVC writes, on anything that could stand there instead: an answer or one clear error."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from diffai.errors import SourceError
from diffai.stores.dvc.cache import DvcPlace, find_dvc, find_object, work_tree_file
from diffai.stores.dvc.config import parse_config
from diffai.stores.dvc.items import items_of
from diffai.stores.dvc.pointers import (
    DvcFile,
    DvcOut,
    DvcTextError,
    inside,
    model_paths,
    parse_dvc_file,
    parse_manifest,
    stage_folders,
    uncached_paths,
)
from diffai.stores.dvc.tracked import find_tracked, open_in_work_tree, pointer_paths

WORDS = ["outs", "md5", "path", "hash", "size", "nfiles", "files", "relpath", "cloud", "deps", "repo", "url", "stages",
         "schema", "wdir", "cache", "type", "artifacts", "do", "cmd", "-", ":", "\n", "  ", "    ", "- ", "{", "}", "[",
         "]", "'", '"', "&a", "*a", "!!python/object:os.system", "0" * 32, "f" * 32 + ".dir", "../x", "/etc/passwd",
         "a\\..\\b", "m.pt", "~", "null", "1e999", "2.0", "\t", "#", "|", ">", "%", "\x00", "é", "\ud7ff", "---"]  # fmt: skip
TEXTS = st.lists(st.sampled_from(WORDS), max_size=60).map(lambda words: "".join(words).encode("utf-8", "replace"))
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(WORDS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=25,
)


def checked(file: DvcFile, pointer: str) -> None:
    """Nothing that was parsed names a path or an address that could lead elsewhere."""
    for out in file.outs:
        assert out.address == "" or (len(out.address.removesuffix(".dir")) == 32 and "/" not in out.address)
        for entry in out.files or ():
            assert not entry.relpath.startswith(("/", "../")) and "/../" not in entry.relpath
    try:
        items = items_of(file, pointer, None)
    except DvcTextError:
        return
    for item in items:
        assert not posixpath.isabs(item.path) and not item.path.startswith("../") and "\0" not in item.path


@given(st.binary(max_size=300) | TEXTS, st.sampled_from(["m.pt.dvc", "dvc.lock", "sub/dvc.lock"]))
@example(b"a: &a [*a]\nouts: *a\n", "x.dvc")
@example(b"outs:\n- path: x\n  size: " + b"9" * 5000, "x.dvc")
@example(b"{" * 3000, "x.dvc")
def test_pointers_of_any_bytes(data: bytes, name: str) -> None:
    try:
        checked(parse_dvc_file(data, name), name)
    except DvcTextError as error:
        assert "\n" not in str(error) and str(error)
    for yaml in (stage_folders, uncached_paths, model_paths):
        yaml(data)


@given(VALUES, st.sampled_from(["m.pt.dvc", "dvc.lock"]))
def test_pointers_of_any_structure(value: object, name: str) -> None:
    data = json.dumps(value).encode()  # YAML, too
    try:
        checked(parse_dvc_file(data, name), name)
    except DvcTextError as error:
        assert "\n" not in str(error)
    for yaml in (stage_folders, uncached_paths, model_paths):
        yaml(data)


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
@example(b'[{"md5": 5, "relpath": "a"}]')
@example(b'[{"md5": "0", "relpath": ["a"]}]')
@example(b"[1e999, NaN]")
def test_manifests_of_anything(data: bytes) -> None:
    try:
        entries = parse_manifest(data)
    except DvcTextError as error:
        assert "manifest" in str(error) and "\n" not in str(error)
        return
    for entry in entries:
        assert entry.relpath and not entry.relpath.startswith(("/", "../")) and "/../" not in f"/{entry.relpath}/"
        assert entry.md5 == "" or len(entry.md5.removesuffix(".dir")) == 32


@given(st.text(max_size=200) | TEXTS.map(lambda data: data.decode("utf-8", "replace")))
@example('[cache]\ndir = \'unclosed\n[remote "x"]\nurl=\n[[nested]]\nkey')
def test_configuration_of_any_text(text: str) -> None:
    for section, entries in parse_config(text).items():
        assert isinstance(section, str) and all(isinstance(value, str) for value in entries.values())


PATHS = st.text(alphabet="a./\\~-\n\0 é", max_size=30) | st.sampled_from(
    ["/", "//", "///a", "/etc/passwd", "", ".", "..", "../x", "a/../../b", "a//b/", "-rf", "a\nb", "\0", "./a", "a/."]
)


@given(PATHS)
@example("/etc/passwd")
@example("//host/share")
def test_the_walk_up_from_any_path_ends(path: str) -> None:
    """An absolute path is its own parent at the end, which once made a walk without end."""
    pointers = pointer_paths(path)
    assert len(pointers) <= 2 * (path.count("/") + 2)
    asked: list[str] = []
    assert find_tracked(path, lambda name: asked.append(name), lambda folder: []) is None  # type: ignore[func-returns-value]
    assert not (path.startswith("/") and asked)


@given(PATHS, PATHS)
def test_nothing_joins_to_a_path_outside(folder: str, path: str) -> None:
    try:
        joined = inside(folder, path)
    except DvcTextError:
        return
    assert joined not in ("", ".", "..") and not joined.startswith(("/", "../")) and "\0" not in joined


@pytest.mark.parametrize("path", ["/etc/passwd", "//x", "../../etc/passwd", "\0", "a\nb", "-", "gone/below/m.pt", "~"])
def test_opening_any_path_by_the_pointers_of_the_work_tree(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    try:
        assert open_in_work_tree(path) is None
    except (SourceError, ValueError) as error:
        assert "\n" not in str(error)


def test_links_do_not_lead_out_of_the_repository(tmp_path: Path) -> None:
    """A file of the work tree counts only inside it; an object of a cache only when it is a file of its own."""
    top, secret = tmp_path / "top", tmp_path / "secret"
    (top / ".dvc" / "cache" / "files" / "md5" / "ab").mkdir(parents=True)
    secret.mkdir()
    (secret / "m.pt").write_bytes(b"secret")
    (top / "link").symlink_to(secret)
    (top / "file.pt").symlink_to(secret / "m.pt")
    (top / ".dvc" / "cache" / "files" / "md5" / "ab" / ("c" * 30)).symlink_to(secret / "m.pt")
    place = find_dvc(str(top), None)
    assert isinstance(place, DvcPlace) and place.root == str(top)
    assert work_tree_file(place, "link/m.pt") == work_tree_file(place, "file.pt") == ""
    assert work_tree_file(place, "../secret/m.pt") == work_tree_file(place, str(secret / "m.pt")) == ""
    assert find_object("ab" + "c" * 30, False, place) == ""
    for address in (
        "../../../../etc/passwd",
        "",
        "ab/../../x",
        "/etc/passwd",
        "AB" + "c" * 30,
        "ab" + "c" * 30 + ".dir/x",
    ):
        assert DvcOut("m.pt", key="md5", value=address).address == ""
