"""What fewer bits saved and cost, of every way in which codes are stored; what was not paired or decoded is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from program import diffai as program
from quantizers import KINDS, Stored, gguf_of, int8
from safetensors.numpy import save_file

import diffai
from diffai.analyses.quantization_analysis import clipped_share
from diffai.finding import Finding

NAME = "quantization_analysis"
WEIGHT = np.random.default_rng(3).normal(0, 0.1, (64, 128)).astype("f4")


def found(old: Any, new: Any) -> Finding:
    (finding,) = diffai.compare(old, new, analyses=[NAME]).findings
    return finding


def against_float(tmp_path: Path, stored: Stored) -> Finding:
    save_file({"l.weight": WEIGHT}, tmp_path / "float.safetensors")
    return found(tmp_path / "float.safetensors", stored.save(tmp_path / "quantized"))


def sqnr(old: np.ndarray, new: np.ndarray) -> float:
    a, b = old.astype("f8"), new.astype("f8")
    return float(10 * np.log10((a**2).sum() / ((b - a) ** 2).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_codes_with_scales_are_decoded(tmp_path: Path, kind: str) -> None:
    stored = KINDS[kind](WEIGHT)
    finding = against_float(tmp_path, stored)
    (row,) = finding.fields["tensors"]
    assert finding.status == "found" and finding.severity == "info"
    assert (row["old"], row["new"]) == ("F32", stored.dtype)
    assert finding.fields["sqnr_db"] == pytest.approx(sqnr(WEIGHT, stored.decoded), rel=1e-4)
    assert finding.fields["bits_per_parameter"] == pytest.approx(stored.bits, rel=1e-4)
    assert finding.fields["compression"] == pytest.approx(32 / stored.bits, rel=1e-4)
    assert row["distinct_values"] == len(np.unique(stored.decoded))
    assert row["clipped_share"] in (0, None), "the greatest of every block sets its scale"
    assert len(row["made_of"]) >= 2
    assert finding.fields["not_paired_old"] == finding.fields["not_paired_new"] == finding.fields["not_decoded"] == ()


def test_what_lies_beyond_the_codes_is_clipped(tmp_path: Path) -> None:
    stored = int8(WEIGHT, reach=0.7)
    (row,) = against_float(tmp_path, stored).fields["tensors"]
    clipped = 0
    for before, after in zip(np.abs(WEIGHT), np.abs(stored.decoded), strict=True):
        second, first = np.unique(after)[-2:]
        clipped += int((before > first + (first - second)).sum())
    expected = clipped / WEIGHT.size
    assert expected > 0.03
    assert row["clipped_share"] == pytest.approx(expected, rel=1e-4)


def test_rounding_to_nearest_never_clips() -> None:
    rows = np.random.default_rng(4).normal(size=(20, 64))
    steps = np.abs(rows).reshape(-1, 16).max(axis=1) / 7
    rounded = (np.rint(rows.reshape(-1, 16) / steps[:, None]) * steps[:, None]).reshape(rows.shape)
    assert clipped_share(rows, rounded, 16) == 0.0
    assert clipped_share(rows, np.clip(rows, -1, 1), 64) > 0.2


@pytest.mark.parametrize("odd", [np.zeros((2, 4)), np.full((2, 4), np.nan), np.full((2, 4), np.inf), np.ones((2, 4))])
def test_blocks_of_one_value_clip_nothing(odd: np.ndarray) -> None:
    assert clipped_share(odd, odd, 4) == 0.0
    assert clipped_share(odd + 1, odd, 4) == 0.0


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_a_model_against_its_gguf_sibling(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(5)
    hub = {f"model.layers.{n}.mlp.{part}_proj.weight": rng.normal(0, 0.1, (32, 64)).astype("f4")
           for n in range(3) for part in ("up", "gate")}  # fmt: skip
    hub["extra.weight"] = np.ones((4, 32), "f4")
    save_file(hub, tmp_path / "model.safetensors")
    ggml = {name.replace("model.layers.", "blk.").replace("mlp.", "ffn_").replace("_proj", ""): array
            for name, array in hub.items() if "proj" in name}  # fmt: skip
    decoded = gguf_of(ggml, kind, tmp_path / "model.gguf")
    done = program("model.safetensors", "model.gguf", "--quantization-analysis", "--format", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (finding,) = [each for each in json.loads(done.stdout)["findings"] if each["name"] == NAME]
    fields = finding["fields"]
    assert fields["transitions"] == [{"old": "F32", "new": kind, "tensors": 6}]
    expected = [sqnr(ggml[name], decoded[name]) for name in ggml]
    assert fields["worst_sqnr_db"] == pytest.approx(min(expected), rel=1e-4)
    assert [row["sqnr_db"] for row in fields["tensors"]] == pytest.approx(sorted(expected), rel=1e-3)
    assert {row["bits"] for row in fields["tensors"]} == {8.5 if kind == "Q8_0" else 4.5}
    assert fields["not_paired_old"] == ["extra.weight"]
    assert "1 tensor not paired" in finding["text"]


def test_codes_without_their_configuration_are_said(tmp_path: Path) -> None:
    stored = KINDS["GPTQ"](WEIGHT)
    both = [Stored(s.tensors, s.decoded, s.dtype).save(tmp_path / str(n)) for n, s in
            enumerate((stored, KINDS["GPTQ"](WEIGHT * 1.01)))]  # fmt: skip
    assert "could not be decoded" in found(*both).text


def test_whole_numbers_without_a_scale_are_not_taken_for_values() -> None:
    finding = found({"w": WEIGHT}, {"w": np.rint(WEIGHT * 100).astype("i1")})
    assert "1 not decoded" in finding.text and finding.severity == "info"
    assert finding.fields["sqnr_db"] is None
    assert finding.fields["tensors"][0]["sqnr_db"] is None


def test_a_lossless_cast_has_no_noise() -> None:
    finding = found({"w": WEIGHT}, {"w": WEIGHT.astype("f8")})
    assert "lossless" in finding.text
    assert finding.fields["tensors"][0]["lossless"] is True
    assert finding.fields["sqnr_db"] is None and finding.evidence


def test_buffers_and_training_state_take_no_part_in_bits_a_parameter() -> None:
    old = {"w": WEIGHT, "bn.running_var": np.ones(500, "f4"), "bn.num_batches_tracked": np.array(7, "i8")}
    finding = found(old, {**old, "w": WEIGHT.astype("f2")})
    assert (finding.fields["bits_per_parameter_old"], finding.fields["bits_per_parameter"]) == (32, 16)


def test_a_tensor_below_the_limit_is_a_warning() -> None:
    small = {"w": WEIGHT, "v": WEIGHT * 1e-8}
    finding = found(small, {name: array.astype("f2") for name, array in small.items()})
    assert finding.severity == "warning"
    assert finding.fields["most_sensitive"][0] == "v"


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e38])
def test_strange_values_have_no_figure(value: float) -> None:
    with np.errstate(over="ignore"):
        finding = found({"w": np.full((8, 8), value, "f4")}, {"w": np.full((8, 8), value, "f4").astype("f2")})
    assert finding.status == "found"
    assert json.dumps(finding.fields["tensors"][0], allow_nan=False)
