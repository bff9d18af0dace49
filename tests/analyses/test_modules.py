"""Names as modules and kinds of layer, in the conventions that models really have."""

from __future__ import annotations

import pytest

from diffai.analyses.modules import kind_of, kind_of_name, pattern_of, stacks, top_of
from diffai.model import TensorSpec


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("attention", ("model.layers.0.self_attn.q_proj.weight transformer.h.1.attn.c_attn.weight "
         "bert.encoder.layer.0.attention.self.query.weight blocks.3.attn.qkv.weight blk.0.attn_k.weight "
         "encoder.layers.0.self_attn.in_proj_weight decoder.block.0.layer.0.SelfAttention.q.weight "
         "distilbert.transformer.layer.0.attention.q_lin.weight text_model.encoder.layers.0.self_attn.out_proj.bias "
         "transformer/layer_0/attention/query/kernel")),
        ("mlp", ("model.layers.0.mlp.up_proj.weight transformer.h.1.mlp.c_fc.weight blk.0.ffn_up.weight fc1.weight "
         "bert.encoder.layer.0.intermediate.dense.weight layers.0.feed_forward.w1.weight fc.bias dense_1.kernel")),
        ("norm", ("model.layers.0.input_layernorm.weight bn1.running_var transformer.ln_f.weight blk.0.attn_norm.weight "
         "bert.embeddings.LayerNorm.weight layer1.0.bn2.weight model.norm.weight q_norm.weight")),
        ("embedding", ("model.embed_tokens.weight transformer.wte.weight token_embd.weight pos_embed "
         "bert.embeddings.word_embeddings.weight")),
        ("head", "lm_head.weight classifier.weight score.weight output.weight cls.predictions.bias"),
        ("experts", ("model.layers.0.mlp.experts.3.up_proj.weight blk.0.ffn_up_exps.weight "
         "model.layers.0.block_sparse_moe.gate.weight")),
        ("recurrent", "rnn.weight_ih_l0 lstm.bias_hh_l1 encoder.weight_hh_l0_reverse lstm.recurrent_kernel"),
        ("convolution", "conv1.weight layer1.0.conv2.weight features.0.conv.weight layer1.0.downsample.0.weight"),
        ("adapter", "base_model.model.layers.0.q_proj.lora_A.weight layers.0.q_proj.lora_embedding_B"),
        ("other", "w alpha A_log coef_ 0.weight"),
    ],
)  # fmt: skip
def test_a_name_says_what_kind_of_layer_it_is_of(kind: str, names: str) -> None:
    assert {name: kind_of_name(name) for name in names.split()} == dict.fromkeys(names.split(), kind)


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("features.0.weight", (64, 3, 7, 7), "convolution"),
        ("patch_embed.proj.weight", (192, 3, 16, 16), "convolution"),
        ("features.0.weight", (64, 3), "other"),
        ("experts.gate_up_proj", (8, 16, 32), "experts"),
        ("blocks.0.attn.proj.weight", (4, 2, 2), "attention"),
        ("cls_token", (1, 1, 192), "other"),
        ("pos_embed", (1, 197, 192), "embedding"),
        ("trees.values", (27, 1, 2), "trees"),
        ("trees.3.leaf_values", (4,), "trees"),
    ],
)
def test_a_kernel_is_known_by_its_shape(name: str, shape: tuple[int, ...], kind: str) -> None:
    assert kind_of(TensorSpec(name, "F32", shape, 0)) == kind


def test_names_are_cut_into_modules() -> None:
    name = "model.layers.12.mlp.experts.3.up_proj.weight"
    assert pattern_of(name) == "model.layers.*.mlp.experts.*.up_proj.weight"
    assert top_of(name) == "model.layers.*"
    assert top_of("lm_head.weight") == "lm_head"
    assert top_of("w") == "w"
    assert pattern_of("fc1.weight") == "fc1.weight"  # counts nothing


def test_stacks_are_counted_by_their_first_number() -> None:
    names = [f"model.layers.{n}.experts.{m}.weight" for n in range(4) for m in range(8)]
    assert stacks([*names, "head.0.weight", "x"]) == {"model.layers": 4}
