"""``diffai demo``, as installed, in a subprocess: a real repository, a real history, real output."""

from __future__ import annotations

import errno
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gitrepo import Repo
from powerless import drop

DIFFAI = os.path.join(os.path.dirname(sys.executable), "diffai")
MODEL = "model.safetensors"


def demo(cwd: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DIFFAI, "demo", *words], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repo, str]:
    """One demo for all tests that only look at it, made under a hostile user configuration."""
    base = tmp_path_factory.mktemp("demo")
    hooks = base / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "commit-msg", "post-commit", "prepare-commit-msg"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch '{base}/hook-ran'\nexit 1\n")
        (hooks / name).chmod(0o755)
    (base / "ignore").write_text("*.safetensors\n*.json\n")
    (base / "attributes").write_text("* text=auto eol=crlf\n*.safetensors filter=broken\n")
    (base / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {hooks}\n\texcludesFile = {base}/ignore\n\tattributesFile = {base}/attributes\n"
        "\tautocrlf = true\n[commit]\n\tgpgSign = true\n[tag]\n\tgpgSign = true\n[user]\n\tuseConfigOnly = true\n"
        "[init]\n\tdefaultBranch = trunk\n\ttemplateDir = /nowhere\n"
        '[filter "broken"]\n\tclean = false\n\trequired = true\n'
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "HOME": str(base), "XDG_CONFIG_HOME": str(base / "xdg"), "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_DIR": str(base / "elsewhere"), "GIT_AUTHOR_NAME": "Somebody Else", "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    done = subprocess.run([DIFFAI, "demo"], cwd=base, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert not (base / "hook-ran").exists()
    return Repo(base / "diffai-demo"), done.stdout


@pytest.mark.usefixtures("home")
def test_the_history(shown: tuple[Repo, str]) -> None:
    repo, _ = shown
    subjects = repo.git("log", "--format=%s").splitlines()
    assert len(subjects) == 7 and all("% right" in subject for subject in subjects)
    shares = [float(subject.rpartition(": ")[2].partition("%")[0]) for subject in reversed(subjects)]
    assert shares[0] < 70 < 85 < shares[-1], "it does not learn"
    assert set(repo.git("log", "--format=%an %cn").splitlines()) == {"diffai demo diffai demo"}
    assert repo.git("log", "-1", "--format=%ad", "--date=iso").startswith("2025-01-")
    assert repo.git("branch", "--show-current").strip() == "main"
    tags = {"epoch-1", "epoch-2", "epoch-5", "fine-tuned", "deeper", "bf16", "renamed"}
    assert set(repo.git("tag").split()) == tags
    assert repo.git("status", "--porcelain").splitlines() == [" M metrics.json", f" M {MODEL}"]
    assert repo.git("ls-files", "--eol").count("i/lf    w/lf") == 2, "line ends were converted"


@pytest.mark.usefixtures("home")
def test_each_kind_of_change_is_there(shown: tuple[Repo, str]) -> None:
    repo, _ = shown

    def between(old: str, new: str) -> str:
        return repo.git("diff", old, new, "--", MODEL)

    frozen = between("epoch-5", "fine-tuned")
    assert "~ head.weight" in frozen and "stem." not in frozen
    assert "+ block.weight: shape=[48, 48]" in between("fine-tuned", "deeper")
    assert "F32 -> BF16" in between("deeper", "bf16")
    assert "> head.weight -> net.head.weight (identical)" in between("bf16", "renamed")
    assert "NaN" in repo.git("diff", "--", MODEL)


@pytest.mark.usefixtures("home")
def test_what_it_shows_is_what_the_commands_print(shown: tuple[Repo, str]) -> None:
    repo, output = shown
    tuned, last = f"git diff epoch-5 fine-tuned -- {MODEL}", f"git log -p -1 -- {MODEL}"
    for typed in ("git log --oneline", "git diff", tuned, last):
        printed = repo.git(*typed.split()[1:])
        assert f"$ {typed}\n{printed}" in output
    for typed in (f"diffai fine-tuned deeper -- {MODEL}", f"diffai HEAD~2 HEAD -- {MODEL}"):
        done = subprocess.run([DIFFAI, *typed.split()[1:]], cwd=repo.top, capture_output=True, text=True, check=True)
        assert f"$ {typed}\n{done.stdout}" in output
    assert "\x1b" not in output


@pytest.mark.usefixtures("home")
def test_what_to_try_next_works(shown: tuple[Repo, str], tmp_path: Path) -> None:
    repo, output = shown
    shutil.copytree(repo.top, tmp_path / "copy")
    lines = output.partition("Try next:\n")[2].splitlines()
    assert lines[0].strip() == "cd ./diffai-demo"
    expected = {"diffai check model.safetensors": 0}
    for line in lines[1:]:
        typed = line.partition("   # ")[0].strip()
        words = typed.split()
        argv = [DIFFAI, *words[1:]] if words[0] == "diffai" else words
        done = subprocess.run(argv, cwd=tmp_path / "copy", capture_output=True, text=True, check=False)
        assert done.returncode == expected.get(typed, 0), f"{typed}\n{done.stdout}{done.stderr}"


def test_twice_the_same(home: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    for name in ("made", "new/deep er"):
        done = demo(tmp_path, name)
        assert done.returncode == 0, done.stderr
    heads = {Repo(tmp_path / name).rev_parse("HEAD") for name in ("made", "new/deep er")}
    assert len(heads) == 1
    assert "cd 'new/deep er'" in done.stdout


def test_a_folder_that_is_not_empty_is_left_alone(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / ".hidden").write_text("x")
    done = demo(tmp_path, "mine")
    assert done.returncode == 2
    assert done.stderr == "diffai: mine: is not empty; nothing was touched. Give another folder: diffai demo DIR\n"
    assert os.listdir(folder) == [".hidden"]


def test_a_file_in_the_way(home: Path, tmp_path: Path) -> None:
    (tmp_path / "diffai-demo").write_text("x")
    done = demo(tmp_path)
    assert done.returncode == 2
    assert "is no folder; nothing was touched" in done.stderr


def test_too_many_folders(home: Path, tmp_path: Path) -> None:
    done = demo(tmp_path, "a", "b")
    assert done.returncode == 2 and "one folder at most" in done.stderr


def test_a_folder_after_two_dashes(home: Path, tmp_path: Path) -> None:
    (tmp_path / "--x").write_text("")
    done = demo(tmp_path, "--", "--x")
    assert done.returncode == 2 and "--x: is no folder" in done.stderr


def test_a_place_that_cannot_be_written(home: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    done = subprocess.run([DIFFAI, "demo"], cwd=closed, capture_output=True, text=True, preexec_fn=drop, check=False)
    assert done.returncode == 2 and "Permission denied" in done.stderr and "Traceback" not in done.stderr


def test_a_place_where_no_folder_can_be(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = demo(tmp_path, "file/below")
    assert done.returncode == 2
    assert done.stderr == f"diffai: file/below: {os.strerror(errno.ENOTDIR)}\n"


def test_without_git(home: Path, tmp_path: Path) -> None:
    done = demo(tmp_path, PATH=str(tmp_path / "empty"))
    assert done.returncode == 2
    assert "git is not installed" in done.stderr and "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["home"], "what could not be finished was not removed"


def test_interrupted_it_removes_its_own_and_nothing_else(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "outer" / "inner"
    process = subprocess.Popen(
        [DIFFAI, "demo", str(folder)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(12_000):
        if (folder / ".git").is_dir():
            break
        time.sleep(0.005)
    (folder / "yours.txt").write_text("x")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130, error
    assert "Traceback" not in error
    assert os.listdir(folder) == ["yours.txt"]


def test_on_a_terminal_it_has_colour(home: Path, tmp_path: Path) -> None:
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen([DIFFAI, "demo"], cwd=tmp_path, stdout=child, stderr=child, stdin=child, env=environment)
    os.close(child)
    output = b""
    while True:
        try:
            chunk = os.read(parent, 65536)
        except OSError:  # Linux: EIO when the last writer is gone
            break
        if not chunk:
            break
        output += chunk
    os.close(parent)
    assert process.wait() == 0
    lines = output.decode().splitlines()
    assert any("\x1b[" in line and "diff --git a/metrics.json" in line for line in lines), "git's own lines"
    assert any("\x1b[" in line and "head.weight" in line for line in lines), "the driver's lines"
