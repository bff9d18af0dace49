from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffai.errors import SourceError
from diffai.sources.local import LocalFile, MemoryBytes


def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(b"0123456789")
    (tmp_path / "n.pt").write_bytes(b"beside")
    source = LocalFile(path)
    buffer = bytearray(4)
    source.read_into(3, memoryview(buffer))
    assert bytes(buffer) == b"3456"
    assert source.read(8, 100) == b"89"
    assert source.read(10, 100) == b""
    with source.open_stream() as stream:
        assert stream.read() == b"0123456789"
    assert source.sibling("n.pt").read(0, 9) == b"beside"
    assert source.identity == LocalFile(path).identity
    source.close()
    source.close()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/../b", "a\\b"])
def test_siblings_stay_in_the_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.pt").write_bytes(b"x")
    with pytest.raises(SourceError, match="outside its own directory"):
        LocalFile(tmp_path / "m.pt").sibling(name)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    for name, reason in {"nothing.pt": "no such file", "": "is a directory", "pipe.pt": "not a regular file"}.items():
        with pytest.raises(SourceError, match=reason) as error:
            LocalFile(tmp_path / name)
        assert str(tmp_path) in str(error.value)


def test_a_file_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(b"0123456789")
    source = LocalFile(path, label="HEAD:m.pt")
    os.truncate(path, 5)
    with pytest.raises(SourceError, match=r"HEAD:m\.pt: ends at offset 5, 3 bytes early"):
        source.read_into(2, memoryview(bytearray(6)))
    with pytest.raises(SourceError, match="changed while being read"):
        source.verify_unchanged()


def test_memory() -> None:
    source = MemoryBytes(bytearray(b"0123456789"))
    assert source.read(8, 5) == b"89"
    with pytest.raises(SourceError, match="ends at offset 10"):
        source.read_into(8, memoryview(bytearray(5)))
    with pytest.raises(SourceError, match="beside it"):
        source.sibling("x")
    assert source.open_stream().read() == b"0123456789"
