"""``diffai install`` and ``uninstall``: what git reads afterwards, and nothing half done."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from gitrepo import Repo
from installing import PROGRAM, driver_of, run, snapshot

from diffai.errors import DiffaiError, SourceError, UsageError
from diffai.git import edits
from diffai.git.call import GitMissingError
from diffai.git.command import driver_command, find_program, textconv_command
from diffai.git.config_section import XFUNCNAME
from diffai.git.install import install, uninstall
from diffai.git.scopes import as_scope

# ---------------------------------------------------------------- what git reads


def test_local(repo: Repo) -> None:
    repo.write({".gitattributes": "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
    report = install(cwd=str(repo.top))
    assert report.changed and report.program == PROGRAM
    assert repo.git("config", "--local", "diff.diffai.command").strip() == driver_command(PROGRAM, interpreter=sys.executable)
    assert repo.git("config", "--local", "diff.diffai.textconv").strip() == textconv_command(PROGRAM, interpreter=sys.executable)
    assert repo.git("config", "--local", "diff.diffai.xfuncname") == XFUNCNAME + "\n"
    for key in ("trustExitCode", "cachetextconv", "binary"):
        assert repo.run("config", f"diff.diffai.{key}").returncode == 1
    attributes = repo.git("check-attr", "-a", "--", "m.safetensors")
    assert "diff: diffai" in attributes
    assert "filter: lfs" in attributes and "merge: lfs" in attributes and "text: unset" in attributes
    assert repo.run("diff").returncode == 0
    assert (repo.top / ".gitattributes").read_text() == "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def test_twice_changes_no_byte(repo: Repo) -> None:
    install(cwd=str(repo.top))
    before = snapshot(repo.top)
    times = [(repo.top / ".git" / name).stat().st_mtime_ns for name in ("config", "info/attributes")]
    report = install(cwd=str(repo.top))
    assert not report.changed and {change.done for change in report.changes} == {"unchanged"}
    assert snapshot(repo.top) == before
    assert times == [(repo.top / ".git" / name).stat().st_mtime_ns for name in ("config", "info/attributes")]


# ---------------------------------------------------------------- .gitattributes


def test_commit_attributes(repo: Repo) -> None:
    report = install(cwd=str(repo.top), commit_attributes=True)
    assert "git add .gitattributes" in report.notes[0]
    assert repo.git("status", "--short") == "?? .gitattributes\n"
    assert not (repo.top / ".git/info/attributes").exists()
    assert driver_of(repo) == "diffai"
    uninstall(cwd=str(repo.top))
    assert repo.git("status", "--short") == ""


def test_a_committed_block_of_others_is_left_unless_asked(repo: Repo, tmp_path: Path) -> None:
    install(cwd=str(repo.top), commit_attributes=True)
    repo.commit({}, "nothing")
    repo.git("add", ".gitattributes")
    repo.git("commit", "-q", "-m", "attributes")
    clone = repo.clone(tmp_path / "clone")
    committed = (clone.top / ".gitattributes").read_bytes()
    assert driver_of(clone) == "diffai"  # harmless: git knows no such driver
    install(cwd=str(clone.top), commit_attributes=True)
    report = uninstall(cwd=str(clone.top))
    assert (clone.top / ".gitattributes").read_bytes() == committed
    assert "uninstall --commit-attributes" in report.notes[0]
    uninstall(cwd=str(clone.top), commit_attributes=True)
    assert not (clone.top / ".gitattributes").exists()


def test_gitattributes_that_is_a_link_is_refused(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious\n")
    (repo.top / ".gitattributes").symlink_to(tmp_path / "victim")
    with pytest.raises(UsageError, match="symbolic link"):
        install(cwd=str(repo.top), commit_attributes=True)
    install(cwd=str(repo.top))
    uninstall(cwd=str(repo.top))
    with pytest.raises(UsageError, match="symbolic link"):
        uninstall(cwd=str(repo.top), commit_attributes=True)
    assert (tmp_path / "victim").read_text() == "precious\n"


def test_notes_of_a_committed_file_remove_no_folders(repo: Repo) -> None:
    nested = Repo.init(repo.top / "a" / "b")
    (nested.top / ".gitattributes").write_bytes(
        b"# >>> diffai >>> (file created, 99 folders created)\n*.x diff=diffai\n"
    )
    uninstall(cwd=str(nested.top), commit_attributes=True)
    assert sorted(path.name for path in nested.top.iterdir()) == [".git"]


# ---------------------------------------------------------------- nothing half done


def test_both_files_or_none(repo: Repo) -> None:
    repo.write({".git/info/attributes": b"*.x text\n"})
    (repo.top / ".git/info/attributes").chmod(0o444)
    before = snapshot(repo.top)
    with pytest.raises(SourceError, match="info/attributes: it is read-only"):
        install(cwd=str(repo.top))
    assert snapshot(repo.top) == before


def test_a_locked_config_is_waited_for_by_nobody(repo: Repo) -> None:
    (repo.top / ".git/config.lock").touch()
    before = snapshot(repo.top)
    with pytest.raises(SourceError, match=r"config\.lock exists"):
        install(cwd=str(repo.top))
    assert snapshot(repo.top) == before


def test_a_file_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"newer")
    with pytest.raises(SourceError, match="changed while"):
        edits.apply([edits.FileEdit(str(path), b"older", b"ours")])
    assert snapshot(tmp_path) == {"file": b"newer"}


def test_a_folder_in_the_way(repo: Repo) -> None:
    (repo.top / ".git/info/attributes").mkdir()
    with pytest.raises(SourceError, match="not a regular file"):
        install(cwd=str(repo.top))


def test_a_broken_config_is_named(repo: Repo) -> None:
    (repo.top / ".git/config").write_bytes(b"[core\n")
    with pytest.raises(DiffaiError, match=r"bad config line 1 in file"):
        install(cwd=str(repo.top))


def test_refusing_a_config_that_runs_on(home: Path, tmp_path: Path) -> None:
    """A last line that goes on would swallow the header of the section."""
    for content in (b"[a]\n\tx = y \\", b'[a]\n\tx = "y \\\n'):
        (home / ".gitconfig").write_bytes(content)
        try:
            install("global", cwd=str(tmp_path))
        except DiffaiError:
            assert (home / ".gitconfig").read_bytes() == content
        else:
            uninstall("global", cwd=str(tmp_path))
            assert (home / ".gitconfig").read_bytes() == content


def test_outside_a_repository(home: Path, tmp_path: Path) -> None:
    for words in (["install"], ["uninstall"], ["install", "--commit-attributes"]):
        done = run(*words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "diffai: not in a git repository: go to one, or register for all your repositories with: "
            "diffai install --global\n"
        )


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitMissingError, match="git is not installed"):
        install(cwd=str(tmp_path))
    done = run("install", cwd=tmp_path)
    assert done.returncode == 2 and "git is not installed" in done.stderr


def test_commit_attributes_goes_with_local_only(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not go with --global"):
        install("global", commit_attributes=True, cwd=str(tmp_path))
    with pytest.raises(UsageError, match="no scope 'worldwide'"):
        as_scope("worldwide")


# ---------------------------------------------------------------- the program


def test_the_program_says_what_it_did(repo: Repo) -> None:
    repo.commit({"sub/m odel.pt": b"1\0", ".gitattributes": "*.pt diff=lfs\n"})
    dry = run("install", "--dry-run", cwd=repo.top)
    assert dry.returncode == 0 and dry.stdout.startswith("diffai would be installed in this repository:\n")
    assert "| *.safetensors diff=diffai" in dry.stdout and '| [diff "diffai"]' in dry.stdout
    assert driver_of(repo) == "unspecified"

    first = run("install", "--include", "*.net", cwd=repo.top / "sub")
    assert first.returncode == 0 and first.stderr == ""
    assert first.stdout.startswith(f"diffai is installed in this repository:\n  written    {repo.top}/.git/config\n")
    assert f"diff.diffai.* runs {PROGRAM}\n" in first.stdout
    assert f"  written    {repo.top}/.git/info/attributes\n" in first.stdout and "*.net diff=diffai\n" in first.stdout
    assert "Try:\n  git diff\n  git log -p -- 'm odel.pt'\n" in first.stdout  # as seen from here

    again = run("install", cwd=repo.top)
    assert again.stdout.startswith("diffai is already installed in this repository; nothing was changed\n")
    gone = run("uninstall", cwd=repo.top)
    assert gone.stdout.startswith("diffai is uninstalled in this repository:\n  restored ")
    assert run("uninstall", cwd=repo.top).stdout == "diffai is not installed in this repository; nothing was changed\n"


def test_the_program_warns_where_it_loses(repo: Repo) -> None:
    repo.commit({"m.pt": b"1\0", ".gitattributes": "*.pt binary\n"})
    done = run("install", "--global", cwd=repo.top)
    assert done.returncode == 0
    assert f"! m.pt: git does not call diffai (diff is unset; {repo.top}/.gitattributes:1: *.pt binary)" in done.stdout
    assert "m.pt" not in run("install", "--local", cwd=repo.top).stdout.partition("Try:")[0]


def test_several_globs_at_once(repo: Repo) -> None:
    assert run("install", "--include", "*.a", "*.b", "--include", "*.c", cwd=repo.top).returncode == 0
    assert [driver_of(repo, f"x.{suffix}") for suffix in "abcd"] == ["diffai"] * 3 + ["unspecified"]
    done = run("install", "*.d", cwd=repo.top)
    assert done.returncode == 2 and "--include '*.d'" in done.stderr


def test_a_bad_glob_is_a_usage_error(repo: Repo) -> None:
    done = run("install", "--include", "!x", cwd=repo.top)
    assert done.returncode == 2 and "negative patterns" in done.stderr


def test_nothing_of_a_clone_chooses_the_command(repo: Repo) -> None:
    """A program of our name in the clone, and settings in it, are not looked at."""
    repo.write(
        {"diffai": "#!/bin/sh\ntouch pwned\n", ".diffai.toml": 'program = "x"\n', "diffai.py": "raise SystemExit(3)\n"}
    )
    (repo.top / "diffai").chmod(0o755)
    done = run("install", cwd=repo.top, PATH=f".:{os.environ['PATH']}")
    assert done.returncode == 0
    assert find_program() in repo.git("config", "diff.diffai.command")
    assert not (repo.top / "pwned").exists()
