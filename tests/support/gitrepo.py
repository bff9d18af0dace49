"""Real git repositories for tests, shut off from the machine's own git configuration."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

_DROPPED = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT",
            "GIT_PAGER_IN_USE", "GIT_LFS_SKIP_SMUDGE")  # fmt: skip


def git_environment(home: Path) -> dict[str, str]:
    """The variables that keep git, git-lfs and diffai away from the real home and system configuration."""
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A U Thor",
        "GIT_AUTHOR_EMAIL": "author@example.com",
        "GIT_AUTHOR_DATE": "2024-01-01T00:00:00+0000",
        "GIT_COMMITTER_NAME": "C O Mitter",
        "GIT_COMMITTER_EMAIL": "committer@example.com",
        "GIT_COMMITTER_DATE": "2024-01-01T00:00:00+0000",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
    }


def isolate(monkeypatch: object, home: Path) -> None:
    """Apply ``git_environment`` to this process by pytest's ``monkeypatch``."""
    for name in _DROPPED:
        monkeypatch.delenv(name, raising=False)  # type: ignore[attr-defined]
    for name, value in git_environment(home).items():
        monkeypatch.setenv(name, value)  # type: ignore[attr-defined]


class Repo:
    """A repository in ``top``; ``Repo.init`` makes one. All paths given are relative to ``top``."""

    def __init__(self, top: Path) -> None:
        self.top = top

    @classmethod
    def init(cls, top: Path, *options: str) -> Repo:
        """``git init`` with branch ``main``; ``options`` such as ``--bare`` go before the path."""
        top.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "init", "-q", "-b", "main", *options, str(top)], check=True)
        return cls(top)

    def clone(self, to: Path, *options: str) -> Repo:
        """``git clone`` of this repository through file://, so that ``--filter`` and ``--depth`` work."""
        subprocess.run(["git", "clone", "-q", *options, f"file://{self.top}", str(to)], check=True)
        return Repo(to)

    def clone_without_lfs_objects(self, to: Path) -> Repo:
        """``git clone`` in which every LFS file is still its pointer."""
        subprocess.run(
            ["git", "clone", "-q", f"file://{self.top}", str(to)],
            env={**os.environ, "GIT_LFS_SKIP_SMUDGE": "1"}, check=True,
        )  # fmt: skip
        clone = Repo(to)
        clone.git("lfs", "install", "--local", "--skip-smudge")
        return clone

    def git(self, *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        """Run git in the repository; its stdout as text. Fails the test with git's stderr."""
        done = self.run(*args, env=env, cwd=cwd)
        assert done.returncode == 0, f"git {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(
        self, *args: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run git and return what happened, success or not."""
        return subprocess.run(
            ["git", *args], cwd=cwd or self.top, env={**os.environ, **(env or {})}, text=True,
            encoding="utf-8", errors="surrogateescape", capture_output=True, check=False,
        )  # fmt: skip

    def write(self, files: Mapping[str, bytes | str]) -> None:
        """Write files into the work tree, creating directories."""
        for name, content in files.items():
            path = self.top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Mapping[str, bytes | str], message: str = "commit") -> str:
        """Write, add and commit; the commit's full object name."""
        self.write(files)
        self.git("add", "--", *files)
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.rev_parse("HEAD")

    def rev_parse(self, name: str) -> str:
        """Full object name."""
        return self.git("rev-parse", "--verify", name).strip()

    def config(self, key: str, value: str) -> None:
        """Set a key in the repository's own configuration."""
        self.git("config", key, value)

    def lfs_track(self, *globs: str) -> None:
        """``git lfs install --local`` and ``git lfs track``; commits ``.gitattributes``."""
        self.git("lfs", "install", "--local")
        for glob in globs:
            self.git("lfs", "track", glob)
        self.git("add", ".gitattributes")
        self.git("commit", "-q", "-m", "track with lfs")


def lfs_pointer(oid: str, size: int) -> bytes:
    """The text that git-lfs commits in place of a file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()
