"""Of a tensor in which only a NaN came, every surface shows the same figures, and over what they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from program import diffai as program
from safetensors.numpy import save_file

import diffai

OVER = "over the finite values"


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    old = {"fc.weight": rng.normal(size=(16, 8)).astype("f4"), "fc.bias": rng.normal(size=16).astype("f4")}
    new = {name: array.copy() for name, array in old.items()}
    new["fc.weight"][0, 0] = np.nan
    save_file(old, tmp_path / "a.safetensors")
    save_file(new, tmp_path / "b.safetensors")
    return tmp_path


def shown(folder: Path, *options: str) -> str:
    return program("a.safetensors", "b.safetensors", *options, cwd=folder).stdout


def test_the_text_says_that_nothing_finite_moved_and_over_what(pair: Path) -> None:
    text = shown(pair, "-v")
    assert f"relative L2 0 {OVER}, cosine 1" in text
    assert f"Update size: 0 (cosine 1, {OVER})" in text
    assert "relative L2 of the changed tensors 0)" in text
    assert "n/a" not in text


@pytest.mark.parametrize("look", ["table", "markdown"])
def test_the_table_shows_the_same_figure(look: str, pair: Path) -> None:
    text = shown(pair, "--format", look, "-v")
    assert "n/a" not in text and f"figures are {OVER}" in text
    (row,) = [line for line in text.splitlines() if "fc.weight" in line and "128" in line and "NaN" not in line]
    assert row.replace("|", " ").split()[1:3] == ["128", "0"]


def test_the_page_says_it_beside_the_tensor(pair: Path) -> None:
    assert f"figures are {OVER}" in shown(pair, "--format", "html")


def test_json_keeps_the_delta_of_the_jointly_finite(pair: Path) -> None:
    (record,) = json.loads(shown(pair, "--output", "json"))
    delta = record["TensorStatsChanged"][3]
    assert (delta["relative_l2"], delta["cosine"], delta["nonfinite_count"]) == (0.0, 1.0, 1)


def test_no_update_stands_for_a_gradient_where_nothing_was_measured(pair: Path) -> None:
    (found,) = diffai.compare(pair / "a.safetensors", pair / "b.safetensors", analyses=["gradient_analysis"]).findings
    assert found.status == "nothing" and "0" not in found.text
