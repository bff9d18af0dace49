"""What kind of network a model is, from names, shapes and graphs; what differs; what a reviewer is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from model_pairs import CONFIGURATION, PAIRS, adapter, noised, transformer
from safetensors.numpy import save_file

import diffai
from diffai.analyses.architecture import architecture
from diffai.finding import Finding
from diffai.model import Checkpoint, TensorSpec

GPT2 = "wte.weight:9,4 wpe.weight:8,4 h.0.attn.c_attn.weight:4,12 h.0.attn.c_proj.weight:4,4 h.0.mlp.c_fc.weight:4,16"
VIT = "patch_embed.proj.weight:4,3,2,2 blocks.0.attn.qkv.weight:12,4 blocks.0.mlp.fc1.weight:8,4 head.weight:10,4"
BERT = "bert.encoder.layer.0.attention.self.query.weight:4,4 bert.encoder.layer.0.intermediate.dense.weight:8,4"
MIXTRAL = "model.layers.0.block_sparse_moe.experts.0.w1.weight:4,4 model.layers.0.self_attn.q_proj.weight:4,4"
MAMBA = "backbone.layers.0.mixer.A_log:4,2 backbone.layers.0.mixer.in_proj.weight:8,4"
RESNET = "conv1.weight:4,3,7,7 bn1.weight:4 layer1.0.conv1.weight:4,4,3,3 fc.weight:10,4 fc.bias:10"
UNET = "time_embedding.linear_1.weight:4,4 down_blocks.0.resnets.0.conv1.weight:4,4,3,3 up_blocks.0.attentions.0.x:4"
LSTM = "lstm.weight_ih_l0:16,4 lstm.weight_hh_l0:16,4 fc.weight:2,4"
LDM = "time_embed.0.weight:4,4 input_blocks.0.0.weight:4,4,3,3 middle_block.0.weight:4 output_blocks.0.0.weight:4,4,3,3"


def specs(text: str) -> list[TensorSpec]:
    made = []
    for word in text.split():
        name, _, shape = word.partition(":")
        sizes = tuple(int(size) for size in shape.split(",") if size)
        made.append(TensorSpec(name, "F32", sizes, 4 * int(np.prod(sizes))))
    return made


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("transformer", GPT2), ("transformer", VIT), ("transformer", BERT), ("mixture of experts", MIXTRAL),
        ("state space", MAMBA), ("cnn", RESNET), ("diffusion u-net", UNET), ("diffusion u-net", LDM), ("recurrent", LSTM),
        ("mlp", "fc1.weight:8,4 fc1.bias:8 fc2.weight:2,8"), ("mlp", "0.weight:8,4 2.weight:2,8"),
        ("linear", "weight:3,4 bias:3"), ("linear", "coef_:4 intercept_:1"), ("embedding", "embeddings.weight:9,4"),
        ("adapter", "x.lora_A.weight:2,4 x.lora_B.weight:4,2"), ("transformer", "blk.0.attn_q.weight:4,4"),
        ("", "a:4 b:1"), ("", ""),
    ],
)  # fmt: skip
def test_the_type_is_read_from_names_and_shapes(kind: str, text: str) -> None:
    found = architecture(specs(text))
    assert found.type == kind
    assert bool(found.evidence) == bool(kind)


def test_a_graph_and_parts_say_it_where_names_do_not() -> None:
    checkpoint = Checkpoint()
    checkpoint.graph = {"operator Conv": "3", "operator Relu": "2"}
    assert architecture(specs("w:4"), checkpoint).type == "cnn"
    checkpoint.graph = {"operator TreeEnsembleClassifier": "1"}
    assert architecture([], checkpoint).type == "tree ensemble"
    checkpoint.graph, checkpoint.parts = {}, {"trees": ("a", "b")}
    assert architecture(specs("w:4"), checkpoint).evidence == ("2 trees",)


def compared(old: object, new: object) -> Finding:
    (found,) = diffai.compare(old, new, analyses=["architecture_comparison"]).findings  # type: ignore[arg-type]
    return found


def test_equal_architectures_have_no_difference() -> None:
    for pair in ("identity", "noise", "cast", "re-initialised"):
        found = compared(*PAIRS[pair])
        assert found.fields["same"] is True and found.severity == "info", pair


def test_what_differs_is_one_line_a_pattern() -> None:
    found = compared(*PAIRS["layers dropped"])
    differences = found.fields["differences"]
    assert isinstance(differences, tuple) and differences[0] == "model.layers: 3 -> 2 modules"
    assert "removed model.layers.*.mlp.up_proj.weight [64, 32]" in differences
    assert compared(*PAIRS["vocabulary extended"]).fields["differences"] == (
        "lm_head.weight [80, 32] -> [85, 32]", "model.embed_tokens.weight [80, 32] -> [85, 32]",
    )  # fmt: skip


def test_another_type_is_a_notice() -> None:
    found = compared(transformer(), {"conv.weight": np.ones((4, 3, 3, 3), "f4")})
    assert (found.fields["type1"], found.fields["type2"], found.severity) == ("transformer", "cnn", "notice")


def test_configurations_beside_the_models_are_compared(tmp_path: Path) -> None:
    for name, heads in (("a", 4), ("b", 8)):
        (tmp_path / name).mkdir()
        save_file(transformer(), tmp_path / name / "m.safetensors")
        told = {**CONFIGURATION, "num_attention_heads": heads, "vocab_size": {"not": "a number"}}
        (tmp_path / name / "config.json").write_text(json.dumps(told))
    found = compared(*[tmp_path / name / "m.safetensors" for name in "ab"])
    assert found.fields["differences"] == ("config.json num_attention_heads: 4 -> 8",)
    assert found.fields["same"] is False


def reviewed(pair: str) -> Finding:
    (found,) = diffai.compare(*PAIRS[pair], analyses=["review_friendly"]).findings
    return found


def test_a_reviewer_is_told_the_kind_and_what_stands_out() -> None:
    assert reviewed("noise").text.startswith("training step, update size 0.00843; nothing stands out")
    zeroed = reviewed("zeroing")
    assert zeroed.severity == "critical" and "all 2,048 values are zero now" in zeroed.text
    broken = reviewed("NaN appeared")
    assert broken.severity == "critical" and broken.text.count("NaN or Inf appeared") == 1
    assert reviewed("identity").fields["points"] == ()


def test_the_update_is_summed_up_by_kind_and_module() -> None:
    (found,) = diffai.compare(*PAIRS["freezing"], analyses=["change_summary"]).findings
    kinds = {row["kind"]: row for row in found.fields["kinds"]}  # type: ignore[union-attr, index, call-overload]
    assert kinds["head"]["share"] == 1 and kinds["attention"]["changed"] == 0
    assert found.fields["carrying"] == 1
    (found,) = diffai.compare(transformer(), noised(transformer()), analyses=["change_summary"]).findings
    for group in ("kinds", "modules"):
        rows = found.fields[group]
        assert sum(row["share"] for row in rows) == pytest.approx(1)  # type: ignore[union-attr, index, misc, call-overload]
    top = found.fields["top"]
    assert isinstance(top, tuple) and len(top) == 10


def test_few_tensors_that_carry_the_update_are_counted() -> None:
    old = {f"layers.{n}.weight": np.ones(16, "f4") for n in range(10)}
    new = {name: array + (1.0 if name in ("layers.3.weight", "layers.4.weight") else 0.01) for name, array in old.items()}
    (found,) = diffai.compare(old, {n: a.astype("f4") for n, a in new.items()}, analyses=["change_summary"]).findings
    assert found.fields["carrying"] == 2 and "80% of the update in 2" in found.text


def test_nothing_moved_is_said() -> None:
    (found,) = diffai.compare(*PAIRS["identity"], analyses=["change_summary"]).findings
    assert found.status == "nothing" and found.text == "no parameter moved"
    (found,) = diffai.compare({"w": np.ones(2, "f4")}, {"w": np.ones(3, "f4")}, analyses=["change_summary"]).findings
    assert found.text == "no parameter has the same shape on both sides"
    assert compared(adapter(), adapter()).fields["type1"] == "adapter"
