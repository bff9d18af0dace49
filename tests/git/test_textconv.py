"""textconv through real git: log, show, blame, merges; deterministic, one tensor a line."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors_writer as writer
import xxhash
from gitrepo import Repo, lfs_pointer
from program import diffai
from safetensors.numpy import save

ONE, TWO = writer.simple(1), writer.simple(2)
LINE = re.compile(
    r"a\.(bias|weight)  F32  \[2, 3\]  mean=[23]\.3125 std=\S+ min=[23] max=[23]\.625  xxh3:[0-9a-f]{32}$"
)


@pytest.fixture
def repo(repo: Repo) -> Repo:
    repo.commit({"m.safetensors": ONE}, "one")
    assert diffai("install", cwd=repo.top).returncode == 0
    return repo


def convert(path: Path) -> str:
    result = diffai("textconv", path)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_the_text_of_a_model(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(writer.build({"layer.10.w": ("F32", (1,), struct.pack("<f", 1)), "layer.2.w": ("I64", (), struct.pack("<q", -3))},
                                  {"format": "pt", "note": "two\nlines"}))  # fmt: skip
    size = file.stat().st_size
    text = convert(file)
    assert text.splitlines() == [
        f"# safetensors: 2 tensors, 2 parameters, {size} bytes, xxh3:{xxhash.xxh3_128(file.read_bytes()).hexdigest()}",
        '__metadata__.format = "pt"',
        '__metadata__.note = "two\\nlines"',
        f"layer.2.w  I64  []  mean=-3 std=0 min=-3 max=-3  xxh3:{xxhash.xxh3_128(struct.pack('<q', -3)).hexdigest()}",
        f"layer.10.w  F32  [1]  mean=1 std=0 min=1 max=1  xxh3:{xxhash.xxh3_128(struct.pack('<f', 1)).hexdigest()}",
    ]
    assert convert(file) == text


def test_log_show_blame_and_merge(repo: Repo) -> None:
    repo.commit({"m.safetensors": TWO}, "two")
    log = repo.git("log", "-p")
    assert "-a.weight  F32  [2, 3]  mean=1.3125" in log
    assert "+a.weight  F32  [2, 3]  mean=2.3125" in log
    assert "+a.weight  F32  [2, 3]  mean=2.3125" in repo.git("show")
    blame = repo.git("blame", "HEAD", "--", "m.safetensors").splitlines()
    assert len(blame) == 3
    assert "# safetensors: 2 tensors" in blame[0]
    assert all(LINE.search(line) for line in blame[1:])
    repo.git("checkout", "-qb", "side", "HEAD~1")
    repo.commit({"m.safetensors": writer.simple(7)}, "side")
    repo.run("merge", "main")
    combined = repo.git("diff")
    assert "diff --cc m.safetensors" in combined
    repo.write({"m.safetensors": writer.simple(9)})
    repo.git("add", "-A")
    repo.git("commit", "-qm", "merge")
    assert "++a.weight  F32  [2, 3]  mean=9.3125" in repo.git("show")


def test_a_change_that_leaves_all_figures_alone_is_seen(repo: Repo) -> None:
    values = struct.pack("<4f", 1, 2, 3, 4)
    repo.commit({"p.safetensors": writer.build({"w": ("F32", (4,), values)})})
    repo.commit({"p.safetensors": writer.build({"w": ("F32", (4,), struct.pack("<4f", 4, 3, 2, 1))})})
    lines = [line for line in repo.git("show").splitlines() if line[1:].startswith("w  F32")]
    assert [line[0] for line in lines] == ["-", "+"]
    assert lines[0].partition("xxh3")[0][1:] == lines[1].partition("xxh3")[0][1:]


def test_names_of_any_length_and_kind_stay_one_line(tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(writer.build({"x\n\x1b[2J": ("F32", (0,), b""), "n" * 10_000: ("BOOL", (1,), b"\1")}))
    lines = convert(file).splitlines()
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert lines[1].startswith("n" * 10_000 + "  BOOL  [1]  ")
    assert lines[2].startswith("x\\n\\x1b[2J  F32  [0]  mean=n/a")


def test_a_long_value_is_cut_with_its_length_and_digest(tmp_path: Path) -> None:
    texts = []
    for last in "ab":
        file = tmp_path / "m.safetensors"
        metadata = {"long": "x" * 300_000 + last, "k" * 3_000: "v"}
        file.write_bytes(save({"w": np.zeros(2, "f4")}, metadata))
        texts.append(convert(file))
    assert all(len(text) < 2_000 for text in texts)
    lines = [text.splitlines()[1:3] for text in texts]
    assert any('xxx…" (300,001 characters, xxh3:' in line for line in lines[0])
    assert any("kkk… (3,000 characters, xxh3:" in line for line in lines[0])
    assert len(set(lines[0]) - set(lines[1])) == 1, "another last character is seen"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (ONE[:-5], r"^diffai: unreadable safetensors: .* at offset \d+ \(.*\), \d+ bytes, xxh3:[0-9a-f]{32}\n$"),
        (b"", r"^$"),
        (b"plain text\nsecond", r"^plain text\nsecond\n$"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"^diffai: is .*, not a model.*, 10 bytes, xxh3:[0-9a-f]{32}\n$"),
    ],
)
def test_what_is_no_model_still_differs_when_its_content_does(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "m.pt"
    file.write_bytes(content)
    assert re.match(expected, convert(file)), convert(file)


def test_a_missing_file_and_a_directory_exit_zero(tmp_path: Path) -> None:
    assert "no such file" in convert(tmp_path / "nowhere.pt")
    assert "is a directory" in convert(tmp_path)


def test_an_unresolved_pointer_is_verbatim_with_its_state(repo: Repo) -> None:
    pointer = lfs_pointer("ab" * 32, 4_100_000_000)
    repo.write({"p.pt": pointer})
    text = convert(repo.top / "p.pt")
    assert text.startswith(pointer.decode())
    assert text.splitlines()[3].startswith("diffai: LFS object not downloaded (4.1 GB")


def test_a_resolved_pointer_prints_what_its_object_prints(repo: Repo) -> None:
    oid = hashlib.sha256(ONE).hexdigest()
    stored = repo.top / ".git" / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    stored.parent.mkdir(parents=True)
    stored.write_bytes(ONE)
    repo.write({"pointer.pt": lfs_pointer(oid, len(ONE))})
    result = diffai("textconv", "pointer.pt", cwd=repo.top)
    assert result.stdout == diffai("textconv", "m.safetensors", cwd=repo.top).stdout


def test_a_shard_index_lists_its_tensors(repo: Repo) -> None:
    old = {"weight_map": {"a": "m-00001-of-00002.safetensors", "b": "m-00002-of-00002.safetensors"}}
    new = {"weight_map": {"a": "m-00001-of-00002.safetensors", "c": "m-00002-of-00002.safetensors"}}
    repo.commit({"m.safetensors.index.json": json.dumps(old)})
    repo.write({"m.safetensors.index.json": json.dumps(new)})
    assert "# shard index: 2 tensors in 2 shards" in convert(repo.top / "m.safetensors.index.json")
    text = repo.git("diff")
    assert "  - b (in m-00002-of-00002.safetensors)" in text
    assert "  + c (in m-00002-of-00002.safetensors)" in text
    repo.commit({"m.safetensors.index.json": json.dumps(new)})
    assert "-b  in m-00002-of-00002.safetensors" in repo.git("show")


def test_a_leading_dash_in_a_name(repo: Repo) -> None:
    repo.write({"-x.safetensors": ONE})
    assert diffai("textconv", "-x.safetensors", cwd=repo.top).stdout.startswith("# safetensors: 2 tensors")


def test_limits_are_said(repo: Repo) -> None:
    repo.config("diffai.shapeOnly", "true")
    text = diffai("textconv", "m.safetensors", cwd=repo.top).stdout
    assert "# values were not read (git config diffai.shapeOnly)" in text
    assert text.splitlines()[-1] == "a.weight  F32  [2, 3]"


def test_quantized_tensors_are_the_logical_ones_as_the_driver_has_them(repo: Repo) -> None:
    """Codes and their scale are one decoded tensor, whose values change when the scale alone does."""
    codes = np.arange(12, dtype=np.int8).reshape(3, 4)
    for scale in (0.5, 0.25):
        data = save({"l.weight": codes, "l.weight_scale": np.float32([scale])})
        repo.commit({"m.safetensors": data}, str(scale))
    text = repo.git("log", "-p", "-1")
    assert "-l.weight  I8 scaled  [3, 4]  mean=2.75 " in text and "+l.weight  I8 scaled  [3, 4]  mean=1.375 " in text
    assert "l.weight_scale" not in text
    patch = repo.git("diff", "HEAD~1", "HEAD")
    assert "~ l.weight" in patch and "l.weight_scale" not in patch


def test_what_the_file_alone_does_not_tell_stays_codes_whatever_lies_beside(tmp_path: Path) -> None:
    """The same bytes give the same text, in the work tree and out of git."""
    tensors = {"l.qweight": np.zeros((8, 4), "i4"), "l.qzeros": np.zeros((1, 2), "i4"), "l.scales": np.ones((1, 16), "f2")}
    texts = []
    for folder, config in (("a", None), ("b", {"quantization_config": {"quant_method": "gptq", "bits": 4}})):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "m.safetensors"
        file.write_bytes(save(tensors))
        if config is not None:
            (tmp_path / folder / "config.json").write_text(json.dumps(config))
        texts.append(convert(file))
    assert texts[0] == texts[1]
