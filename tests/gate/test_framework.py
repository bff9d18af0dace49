"""The pre-commit framework itself, run on this checkout. It installs diffai by pip into an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gating import model, staged
from gitrepo import Repo, git_environment

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("pre_commit", reason="pre-commit is not installed")
pytestmark = pytest.mark.timeout(600)


def pre_commit(*words: str, cwd: Path, cache: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PRE_COMMIT_HOME": str(cache), **variables}
    return subprocess.run([sys.executable, "-m", "pre_commit", *words], cwd=cwd, env=environment, text=True,
                          capture_output=True, check=False)  # fmt: skip


@pytest.fixture(scope="session")
def framework(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(a repository with this checkout's content, a cache with its environment built); skipped without an index."""
    folder = tmp_path_factory.mktemp("framework")
    source = folder / "source"
    source.mkdir()
    for name in ("diffai", "hooks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE", "README.md", ".pre-commit-hooks.yaml"):
        (source / name).write_bytes((ROOT / name).read_bytes() if (ROOT / name).exists() else b"diffai\n")
    home = folder / "home"
    home.mkdir()
    environment = {**os.environ, **git_environment(home)}
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "x"], ["tag", "v1"]):
        subprocess.run(["git", *words], cwd=source, env=environment, check=True)
    return source, folder / "cache"


@pytest.fixture
def project(repo: Repo, framework: tuple[Path, Path]) -> Repo:
    """A repository in which the framework is installed, with one model."""
    source, cache = framework
    config = f"repos:\n- repo: {source}\n  rev: v1\n  hooks:\n  - id: diffai-gate\n  - id: diffai-gate-index\n"
    models = {"m.safetensors": model(4), "n.safetensors": model(4)}
    repo.commit({**models, "a.txt": "a\n", ".pre-commit-config.yaml": config})
    done = pre_commit("install", "--install-hooks", "-t", "pre-commit", "-t", "pre-push", cwd=repo.top, cache=cache)
    if done.returncode and "pip" in done.stdout + done.stderr:
        pytest.skip("pre-commit cannot install diffai here: no package index")
    assert done.returncode == 0, done.stdout + done.stderr
    return repo


def test_the_manifest_is_valid() -> None:
    done = subprocess.run([sys.executable, "-m", "pre_commit", "validate-manifest", ".pre-commit-hooks.yaml"], cwd=ROOT,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout
    example = ["validate-config", "docs/examples/pre-commit-config.yaml"]
    assert subprocess.run([sys.executable, "-m", "pre_commit", *example], cwd=ROOT, check=False).returncode == 0


def test_commits_through_the_framework(project: Repo, framework: tuple[Path, Path]) -> None:
    env = {"PRE_COMMIT_HOME": str(framework[1])}
    staged(project, {"m.safetensors": model(4, scale=2)})
    fine = project.run("commit", "-m", "values", env=env)
    assert fine.returncode == 0 and fine.stderr.count("Passed") == 2, fine.stderr
    staged(project, {"m.safetensors": model(5)})
    project.write({"a.txt": "unstaged\n", "n.safetensors": model(9)})  # the framework puts these aside meanwhile
    before = project.git("ls-files", "-s"), project.rev_parse("HEAD")
    refused = project.run("commit", "-m", "no", env=env)
    assert refused.returncode == 1 and "m.safetensors: REFUSED" in refused.stderr
    assert (project.git("ls-files", "-s"), project.rev_parse("HEAD")) == before
    assert (project.top / "a.txt").read_text() == "unstaged\n"
    assert (project.top / "n.safetensors").read_bytes() == model(9)
    off = project.run("commit", "-m", "once", env={**env, "DIFFAI_GATE": "off"})
    assert off.returncode == 0


def test_deletions_are_seen_by_the_index_hook(project: Repo, framework: tuple[Path, Path]) -> None:
    env = {"PRE_COMMIT_HOME": str(framework[1])}
    staged(project, {".diffai.toml": '[gate]\nmodels = {deleted = "forbid"}\n'})
    project.git("rm", "-q", "n.safetensors")
    done = project.run("commit", "-m", "no", env=env)
    assert done.returncode == 1 and "models.deleted: model deleted" in done.stderr


def test_pushes_through_the_framework(project: Repo, framework: tuple[Path, Path], tmp_path: Path) -> None:
    env = {"PRE_COMMIT_HOME": str(framework[1])}
    remote = Repo.init(tmp_path / "remote", "--bare")
    project.git("remote", "add", "origin", str(remote.top))
    first = project.run("push", "origin", "main", env=env)
    assert first.returncode == 0, first.stderr + first.stdout
    staged(project, {"m.safetensors": model(5)})
    project.git("commit", "-q", "--no-verify", "-m", "sneaked in")
    second = project.run("push", "origin", "main", env=env)
    assert second.returncode != 0 and "REFUSED" in second.stdout + second.stderr
    branch = project.run("push", "origin", "main:other", env=env)  # a first push again: judged from origin/main
    assert branch.returncode != 0 and "REFUSED" in branch.stdout + branch.stderr


def test_two_refs_by_hand(project: Repo, framework: tuple[Path, Path]) -> None:
    staged(project, {"m.safetensors": model(5)})
    project.git("commit", "-q", "--no-verify", "-m", "5")
    words = ("run", "diffai-gate", "--from-ref", "HEAD~1", "--to-ref", "HEAD")
    done = pre_commit(*words, cwd=project.top, cache=framework[1])
    assert done.returncode == 1 and "m.safetensors: REFUSED" in done.stdout


def test_try_repo(repo: Repo, framework: tuple[Path, Path], tmp_path: Path) -> None:
    source, cache = framework
    repo.commit({"m.safetensors": model(4)})
    staged(repo, {"m.safetensors": model(4, nan=True)})
    for hook in ("diffai-gate-index", "diffai-check"):
        done = pre_commit("try-repo", str(source), hook, cwd=repo.top, cache=cache)
        if "No matching distribution" in done.stdout + done.stderr:
            pytest.skip("pre-commit cannot install diffai here: no package index")
        assert done.returncode == 1 and "NaN" in done.stdout, done.stdout + done.stderr
