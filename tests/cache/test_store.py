"""The store: whole entries or none, bounded, harmless when it cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from powerless import powerless

from diffai.cache.store import Store


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_value_comes_back_and_kinds_are_apart(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    value = {"a": [1, 2.5, None, "\udcff", float("inf")], "b": True}
    store.put("side", "x", "y", value=value)
    assert Store(str(tmp_path)).get("side", "x", "y") == value
    assert store.get("pair", "x", "y") is None
    assert store.get("side", "x") is None
    assert store.get("side", "x\0y") is None  # the same file name, but not the same key


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "foreign", "garbage"])
def test_a_damaged_entry_is_removed_and_missing(tmp_path: Path, damage: str) -> None:
    store = Store(str(tmp_path))
    store.put("side", "k", value=list(range(100)))
    (path,) = entries(tmp_path)
    data = path.read_bytes()
    path.write_bytes(
        {
            "truncate": data[:-3],
            "flip": data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
            "empty": b"",
            "foreign": b"something else",
            "garbage": data[:19] + b"\0" * 40,
        }[damage]
    )
    assert store.get("side", "k") is None
    assert not path.exists()
    store.put("side", "k", value=1)
    assert store.get("side", "k") == 1


def test_the_oldest_entries_go_first(tmp_path: Path) -> None:
    roomy = Store(str(tmp_path))
    for number in range(20):
        roomy.put("side", str(number), value=os.urandom(2000).hex())
    store = Store(str(tmp_path), limit=40_000)
    for age, path in enumerate(entries(tmp_path)):
        os.utime(path, (1_000_000 + age, 1_000_000 + age))
    assert store.get("side", "3") is not None  # used, so young
    store.limit = 20_000
    removed = store.evict()
    assert removed > 0
    assert store.usage().bytes <= 16_000 + 3000
    assert store.get("side", "3") is not None


def test_what_one_process_writes_stays_near_the_limit(tmp_path: Path) -> None:
    store = Store(str(tmp_path), limit=40_000)
    for number in range(50):
        store.put("side", str(number), value=os.urandom(2000).hex())
        assert store.usage().bytes < 50_000


def test_an_entry_out_of_proportion_is_not_kept(tmp_path: Path) -> None:
    store = Store(str(tmp_path), limit=4000)
    store.put("side", "k", value=os.urandom(5000).hex())
    assert store.get("side", "k") is None


def test_no_limit_means_no_cache(tmp_path: Path) -> None:
    store = Store(str(tmp_path), limit=0)
    store.put("side", "k", value=1)
    assert store.get("side", "k") is None
    assert not entries(tmp_path)


def test_a_folder_that_cannot_be_written_is_only_read(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    store = Store(str(blocked / "cache"))
    store.put("side", "k", value=1)
    assert store.get("side", "k") is None


def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with powerless():
        store = Store(str(tmp_path / "cache"))
        store.put("side", "k", value=1)
        assert store.get("side", "k") is None
    assert not list(tmp_path.iterdir())
    tmp_path.chmod(0o700)


def test_many_writers_of_the_same_keys(tmp_path: Path) -> None:
    def work(number: int) -> bool:
        store = Store(str(tmp_path), limit=30_000)
        for round_ in range(40):
            key = str(round_ % 7)
            store.put("side", key, value=[key] * 50)
            got = store.get("side", key)
            if got is not None and got != [key] * 50:
                return False
            if number == 0:
                store.evict()
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert not [path for path in entries(tmp_path) if path.name.startswith(".tmp-")]


def test_a_killed_writer_leaves_no_entry(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import os, signal
        from diffai.cache import store
        real = os.replace
        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        os.replace = die
        store.Store({str(tmp_path)!r}).put("side", "k", value=[1] * 1000)
        """
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    store = Store(str(tmp_path))
    assert store.get("side", "k") is None
    assert store.usage().sides == 0
    (left,) = entries(tmp_path)
    os.utime(left, (1, 1))
    store.evict()
    assert not entries(tmp_path)  # what a dead writer left goes when it is old


def test_an_interrupt_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Store(str(tmp_path)).put("side", "k", value=1)
    assert not entries(tmp_path)


def test_clear_removes_everything(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "cache"))
    for number in range(5):
        store.put("pair", str(number), value=number)
    assert store.usage().pairs == 5
    assert store.clear() == 5
    assert store.usage().bytes == 0
    assert store.clear() == 0
