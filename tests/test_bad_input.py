"""Bad input that is not a matter of one format: through the Python API and the installed program."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import safetensors_writer as writer
from powerless import drop
from program import diffai

from diffai import api

GOOD = writer.simple(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.safetensors").write_bytes(GOOD)
    return tmp_path


def test_a_file_that_changes_while_it_is_read(folder: Path) -> None:
    path = folder / "moving.safetensors"
    path.write_bytes(GOOD)
    opened = api.open_checkpoint(path)
    path.write_bytes(GOOD[:-4])
    with pytest.raises(api.SourceError, match=r"moving\.safetensors: ends at offset \d+, .*changed while being read"):
        api.compare(opened, folder / "good.safetensors")
    path.write_bytes(GOOD)
    opened = api.open_checkpoint(path)
    os.utime(path, ns=(1, 1))
    with pytest.raises(api.SourceError, match=r"moving\.safetensors: changed while being read"):
        api.compare(opened, folder / "good.safetensors")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.safetensors", "no such file or directory"),
        ("good.safetensor", "did you mean good.safetensors"),
        ("fifo.pt", "not a regular file"),
        ("socket.pt", "no such device or address"),
        ("loop.pt", "too many levels of symbolic links"),
        ("dangling.pt", "no such file"),
        ("empty", "holds no model"),
    ],
)
def test_what_is_no_file_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    monkeypatch.chdir(folder)
    os.mkfifo("fifo.pt")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.pt")
    Path("loop.pt").symlink_to("loop.pt")
    Path("dangling.pt").symlink_to("gone.pt")
    Path("empty").mkdir()
    done = diffai("good.safetensors", name)
    assert done.returncode == 2
    said = done.stderr + done.stdout
    assert words in said.lower(), said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 3


def test_permission_denied(folder: Path) -> None:
    (folder / "good.safetensors").chmod(0)
    done = diffai("show", "good.safetensors", cwd=folder, before=drop)
    assert done.returncode == 2
    assert "permission denied" in done.stderr


@pytest.mark.parametrize(
    "content", [b"", b"x", b"hello\n", b"<!DOCTYPE html>", b"\x89PNG\r\n\x1a\n", b"{}", b"PK\x03\x04", b"\x80\x02."]
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin", ".index.json", ""])
def test_any_content_under_any_name_is_an_answer(folder: Path, content: bytes, suffix: str) -> None:
    path = folder / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(api.DiffaiError) as raised:
        api.open_checkpoint(path)
    assert f"file{suffix}" in str(raised.value)
    assert "\n" not in str(raised.value)
