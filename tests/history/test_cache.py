"""The cache of a history: shared, bounded, and never believed when it is damaged."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gitrepo import Repo
from model_history import commit, diffai, history, start, trained

PROGRAM = [sys.executable, "-P", "-m", "diffai"]
LOG = ("log", "-p", "--", "model.safetensors")
BLAME = ("blame", "--", "model.safetensors")


def cached(repo: Repo) -> list[Path]:
    return sorted(path for path in (repo.top / ".git" / "diffai").rglob("*") if path.is_file())


def answers(repo: Repo, *options: str) -> str:
    """What log and blame say; ``--no-cache`` is what they have to say."""
    return "".join(diffai(repo.top, words[0], *options, *words[1:]) for words in (LOG, BLAME))


HARM: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "one byte less": lambda data: data[:-1],
    "one byte more": lambda data: data + b"x",
    "a flipped bit": lambda data: data[:-9] + bytes([data[-9] ^ 16]) + data[-8:],
    "a flipped bit in the checksum": lambda data: data[:16] + bytes([data[16] ^ 1]) + data[17:],
    "empty": lambda data: b"",
    "garbage": lambda data: os.urandom(len(data)),
    "zeros": lambda data: bytes(len(data)),
    "another version": lambda data: data.replace(b"diffai-cache 1", b"diffai-cache 2"),
    "sound, but of another making": lambda data: sound({"key": ["x"], "value": {"Delta": [1]}}),
    "sound, but no entry": lambda data: sound([1, 2, 3]),
    "deep": lambda data: sound_text(b"[" * 100_000 + b"]" * 100_000),
    "a bomb": lambda data: sound_text(b'{"key":[],"value":"' + b"0" * 50_000_000 + b'"}'),
}


def sound(value: object) -> bytes:
    return sound_text(json.dumps(value).encode())


def sound_text(text: bytes) -> bytes:
    """An entry whose checksum is right."""
    import zlib

    body = zlib.compress(text, 9)
    return b"diffai-cache 1\n" + zlib.crc32(body).to_bytes(4, "big") + body


@pytest.mark.parametrize("harm", HARM)
def test_damaged_entries(repo: Repo, harm: str) -> None:
    history(repo, 3)
    right = answers(repo, "--no-cache")
    assert answers(repo) == right
    assert len(cached(repo)) > 6
    for path in cached(repo):
        path.write_bytes(HARM[harm](path.read_bytes()))
    assert answers(repo) == right
    assert answers(repo) == right


def test_an_entry_in_the_place_of_another(repo: Repo) -> None:
    """Entries carry their key: one that was copied to another's place is not taken for it."""
    history(repo, 4)
    right = answers(repo)
    paths = cached(repo)
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    assert answers(repo) == right


def test_links_and_folders_in_the_way(repo: Repo, tmp_path: Path) -> None:
    history(repo, 3)
    right = answers(repo)
    secret = tmp_path / "secret"
    secret.write_text("do not touch")
    for number, path in enumerate(cached(repo)):
        path.unlink()
        if number % 2:
            path.symlink_to(secret)
        else:
            path.mkdir()
    assert answers(repo) == right
    assert secret.read_text() == "do not touch"


def test_another_schema_finds_nothing_and_does_no_harm(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffai.cache import store

    history(repo, 3)
    right = answers(repo)
    before = {path: path.read_bytes() for path in cached(repo)}
    monkeypatch.setattr(store, "SCHEMA", store.SCHEMA + 1)
    assert answers(repo) == right
    assert len(cached(repo)) == 2 * len(before)
    assert {path: path.read_bytes() for path in before} == before


def test_it_stays_below_its_limit(repo: Repo) -> None:
    history(repo, 25)
    right = answers(repo, "--no-cache")
    repo.config("diffai.cacheSize", "8k")
    for _ in range(3):
        assert answers(repo) == right
        diffai(repo.top, "log", "--level", "digest", "--", "model.safetensors")
        assert sum(path.stat().st_size for path in cached(repo)) < 3 * 8192
    assert "of at most 8.2 kB" in diffai(repo.top, "cache", "info")


def test_several_at_once(repo: Repo) -> None:
    history(repo, 12)
    right = diffai(repo.top, *LOG, *()).encode()
    shutil.rmtree(repo.top / ".git" / "diffai")
    running = [subprocess.Popen([*PROGRAM, *LOG], cwd=repo.top, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for _ in range(5)]  # fmt: skip
    clearing = subprocess.Popen([*PROGRAM, "cache", "clear"], cwd=repo.top, stdout=subprocess.DEVNULL)
    for process in running:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, b"")
        assert out == right
    assert clearing.wait(timeout=60) == 0
    assert not [path for path in cached(repo) if path.name.startswith(".tmp-")]
    assert diffai(repo.top, *LOG).encode() == right


def test_the_folder_is_deleted_in_the_middle(repo: Repo) -> None:
    history(repo, 20)
    right = diffai(repo.top, "log", "--no-cache", *LOG[1:]).encode()
    stop = threading.Event()

    def delete() -> None:
        while not stop.is_set():
            shutil.rmtree(repo.top / ".git" / "diffai", ignore_errors=True)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        for _ in range(2):
            done = subprocess.run([*PROGRAM, *LOG], cwd=repo.top, capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, b"")
            assert done.stdout == right
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of 16 kB at a folder; the test is skipped where none can be mounted."""
    folder.mkdir(parents=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("a small file system cannot be mounted here (that takes root)")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(repo: Repo) -> None:
    history(repo, 8)
    right = answers(repo, "--no-cache")
    with small_disk(repo.top / ".git" / "diffai" / "cache"):
        for _ in range(2):
            assert answers(repo) == right
        assert not [path for path in cached(repo) if path.name.startswith(".tmp-")]


def test_work_trees_share_it(repo: Repo, tmp_path: Path) -> None:
    history(repo, 4)
    right = answers(repo)
    before = cached(repo)
    repo.git("worktree", "add", "-q", str(tmp_path / "linked"))
    linked = Repo(tmp_path / "linked")
    assert answers(linked) == right
    assert cached(repo) == before
    assert not list((repo.top / ".git" / "worktrees").rglob("diffai"))


# ---------------------------------------------------------------- ^C


def has_children(pid: int) -> bool:
    """Whether a process has started another: our own code runs by then."""
    try:
        return any(Path(f"/proc/{pid}/task/{task}/children").read_text() for task in os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux' /proc")
def test_interrupts(repo: Repo, tmp_path: Path) -> None:
    """As the terminal sends it: to us and to every git we started."""
    import numpy as np

    weights = {f"layer.{i}.weight": np.zeros((256, 256), "f4") for i in range(4)}
    for step in range(20):
        weights = {name: value + np.float32(step) for name, value in weights.items()}
        commit(repo, weights, f"step {step}", day=step + 1)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    codes = []
    for words in (LOG, BLAME, ("log", "--no-cache", "--level", "digest", "--", "model.safetensors")):
        for wait in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4):
            process = subprocess.Popen(
                [*PROGRAM, *words], cwd=repo.top, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env={**os.environ, "TMPDIR": str(scratch)}, start_new_session=True,
            )  # fmt: skip
            while process.poll() is None and not has_children(process.pid):
                time.sleep(0.001)
            time.sleep(wait)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=60)
            codes.append(process.returncode)
            assert process.returncode in (0, 130), err.decode()
            assert b"Traceback" not in err
            assert err.strip() in (b"", b"diffai: interrupted")
            assert not list(scratch.iterdir())
            assert not [path for path in cached(repo) if path.name.startswith(".tmp-")]
    assert 130 in codes
    assert answers(repo) == answers(repo, "--no-cache")


# ---------------------------------------------------------------- git's own commands


@pytest.mark.parametrize("lfs", [False, True], ids=["git", "lfs"])
def test_a_second_git_log_does_no_arithmetic(repo: Repo, lfs: bool) -> None:
    program = f"'{sys.executable}' -P -m diffai"
    repo.config("diff.diffai.command", f"{program} git-driver")
    repo.config("diff.diffai.textconv", f"{program} textconv")
    if lfs:
        repo.lfs_track("*.safetensors")
    (repo.top / ".git" / "info" / "attributes").write_text("*.safetensors diff=diffai\n")
    history(repo, 3)
    for words in (("log", "-p"), ("show", "HEAD"), ("diff", "HEAD~1", "HEAD"), ("log", "-p", "--ext-diff")):
        runs = [repo.run(*words, env={"PYTHONPROFILEIMPORTTIME": "1"}) for _ in range(2)]
        loaded = [{line.rpartition("|")[2].strip() for line in run.stderr.splitlines()} for run in runs]
        assert runs[0].stdout == runs[1].stdout
        assert "diffai.cache.store" in loaded[1], words
        assert not loaded[1] & {"numpy", "diffai.tensors.engine"}, words
    # What was remembered so is what is computed.
    assert repo.git("log", "-p") == repo.git("-c", "diffai.cacheSize=0", "log", "-p")


def test_a_pointer_and_its_object_are_two_contents(repo: Repo) -> None:
    """In every order of seeing them, by every command."""
    repo.lfs_track("*.safetensors")
    weights = start()
    commit(repo, weights, "a")
    commit(repo, trained(weights, 1), "b", day=2)
    right = answers(repo, "--no-cache")
    store, away = repo.top / ".git/lfs/objects", repo.top / ".git/lfs/away"
    store.rename(away)
    gone = diffai(repo.top, *LOG)
    assert gone.count("LFS object not downloaded") == 2
    shutil.rmtree(store, ignore_errors=True)
    away.rename(store)
    assert answers(repo) == right
    # What was computed of an object is true wherever it is now.
    store.rename(away)
    assert diffai(repo.top, *LOG) + diffai(repo.top, *BLAME[:1], "HEAD", *BLAME[1:]) == right
    assert "LFS object not downloaded" in diffai(repo.top, "log", "--no-cache", "--", "model.safetensors")
