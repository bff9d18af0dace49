"""A GGUF against the model of the hub that it was made from, converted by what llama.cpp's converter does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from diffai import compare
from diffai.comparison.result import ModelDiff

Array = np.ndarray[Any, Any]


def permuted(weight: Array, heads: int) -> Array:
    """``LlamaModel.permute`` of llama.cpp's convert_hf_to_gguf.py."""
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def some(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def written(
    path: Path, architecture: str, tensors: dict[str, Array], kind: gguf.GGMLQuantizationType | None = None, **heads: int
) -> Path:
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in heads.items():
        writer.add_uint32(f"{architecture}.attention.{key}", value)
    for name, array in tensors.items():
        if kind is not None and array.ndim == 2:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def against(tmp_path: Path, hub: dict[str, Array], file: Path) -> ModelDiff:
    save_file({name: np.ascontiguousarray(array) for name, array in hub.items()}, tmp_path / "hub.safetensors")
    return compare(tmp_path / "hub.safetensors", file)


LLAMA = {
    "model.embed_tokens.weight": some(40, 32), "model.norm.weight": some(32), "lm_head.weight": some(40, 32, seed=1),
    "model.layers.0.input_layernorm.weight": some(32, seed=2),
    "model.layers.0.post_attention_layernorm.weight": some(32, seed=3),
    "model.layers.0.self_attn.q_proj.weight": some(32, 32, seed=4),
    "model.layers.0.self_attn.k_proj.weight": some(16, 32, seed=5),
    "model.layers.0.self_attn.v_proj.weight": some(16, 32, seed=6),
    "model.layers.0.self_attn.o_proj.weight": some(32, 32, seed=7),
    "model.layers.0.mlp.gate_proj.weight": some(64, 32, seed=8),
    "model.layers.0.mlp.up_proj.weight": some(64, 32, seed=9),
    "model.layers.0.mlp.down_proj.weight": some(32, 64, seed=10),
}  # fmt: skip


def converted(hub: dict[str, Array], architecture: str) -> dict[str, Array]:
    """Names by gguf's own table."""
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, architecture.upper()), 2)
    made = {}
    for name, array in hub.items():
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert new is not None, name
        made[new] = array
    return made


def test_a_llama_is_the_same_with_q_and_k_by_their_own_numbers_of_heads(tmp_path: Path) -> None:
    tensors = converted(LLAMA, "llama")
    tensors["blk.0.attn_q.weight"] = permuted(tensors["blk.0.attn_q.weight"], 4)
    tensors["blk.0.attn_k.weight"] = permuted(tensors["blk.0.attn_k.weight"], 2)
    file = written(tmp_path / "m.gguf", "llama", tensors, head_count=4, head_count_kv=2)
    diff = against(tmp_path, LLAMA, file)
    assert not [change.name for change in diff.changes] and len(diff.tensors) == len(LLAMA)
    (fact,) = diff.facts
    assert fact.new == "as llama on the hub, rows of q and k in its order"


def test_a_quantized_llama_is_told_by_what_it_lost(tmp_path: Path) -> None:
    tensors = converted(LLAMA, "llama")
    tensors["blk.0.attn_q.weight"] = permuted(tensors["blk.0.attn_q.weight"], 4)
    tensors["blk.0.attn_k.weight"] = permuted(tensors["blk.0.attn_k.weight"], 2)
    file = written(tmp_path / "m.gguf", "llama", tensors, gguf.GGMLQuantizationType.Q8_0, head_count=4, head_count_kv=2)
    diff = against(tmp_path, LLAMA, file)
    casts = {change.name: change for change in diff.changes}
    assert len(casts) == 9 and all("cast" in change.status for change in casts.values())
    for change in casts.values():
        assert change.figures is not None and change.figures.cast is not None
        assert change.figures.cast.relative_l2 is not None and change.figures.cast.relative_l2 < 0.01


def test_rows_that_the_converter_did_not_permute_are_another_model(tmp_path: Path) -> None:
    file = written(tmp_path / "m.gguf", "llama", converted(LLAMA, "llama"), head_count=4, head_count_kv=2)
    changed = {change.name.split(".")[-2] for change in against(tmp_path, LLAMA, file).changes}
    assert changed == {"q_proj", "k_proj"}


def test_without_numbers_of_heads_q_and_k_are_not_put_back(tmp_path: Path) -> None:
    file = written(tmp_path / "m.gguf", "llama", converted(LLAMA, "llama"))
    assert "blk.0.attn_q.weight" in {s.name for c in against(tmp_path, LLAMA, file).tensors for s in (c.old, c.new) if s}


def test_qwen2_has_the_names_of_llama_and_its_own_rows(tmp_path: Path) -> None:
    hub = {**LLAMA, "model.layers.0.self_attn.q_proj.bias": some(32, seed=11)}
    file = written(tmp_path / "m.gguf", "qwen2", converted(hub, "qwen2"), head_count=4, head_count_kv=2)
    assert not against(tmp_path, hub, file).changes


def test_the_norms_of_gemma_are_stored_plus_one(tmp_path: Path) -> None:
    hub = {name: np.round(array * 256) / 256 for name, array in LLAMA.items() if name != "lm_head.weight"}
    tensors = {name: array + 1 if "norm" in name else array for name, array in converted(hub, "gemma").items()}
    diff = against(tmp_path, hub, written(tmp_path / "m.gguf", "gemma", tensors))
    assert not diff.changes and "less one" in str(diff.facts[0].new)


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_the_linear_layers_of_gpt2_are_transposed(tmp_path: Path, prefix: str) -> None:
    bare = {
        "wte.weight": some(40, 32), "wpe.weight": some(16, 32), "ln_f.weight": some(32), "ln_f.bias": some(32, seed=1),
        "h.0.ln_1.weight": some(32, seed=2), "h.0.ln_2.bias": some(32, seed=3),
        "h.0.attn.c_attn.weight": some(32, 96), "h.0.attn.c_attn.bias": some(96),
        "h.0.attn.c_proj.weight": some(32, 32, seed=4), "h.0.mlp.c_fc.weight": some(32, 128),
        "h.0.mlp.c_proj.weight": some(128, 32, seed=5),
    }  # fmt: skip
    hub = {prefix + name: array for name, array in bare.items()}
    tensors = {
        name: array.T if array.ndim == 2 and any(part in name for part in ("attn_qkv", "attn_output", "ffn_")) else array
        for name, array in converted({"transformer." + name: array for name, array in bare.items()}, "gpt2").items()
    }
    diff = against(tmp_path, hub, written(tmp_path / "m.gguf", "gpt2", tensors))
    assert not [change.name for change in diff.changes] and len(diff.tensors) == len(hub)


def test_bert_with_and_without_its_prefix(tmp_path: Path) -> None:
    hub = {
        "embeddings.word_embeddings.weight": some(40, 32), "embeddings.position_embeddings.weight": some(16, 32),
        "embeddings.token_type_embeddings.weight": some(2, 32), "embeddings.LayerNorm.weight": some(32),
        "encoder.layer.1.attention.self.query.weight": some(32, 32), "encoder.layer.1.attention.self.key.bias": some(32),
        "encoder.layer.1.attention.output.dense.weight": some(32, 32, seed=1),
        "encoder.layer.1.attention.output.LayerNorm.bias": some(32, seed=2),
        "encoder.layer.1.intermediate.dense.weight": some(64, 32), "encoder.layer.1.output.dense.weight": some(32, 64),
        "encoder.layer.1.output.LayerNorm.weight": some(32, seed=3),
    }  # fmt: skip
    file = written(tmp_path / "m.gguf", "bert", converted(hub, "bert"))
    for prefix in ("", "bert."):
        diff = against(tmp_path, {prefix + name: array for name, array in hub.items()}, file)
        assert not [change.name for change in diff.changes], prefix
