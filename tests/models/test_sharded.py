from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import safetensors_writer as writer
from gitrepo import Repo, lfs_pointer

from diffai.api import compare
from diffai.errors import DiffaiError, FormatError, LimitError, SourceError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint, LfsPointer
from diffai.models import shard_pool, sharded
from diffai.models.sharded import ShardedCheckpoint
from diffai.snapshots.resolve import open_source
from diffai.sources.directory import UnresolvedError

LIMITS = Limits()
INDEX = "model.safetensors.index.json"


def shard(names: Iterable[str], metadata: Mapping[str, str] | None = None) -> bytes:
    """A shard whose tensors hold bytes that depend on their names only."""
    return writer.build({n: ("U8", (4,), n.encode().ljust(4, b".")[:4]) for n in names}, metadata)


def name_of(number: int, total: int) -> str:
    return f"model-{number:05}-of-{total:05}.safetensors"


def files_of(*shards: Iterable[str], index: bool = True, metadata: Mapping[str, str] | None = None) -> dict[str, bytes]:
    files, weight_map = {}, {}
    for number, names in enumerate(shards, 1):
        names = list(names)
        files[name_of(number, len(shards))] = shard(names, metadata)
        weight_map |= dict.fromkeys(names, name_of(number, len(shards)))
    if index:
        files[INDEX] = json.dumps({"metadata": {"total_size": 99}, "weight_map": weight_map}).encode()
    return files


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write files into a folder; gives the folder."""

    def write(files: Mapping[str, bytes], folder: str = "model") -> Path:
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / folder

    return write


def open_word(word: str | Path) -> ShardedCheckpoint:
    source = open_source(str(word))
    checkpoint = registry.open_checkpoint(source, LIMITS)  # type: ignore[arg-type]
    assert isinstance(checkpoint, ShardedCheckpoint)
    return checkpoint


def values(checkpoint: Checkpoint) -> dict[str, bytes]:
    found = {}
    for name, spec in checkpoint.tensors.items():
        buffer = bytearray(spec.nbytes)
        checkpoint.read_into(spec, 0, memoryview(buffer))
        found[name] = bytes(buffer)
    return found


def refused(word: str | Path, code: str) -> FormatError:
    with pytest.raises(FormatError) as error:
        open_word(word)
    assert error.value.code == code, error.value
    return error.value


# ---------------------------------------------------------------- what is right


def test_index_and_directory_give_the_same_model(make: Make) -> None:
    folder = make(files_of("ab", "c", "de"))
    by_index, by_folder = open_word(folder / INDEX), open_word(folder)
    assert list(by_index.tensors) == list("abcde")
    assert [spec.file for spec in by_index.tensors.values()] == [0, 0, 1, 2, 2]
    assert values(by_index) == values(by_folder) == {n: n.encode() + b"..." for n in "abcde"}
    assert by_index.format == "sharded safetensors"
    assert by_index.random_access
    assert by_index.metadata == {}
    by_index.verify_unchanged()


def test_a_directory_without_index(make: Make) -> None:
    folder = make(files_of("ab", "c", index=False) | {"config.json": b"{}", "README.md": b"text"})
    assert values(open_word(folder)) == {n: n.encode() + b"..." for n in "abc"}


def test_resharding_changes_nothing_but_the_order(make: Make) -> None:
    one, two = open_word(make(files_of("ab", "c"), "one")), open_word(make(files_of("a", "b", "c"), "two"))
    assert values(one) == values(two)


def test_neighbours_are_read_by_file(make: Make) -> None:
    checkpoint = open_word(make(files_of("ab", "cd")))
    spec, buffer = checkpoint.tensors["c"], bytearray(8)
    checkpoint.read_file_into(spec.file, spec.offset, memoryview(buffer))
    assert bytes(buffer) == b"c...d..."


def test_metadata_is_merged_where_equal_and_kept_apart_where_not(make: Make) -> None:
    files = {
        name_of(1, 2): shard("a", {"format": "pt", "part": "1"}),
        name_of(2, 2): shard("b", {"format": "pt", "part": "2", "only": "here"}),
        INDEX: json.dumps({
            "metadata": {"total_size": 8, "total_parameters": 8, "producer": "x", "n": {"b": 1}},
            "weight_map": {"a": name_of(1, 2), "b": name_of(2, 2)},
        }).encode(),
    }  # fmt: skip
    assert open_word(make(files)).metadata == {
        "producer": "x", "n": '{"b": 1}', "format": "pt", "only": "here",
        f"{name_of(1, 2)}:part": "1", f"{name_of(2, 2)}:part": "2",
    }  # fmt: skip


def test_more_shards_than_descriptors(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_pool, "_MOST_FILES", 3)
    names = [f"t{i}" for i in range(20)]
    checkpoint = open_word(make(files_of(*([name] for name in names))))
    wrong: list[str] = []

    def read_all(order: list[str]) -> None:
        for name in order * 5:
            buffer = bytearray(4)
            checkpoint.read_into(checkpoint.tensors[name], 0, memoryview(buffer))
            if bytes(buffer) != name.encode().ljust(4, b"."):
                wrong.append(name)
            if len(checkpoint._pool._open) > 3 + 4:
                wrong.append("open")

    threads = [threading.Thread(target=read_all, args=(names[i:] + names[:i],)) for i in (0, 5, 10, 15)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    checkpoint.close()
    checkpoint.close()


def test_a_shard_replaced_between_reads_is_noticed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_pool, "_MOST_FILES", 1)
    folder = make(files_of("a", "b"))
    checkpoint = open_word(folder)
    (folder / name_of(1, 2)).write_bytes(shard("ax"))
    with pytest.raises(SourceError, match="changed while being read"):
        values(checkpoint)


def test_safetensors_take_precedence_over_torch(make: Make) -> None:
    files = files_of("a", "b") | {"pytorch_model.bin.index.json": b"{}", "pytorch_model-00001-of-00002.bin": b"x"}
    assert list(open_word(make(files)).tensors) == ["a", "b"]


def test_other_variants_beside_the_plain_index(make: Make) -> None:
    files = files_of("a", "b") | {"model.fp16.safetensors.index.json": b"{}"}
    assert list(open_word(make(files)).tensors) == ["a", "b"]


# ---------------------------------------------------------------- what is wrong


def index_of(weight_map: object, **more: object) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": weight_map, **more}).encode()


def test_tensor_that_is_not_in_its_shard(make: Make) -> None:
    files = files_of("a", "b") | {INDEX: index_of({"a": name_of(1, 2), "b": name_of(2, 2), "c": name_of(2, 2)})}
    error = refused(make(files), "SH05")
    assert error.tensor == "c"
    assert name_of(2, 2) in error.reason


def test_missing_shard(make: Make) -> None:
    files = files_of("a", "b")
    del files[name_of(2, 2)]
    error = refused(make(files), "SH04")
    assert error.tensor == "b"
    assert name_of(2, 2) in error.reason
    assert "no such file" in error.reason


def test_missing_number_in_a_directory(make: Make) -> None:
    files = files_of("a", "b", "c", index=False)
    del files[name_of(2, 3)]
    assert name_of(2, 3) in refused(make(files), "SH09").reason


def test_tensor_in_two_shards(make: Make) -> None:
    error = refused(make(files_of("ab", "bc", index=False)), "SH06")
    assert error.tensor == "b"
    assert name_of(1, 2) in error.reason
    assert name_of(2, 2) in error.reason


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "sub/x.safetensors", "..", "", "a\\b", "\0"])
def test_shard_outside_the_directory(make: Make, name: str) -> None:
    folder = make({INDEX: index_of({"w": name}), "../secret.safetensors": shard("w"), "sub/x.safetensors": shard("w")})
    assert refused(folder / INDEX, "SH03").tensor == "w"


@pytest.mark.parametrize(
    ("index", "code"),
    [
        (b'{"weight_map":', "SH01"),
        (b'{"weight_map":' + b"[" * 200_000, "SH01"),
        (b'{"weight_map":{"a":"\xff"}}', "SH01"),
        (b'{"metadata":{}}', "SH02"),
        (b'{"weight_map":[]}', "SH02"),
        (b'{"weight_map":{"a":1}}', "SH02"),
        (b'{"weight_map":{},"weight_map":{}}', "SH08"),
        (b'{"weight_map":{"a":"x","a":"y"}}', "SH08"),
    ],
)
def test_bad_index(make: Make, index: bytes, code: str) -> None:
    refused(make({INDEX: index}) / INDEX, code)


def test_index_that_names_an_index(make: Make) -> None:
    refused(make({INDEX: index_of({"a": INDEX})}), "SH13")


def test_damaged_shard_is_named(make: Make) -> None:
    files = files_of("a", "b")
    files[name_of(2, 2)] = files[name_of(2, 2)][:-1]
    error = refused(make(files), "ST17")
    assert error.tensor == "b"
    assert name_of(2, 2) in error.reason
    assert error.format == "safetensors"


def test_index_over_the_limit(make: Make) -> None:
    folder = make(files_of("a", "b"))
    with pytest.raises(LimitError, match=r"diffai\.maxHeader"):
        registry.open_checkpoint(open_source(str(folder / INDEX)), Limits(max_header=20))  # type: ignore[arg-type]


def test_directories_without_or_with_several_models(make: Make) -> None:
    refused(make({"x.txt": b"x"}, "none"), "SH12")
    files = {"a-00001-of-00001.safetensors": shard("a"), "b-00001-of-00001.safetensors": shard("b")}
    assert "a-00001-of-00001" in refused(make(files, "two"), "SH10").reason


def test_check_finds_all_problems(make: Make) -> None:
    files = files_of("ab", "bc", "d", "e")
    files[INDEX] = index_of({
        "a": name_of(1, 4), "b": name_of(1, 4), "x": name_of(2, 4), "d": name_of(3, 4), "e": name_of(4, 4),
    })  # fmt: skip
    files[name_of(3, 4)] += b"tail"
    del files[name_of(4, 4)]
    folder = make(files)
    problems = registry.check(open_source(str(folder / INDEX)), LIMITS)  # type: ignore[arg-type]
    assert [(p.code, p.severity, p.tensor) for p in problems] == [
        ("SH06", "error", "b"), ("SH05", "error", "x"), ("ST16", "error", ""), ("SH04", "error", "e"),
        ("SH07", "warning", "c"),
    ]  # fmt: skip
    assert registry.check(open_source(str(make(files_of("a", "b"), "good"))), LIMITS) == ()  # type: ignore[arg-type]


def test_tensor_outside_the_index_is_a_warning(make: Make) -> None:
    files = files_of("a", "bc") | {INDEX: index_of({"a": name_of(1, 2), "b": name_of(2, 2)})}
    checkpoint = open_word(make(files))
    assert list(checkpoint.tensors) == ["a", "b", "c"]
    assert [(p.code, p.tensor) for p in checkpoint.problems] == [("SH07", "c")]


# ---------------------------------------------------------------- in git


def test_shards_at_a_revision(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    files = files_of("ab", "c", "d", "e", "f", "g")
    repo.commit({f"m/{name}": content for name, content in files.items()})
    repo.commit({f"m/{name_of(1, 6)}": shard("zz")})
    monkeypatch.chdir(repo.top / "m")
    for word in ("HEAD~1:m", f"HEAD~1:m/{INDEX}", f"HEAD~1:./{INDEX}", "HEAD~1:."):
        checkpoint = open_word(word)
        assert values(checkpoint) == {n: n.encode() + b"..." for n in "abcdefg"}
        checkpoint.verify_unchanged()
        checkpoint.close()


def test_shards_in_lfs_and_one_that_was_not_pulled(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.lfs_track("*.safetensors")
    repo.commit(files_of("a", "b"))
    monkeypatch.chdir(repo.top)
    checkpoint = open_word(f"HEAD:{INDEX}")
    assert checkpoint.random_access
    assert values(checkpoint) == {"a": b"a...", "b": b"b..."}
    pointer = lfs_pointer("ab" * 32, 4_000_000_000)
    repo.write({name_of(2, 2): pointer})
    repo.git("remote", "add", "origin", "file:///nowhere")
    with pytest.raises(UnresolvedError, match=f"git lfs pull -I /{name_of(2, 2)}") as error:
        open_word(INDEX)
    assert isinstance(error.value.state, LfsPointer)
    assert (error.value.state.size, error.value.state.path) == (4_000_000_000, name_of(2, 2))
    assert [p.code for p in sharded.check(open_source(INDEX), LIMITS)] == ["SH04"]  # type: ignore[arg-type]


def test_hostile_index_never_raises_anything_else(make: Make) -> None:
    base = index_of({"a": name_of(1, 2), "b": name_of(2, 2)})
    folder = make(files_of("a", "b"))
    for at in range(len(base)):
        for change in (b"", b"{", b"[", b'"', b"0", b"\xff", struct.pack("<Q", at)):
            (folder / INDEX).write_bytes(base[:at] + change + base[at + 1 :])
            with suppress(DiffaiError):
                sharded.open_checkpoint(open_source(str(folder / INDEX)), LIMITS).close()  # type: ignore[arg-type]


def test_a_sharded_model_says_what_its_shards_can_hold(tmp_path: Path) -> None:
    torch, safetensors = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    weight = torch.nn.Parameter(torch.ones(2))
    (tmp_path / "a").mkdir()
    torch.save({"x": weight}, tmp_path / "a/m-00001-of-00002.bin")
    torch.save({"y": weight}, tmp_path / "a/m-00002-of-00002.bin")
    torch.save({"x": weight, "y": weight}, tmp_path / "whole.pt")
    (tmp_path / "b").mkdir()
    for name, file in (("x", "m-00001-of-00002.safetensors"), ("y", "m-00002-of-00002.safetensors")):
        safetensors.save_file({name: torch.ones(2)}, tmp_path / "b" / file)
    one, whole, other = str(tmp_path / "a"), str(tmp_path / "whole.pt"), str(tmp_path / "b")
    assert not compare(one, whole).differs
    assert compare(one, whole).not_expressible == ("ties",)
    assert set(compare(other, whole).not_expressible) == {"ties", "requires_grad"}
    assert not compare(other, one).differs


def test_the_split_files_of_a_gguf_are_one_model(tmp_path: Path) -> None:
    import gguf
    import numpy as np

    from diffai import compare

    def write(path: Path, names: str, split: tuple[int, int]) -> None:
        path.parent.mkdir(exist_ok=True)
        writer = gguf.GGUFWriter(path, "llama")
        if split[0] == 0:
            writer.add_name("tiny")
        if split[1] > 1:
            writer.add_uint16("split.no", split[0])
            writer.add_uint16("split.count", split[1])
            writer.add_int32("split.tensors.count", 4)
        for name in names:
            writer.add_tensor(name, np.full((4, 8), ord(name), np.float32) + np.arange(8, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    write(tmp_path / "whole" / "m.gguf", "abcd", (0, 1))
    write(tmp_path / "split" / "m-00001-of-00002.gguf", "ab", (0, 2))
    write(tmp_path / "split" / "m-00002-of-00002.gguf", "cd", (1, 2))
    diff = compare(tmp_path / "whole", tmp_path / "split")
    assert diff.new.tensors == 4 and diff.equal, [change.key for change in diff.metadata]
    (tmp_path / "split" / "m-00001-of-00002.gguf").unlink()
    with pytest.raises(DiffaiError, match=r"'m-00001-of-00002\.gguf' is missing"):
        compare(tmp_path / "whole", tmp_path / "split")
