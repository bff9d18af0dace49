from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
import safetensors_writer as writer
from program import diffai

from diffai.comparison.directories import compare_directories
from diffai.errors import SourceError
from diffai.models.names import model_key
from diffai.models.pairs import models_in
from diffai.snapshots.snapshot import folder_snapshot


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    folder.mkdir(exist_ok=True)
    return folder


def test_models_are_paired_by_relative_path(tmp_path: Path) -> None:
    one, two = writer.simple(1), writer.simple(2)
    old = put(
        tmp_path / "a",
        {"same.safetensors": one, "deep/er/x.safetensors": one, "gone.safetensors": one, "config.json": b"{}"},
    )
    new = put(
        tmp_path / "b",
        {"same.safetensors": one, "deep/er/x.safetensors": two, "come.safetensors": two, "config.json": b"[]"},
    )
    diff = compare_directories(str(old), str(new))
    assert [(f.path, f.status, bool(f.diff and f.diff.differs)) for f in diff.files] == [
        ("come.safetensors", "added", True),
        ("deep/er/x.safetensors", "compared", True),
        ("gone.safetensors", "removed", True),
        ("same.safetensors", "compared", False),
    ]
    assert diff.other_files == (0, 1, 0, 0)


def test_unreadable_pairs_are_reported_in_place_and_the_rest_is_finished(tmp_path: Path) -> None:
    good = writer.simple(1)
    old = put(tmp_path / "a", {"bad.safetensors": good, "ok.safetensors": good})
    new = put(tmp_path / "b", {"bad.safetensors": good[:50], "ok.safetensors": writer.simple(2)})
    result = diffai(old, new)
    assert result.returncode == 2
    assert "bad.safetensors" in result.stdout
    assert "unreadable safetensors" in result.stdout
    assert "~ a.weight" in result.stdout
    assert "1 changed, 1 not readable" in result.stdout


def test_models_of_formats_not_read_yet_are_reported_not_passed_over(tmp_path: Path) -> None:
    ggml = b"lmgg" + bytes(100)
    old, new = put(tmp_path / "a", {"m.ggml": ggml}), put(tmp_path / "b", {"m.ggml": ggml + b"x"})
    result = diffai(old, new)
    assert result.returncode == 2
    assert "GGML" in result.stdout


def test_text_named_like_a_model_is_another_file(tmp_path: Path) -> None:
    old, new = put(tmp_path / "a", {"notes.bin": b"hello\n"}), put(tmp_path / "b", {"notes.bin": b"hello!\n"})
    diff = compare_directories(str(old), str(new))
    assert (diff.files, diff.other_files) == ((), (0, 1, 0, 0))


def test_symlink_loops_end_and_are_said(tmp_path: Path) -> None:
    old = put(tmp_path / "a", {"m.safetensors": writer.simple(1)})
    new = put(tmp_path / "b", {"m.safetensors": writer.simple(2)})
    for folder in (old, new):
        (folder / "self").symlink_to(folder, target_is_directory=True)
        (folder / "dangling.safetensors").symlink_to(folder / "nowhere")
    diff = compare_directories(str(old), str(new))
    assert [f.path for f in diff.files if f.status == "compared"] == ["m.safetensors"]
    assert sorted({f.path for f in diff.files if f.status == "unreadable"}) == ["dangling.safetensors", "self"]


def test_include_and_exclude_count_what_they_leave_out(tmp_path: Path) -> None:
    files = {f"{name}.safetensors": writer.simple(1) for name in ("keep", "drop", "other")}
    old, new = put(tmp_path / "a", files), put(tmp_path / "b", files)
    diff = compare_directories(str(old), str(new), include=("*.safetensors",), exclude=("drop*", "other*"))
    assert [f.path for f in diff.files] == ["keep.safetensors"]
    assert diff.left_out[0].count == 4
    result = diffai(old, new, "--include", "keep*", "-r")
    assert "left out by --include keep*" in result.stdout


def shards(folder: Path, split: int, seed: float = 0.0) -> Path:
    """Four tensors in ``split`` shards with an index."""
    names = ["a", "b", "c", "d"]
    weight_map, per = {}, len(names) // split
    for number in range(split):
        shard = f"model-{number + 1:05d}-of-{split:05d}.safetensors"
        mine = names[number * per : (number + 1) * per]
        put(folder, {shard: writer.build({n: ("F32", (2,), struct.pack("<2f", ord(n) + seed, 1)) for n in mine})})
        weight_map.update(dict.fromkeys(mine, shard))
    put(folder, {"model.safetensors.index.json": json.dumps({"metadata": {}, "weight_map": weight_map}).encode()})
    return folder


def test_a_sharded_model_is_one_and_resharding_is_no_change(tmp_path: Path) -> None:
    two, four = shards(tmp_path / "two", 2), shards(tmp_path / "four", 4)
    assert [model.path for model in models_in(folder_snapshot(str(two)))[0]] == ["model.safetensors"]
    assert diffai(two, four).stdout == "No differences found\n"
    assert diffai(two / "model.safetensors.index.json", four).stdout == "No differences found\n"
    single = tmp_path / "single.safetensors"
    single.write_bytes(writer.build({n: ("F32", (2,), struct.pack("<2f", ord(n), 1)) for n in "abcd"}))
    assert diffai(single, four).stdout == "No differences found\n"
    changed = shards(tmp_path / "changed", 2, seed=0.5)
    assert diffai(two, changed, "-q").returncode == 1


def test_a_sharded_model_pairs_with_a_single_file_inside_directories(tmp_path: Path) -> None:
    old = shards(tmp_path / "a" / "ckpt", 2).parent
    new = put(
        tmp_path / "b" / "ckpt",
        {"model.safetensors": writer.build({n: ("F32", (2,), struct.pack("<2f", ord(n), 1)) for n in "abcd"})},
    ).parent
    put(old, {"x.safetensors": writer.simple(1)})
    put(new, {"x.safetensors": writer.simple(1)})
    diff = compare_directories(str(old), str(new))
    assert [(f.path, f.status) for f in diff.files] == [
        ("ckpt/model.safetensors", "compared"),
        ("x.safetensors", "compared"),
    ]
    assert not diff.differs


def test_a_single_file_beside_an_index_is_a_model_of_its_own(tmp_path: Path) -> None:
    folder = put(shards(tmp_path / "a", 2), {"model.safetensors": writer.simple(1)})
    assert sorted(model.path for model in models_in(folder_snapshot(str(folder)))[0]) == ["model.safetensors", "model.safetensors.index.json"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("x/model-00001-of-00004.safetensors", "x/model.safetensors"),
        ("pytorch_model-00002-of-00002.bin", "pytorch_model.bin"),
        ("model.safetensors.index.json", "model.safetensors"),
        ("model-1-of-2.safetensors", "model-1-of-2.safetensors"),
        ("index.json", "index.json"),
    ],
)
def test_model_key(name: str, key: str) -> None:
    assert model_key(name) == key


def test_a_directory_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        compare_directories(str(tmp_path / "nowhere"), str(tmp_path))
    if os.geteuid() == 0:
        return
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    with pytest.raises(SourceError):
        compare_directories(str(locked), str(tmp_path))
