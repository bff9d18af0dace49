"""Whatever reads tensors again says the same each time, on any number of threads, without a warning, of any source."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_pairs import BAD, EMBEDDING, PAIRS, transformer
from program import diffai as program
from safetensors.numpy import save_file

import diffai
from diffai.analyses.table import ANALYSES
from diffai.models.inputs import open_input
from diffai.tensors import reading

SECOND = tuple(row for row in ANALYSES if row.second_pass and row.help)
NAMES = [row.name for row in SECOND]


def save(folder: Path, name: str) -> None:
    for side, arrays in zip(("old", "new"), PAIRS[name], strict=True):
        save_file(arrays, folder / f"{side}.safetensors")


def said(folder: Path, *words: str, **environment: str) -> Any:
    flags = [row.option for row in SECOND]
    done = program(*words, *flags, "--format", "json", cwd=folder, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    findings = [each for each in json.loads(done.stdout)["findings"] if each["name"] in NAMES]
    assert len(findings) == len(NAMES)
    return findings


@pytest.mark.parametrize("name", ["noise", "LoRA merged", "embedding rotated"])
def test_threads_change_nothing(tmp_path: Path, name: str) -> None:
    save(tmp_path, name)
    pair = ("old.safetensors", "new.safetensors")
    one = said(tmp_path, *pair, "--threads", "1", OPENBLAS_NUM_THREADS="1")
    assert said(tmp_path, *pair, "--threads", "3", OPENBLAS_NUM_THREADS="2") == one


@pytest.mark.parametrize("pair", [*PAIRS.values(), *BAD.values()], ids=[*PAIRS, *(f"bad: {name}" for name in BAD)])
def test_no_pair_makes_numpy_warn(pair: tuple[Any, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        diffai.compare(*pair, analyses=NAMES)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_no_scale_makes_numpy_warn(scale: float) -> None:
    old = {name: array.astype("f8") * scale for name, array in transformer().items()}
    new = {name: array.astype("f8") * scale for name, array in transformer(seed=3).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = {each.name: each for each in diffai.compare(old, new, analyses=NAMES).findings}
    plain = {
        each.name: each for each in diffai.compare(transformer(), transformer(seed=3), analyses=NAMES).findings
    }  # fmt: skip
    assert found["embedding_analysis"].fields["mean_drift"] == plain["embedding_analysis"].fields["mean_drift"]
    assert found["low_rank"].fields["low_rank"] == 0


def test_versions_in_git_are_read_as_files_are(tmp_path: Path) -> None:
    save(tmp_path, "LoRA merged")
    as_files = said(tmp_path, "old.safetensors", "new.safetensors")
    repository = tmp_path / "repository"
    repository.mkdir()

    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=repository, check=True,
                       capture_output=True)  # fmt: skip

    git("init", "-q")
    for side in ("old", "new"):
        (repository / "m.safetensors").write_bytes((tmp_path / f"{side}.safetensors").read_bytes())
        git("add", "m.safetensors")
        git("commit", "-qm", side)
    assert said(repository, "HEAD~1:m.safetensors", "HEAD:m.safetensors") == as_files


def test_rows_blocks_and_elements_are_those_of_the_array(tmp_path: Path) -> None:
    arrays = transformer()
    save_file(arrays, tmp_path / "m.safetensors")
    checkpoint = open_input(tmp_path / "m.safetensors").checkpoint
    assert checkpoint is not None
    spec, array = checkpoint.tensors[EMBEDDING], arrays[EMBEDDING].astype("f8")
    assert np.array_equal(reading.values(checkpoint, spec, 7, 99), array.reshape(-1)[7:99])
    assert np.array_equal(np.concatenate(list(reading.blocks(checkpoint, spec, 100))), array.reshape(-1))
    parts = list(reading.row_blocks(checkpoint, spec, 100))
    assert np.array_equal(np.concatenate([rows for _, rows in parts]), array)
    assert [first for first, _ in parts] == list(range(0, len(array), 3))
    assert np.array_equal(reading.some_rows(checkpoint, spec, [0, 1, 5, 79]), array[[0, 1, 5, 79]])
    assert np.array_equal(reading.rows_of(checkpoint, spec, 3)(2, 9), array[2:9] / 8)
    assert reading.spread(10, 4) == [0, 2, 5, 7]
    assert reading.spread(3, 4) == [0, 1, 2]
