"""``install`` and ``uninstall`` in every kind of repository and every scope."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gitrepo import Repo
from installing import PROGRAM, driver_of, run, snapshot

from diffai.errors import UsageError
from diffai.git.command import driver_command
from diffai.git.install import install, uninstall
from diffai.git.scopes import Place, locate

# ---------------------------------------------------------------- kinds of repositories


def test_linked_worktree_with_its_own_config(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"m.safetensors": b"1\0"})
    repo.config("extensions.worktreeConfig", "true")
    linked = tmp_path / "linked tree"
    repo.git("worktree", "add", "-q", "-b", "side", str(linked))
    repo.git("config", "--worktree", "user.name", "only here", cwd=linked)
    before = snapshot(repo.top / ".git")
    (linked / "sub").mkdir()
    install(cwd=str(linked / "sub"))
    for place in (repo.top, linked, linked / "sub"):
        assert driver_of(repo, cwd=place) == "diffai"
        assert repo.git("config", "diff.diffai.command", cwd=place).strip() == driver_command(PROGRAM, interpreter=sys.executable)
    uninstall(cwd=str(repo.top))
    assert snapshot(repo.top / ".git") == before


def test_bare(home: Path, tmp_path: Path) -> None:
    bare = Repo.init(tmp_path / "b are.git", "--bare")
    before = snapshot(bare.top)
    install(cwd=str(bare.top))
    assert driver_of(bare) == "diffai"
    with pytest.raises(UsageError, match="needs a work tree"):
        install(cwd=str(bare.top), commit_attributes=True)
    uninstall(cwd=str(bare.top))
    assert snapshot(bare.top) == before


def test_submodule(repo: Repo, tmp_path: Path) -> None:
    inner = Repo.init(tmp_path / "inner")
    inner.commit({"m.safetensors": b"1\0"})
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.top), "sub")
    outside = (repo.top / ".git/config").read_bytes()
    install(cwd=str(repo.top / "sub"))
    assert (repo.top / ".git/config").read_bytes() == outside
    assert driver_of(repo, cwd=repo.top / "sub") == "diffai"
    assert driver_of(repo) == "unspecified"


def test_from_a_subdirectory_and_inside_the_git_folder(repo: Repo) -> None:
    (repo.top / "a b" / "c").mkdir(parents=True)
    for place in ("a b/c", ".git", ".git/info"):
        install(cwd=str(repo.top / place))
        assert driver_of(repo) == "diffai"
        uninstall(cwd=str(repo.top / place))
        assert driver_of(repo) == "unspecified"


def test_git_dir_in_the_environment(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert run("install", cwd=elsewhere, GIT_DIR="../repo/.git").returncode == 0
    assert driver_of(repo) == "diffai"
    assert run("doctor", cwd=elsewhere, GIT_DIR="../repo/.git", GIT_WORK_TREE="../repo").returncode == 0
    done = run("install", cwd=elsewhere, GIT_DIR="../nowhere")
    assert done.returncode == 2 and "nowhere" in done.stderr


def test_without_info_folder(home: Path, tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / "r", "--template=")
    before = snapshot(repo.top)
    assert not (repo.top / ".git/info").exists()
    install(cwd=str(repo.top))
    uninstall(cwd=str(repo.top))
    assert snapshot(repo.top) == before


# ---------------------------------------------------------------- global and system


@pytest.mark.parametrize("variable", ["set", "unset"])
def test_global_creates_and_removes(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    if variable == "unset":
        monkeypatch.delenv("GIT_CONFIG_GLOBAL")
        monkeypatch.delenv("XDG_CONFIG_HOME")
    install("global", cwd=str(tmp_path))
    assert sorted(snapshot(home)) == [".config", ".config/git", ".config/git/attributes", ".gitconfig"]
    repo = Repo.init(tmp_path / "r")
    assert driver_of(repo) == "diffai"
    assert repo.git("config", "--global", "diff.diffai.command").strip() == driver_command(
        PROGRAM, interpreter=sys.executable, scope_flag="--global"
    )
    uninstall("global", cwd=str(repo.top))
    assert snapshot(home) == {}


def test_global_in_the_xdg_file(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/config").write_bytes(b"[user]\n\tname = x")
    (home / ".config/git/attributes").write_bytes(b"*.x text\r\n*.y text")
    before = snapshot(home)
    install("global", cwd=str(tmp_path))
    assert not (home / ".gitconfig").exists()
    git = subprocess.run(["git", "config", "--global", "diff.diffai.command"], capture_output=True, check=True)
    assert b"git-driver" in git.stdout
    uninstall("global", cwd=str(tmp_path))
    assert snapshot(home) == before


def test_global_with_core_attributes_file(home: Path, tmp_path: Path, repo: Repo) -> None:
    (home / ".gitconfig").write_text("[core]\n\tattributesFile = ~/my attributes\n")
    repo.config("core.attributesFile", str(tmp_path / "only of this repository"))
    install("global", cwd=str(repo.top))
    assert (home / "my attributes").exists() and not (tmp_path / "only of this repository").exists()
    repo.git("config", "--unset", "core.attributesFile")
    assert driver_of(repo) == "diffai"
    (home / ".gitconfig").write_text((home / ".gitconfig").read_text().replace("~/my", "sub/my"))
    with pytest.raises(UsageError, match="depends on where git runs"):
        install("global", cwd=str(repo.top))


def test_a_config_that_is_a_link_is_written_through(home: Path, tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    (dotfiles / "gitconfig").write_bytes(b"[user]\n\tname = x\n")
    (dotfiles / "gitconfig").chmod(0o600)
    (home / ".gitconfig").symlink_to(dotfiles / "gitconfig")
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/attributes").symlink_to(dotfiles / "attributes")  # points nowhere yet
    before = snapshot(tmp_path)
    install("global", cwd=str(tmp_path))
    assert (home / ".gitconfig").is_symlink() and (home / ".config/git/attributes").is_symlink()
    assert b"diffai" in (dotfiles / "gitconfig").read_bytes() and (dotfiles / "attributes").exists()
    assert (dotfiles / "gitconfig").stat().st_mode & 0o777 == 0o600
    uninstall("global", cwd=str(tmp_path))
    assert snapshot(tmp_path) == before


def test_global_attributes_file_that_was_moved_meanwhile(home: Path, tmp_path: Path) -> None:
    install("global", cwd=str(tmp_path))
    subprocess.run(["git", "config", "--global", "core.attributesFile", str(tmp_path / "other")], check=True)
    uninstall("global", cwd=str(tmp_path))
    assert list(snapshot(home)) == [".gitconfig"]
    assert b"diffai" not in (home / ".gitconfig").read_bytes()


@pytest.mark.parametrize("value", ["/dev/null", "", "relative"])
def test_global_without_a_place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", value)
    with pytest.raises(UsageError, match="GIT_CONFIG_GLOBAL"):
        install("global", cwd=str(tmp_path))


def test_system_places(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "etc" / "gitconfig"))
    place = locate("system", str(tmp_path))
    assert place.config == str(tmp_path / "etc" / "gitconfig")
    assert place.attributes.endswith("/etc/gitattributes") and os.path.isabs(place.attributes)
    assert not (tmp_path / "etc").exists()


def test_system(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of the test's own, since git's own attributes file of the machine cannot be moved."""
    etc = tmp_path / "usr" / "etc"
    place = Place("system", str(etc / "gitconfig"), str(etc / "gitattributes"))
    monkeypatch.setattr("diffai.git.install.locate", lambda scope, cwd: place)
    install("system", cwd=str(tmp_path))
    monkeypatch.delenv("GIT_CONFIG_NOSYSTEM")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", place.config)
    git = subprocess.run(["git", "config", "--system", "diff.diffai.textconv"], capture_output=True, check=True)
    assert b"git config --system --remove-section diff.diffai" in git.stdout
    assert b"*.pt diff=diffai\n" in (etc / "gitattributes").read_bytes()
    uninstall("system", cwd=str(tmp_path))
    assert not (tmp_path / "usr").exists()
