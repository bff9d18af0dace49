"""Zeros, bytes and stable ranks are those of the tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantizers import KINDS
from safetensors.numpy import save_file

import diffai
from diffai.finding import Finding
from diffai.models.inputs import open_input

NAME = "param_efficiency_analysis"
RNG = np.random.default_rng(5)


def found(old: Any, new: Any) -> Finding:
    (finding,) = diffai.compare(old, new, analyses=[NAME]).findings
    return finding


def test_the_stable_rank_is_that_of_the_singular_values() -> None:
    old = {"a.weight": RNG.normal(size=(30, 12)), "b.weight": np.outer(np.arange(9.0), np.ones(7))}
    finding = found(old, {name: array * 2 for name, array in old.items()})
    shares = []
    for array in old.values():
        values = np.linalg.svd(array, compute_uv=False)
        shares.append((values**2).sum() / values[0] ** 2 / min(array.shape))
    assert [row["stable_rank_share"] for row in finding.fields["matrices"]] == pytest.approx(shares, rel=1e-4)
    assert finding.fields["old"]["stable_rank_share"] == pytest.approx(np.median(shares), rel=1e-4)


def test_zeros_are_counted_in_equal_tensors_too() -> None:
    kept = np.array([0.0, 1.0, 0.0, 2.0])
    finding = found({"same": kept, "other": np.ones(4)}, {"same": kept, "other": np.zeros(4)})
    assert finding.fields["old"]["nonzero_share"] == 6 / 8
    assert finding.fields["new"]["nonzero_share"] == 2 / 8


def test_buffers_are_no_parameters() -> None:
    side = {"bn.running_mean": np.zeros(5), "w": np.ones(3)}
    assert found(side, {**side, "w": np.zeros(3)}).fields["new"]["parameters"] == 3


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_of_packed_weights_are_codes_and_scales(tmp_path: Path, kind: str) -> None:
    weight = RNG.normal(0, 0.1, (64, 128)).astype("f4")
    stored = KINDS[kind](weight)
    save_file({"l.weight": weight}, tmp_path / "float.safetensors")
    finding = found(tmp_path / "float.safetensors", stored.save(tmp_path / "codes"))
    assert finding.fields["old"]["parameters_per_mb"] == 0.25
    assert finding.fields["new"]["parameters_per_mb"] == pytest.approx(8 / stored.bits, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_stored_bytes_count_every_part_once(tmp_path: Path, kind: str) -> None:
    from diffai.analyses.memory import stored_bytes

    stored = KINDS[kind](RNG.normal(0, 0.1, (64, 128)))
    checkpoint = open_input(stored.save(tmp_path / "codes")).checkpoint
    assert checkpoint is not None
    assert stored_bytes(checkpoint.tensors["l.weight"], checkpoint) == stored.bits * 64 * 128 / 8


def test_matrices_beyond_the_cap_are_said() -> None:
    side = {"large.weight": np.ones((1100, 1100), "f4")}
    finding = found(side, {"large.weight": side["large.weight"] * 2})
    assert finding.fields["new"]["stable_rank_share"] is None
    assert any("1 matrices with more than 1,024" in note for note in finding.notes)
