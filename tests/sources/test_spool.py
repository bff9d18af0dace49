from __future__ import annotations

import errno
import gc
import os
import stat
import tempfile
from pathlib import Path

import pytest
from stream_source import StreamSource

from diffai.errors import LimitError, SourceError
from diffai.sources import spool as module
from diffai.sources.local import MemoryBytes
from diffai.sources.spool import SpooledFile, spool

DATA = bytes(range(256)) * 10_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_copy_is_private_and_leaves_nothing_behind(folder: Path) -> None:
    origin = StreamSource(DATA, label="HEAD:m.pt", identity="git:1")
    copy = spool(origin, len(DATA))
    assert isinstance(copy, SpooledFile)
    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(os.fstat(copy._fd).st_mode) == 0o600
    assert (copy.label, copy.identity, copy.size, copy.random_access, copy.path) == (
        "HEAD:m.pt", "git:1", len(DATA), True, "")  # fmt: skip
    assert origin.closed
    buffer = bytearray(300)
    copy.read_into(2000, memoryview(buffer))
    assert bytes(buffer) == DATA[2000:2300]
    assert copy.read(len(DATA) - 3, 100) == DATA[-3:]
    one, two = copy.open_stream(), copy.open_stream()
    assert one.read(1000) == DATA[:1000]
    assert two.read() == DATA
    assert one.seek(-4, os.SEEK_END) == len(DATA) - 4
    assert one.read() == DATA[-4:]
    with pytest.raises(SourceError, match="ends at offset"):
        copy.read_into(len(DATA) - 3, memoryview(buffer))
    copy.verify_unchanged()
    copy.close()
    copy.close()


def test_what_can_be_read_in_any_order_is_not_copied() -> None:
    source = MemoryBytes(DATA)
    assert spool(source, 0) is source


def test_limit_names_its_key(folder: Path) -> None:
    with pytest.raises(LimitError, match=r"diffai\.maxSpool"):
        spool(StreamSource(DATA), len(DATA) - 1)


def test_full_disk_names_the_folder_and_tmpdir(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()  # files that other tests left to it must not be closed in between
    descriptors = len(os.listdir("/proc/self/fd"))

    def full(fd: int, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "write", full)
    with pytest.raises(SourceError) as error:
        spool(StreamSource(DATA, label="HEAD:m.pt"), len(DATA))
    assert str(error.value) == (
        f"HEAD:m.pt: no temporary copy in {folder}: no space left on device"
        " (2,560,000 bytes needed; set TMPDIR to another place)"
    )
    monkeypatch.undo()
    assert list(folder.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_stream_that_breaks_off(folder: Path) -> None:
    source = StreamSource(DATA)
    source.size += 5
    with pytest.raises(SourceError, match="5 bytes early"):
        spool(source, 1 << 30)
