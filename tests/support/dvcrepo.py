"""DVC repositories laid out by hand: pointers, caches and configuration as DVC itself writes them, without DVC."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from gitrepo import Repo

RunDvc = Callable[..., "subprocess.CompletedProcess[str]"]
"""The real dvc: ``run(*arguments, cwd=..., check=True)``."""


def md5(data: bytes) -> str:
    """The address of a content."""
    return hashlib.md5(data).hexdigest()


class DvcRepo:
    """A DVC repository in folder ``sub`` of a git repository ("" = at its top).

    Paths of pointers and outputs are relative to that folder; files of the work tree are written beside them.
    """

    def __init__(self, repo: Repo, sub: str = "", *, config: str = "", local: str = "") -> None:
        self.repo = repo
        self.top = repo.top / sub
        self.sub = sub
        self.cache = self.top / ".dvc" / "cache"
        (self.top / ".dvc").mkdir(parents=True, exist_ok=True)
        (self.top / ".dvc" / "config").write_text(config)
        (self.top / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
        if local:
            (self.top / ".dvc" / "config.local").write_text(local)
        prefix = f"{sub}/" if sub else ""
        repo.git("add", f"{prefix}.dvc/config", f"{prefix}.dvc/.gitignore")

    def object(self, data: bytes, *, suffix: str = "", legacy: bool = False, cache: Path | None = None) -> str:
        """Put a content into the cache; its address."""
        address = md5(data)
        root = (cache or self.cache) if legacy else (cache or self.cache) / "files" / "md5"
        path = root / address[:2] / (address[2:] + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return address + suffix

    def manifest(self, files: Mapping[str, bytes], *, cached: bool = True, objects: bool = True) -> str:
        """Put a directory into the cache; the address of its manifest."""
        entries = [{"md5": md5(data), "relpath": name} for name, data in sorted(files.items())]
        if objects:
            for data in files.values():
                self.object(data)
        text = json.dumps(entries).encode()
        return self.object(text, suffix=".dir") if cached else md5(text) + ".dir"

    def write(self, path: str, data: bytes | str) -> Path:
        """A file of the work tree."""
        full = self.top / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_bytes(data if isinstance(data, bytes) else data.encode())
        return full

    def add(self, path: str, data: bytes, *, legacy: bool = False, cached: bool = True, here: bool = True) -> str:
        """What ``dvc add`` of a file leaves behind; the pointer's path from the top of the git repository."""
        if cached:
            self.object(data, legacy=legacy)
        if here:
            self.write(path, data)
        return self.pointer(path, f"- md5: {md5(data)}\n  size: {len(data)}\n", legacy=legacy)

    def add_directory(self, path: str, files: Mapping[str, bytes], *, cached: bool = True, objects: bool = True) -> str:
        """What ``dvc add`` of a directory leaves behind, without the files themselves."""
        address = self.manifest(files, cached=cached, objects=objects)
        size = sum(map(len, files.values()))
        return self.pointer(path, f"- md5: {address}\n  size: {size}\n  nfiles: {len(files)}\n")

    def pointer(self, path: str, facts: str, *, legacy: bool = False, before: str = "") -> str:
        """A pointer with these facts of its one output, added to the index."""
        name = path.rpartition("/")[2]
        hashed = "" if legacy else "  hash: md5\n"
        self.write(f"{path}.dvc", f"{before}outs:\n{facts}{hashed}  path: {name}\n")
        return self.stage(f"{path}.dvc")

    def lock(self, stages: Mapping[str, Mapping[str, tuple[str, int]]], *, folder: str = "", yaml: str = "") -> str:
        """A dvc.lock: stage -> out path -> (md5, size), and a dvc.yaml beside it."""
        lines = ["schema: '2.0'", "stages:"]
        for stage, outs in stages.items():
            lines += [f"  {stage}:", "    cmd: python train.py", "    outs:"]
            for path, (address, size) in outs.items():
                lines += [f"    - path: {path}", "      hash: md5", f"      md5: {address}", f"      size: {size}"]
        prefix = f"{folder}/" if folder else ""
        self.write(f"{prefix}dvc.lock", "\n".join(lines) + "\n")
        if yaml:
            self.write(f"{prefix}dvc.yaml", yaml)
            self.stage(f"{prefix}dvc.yaml")
        return self.stage(f"{prefix}dvc.lock")

    def stage(self, path: str) -> str:
        """``git add``; the path from the top of the git repository."""
        inside = f"{self.sub}/{path}" if self.sub else path
        self.repo.git("add", "-f", inside)
        return inside

    def commit(self, message: str = "commit") -> str:
        """Commit what is in the index."""
        self.repo.git("commit", "-q", "--allow-empty", "-m", message)
        return self.repo.rev_parse("HEAD")
