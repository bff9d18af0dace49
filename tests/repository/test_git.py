from __future__ import annotations

import os
import random
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from gitrepo import Repo

from diffai.errors import LimitError, SourceError
from diffai.repository import runner as git_program
from diffai.repository.blobs import GitBlob, open_stream
from diffai.repository.objects import MissingObjectError
from diffai.repository.runner import GitError, Repository, git_environment, words_of

DATA = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def here(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    """A repository with one large file, packed, as the working directory."""
    repo.commit({"m.bin": DATA})
    repo.git("gc", "-q")
    monkeypatch.chdir(repo.top)
    return repo


def blob(repo: Repo, name: str = "HEAD:m.bin", **options: int) -> GitBlob:
    return GitBlob(Repository(), repo.rev_parse(name), label=name, **options)  # type: ignore[arg-type]


def children() -> set[str]:
    """Living and dead child processes of this thread, those of other tests included."""
    tasks = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    return set(tasks.read_text().split())


def test_ascending_reads_stream(here: Repo) -> None:
    source = blob(here)
    assert (source.size, source.label, source.path) == (len(DATA), "HEAD:m.bin", "")
    assert source.identity == f"git:{here.rev_parse('HEAD:m.bin')}"
    for offset, count in [(0, 8), (8, 5000), (100, 64), (70_000, 1), (70_001, 1_000_000), (2_999_990, 10)]:
        assert source.read(offset, count) == DATA[offset : offset + count]
    assert not source.random_access
    source.verify_unchanged()
    source.close()


def test_the_first_bytes_may_be_read_again(here: Repo) -> None:
    source = blob(here)
    for _ in range(3):
        assert source.read(0, 4096) == DATA[:4096]
    assert source.read(60_000, 10_000) == DATA[60_000:70_000]  # half kept, half streamed
    assert source.read(0, 65_536) == DATA[:65_536]
    assert not source.random_access
    source.close()


def test_going_back_spools(here: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "home"))
    source = blob(here)
    assert source.read(1_000_000, 10) == DATA[1_000_000:1_000_010]
    assert source.read(500_000, 10) == DATA[500_000:500_010]
    assert source.random_access
    assert list((tmp_path / "home").iterdir()) == []
    wrong = []

    def read(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(50):
            offset = chance.randrange(len(DATA) - 1000)
            if source.read(offset, 1000) != DATA[offset : offset + 1000]:
                wrong.append(offset)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    source.close()
    source.close()
    with pytest.raises(SourceError):
        source.read(500_000, 10)


def test_spool_limit(here: Repo) -> None:
    source = blob(here, spool_limit=1000)
    source.read(1_000_000, 10)
    with pytest.raises(LimitError, match=r"diffai\.maxSpool"):
        source.read(500_000, 10)


def test_streams_of_their_own(here: Repo) -> None:
    source = blob(here)
    source.read(2_000_000, 5)
    with source.open_stream() as stream:
        assert stream.read() == DATA
    with source.open_stream() as stream:
        assert stream.read(5) == DATA[:5]
    assert not source.random_access
    source.close()


def test_close_ends_git_quietly(here: Repo, capfd: pytest.CaptureFixture[str]) -> None:
    before = children()
    for _ in range(3):
        source = blob(here)
        source.read(0, 10)
        source.close()
    assert children() <= before  # one of another test may have ended meanwhile
    assert capfd.readouterr() == ("", "")


def test_beyond_the_end(here: Repo) -> None:
    source = blob(here)
    with pytest.raises(SourceError, match="ends at offset 3000000"):
        source.read_into(len(DATA) - 5, memoryview(bytearray(10)))
    assert source.read(len(DATA), 10) == b""
    source.close()


def test_an_empty_blob(here: Repo) -> None:
    here.commit({"empty": b""})
    source = blob(here, "HEAD:empty")
    assert (source.size, source.read(0, 10)) == (0, b"")
    source.close()


def test_a_damaged_blob_is_an_error(here: Repo) -> None:
    here.commit({"loose": DATA[::-1]})
    oid = here.rev_parse("HEAD:loose")
    path = here.top / ".git" / "objects" / oid[:2] / oid[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(SourceError):
        source = blob(here, "HEAD:loose")
        source.read(0, 2_999_000)


def test_no_blob(here: Repo) -> None:
    with pytest.raises(SourceError, match="is a tree, not a file"):
        blob(here, "HEAD^{tree}")
    with pytest.raises(MissingObjectError):
        open_stream(Repository(), "0" * 40, "x")


def test_a_large_packed_blob_is_not_inflated_for_its_header(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.commit({"zeros": bytes(64 << 20)})
    repo.git("gc", "-q")
    monkeypatch.chdir(repo.top)
    source = blob(repo, "HEAD:zeros")
    assert source.read(0, 100) == bytes(100)
    status = Path(f"/proc/{source._stream._git.process.pid}/status").read_text()
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    source.close()
    assert memory < 32_000, "kilobytes"


# ---------------------------------------------------------------- the program


def test_words_are_never_options(here: Repo, tmp_path: Path) -> None:
    output = f"--output={tmp_path / 'x'}"
    for word in (output, "-h", "--all", "--help", "--git-dir=x", "", " ", "a\0b", "HEAD\nHEAD"):
        with pytest.raises(SourceError):
            Repository().commit(word)
        with pytest.raises(SourceError):
            Repository().tree(word)
    assert not (tmp_path / "x").exists()


def test_revisions(here: Repo) -> None:
    here.git("tag", "-a", "-m", "tag", "v1")
    here.git("branch", "--", "odd@name")
    for word in ("HEAD", "v1", "main", "odd@name", "HEAD^0", "HEAD^{/comm}", here.rev_parse("HEAD")[:8]):
        assert Repository().commit(word) == here.rev_parse("HEAD")
        assert Repository(str(here.top)).tree(word) == here.rev_parse("HEAD^{tree}")


def test_not_a_repository(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="not in a git repository"):
        Repository().commit("HEAD")


def test_git_is_missing(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(GitError, match="git is not installed"):
        Repository().commit("HEAD")
    with pytest.raises(GitError, match="git is not installed"):
        open_stream(Repository(), "0" * 40, "x")
    assert git_program.git_config("lfs.storage", git_dir=".git") == ""


def test_the_environment_of_another_repository_is_forgotten(
    here: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Repo.init(tmp_path / "other")
    commit = other.commit({"x": b"x"})
    monkeypatch.setenv("GIT_DIR", str(here.top / ".git"))
    assert Repository(str(other.top)).commit("HEAD") == commit
    assert Repository().commit("HEAD") == here.rev_parse("HEAD")


def test_traces_and_pathspec_modes_do_not_reach_git(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_TRACE", "GIT_GLOB_PATHSPECS", "GIT_EXTERNAL_DIFF"):
        monkeypatch.setenv(name, "1")
        assert name not in git_environment()
    assert Repository().ask("ls-tree", "--name-only", "HEAD") == b"m.bin\n"


def test_the_words_of_git() -> None:
    assert words_of(b"hint: x\nfatal: bad thing\nmore\n") == "git: bad thing"
    assert words_of(b"warning: odd\n") == "git: warning: odd"
    assert words_of(b"") == "git: failed"


# ---------------------------------------------------------------- partial clones


@pytest.mark.parametrize("old_git", [False, True])
def test_a_partial_clone_is_never_filled(
    here: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old_git: bool
) -> None:
    if old_git:  # versions that do not know GIT_NO_LAZY_FETCH
        monkeypatch.delitem(git_program._SET, "GIT_NO_LAZY_FETCH")
    here.config("uploadpack.allowFilter", "true")
    clone = here.clone(tmp_path / "clone", "--filter=blob:none", "--no-checkout")
    oid = here.rev_parse("HEAD:m.bin")
    monkeypatch.chdir(clone.top)
    with pytest.raises(MissingObjectError):
        GitBlob(Repository(), oid, label="m.bin")
    have = subprocess.run(
        ["git", "cat-file", "-e", oid], env={**os.environ, "GIT_NO_LAZY_FETCH": "1"}, capture_output=True, check=False
    )
    assert have.returncode
