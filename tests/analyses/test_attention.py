"""Attention by layer and head: one attention packed as each family packs it gives the same figures, those of numpy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_pairs import CONFIGURATION, HEAD, HEADS, HIDDEN, PAIRS, permuted_heads, transformer
from safetensors.numpy import save_file
from scipy.stats import spearmanr

import diffai
from diffai.analyses.attention_layout import Recorded, layers
from diffai.analyses.head_importance import rank_correlation
from diffai.finding import Finding
from diffai.model import TensorSpec

Heads = dict[str, np.ndarray[Any, Any]]
"""q, k, v, o as (heads or groups, width, model); of o the columns of a head as rows."""
H, D, M = 4, 8, 32
NAMES = ("attention_analysis", "head_importance", "attention_pattern_diff")


def heads(seed: int, groups: int = H) -> Heads:
    rng = np.random.default_rng(seed)
    counts = {"q": H, "k": groups, "v": groups, "o": H}
    return {part: rng.normal(0, 0.1, (count, D, M)).astype("f4") for part, count in counts.items()}


def flat(part: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return part.reshape(-1, M)


def separate(names: str, prefix: str, output: str = "") -> Any:
    def pack(h: Heads) -> dict[str, np.ndarray[Any, Any]]:
        q, k, v, o = names.split()
        made = {f"{prefix}.{name}.weight": flat(h[part]) for part, name in zip("qkv", (q, k, v), strict=True)}
        return {**made, f"{output or prefix + '.' + o}.weight": flat(h["o"]).T.copy()}

    return pack


def blocks(name: str, output: str) -> Any:
    return lambda h: {name: np.concatenate([flat(h[part]) for part in "qkv"]), output: flat(h["o"]).T.copy()}


def gpt2(h: Heads) -> dict[str, np.ndarray[Any, Any]]:
    fused = np.concatenate([flat(h[part]) for part in "qkv"]).T.copy()
    return {"h.0.attn.c_attn.weight": fused, "h.0.attn.c_proj.weight": flat(h["o"])}


def by_head(h: Heads) -> dict[str, np.ndarray[Any, Any]]:
    """Group by group its queries, its key, its value."""
    groups = len(h["k"])
    each = H // groups
    rows = [
        np.concatenate([*h["q"][g * each : (g + 1) * each], h["k"][g], h["v"][g]]) for g in range(groups)
    ]  # fmt: skip
    prefix = "transformer.h.0.self_attention"
    return {f"{prefix}.query_key_value.weight": np.concatenate(rows), f"{prefix}.dense.weight": flat(h["o"]).T.copy()}


LLAMA = separate("q_proj k_proj v_proj o_proj", "model.layers.0.self_attn")
FAMILIES: dict[str, tuple[Any, int, dict[str, Any]]] = {
    "LLaMA": (LLAMA, 2, {"num_attention_heads": H, "num_key_value_heads": 2, "rope_theta": 1e4}),
    "OPT": (separate("q_proj k_proj v_proj out_proj", "decoder.layers.0.self_attn"), H, {"num_attention_heads": H}),
    "Whisper": (
        separate("q_proj k_proj v_proj out_proj", "model.encoder.layers.0.self_attn"), H,
        {"encoder_attention_heads": H, "decoder_attention_heads": 2},
    ),
    "BERT": (
        separate("query key value x", "encoder.layer.0.attention.self", "encoder.layer.0.attention.output.dense"), H,
        {"num_attention_heads": H},
    ),
    "ViT": (
        separate("query key value x", "vit.layer.0.attention.attention", "vit.layer.0.attention.output.dense"), H,
        {"num_attention_heads": H},
    ),
    "DistilBERT": (separate("q_lin k_lin v_lin out_lin", "layer.0.attention"), H, {"n_heads": H}),
    "diffusers": (separate("to_q to_k to_v x", "b.attn1", "b.attn1.to_out.0"), H, {"num_attention_heads": H}),
    "T5": (separate("q k v o", "encoder.block.0.layer.0.SelfAttention"), H, {"num_heads": H, "d_kv": D}),
    "GGUF": (separate("attn_q attn_k attn_v attn_output", "blk.0"), 2, {"n_head": H, "n_kv_heads": 2}),
    "GPT-2": (gpt2, H, {"n_head": H}),
    "timm": (blocks("blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight"), H, {"num_heads": H}),
    "torch": (blocks("attn.in_proj_weight", "attn.out_proj.weight"), H, {"num_heads": H}),
    "MPT": (blocks("blocks.0.attn.Wqkv.weight", "blocks.0.attn.out_proj.weight"), H, {"n_heads": H}),
    "Phi-3": (
        blocks("model.layers.0.self_attn.qkv_proj.weight", "model.layers.0.self_attn.o_proj.weight"), 2,
        {"num_attention_heads": H, "num_key_value_heads": 2},
    ),
    "ChatGLM": (
        blocks("layers.0.self_attention.query_key_value.weight", "layers.0.self_attention.dense.weight"), 2,
        {"model_type": "chatglm", "num_attention_heads": H, "multi_query_group_num": 2},
    ),
    "GPT-NeoX": (by_head, H, {"num_attention_heads": H}),
    "Falcon 40B": (by_head, 2, {"num_attention_heads": H, "num_kv_heads": 2, "new_decoder_architecture": True}),
    "Falcon 7B": (by_head, 1, {"num_attention_heads": H, "multi_query": True}),
    "a vision tower": (
        separate("q_proj k_proj v_proj out_proj", "vision_model.layers.0.self_attn"), H,
        {"text_config": {"num_attention_heads": 2}, "vision_config": {"num_attention_heads": H}},
    ),
}  # fmt: skip
EACH = pytest.mark.parametrize("family", FAMILIES)


def found(tmp_path: Path, old: Any, new: Any, configuration: dict[str, Any] | None) -> dict[str, Finding]:
    for side, arrays in (("a", old), ("b", new)):
        (tmp_path / side).mkdir(exist_ok=True)
        save_file(arrays, tmp_path / side / "model.safetensors")
        if configuration is not None:
            (tmp_path / side / "config.json").write_text(json.dumps(configuration))
    paths = [tmp_path / side / "model.safetensors" for side in "ab"]
    return {one.name: one for one in diffai.compare(*paths, analyses=NAMES).findings if one.asked}


def packed(tmp_path: Path, family: str) -> tuple[dict[str, Finding], Heads, Heads]:
    pack, groups, configuration = FAMILIES[family]
    old, new = heads(1, groups), heads(1, groups)
    new["q"][2] += heads(2, groups)["q"][2]
    new["v"][0] *= 3
    return found(tmp_path, pack(old), pack(new), configuration), old, new


@EACH
def test_norms_by_head(tmp_path: Path, family: str) -> None:
    said, old, new = packed(tmp_path, family)
    finding = said["attention_analysis"]
    assert (finding.status, finding.basis) == ("found", "fact"), finding.text
    (row,) = finding.fields["by_layer"]
    assert (row["heads"], row["groups"]) == (H, len(old["k"]))
    for part in "qkvo":
        for key, side in (("norm_old", old), ("norm_new", new)):
            wanted = np.sqrt((side[part].astype("f8") ** 2).sum(axis=(1, 2)))
            assert row[part][key] == pytest.approx(wanted, rel=1e-9), (part, key)
        change = np.sqrt(((new[part].astype("f8") - old[part]) ** 2).sum(axis=(1, 2)))
        assert row[part]["relative_l2"] == pytest.approx(change / row[part]["norm_old"], rel=1e-6, abs=1e-12)


@EACH
def test_importance_is_the_norm_of_what_a_head_writes(tmp_path: Path, family: str) -> None:
    said, old, new = packed(tmp_path, family)
    fields = said["head_importance"].fields
    each = H // len(old["k"])

    def scores(side: Heads) -> list[float]:
        return [float(np.linalg.norm(side["o"][h].astype("f8").T @ side["v"][h // each])) for h in range(H)]

    by_head_ = {row["head"]: row for row in fields["ranking"]}
    assert [by_head_[h]["old"] for h in range(H)] == pytest.approx(scores(old), rel=1e-9)
    assert [by_head_[h]["new"] for h in range(H)] == pytest.approx(scores(new), rel=1e-9)
    assert fields["rank_correlation"] == pytest.approx(spearmanr(scores(old), scores(new)).statistic)
    assert [row["new"] for row in fields["ranking"]] == pytest.approx(sorted(scores(new), reverse=True), rel=1e-9)


@EACH
def test_patterns_are_cosines_of_whole_circuits(tmp_path: Path, family: str) -> None:
    said, old, new = packed(tmp_path, family)
    (row,) = said["attention_pattern_diff"].fields["by_layer"]
    each = H // len(old["k"])
    for head in range(H):
        a, b = (side["q"][head].astype("f8").T @ side["k"][head // each] for side in (old, new))
        assert row["cosine"][head] == pytest.approx(float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)))
    assert row["cosine"][2] < 0.9


def test_torch_itself_splits_heads_like_this(tmp_path: Path) -> None:
    """The pattern that one head of torch's module computes is the QK circuit that is compared."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.MultiheadAttention(M, H, bias=False)
    weights = {name: value.detach().numpy() for name, value in module.named_parameters()}
    x = torch.randn(5, 1, M)
    _, attention = module(x, x, x, need_weights=True, average_attn_weights=False)
    q, k = weights["in_proj_weight"][:M].reshape(H, D, M), weights["in_proj_weight"][M : 2 * M].reshape(H, D, M)
    logits = np.einsum("im,hdm,hdn,jn->hij", x[:, 0], q, k, x[:, 0]) / np.sqrt(D)
    assert np.allclose(torch.softmax(torch.tensor(logits), -1), attention[0].detach(), atol=1e-5)
    specs = {name: TensorSpec(name, "F32", value.shape, 0, value.nbytes) for name, value in weights.items()}
    (layer,) = layers(specs, Recorded({"num_heads": H}, {}))
    assert [layer.piece("k", head)[1] for head in range(H)] == [M + head * D for head in range(H)]


def test_heads_in_another_order_are_the_same_heads(tmp_path: Path) -> None:
    old, new = transformer(), transformer()
    permuted_heads(new)
    said = found(tmp_path, old, new, CONFIGURATION)
    first = said["attention_analysis"].fields["by_layer"][0]
    assert first["old_heads"] == (2, 3, 0, 1)
    assert said["attention_pattern_diff"].fields["lowest_cosine"] == pytest.approx(1)
    assert said["head_importance"].fields["rank_correlation"] == pytest.approx(1)
    assert all("the same heads in another order in 1 layer" in said[name].text for name in (NAMES[0], NAMES[2]))


def test_a_rotation_within_a_head_changes_no_pattern(tmp_path: Path) -> None:
    old, new = heads(1), heads(1)
    turn, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(D, D)))
    for part in "qk":
        new[part][1] = turn @ new[part][1]
    said = found(tmp_path, gpt2(old), gpt2(new), {"n_head": H})
    assert said["attention_pattern_diff"].fields["lowest_cosine"] == pytest.approx(1, abs=1e-6)
    assert said["attention_analysis"].fields["by_layer"][0]["q"]["relative_l2"][1] > 0.5


def test_without_a_number_of_heads_parts_are_whole_and_it_is_said(tmp_path: Path) -> None:
    said = found(tmp_path, *PAIRS["noise"], None)
    whole = said["attention_analysis"]
    assert "heads=not recorded" in whole.text and whole.fields["by_layer"][0]["heads"] is None
    assert any("config.json" in line for line in whole.evidence)
    assert {said[name].status for name in NAMES[1:]} == {"not computed"}


def test_the_usual_width_of_a_head_is_an_estimate(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    old = {f"l.{name}_proj.weight": rng.normal(size=(256, 256)).astype("f4") for name in "qkvo"}
    said = found(tmp_path, old, {name: value * 2 for name, value in old.items()}, None)
    assert all(said[name].basis == "estimate" for name in NAMES)
    assert said["attention_analysis"].fields["by_layer"][0]["heads"] == 4


def test_codes_without_a_scale_are_no_weights(tmp_path: Path) -> None:
    old = LLAMA(heads(1, 2))
    codes = {name: np.round(value * 100).astype("i1") for name, value in old.items()}
    assert found(tmp_path, old, codes, None)["attention_analysis"].status == "not computed"


def test_layers_of_another_shape_are_named(tmp_path: Path) -> None:
    old = {**LLAMA(heads(1, 2)), **separate("q_proj k_proj v_proj o_proj", "x.attn")(heads(1))}
    new = {**old, "x.attn.q_proj.weight": np.ones((16, M), "f4")}
    said = found(tmp_path, old, new, {"num_attention_heads": H})["attention_analysis"]
    assert said.fields["not_compared"] == ("x.attn",) and any("x.attn" in line for line in said.evidence)


@pytest.mark.parametrize("configuration", [{"num_attention_heads": 7}, {"num_attention_heads": "many"}, {"n_head": 0}, []])
def test_a_configuration_that_does_not_fit_is_not_believed(tmp_path: Path, configuration: Any) -> None:
    old = LLAMA(heads(1, 2))
    said = found(tmp_path, old, {name: value * 2 for name, value in old.items()}, configuration)
    assert said["attention_analysis"].fields["by_layer"][0]["heads"] is None


def test_gguf_says_its_heads_itself(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    paths = []
    for name, factor in (("a", 1), ("b", 2)):
        writer = gguf.GGUFWriter(tmp_path / f"{name}.gguf", "llama")
        writer.add_head_count(H)
        writer.add_head_count_kv(2)
        for tensor, value in FAMILIES["GGUF"][0](heads(1, 2)).items():
            writer.add_tensor(tensor, value * np.float32(factor))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        paths.append(tmp_path / f"{name}.gguf")
    (said,) = [one for one in diffai.compare(*paths, analyses=NAMES[:1]).findings if one.asked]
    (row,) = said.fields["by_layer"]
    assert (row["heads"], row["groups"]) == (H, 2)
    assert row["relative_l2_by_head"] == pytest.approx([1.0] * H)


def test_rank_correlation_is_spearmans_with_ties() -> None:
    old, new = [1.0, 2, 2, 5, 7], [2.0, 1, 1, 1, 9]
    assert rank_correlation(old, new) == pytest.approx(spearmanr(old, new).statistic)
    assert rank_correlation([1.0], [2.0]) is None


def test_the_model_of_the_pairs_is_split_as_it_is_built() -> None:
    specs = {name: TensorSpec(name, "F32", value.shape, 0, value.nbytes) for name, value in transformer().items()}
    split = layers(specs, Recorded(CONFIGURATION, {}))
    assert [(layer.heads, layer.groups, layer.parts["q"].width) for layer in split] == [(HEADS, 2, HEAD)] * 3
    assert HIDDEN == HEADS * HEAD
