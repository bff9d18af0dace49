"""What the gate loads where no model changed: almost nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
from gating import model, staged
from gitrepo import Repo

_PROBE = """
import os, sys
os._exit = sys.exit  # what ends the program must not end the question
sys.argv = ["diffai", "gate", *sys.argv[1:]]
from diffai.__main__ import main
try:
    main()
except SystemExit as error:
    print(error.code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(repo: Repo, *words: str) -> tuple[str, set[str]]:
    command = [sys.executable, "-c", _PROBE, *words]
    done = subprocess.run(command, cwd=repo.top, capture_output=True, text=True, check=True)
    status, *names = done.stdout.split("\n")[-2].split()
    return status, set(names)


@pytest.mark.parametrize("words", [(), ("--hook", "pre-commit"), ("a.txt", "b.txt"), ("--base", "HEAD~1"), ("-q",)])
def test_a_commit_without_models_loads_next_to_nothing(repo: Repo, words: tuple[str, ...]) -> None:
    repo.commit({"m.safetensors": model(4), ".diffai.toml": '[gate]\ninclude = ["*.weights"]\n'})
    repo.commit({"a.txt": "a", "b.txt": "b"})
    staged(repo, {"a.txt": "b"})
    status, names = loaded(repo, *words)
    assert status == "0"
    assert names.isdisjoint({"numpy", "rich", "click", "git", "yaml", "safetensors", "xxhash", "torch", "ml_dtypes"})


def test_a_commit_with_a_model_does_need_them(repo: Repo) -> None:
    repo.commit({"m.safetensors": model(4)})
    staged(repo, {"m.safetensors": model(4, scale=2)})
    status, names = loaded(repo)
    assert status == "0" and {"numpy", "click"} <= names and "git" not in names
