"""Promise: models in DVC cost what their tensors cost, and never a start of DVC.

Pointers and caches are laid out by hand as DVC 3 does it; only the rows that compare with ``dvc diff`` need dvc.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

from measure import DIFFAI, Command, Row, diffai, interleaved, make, python, remove, wall

FILES = 20_000
VERSIONS = 300


def dvc(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """A changed pointer, two revisions and a large directory against ``dvc diff``, and a walk over 300 versions."""
    paths = make(directory, "small_models", size=1_000_000)
    top = os.path.join(directory, "dvc-repository")
    shutil.rmtree(top, ignore_errors=True)
    try:
        repository = _Repository(top)
        with open(paths["00-old"], "rb") as old, open(paths["00-new"], "rb") as new:
            models = old.read(), new.read()
        for version, model in enumerate(models):
            repository.file("model.safetensors", model)
            repository.file("data.csv", b"%d\n" % version)
            files = {f"{k // 500:03}/{k:05}.jpg": b"%d" % (k * (k % 7 > 0 or version)) for k in range(FILES)}
            repository.directory("data", files)
            repository.git("commit", "-q", "-m", f"v{version}")
        yield from _pointer(repository, runs)
        yield from _two_revisions(repository, runs)
        yield from _directory(repository, runs)
        yield from _walk(repository, runs)
    finally:
        shutil.rmtree(top, ignore_errors=True)
        if not keep:
            remove(paths)


def _pointer(repository: _Repository, runs: int) -> Iterator[Row]:
    """One changed pointer whose output is no model, so that all time is that of the pointer."""
    words = ["HEAD~1", "HEAD", "--", "data.csv.dvc"]
    samples = interleaved(
        {
            "pass": python("pass"),
            "plain": repository.command("diff", "--no-ext-diff", "--no-textconv", *words, expect="md5"),
            "ours": repository.command("diff", *words, expect="no model"),
        },
        runs * 3,
    )
    bare, plain, ours = (wall(samples[name]) for name in ("pass", "plain", "ours"))
    ratio = (ours - plain) / bare
    yield Row(
        "`git diff` of one changed `.dvc`, beyond the tensor work",
        "<= 5 x bare Python",
        f"{ratio:.1f} x ({(ours - plain) * 1e3:.0f} ms, bare Python {bare * 1e3:.0f} ms)",
        ratio <= 5,
        {"seconds": ours - plain, "pass": bare, "ratio": ratio},
    )


def _two_revisions(repository: _Repository, runs: int) -> Iterator[Row]:
    """``diffai dvc diff A B`` does all that ``dvc diff A B`` does, and compares the tensors too."""
    targets = ("--targets", "model.safetensors", "data.csv")
    ours = diffai("dvc", "diff", "HEAD~1", "HEAD", *targets, expect="Weight updates", cwd=repository.top)
    theirs = _dvc(repository, *targets, expect="model.safetensors")
    yield from _beside("`diffai dvc diff A B`, one 1 MB model", {"ours": ours, "theirs": theirs}, runs)


def _directory(repository: _Repository, runs: int) -> Iterator[Row]:
    """A directory output of 20,000 files, a seventh of them changed, beside what DVC itself takes for it."""
    theirs = _dvc(repository, "--targets", "data", expect="files summary")
    ours = repository.command("diff", "HEAD~1", "HEAD", "--", "data.dvc", expect="equal")
    yield from _beside(f"`git diff` of a directory of {FILES:,} files", {"ours": ours, "theirs": theirs}, runs)
    ours = diffai("dvc", "diff", "HEAD~1", "HEAD", "--targets", "data", expect="files summary", cwd=repository.top)
    name = f"`diffai dvc diff A B` of a directory of {FILES:,} files"
    yield from _beside(name, {"ours": ours, "theirs": theirs}, runs)


def _walk(repository: _Repository, runs: int) -> Iterator[Row]:
    """A history of 300 versions of one pointer, none of which is pulled, beside git's own walk over the pointer."""
    text = "outs:\n- md5: {:032x}\n  size: 184\n  hash: md5\n  path: m.safetensors\n"
    stream = "".join(
        f"commit refs/heads/walk\nmark :{k + 1}\ncommitter A <a@b> {k + 1} +0000\ndata 1\nx\n"
        + (f"from :{k}\n" if k else "")
        + f"M 100644 inline m.safetensors.dvc\ndata {len(text.format(k))}\n{text.format(k)}\n"
        for k in range(VERSIONS)
    )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=repository.top, input=stream, text=True, check=True)
    commands = {
        "ours": diffai("log", "--no-cache", "walk", "--", "m.safetensors", expect="is not here", cwd=repository.top),
        "git": repository.command("log", "-p", "--no-ext-diff", "--no-textconv", "walk", expect="md5"),
    }
    samples = interleaved(commands, runs)
    ours, git = (wall(samples[name]) for name in commands)
    each = ours / VERSIONS
    yield Row(
        f"`diffai log` over {VERSIONS} versions of a pointer",
        "milliseconds each",
        f"{each * 1e3:.1f} ms each, start included (`git log -p` {git / VERSIONS * 1e3:.1f} ms)",
        each < 0.01,
        {"seconds": ours, "each": each, "git": git},
    )


def _dvc(repository: _Repository, *words: str, expect: str) -> Command | None:
    """``dvc diff`` of the two revisions; None where it is not installed beside diffai."""
    program = os.path.join(os.path.dirname(DIFFAI), "dvc")
    if not os.path.exists(program):
        return None
    env = {"DVC_NO_ANALYTICS": "1", "CI": "1"}  # neither reports nor asks for a newer version in the background
    return Command([program, "diff", "HEAD~1", "HEAD", *words], expect=expect, cwd=repository.top, env=env)


def _beside(name: str, commands: dict[str, Command | None], runs: int) -> Iterator[Row]:
    """Ours beside ``dvc diff``, which it must not take longer than."""
    samples = interleaved({key: command for key, command in commands.items() if command is not None}, runs)
    ours = wall(samples["ours"])
    if "theirs" not in samples:
        yield Row(name, "-", f"{ours:.2f} s (no dvc to compare with)", None, {"seconds": ours})
        return
    theirs = wall(samples["theirs"])
    yield Row(name, "<= `dvc diff A B`", f"{ours / theirs:.2f} x ({ours:.2f} s, dvc {theirs:.2f} s)", ours <= theirs,
              {"seconds": ours, "dvc": theirs, "ratio": ours / theirs})  # fmt: skip


class _Repository:
    """A git repository with a DVC cache, in which diffai is registered."""

    def __init__(self, top: str) -> None:
        self.top = top
        os.makedirs(os.path.join(top, ".dvc"))
        self.env = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a",
                    "GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": os.devnull}  # fmt: skip
        self.git("init", "-q")
        with open(os.path.join(top, ".dvc", "config"), "w", encoding="utf-8"):
            pass
        with open(os.path.join(top, ".dvc", ".gitignore"), "w", encoding="utf-8") as file:
            file.write("/cache\n/tmp\n")
        self.git("add", ".dvc")
        environment = {**os.environ, **self.env}
        subprocess.run([DIFFAI, "install"], cwd=top, check=True, stdout=subprocess.DEVNULL, env=environment)

    def git(self, *words: str) -> None:
        """Run git."""
        subprocess.run(["git", *words], cwd=self.top, check=True, env={**os.environ, **self.env})

    def command(self, *words: str, expect: str) -> Command:
        """A call of git to measure."""
        return Command(["git", *words], expect=expect, env=self.env, cwd=self.top)

    def object(self, data: bytes, suffix: str = "") -> str:
        """Put a content into the cache."""
        address = hashlib.md5(data, usedforsecurity=False).hexdigest()
        folder = os.path.join(self.top, ".dvc", "cache", "files", "md5", address[:2])
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, address[2:] + suffix), "wb") as file:
            file.write(data)
        return address + suffix

    def file(self, name: str, data: bytes) -> None:
        """Track a file."""
        self._pointer(name, f"- md5: {self.object(data)}\n  size: {len(data)}\n")

    def directory(self, name: str, files: dict[str, bytes]) -> None:
        """Track a directory; its files themselves are not needed."""
        entries = [{"md5": hashlib.md5(data, usedforsecurity=False).hexdigest(), "relpath": path}
                   for path, data in files.items()]  # fmt: skip
        address = self.object(json.dumps(entries).encode(), ".dir")
        self._pointer(name, f"- md5: {address}\n  size: {FILES}\n  nfiles: {len(files)}\n")

    def _pointer(self, name: str, facts: str) -> None:
        with open(os.path.join(self.top, f"{name}.dvc"), "w", encoding="utf-8") as file:
            file.write(f"outs:\n{facts}  hash: md5\n  path: {name}\n")
        self.git("add", f"{name}.dvc")


if __name__ == "__main__":
    sys.exit("run it through run.py: python benchmarks/run.py --only dvc")
