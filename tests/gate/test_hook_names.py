"""The pre-commit framework chooses files by name: by every name of the table of formats."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from diffai.formats.table import NOT_READ, model_globs

ROOT = Path(__file__).resolve().parents[2]
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
NAMES = [*(glob.replace("*", "x") for glob in model_globs()), *(f"m{end}" for ends, _ in NOT_READ for end in ends)]


@pytest.mark.parametrize("name", [*NAMES, "a.safetensors.dvc", "dvc.lock", "sub/dvc.lock", "X.PT"])
def test_every_model_is_passed_on(name: str) -> None:
    assert re.search(HOOKS["diffai-gate"]["files"], name) and re.search(HOOKS["diffai-gate"]["files"], f"a/{name}")


@pytest.mark.parametrize("name", ["a.py", "a.json", "xdvc.lock", "a.pt.txt", "mypt"])
def test_other_files_are_not(name: str) -> None:
    assert not re.search(HOOKS["diffai-gate"]["files"], name)
