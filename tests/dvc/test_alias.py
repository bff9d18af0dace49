from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from program import DIFFAI, diffai

from diffai.dvc.alias import alias_script
from diffai.errors import UsageError

# What is typed, and who is asked: the real dvc, or diffai.
CASES = {
    "dvc diff": "diffai dvc diff",
    "dvc diff HEAD~1 HEAD": "diffai dvc diff HEAD~1 HEAD",
    "dvc --cd x diff": "diffai dvc --cd x diff",
    "dvc --cd diff status": "dvc --cd diff status",
    "dvc diff --targets 'a b'": "diffai dvc diff --targets a b",
    "dvc diff --show-hash": "diffai dvc diff --show-hash",
    "dvc diff --json": "dvc diff --json",
    "dvc diff HEAD --md": "dvc diff HEAD --md",
    "dvc diff -q": "dvc diff -q",
    "dvc diff --help": "dvc diff --help",
    "dvc -h diff": "dvc -h diff",
    "dvc": "dvc",
    "dvc add diff": "dvc add diff",
    "dvc metrics diff": "dvc metrics diff",
    "dvc status --json": "dvc status --json",
}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "dash"])
def test_only_diff_for_people_is_redirected(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if not program:
        pytest.skip(f"{shell} is not installed")
    folder = tmp_path / "with space's"
    folder.mkdir()
    for name in ("diffai", "dvc"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (folder / name).chmod(0o755)
    script = alias_script("bash" if shell == "dash" else shell, str(folder / "diffai"))
    undo = "functions --erase dvc" if shell == "fish" else "unset -f dvc"
    text = "\n".join([script, *CASES, undo, "dvc diff"])
    env = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run([program], input=text, text=True, capture_output=True, env=env)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [*CASES.values(), "dvc diff"]


def test_diffai_that_is_gone_leaves_dvc_alone(tmp_path: Path) -> None:
    (tmp_path / "dvc").write_text('#!/bin/sh\necho dvc "$@"; exit 3\n')
    (tmp_path / "dvc").chmod(0o755)
    text = alias_script("bash", str(tmp_path / "gone")) + "\ndvc diff"
    env = {"PATH": f"{tmp_path}:/bin:/usr/bin"}
    done = subprocess.run(["bash"], input=text, text=True, capture_output=True, env=env)
    assert (done.stdout, done.returncode) == ("dvc diff\n", 3)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "dash"])
@pytest.mark.parametrize(("status", "asked"), [(2, True), (0, False), (130, False)])
def test_what_diffai_does_not_understand_is_dvcs(shell: str, status: int, asked: bool, tmp_path: Path) -> None:
    """A command that worked before keeps working, with a note."""
    program = shutil.which(shell)
    if not program:
        pytest.skip(f"{shell} is not installed")
    for name, code in (("diffai", status), ("dvc", 0)):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"; exit {code}\n')
        (tmp_path / name).chmod(0o755)
    script = alias_script("bash" if shell == "dash" else shell, str(tmp_path / "diffai"))
    end = "echo rc $status" if shell == "fish" else "echo rc $?"
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    text = f"{script}\ndvc diff --odd x\n{end}\n"
    done = subprocess.run([program], input=text, text=True, capture_output=True, env=env)
    said = ["diffai dvc diff --odd x", *(["dvc diff --odd x"] if asked else []), f"rc {0 if asked else status}"]
    assert done.stdout.splitlines() == said
    assert ("what dvc itself says" in done.stderr) == asked


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    text = diffai("dvc", "alias", env={"SHELL": "/bin/zsh"}).stdout
    assert "dvc() {" in text and str(DIFFAI) in text
    assert diffai("dvc", "alias", env={"SHELL": "/usr/bin/fish"}).stdout.startswith("# diffai")
    assert "function dvc" in diffai("dvc", "alias", "fish").stdout
    assert diffai("dvc", "alias", "tcsh").returncode == 2
    with pytest.raises(UsageError, match="known shells are bash, zsh, fish"):
        alias_script("tcsh", "x")
