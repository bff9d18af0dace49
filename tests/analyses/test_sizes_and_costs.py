"""Memory, size, FLOPs and ratios: figures that can be counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from model_pairs import CONFIGURATION, PAIRS, adapter, cast, noised, quantized, transformer
from safetensors.numpy import save_file

import diffai
from diffai.analyses.compute import cost_of
from diffai.analyses.memory import size_text
from diffai.analyses.options import AnalysisOptions
from diffai.analyses.run import Asked, while_open
from diffai.comparison.result import CompareOptions
from diffai.finding import Finding
from diffai.formats.arrays import ArrayCheckpoint
from diffai.frozen import replace


def asked(name: str, old: Any, new: Any, **options: float) -> Finding:
    """One finding of a pair, with options of the analysis."""
    run = while_open(Asked(frozenset([name]), options=AnalysisOptions({name: options})))
    (found,) = diffai.compare(old, new, CompareOptions(while_open=run)).findings
    return found


def test_weights_are_counted_as_they_are_stored() -> None:
    w = np.ones((4, 8), "f4")
    old = {"a.weight": w, "tied.weight": w, "bn.running_mean": np.ones(8, "f4"), "optimizer.state.0": np.ones(99, "f4")}
    found = asked("memory_analysis", old, {**old, "a.weight": w.astype(ml_dtypes.bfloat16)})
    side = found.fields["old"]
    assert isinstance(side, dict)
    assert (side["weight_bytes"], side["parameters"]) == (4 * 40 + 4 * 99, 32 + 99)  # names alone make no optimizer
    assert asked("memory_analysis", {"w": w}, {"w": w}).fields["delta_bytes"] == 0


def test_a_cast_halves_memory_and_not_flops() -> None:
    found = asked("performance_impact_estimate", *PAIRS["cast"])
    assert found.fields == {"parameters": 1, "bytes": 0.5, "flops": 1, "memory": 0.5, "time": 0.5}
    assert found.basis == "estimate" and found.severity == "info"


def test_a_larger_model_is_a_notice_above_the_ratio() -> None:
    old, new = transformer(), {**transformer(), **{f"x.{n}": a for n, a in transformer().items()}}
    assert asked("performance_impact_estimate", old, new).severity == "notice"
    assert asked("performance_impact_estimate", old, new, notice=2.5).severity == "info"


def test_codes_count_with_their_scales() -> None:
    arrays = quantized(transformer())
    found = asked("memory_analysis", transformer(), arrays)
    side = found.fields["new"]
    assert isinstance(side, dict) and side["weight_bytes"] == sum(array.nbytes for array in arrays.values())


def test_an_adapter_alone_has_no_memory_of_its_own() -> None:
    found = asked("memory_analysis", adapter(), noised(adapter()))
    side = found.fields["new"]
    assert isinstance(side, dict) and side["inference_bytes"] is None and side["weight_bytes"] == 6 * 64 * 4
    assert any("--base" in line for line in found.evidence) and "--base" in found.text


def test_an_adapter_is_trained_while_its_model_is_held(tmp_path: Path) -> None:
    save_file(transformer(), tmp_path / "base.safetensors")
    sides = adapter(), noised(adapter())
    (found,) = diffai.compare(*sides, analyses=["memory_analysis"], base=tmp_path / "base.safetensors").findings
    side = found.fields["new"]
    assert isinstance(side, dict)
    assert side["inference_bytes"] == round(1.2 * (131584 + 6 * 64 * 4))
    assert side["training_bytes"] == 131584 + 16 * 6 * 64


def test_a_transformer_of_known_shapes_costs_what_can_be_counted() -> None:
    """A layer of LLaMA: 2h^2 of q and o, 2 * h * kv of k and v, 3 * h * mlp; the head once; the embedding not."""
    cost = cost_of(ArrayCheckpoint(transformer()).tensors.values(), {})
    h, kv, mlp, words, layers = 32, 16, 64, 80, 3
    assert cost.matrix_parameters == layers * (2 * h * h + 2 * h * kv + 3 * h * mlp) + words * h
    assert cost.flops == 2 * cost.matrix_parameters and cost.bytes_read == 4 * cost.matrix_parameters


def test_a_tied_table_is_the_head_too() -> None:
    arrays = transformer()
    del arrays["lm_head.weight"]
    specs = list(ArrayCheckpoint(arrays).tensors.values())
    without, tied = cost_of(specs, {}), cost_of(specs, {"tie_word_embeddings": True})
    assert tied.matrix_parameters is not None and without.matrix_parameters is not None
    assert tied.matrix_parameters - without.matrix_parameters == 80 * 32
    assert cost_of(specs, {"architectures": ["GPT2LMHeadModel"]}) == tied
    assert cost_of(specs, {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False}) == without
    assert cost_of(specs, {"architectures": ["BertModel"]}) == cost_of(specs, {"architectures": "x"}) == without


def test_the_table_of_positions_is_no_head() -> None:
    arrays = {"wpe.weight": np.ones((8, 4), "f4"), "wte.weight": np.ones((99, 4), "f4"), "h.0.mlp.c_fc.weight": np.ones((4, 16), "f4")}
    cost = cost_of(ArrayCheckpoint(arrays).tensors.values(), {"tie_word_embeddings": True})
    assert cost.matrix_parameters == 4 * 16 + 99 * 4


def test_of_experts_the_active_ones_count() -> None:
    one = {f"layers.0.mlp.experts.{n}.w1.weight": np.ones((4, 6), "f4") for n in range(8)}
    stacked = {"layers.0.mlp.experts.w1": np.ones((8, 4, 6), "f4")}
    for arrays in (one, stacked):
        specs = list(ArrayCheckpoint(arrays).tensors.values())
        assert cost_of(specs, {"num_experts_per_tok": 2}).matrix_parameters == 2 * 24
        unknown = cost_of(specs, {})
        assert unknown.flops is None and "num_experts_per_tok" in unknown.missing[0]
        assert cost_of(specs, {"text_config": {"num_experts_per_tok": 3}}).matrix_parameters == 3 * 24
        assert cost_of(specs, {"num_experts_per_tok": "many"}).flops is None


def test_convolutions_are_not_recorded() -> None:
    found = asked("inference_speed_estimate", *[{"conv.weight": np.full((4, 3, 3, 3), n, "f4")} for n in (1, 2)])
    assert found.fields["flops_ratio"] is None and "flops_per_token=not recorded" in found.text
    assert any("spatial size" in line for line in found.evidence)


def test_a_vision_transformer_costs_its_matrices() -> None:
    arrays = {
        "cls_token": np.ones((1, 1, 8), "f4"), "pos_embed": np.ones((1, 5, 8), "f4"),
        "blocks.0.attn.qkv.weight": np.ones((24, 8), "f4"), "head.weight": np.ones((3, 8), "f4"),
    }  # fmt: skip
    assert cost_of(ArrayCheckpoint(arrays).tensors.values(), {}).matrix_parameters == 24 * 8 + 3 * 8


def test_trees_have_no_matrix() -> None:
    arrays = {"trees.values": np.ones((9, 1, 2)), "trees.threshold": np.ones(9), "trees.0.split": np.ones((2, 3))}
    assert cost_of(ArrayCheckpoint(arrays).tensors.values(), {}).missing == ("a matrix that a position goes through",)


def test_times_are_those_of_the_roofline() -> None:
    found = asked("inference_speed_estimate", *PAIRS["cast"], tflops=1e-6, gb_per_s=1e-3)
    old, new = found.fields["old"], found.fields["new"]
    assert isinstance(old, dict) and isinstance(new, dict)
    assert new["seconds_per_token"] == pytest.approx(max(60416 / 1e6, 60416 / 1e6))  # 2 bytes and 2 FLOPs a parameter
    assert old["seconds_per_token"] == pytest.approx(120832 / 1e6)  # bound by reading F32
    assert found.fields["time_ratio"] == pytest.approx(0.5) and "time=60.4 ms" in found.text
    assert asked("inference_speed_estimate", *PAIRS["cast"], tflops=1).fields["time_ratio"] is None


def test_configurations_beside_the_models_count(tmp_path: Path) -> None:
    experts = {f"layers.0.mlp.experts.{n}.w1.weight": np.ones((4, 6), "f4") for n in range(8)}
    for name, active in (("a", 2), ("b", 4)):
        (tmp_path / name).mkdir()
        save_file(experts, tmp_path / name / "m.safetensors")
        (tmp_path / name / "config.json").write_text(json.dumps({**CONFIGURATION, "num_experts_per_tok": active}))
    sides = [tmp_path / name / "m.safetensors" for name in "ab"]
    (found,) = diffai.compare(*sides, analyses=["inference_speed_estimate"]).findings
    assert found.fields["flops_ratio"] == 2
    (tmp_path / "b" / "config.json").write_text("{not json")
    (found,) = diffai.compare(*sides, analyses=["inference_speed_estimate"]).findings
    assert found.fields["flops_ratio"] is None


def test_size_on_disk_and_in_memory(tmp_path: Path) -> None:
    for name, arrays in (("a", transformer()), ("b", cast(transformer()))):
        save_file(arrays, tmp_path / f"{name}.safetensors")
    sides = [tmp_path / f"{name}.safetensors" for name in "ab"]
    (found,) = diffai.compare(*sides, analyses=["size_reduction"]).findings
    sizes = [side.stat().st_size for side in sides]
    assert [found.fields[name] for name in ("disk_old", "disk_new")] == sizes
    assert found.fields["disk_ratio"] == sizes[1] / sizes[0] and found.fields["memory_ratio"] == 0.5
    rows = found.fields["by_dtype"]
    assert rows == ({"dtype": "F32", "old": 131584, "new": 0}, {"dtype": "BF16", "old": 0, "new": 65792})


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (13_476_000_000, "13.5 GB"), (5e15, "5e+06 GB")]
)
def test_sizes_are_told_in_decimal_units(count: float, text: str) -> None:
    assert size_text(int(count)) == text


def test_the_sign_of_a_difference() -> None:
    assert [size_text(n, sign=True) for n in (-2000, 0, 2000)] == ["-2 kB", "0 B", "+2 kB"]


def test_a_packed_kind_whose_bytes_nothing_tells_is_not_recorded() -> None:
    diff = diffai.compare(*PAIRS["noise"])
    packed = tuple(replace(c, new=replace(c.new, dtype="Q9_Z", values="F32")) if c.new else c for c in diff.tensors)
    from diffai.analyses.table import row_of

    found = row_of("memory_analysis").find(replace(diff, tensors=packed))
    assert found is not None and found.fields["delta_bytes"] is None
    assert any("are not known" in line for line in found.evidence)
