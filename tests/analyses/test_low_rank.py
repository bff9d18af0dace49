"""A merged adapter is found with its rank, training and noise are not, in files of every dtype and size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from model_pairs import PAIRS, changed, merged_lora, noised, transformer
from program import diffai as program
from safetensors.numpy import save_file

import diffai
from diffai.analyses.change_kind import change_kind
from diffai.finding import Finding

FLAGS = ("--low-rank", "--review-friendly", "--risk-assessment")
DTYPES = {"F32": np.dtype("f4"), "F16": np.dtype("f2"), "BF16": np.dtype(ml_dtypes.bfloat16)}


def found(old: Any, new: Any) -> Finding:
    (finding,) = diffai.compare(old, new, analyses=["low_rank"]).findings
    return finding


def layer(rng: np.random.Generator, shape: tuple[int, ...] = (96, 128)) -> np.ndarray:
    return rng.normal(0, 0.02, shape)


def product(rng: np.random.Generator, rank: int, size: float, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    made = rng.normal(size=(shape[0], rank)) @ rng.normal(size=(rank, shape[1]))
    return made * size / np.sqrt((made**2).mean())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_a_merged_adapter_has_its_rank_in_files(tmp_path: Path, dtype: str, rank: int) -> None:
    rng = np.random.default_rng(rank)
    weight = layer(rng).astype(DTYPES[dtype])
    merged = (weight.astype("f8") + product(rng, rank, 0.001)).astype(DTYPES[dtype])
    for name, array in (("old", weight), ("new", merged)):
        save_file({"l.weight": array}, tmp_path / f"{name}.safetensors")
    finding = found(tmp_path / "old.safetensors", tmp_path / "new.safetensors")
    (row,) = finding.fields["updates"]
    assert (finding.severity, finding.fields["low_rank"], finding.fields["rank"]) == ("notice", 1, rank)
    assert row["effective_rank"] < row["noise_has"] / 2
    assert row["energy"] > 0.95


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "LoRA merged"])
def test_nothing_else_that_was_planted_is_a_low_rank(name: str) -> None:
    finding = found(*PAIRS[name])
    assert finding.severity == "info"
    assert not finding.fields.get("low_rank")


def test_only_the_matrices_that_were_merged_into_are_named() -> None:
    finding = found(transformer(), changed(merged_lora, noised(transformer(), only="norm")))
    low = {row["name"] for row in finding.fields["updates"] if row["low_rank"]}
    assert low == {n for n in transformer() if n.endswith(("q_proj.weight", "v_proj.weight"))}
    assert (finding.fields["rank_min"], finding.fields["rank_max"]) == (2, 2)


def test_the_kind_of_change_says_so_where_every_matrix_that_moved_is_one() -> None:
    assert "low-rank update" not in change_kind(diffai.compare(*PAIRS["LoRA merged"])).kinds
    kind = change_kind(diffai.compare(*PAIRS["LoRA merged"], analyses=["low_rank"]))
    assert kind.kinds == ("fine-tune", "low-rank update")
    assert kind.phrase.endswith("and low-rank update (rank 2)")
    rng = np.random.default_rng(2)
    old = {"l.weight": layer(rng)}
    whole = diffai.compare(old, {"l.weight": old["l.weight"] + product(rng, 3, 0.001)}, analyses=["low_rank"])
    assert change_kind(whole).kinds == ("low-rank update",)
    both = changed(lambda arrays: noised(arrays, only="mlp"), changed(merged_lora))
    assert "low-rank update" not in change_kind(diffai.compare(transformer(), both, analyses=["low_rank"])).kinds


def test_all_that_quotes_the_kind_says_what_the_low_rank_made_of_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    old = {"l.weight": layer(rng)}
    new = {"l.weight": old["l.weight"] + product(rng, 3, 0.001)}
    names = ["review_friendly", "change_kind", "convergence_analysis", "risk_assessment", "low_rank"]
    diff = diffai.compare(old, new, analyses=names)
    said = {found.name: found for found in diff.findings}
    assert said["review_friendly"].fields["kind"] == change_kind(diff).phrase == "low-rank update (rank 3)"
    assert said["change_kind"].fields["phrase"] == "low-rank update (rank 3)"
    assert said["convergence_analysis"].fields["status"] == "stable"
    for name, arrays in (("old", old), ("new", new)):
        save_file(arrays, tmp_path / f"{name}.safetensors")
    for look in ("text", "markdown", "table"):
        shown = program("old.safetensors", "new.safetensors", "--format", look, *FLAGS, cwd=tmp_path).stdout
        assert "low-rank update (rank 3)" in shown and "training step" not in shown


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_few_columns_of_large_values_hide_no_rank(dtype: str) -> None:
    rng = np.random.default_rng(12)
    weight = layer(rng, (256, 200))
    weight[:, [3, 70, 150]] *= 10
    weight = weight.astype(DTYPES[dtype])
    merged = (weight.astype("f8") + product(rng, 8, 0.001, (256, 200))).astype(DTYPES[dtype])
    finding = found({"l.weight": weight}, {"l.weight": merged})
    assert (finding.fields["low_rank"], finding.fields["rank"]) == (1, 8)


def test_an_adapter_merged_after_training_is_no_low_rank() -> None:
    rng = np.random.default_rng(3)
    weight = layer(rng)
    trained = weight + rng.normal(0, 0.001, weight.shape) + product(rng, 4, 0.001)
    assert found({"l.weight": weight}, {"l.weight": trained}).fields["low_rank"] == 0


@pytest.mark.parametrize("scale", [1e-150, 1e-300, 1e150, 1e300])
def test_scales_at_the_ends_of_float64_change_nothing(scale: float) -> None:
    rng = np.random.default_rng(4)
    weight = layer(rng)
    finding = found({"l.weight": weight * scale}, {"l.weight": (weight + product(rng, 3, 0.001)) * scale})
    assert finding.fields.get("rank") == 3


def test_a_convolution_is_a_matrix_of_its_filters() -> None:
    rng = np.random.default_rng(5)
    weight = layer(rng, (64, 8, 3, 3))
    update = product(rng, 2, 0.01, (64, 72)).reshape(weight.shape)
    finding = found({"c.weight": weight}, {"c.weight": weight + update})
    assert finding.fields["rank"] == 2
    keras = [np.ascontiguousarray(side.transpose(2, 3, 1, 0)) for side in (weight, weight + update)]  # filters last
    assert found({"c.kernel": keras[0]}, {"c.kernel": keras[1]}).fields["rank"] == 2


def test_a_matrix_that_is_folded_says_so() -> None:
    rng = np.random.default_rng(6)
    weight = layer(rng, (1300, 40))
    finding = found({"l.weight": weight}, {"l.weight": weight + product(rng, 2, 0.001, (1300, 40))})
    assert finding.fields["rank"] == 2
    assert any("folded" in note for note in finding.notes)


def test_matrices_beyond_the_cap_are_said(tmp_path: Path) -> None:
    from diffai.analyses.context import Context
    from diffai.analyses.low_rank import find
    from diffai.analyses.run import Sides
    from diffai.analyses.table import row_of
    from diffai.models.inputs import open_input

    old, new = PAIRS["noise"]
    for name, arrays in (("old", old), ("new", new)):
        save_file(arrays, tmp_path / f"{name}.safetensors")
    paths = [tmp_path / f"{name}.safetensors" for name in ("old", "new")]
    diff = diffai.compare(*paths)
    context = Context(row_of("low_rank"), {"matrices": 3}, Sides(*(open_input(path) for path in paths), unread=""))
    finding = find(diff, context)
    assert finding is not None and finding.fields["matrices"] == 3
    assert context.caps == ["3 of 23 matrices were looked at (those that moved most)"]


def test_an_intruder_is_counted() -> None:
    rng = np.random.default_rng(7)
    left, right = (np.linalg.qr(rng.normal(size=(64, 64)))[0] for _ in range(2))
    weight = left @ np.diag(np.linspace(3, 1, 64)) @ right
    update = 10 * np.outer(rng.normal(size=64), right.sum(axis=0)) / 64
    finding = found({"l.weight": weight}, {"l.weight": weight + update})
    assert (finding.fields["rank"], finding.fields["intruder_dimensions"]) == (1, 1)
    assert "1 intruder dimension" in finding.text


def test_a_matrix_with_nan_is_left_out_and_said() -> None:
    rng = np.random.default_rng(8)
    old = {"a.weight": layer(rng), "b.weight": layer(rng)}
    new = {name: array + rng.normal(0, 1e-3, array.shape) for name, array in old.items()}
    new["b.weight"][0, 0] = np.nan
    finding = found(old, new)
    assert (finding.fields["matrices"], finding.fields["not_finite"]) == (1, 1)
    assert any("NaN" in line for line in finding.evidence)
