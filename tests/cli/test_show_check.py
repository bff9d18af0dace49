from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors_writer as writer
from gitrepo import Repo, lfs_pointer
from program import diffai
from safetensors.numpy import save_file

GOOD = writer.simple(1)


def test_show(tmp_path: Path) -> None:
    save_file(
        {"layer.10.w": np.arange(4, dtype="f4"), "layer.2.w": np.array([np.nan, 1], "f2")},
        tmp_path / "m.safetensors",
        metadata={"k": "v"},
    )
    lines = diffai("show", "m.safetensors", cwd=tmp_path).stdout.splitlines()
    assert lines[0].startswith("m.safetensors   safetensors · F32/F16 · 2 tensors · 6 params · ")
    assert "  ! layer.2.w: 1 NaN" in lines and '  METADATA  k = "v"' in lines
    assert [line.split()[0] for line in lines[-3:]] == ["tensor", "layer.2.w", "layer.10.w"]
    assert lines[-2].endswith("1 NaN")
    assert lines[-1].split()[1:] == ["F32", "[4]", "4", "1.5000", "1.1180", "0.0000", "..", "3.0000"]


def test_show_as_json_headers_only_and_filtered(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(GOOD)
    report = json.loads(diffai("show", "m.safetensors", "--format", "json", "--digests", cwd=tmp_path).stdout)
    assert [t["name"] for t in report["tensors"]] == ["a.bias", "a.weight"]
    assert all(len(t["xxh3"]) == 32 for t in report["tensors"])
    text = diffai("show", "m.safetensors", "--shape-only", "--filter", "bias", cwd=tmp_path).stdout
    assert "(headers only: values were not read)" in text
    assert "(1 tensor not matching --filter left out)" in text


def test_show_a_revision_and_errors(repo: Repo) -> None:
    repo.commit({"m.safetensors": GOOD})
    assert "2 tensors" in diffai("show", "HEAD:m.safetensors", cwd=repo.top).stdout
    assert diffai("show", cwd=repo.top).returncode == 2
    repo.git("remote", "add", "origin", "file:///nowhere")
    repo.write({"bad.safetensors": GOOD[:30], "p.pt": lfs_pointer("ab" * 32, 7)})
    for name, words in (
        ("bad.safetensors", "unreadable safetensors"),
        ("p.pt", "git lfs pull"),
        ("nowhere", "no such file"),
    ):
        done = diffai("show", name, cwd=repo.top)
        assert done.returncode == 2
        assert words in done.stderr
    both = diffai("show", "bad.safetensors", "m.safetensors", cwd=repo.top)
    assert both.returncode == 2
    assert "2 tensors" in both.stdout


BAD = {
    "overlap": (writer.raw({"a": writer.entry("F32", [2], 0, 8), "b": writer.entry("F32", [2], 4, 12)}, bytes(12)), "b"),
    "hole": (writer.raw({"a": writer.entry("F32", [2], 0, 8), "b": writer.entry("F32", [2], 12, 20)}, bytes(20)), "b"),
    "trailing": (GOOD + b"tail", "4"),
    "truncated": (GOOD[:-5], "5"),
    "duplicate": (writer.raw(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)), "a"),
    "length": (struct.pack("<Q", 2**60) + GOOD[8:], "header"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_check_numbers_its_reasons_and_gives_offsets(tmp_path: Path, what: str) -> None:
    content, word = BAD[what]
    (tmp_path / "m.safetensors").write_bytes(content)
    done = diffai("check", "m.safetensors", "--format", "json", cwd=tmp_path)
    assert done.returncode == 1
    (file,) = json.loads(done.stdout)["files"]
    problem = next(p for p in file["problems"] if p["severity"] == "error")
    assert problem["code"].startswith("ST")
    assert word in problem["message"] + problem["tensor"]
    assert problem["offset"] is not None
    text = diffai("check", "m.safetensors", cwd=tmp_path)
    assert problem["code"] in text.stdout
    assert text.returncode == 1


def test_check_counts_nan_and_inf(tmp_path: Path) -> None:
    save_file({"w": np.array([1, np.nan, np.inf, -np.inf], "f4")}, tmp_path / "m.safetensors")
    done = diffai("check", "m.safetensors", cwd=tmp_path)
    assert done.returncode == 1
    assert "w: 1 of 4 values are NaN" in done.stdout
    assert "w: 2 of 4 values are Inf" in done.stdout
    assert diffai("check", "m.safetensors", "--structure-only", cwd=tmp_path).returncode == 0


def test_check_exit_codes(tmp_path: Path, home: Path) -> None:
    (tmp_path / "good.safetensors").write_bytes(GOOD)
    (tmp_path / "bad.safetensors").write_bytes(GOOD[:-5])
    (tmp_path / "page.pt").write_bytes(b"<html>404</html>")
    assert diffai("check", "good.safetensors", cwd=tmp_path).returncode == 0
    assert diffai("check", "good.safetensors", "bad.safetensors", cwd=tmp_path).returncode == 1
    assert diffai("check", "bad.safetensors", "page.pt", cwd=tmp_path).returncode == 2
    assert diffai("check", "nowhere.pt", "good.safetensors", cwd=tmp_path).returncode == 2
    assert diffai("check", "bad.safetensors", "-q", cwd=tmp_path).stdout == ""


def test_check_lists_unsafe_globals(tmp_path: Path) -> None:
    (tmp_path / "evil.pt").write_bytes(b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.")
    done = diffai("check", "evil.pt", cwd=tmp_path)
    assert done.returncode == 1
    assert "os.system" in done.stdout or "posix.system" in done.stdout
