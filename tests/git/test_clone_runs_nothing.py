"""What lies in a clone is not run, wherever the user's environment or git's own configuration there point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gitrepo import Repo
from installing import run

from diffai.git.command import find_interpreter, find_program
from diffai.git.hooks import install_hook
from diffai.git.install import install

TRAP = "open({path!r}, 'a').write(__name__ + '\\n')\n"
SAFETENSORS = b"\x08\0\0\0\0\0\0\0{}      "


@pytest.fixture
def trapped(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Repo, Path]:
    """A clone with modules of the names that the program imports, and the file that they write when they are."""
    monkeypatch.chdir(repo.top)
    fell = tmp_path / "fell"
    trap = TRAP.format(path=str(fell))
    names = ("click", "numpy", "yaml", "json", "re", "sitecustomize", "usercustomize")
    repo.commit({f"{name}.py": trap for name in names} | {"diffai/__init__.py": trap, "m.safetensors": SAFETENSORS})
    return repo, fell


@pytest.mark.parametrize("variable", ["PYTHONPATH", "PYTHONHOME"])
def test_a_module_path_into_the_clone_imports_nothing_under_git(trapped: tuple[Repo, Path], variable: str) -> None:
    repo, fell = trapped
    install()
    install_hook("pre-commit")
    repo.write({"m.safetensors": SAFETENSORS[:8] + b"{ }     "})
    environment = {variable: ".", "PYTHONSTARTUP": "click.py"}
    shown = repo.run("diff", env=environment).stdout + repo.run("log", "-p", "-1", env=environment).stdout
    assert "diffai failed" not in shown and "diffai is missing" not in shown
    done = repo.run("commit", "-qam", "changed", env=environment)
    assert done.returncode == 0, done.stderr
    assert not fell.exists()
    assert subprocess.run(  # the trap works
        [sys.executable, "-c", "import click"], cwd=repo.top, env={**os.environ, "PYTHONPATH": "."}, check=False
    ).returncode == 0 and fell.exists()  # fmt: skip


def test_a_program_that_needs_its_variables_is_started_with_them(tmp_path: Path) -> None:
    assert find_interpreter(find_program()) == str(Path(sys.executable))
    script = tmp_path / "diffai"
    for text in ("#!/bin/sh\necho diffai 1\n", f"#!{sys.executable}\nimport nowhere_to_be_found\n", "", "#!python3\n"):
        script.write_text(text)
        script.chmod(0o755)
        assert find_interpreter(str(script)) == ""
    script.write_text("#!/bin/sh\n" + "'" * 3 + f"exec' '{sys.executable}' \"$0\" \"$@\"\n' ''' \nfrom diffai.__main__ import main\n")
    assert find_interpreter(str(script)) == sys.executable
    assert find_interpreter(str(tmp_path / "gone")) == ""


COMMANDS = (
    ("doctor",), ("HEAD", "--"), ("--staged",), ("log", "--", "m.safetensors"), ("blame", "--", "m.safetensors"), ("gate",),
    ("gate", "--base", "HEAD"), ("ci", "--base", "HEAD"), ("cache", "info"), ("show", "HEAD:m.safetensors"), ("install", "-n"),
)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_folder_that_looks_like_a_repository_runs_nothing_of_its_configuration(
    repo: Repo, tmp_path: Path, words: tuple[str, ...]
) -> None:
    fell, inner = tmp_path / "fell", repo.top / "data"
    program = tmp_path / "trap"
    program.write_text(f"#!/bin/sh\necho $0 >> '{fell}'\n")
    program.chmod(0o755)
    made = Repo.init(tmp_path / "made")
    made.commit({"m.safetensors": SAFETENSORS})
    (made.top / ".git").rename(inner)
    made = Repo(inner)
    for name in ("post-index-change", "post-checkout", "reference-transaction", "fsmonitor-watchman"):
        (inner / "hooks" / name).write_text(program.read_text())
        (inner / "hooks" / name).chmod(0o755)
    for key, value in {
        "core.bare": "false", "core.worktree": "..", "core.fsmonitor": str(program), "core.hooksPath": str(inner / "hooks"),
        "diff.external": str(program), "core.sshCommand": str(program), "core.editor": str(program),
    }.items():  # fmt: skip
        subprocess.run(["git", "config", "--file", str(inner / "config"), key, value], check=True)
    done = run(*words, cwd=inner)
    assert "Traceback" not in done.stderr
    assert not fell.exists(), fell.read_text()
    subprocess.run(["git", "status"], cwd=inner, check=False, capture_output=True)
    assert fell.exists()  # the trap works
