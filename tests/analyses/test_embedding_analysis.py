"""Rows that turned are named, neighbours are looked at, and tokens pair rows where they stand elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from model_pairs import PAIRS
from safetensors.numpy import save_file
from scipy.spatial.distance import cosine

import diffai
from diffai.analyses.embeddings import is_embedding
from diffai.finding import Finding

RNG = np.random.default_rng(4)
WORDS = RNG.normal(size=(60, 16)).astype("f4")
TOKENS = [f"w{n}" for n in range(60)]


def found(old: Any, new: Any) -> Finding:
    (finding,) = diffai.compare(old, new, analyses=["embedding_analysis"]).findings
    return finding


def only(finding: Finding) -> Any:
    (row,) = finding.fields["embeddings"]
    return row


def save(folder: Path, array: np.ndarray, **files: bytes) -> Path:
    folder.mkdir(parents=True)
    save_file({"model.embed_tokens.weight": np.ascontiguousarray(array)}, folder / "model.safetensors")
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder / "model.safetensors"


@pytest.mark.parametrize("name", [
    "model.embed_tokens.weight", "transformer.wte.weight", "wpe.weight", "bert.embeddings.word_embeddings.weight",
    "token_embd.weight", "shared.weight", "embed.weight", "decoder.embed_in.weight", "params.Embed_0.embedding",
    "tok_embeddings.weight",
])  # fmt: skip
def test_embeddings_are_known_by_their_names(name: str) -> None:
    assert is_embedding(name)


@pytest.mark.parametrize("name", [
    "time_embed.0.weight", "embed_proj.weight", "embeddings.LayerNorm.weight", "embedding_norm.weight", "weight",
    "lm_head.weight", "visual.patch_embed.proj.weight", "model.layers.0.mlp.up_proj.weight", "embed.bias",
])  # fmt: skip
def test_layers_beside_embeddings_are_none(name: str) -> None:
    assert not is_embedding(name)


def test_figures_are_those_of_scipy() -> None:
    new = WORDS + RNG.normal(0, 0.2, WORDS.shape).astype("f4")
    row = only(found({"embed.weight": WORDS}, {"embed.weight": new}))
    drift = np.array([cosine(a.astype("f8"), b.astype("f8")) for a, b in zip(WORDS, new, strict=True)])
    assert row["drift_mean"] == pytest.approx(drift.mean(), rel=1e-4)
    assert row["drift_median"] == pytest.approx(np.median(drift), rel=1e-4)
    assert row["drift_p99"] == pytest.approx(np.quantile(drift, 0.99), rel=1e-4)
    assert row["drift_max"] == pytest.approx(drift.max(), rel=1e-4)
    assert [each["row"] for each in row["most_drifted"]] == np.argsort(-drift)[:10].tolist()
    lengths = [np.linalg.norm(side.astype("f8"), axis=1).mean() for side in (WORDS, new)]
    assert row["norm_change"] == pytest.approx(lengths[1] / lengths[0] - 1, rel=1e-3)


def test_a_rotation_turns_rows_and_keeps_neighbours() -> None:
    finding = found(*PAIRS["embedding rotated"])
    assert only(finding)["neighbours_kept"] == 1
    assert only(finding)["drift_mean"] > 0.5
    assert finding.text.endswith("it turned as one")


@pytest.mark.parametrize("name", ["permutation", "re-initialised"])
def test_other_rows_do_not_turn_as_one(name: str) -> None:
    finding = found(*PAIRS[name])
    assert only(finding)["neighbours_kept"] < 0.3
    assert "as one" not in finding.text


@pytest.mark.parametrize("dtype", ["f2", ml_dtypes.bfloat16])
def test_rounding_is_no_turn(dtype: Any) -> None:
    finding = found({"embed.weight": WORDS}, {"embed.weight": WORDS.astype(dtype)})
    assert "no row turned by more than rounding" in finding.text
    assert finding.severity == "info"


def test_one_row_that_turned_is_named_with_its_token(tmp_path: Path) -> None:
    new = WORDS.copy()
    new[17] *= -1
    vocabulary = json.dumps({token: n for n, token in enumerate(TOKENS)}).encode()
    finding = found(save(tmp_path / "a", WORDS, vocab__json=vocabulary), save(tmp_path / "b", new, vocab__json=vocabulary))
    assert only(finding)["most_drifted"] == ({"row": 17, "token": "w17", "drift": 2.0},)
    assert "(row 17 'w17')" in finding.text


def tokenizer_json(tokens: list[str]) -> bytes:
    vocabulary = {token: n for n, token in enumerate(tokens[:-1])}
    added = [{"id": len(tokens) - 1, "content": tokens[-1]}]
    return json.dumps({"model": {"vocab": vocabulary}, "added_tokens": added}).encode()


def unigram_json(tokens: list[str]) -> bytes:
    return json.dumps({"model": {"vocab": [[token, -1.0] for token in tokens]}}).encode()


def sentencepiece(tokens: list[str]) -> bytes:
    data = b""
    for token in tokens:
        piece = b"\x0a" + bytes([len(token)]) + token.encode() + b"\x15\x00\x00\x80\xbf"  # text, then a score
        data += b"\x0a" + bytes([len(piece)]) + piece
    return data + b"\x12\x02\x08\x01"


@pytest.mark.parametrize(("file", "write"), [
    ("tokenizer__json", tokenizer_json), ("tokenizer__json", unigram_json), ("tokenizer__model", sentencepiece),
    ("vocab__txt", lambda tokens: "\n".join(tokens).encode() + b"\n"),
    ("vocab__json", lambda tokens: json.dumps({token: n for n, token in enumerate(tokens)}).encode()),
])  # fmt: skip
def test_rows_of_a_vocabulary_in_another_order_are_paired_by_token(tmp_path: Path, file: str, write: Any) -> None:
    order = RNG.permutation(60)
    new_tokens = ["first", *(TOKENS[n] for n in order)]
    new = np.concatenate((np.ones((1, 16), "f4"), WORDS[order]))
    sides = save(tmp_path / "a", WORDS, **{file: write(TOKENS)}), save(tmp_path / "b", new, **{file: write(new_tokens)})
    finding = found(*sides)
    row = only(finding)
    assert (row["paired_by"], row["rows_added"], row["rows_removed"]) == ("token", 1, 0)
    assert row["drift_max"] == 0 and row["neighbours_kept"] == 1


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[1, 2]", b"{", b'{"model": {"vocab": 3}}', b'{"a": 1e99}', b"\x0a\xff\xff"])
def test_a_tokenizer_that_is_none_is_not_recorded(tmp_path: Path, data: bytes) -> None:
    files = {"tokenizer__json": data, "vocab__json": data, "tokenizer__model": data}
    finding = found(save(tmp_path / "a", WORDS, **files), save(tmp_path / "b", -WORDS, **files))
    assert only(finding)["paired_by"] == "number"
    assert not any("token" in each for each in only(finding)["most_drifted"])


def test_rows_without_a_direction_are_left_out() -> None:
    old, new = WORDS.copy(), WORDS.copy()
    old[3], new[4], new[5] = 0, np.nan, np.inf
    row = only(found({"embed.weight": old}, {"embed.weight": new}))
    assert row["drift_max"] == 0 and row["neighbours_kept"] == 1 and row["neighbours_sample"] == 57


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows_have_few_neighbours(rows: int) -> None:
    finding = found({"embed.weight": WORDS[:rows]}, {"embed.weight": -WORDS[:rows]})
    assert only(finding)["drift_max"] == 2
    assert (only(finding)["neighbours_kept"] is None) == (rows < 3)


def test_a_large_sample_is_capped_and_said() -> None:
    rows = RNG.normal(size=(3000, 4)).astype("f4")
    finding = found({"embed.weight": rows}, {"embed.weight": rows * 2})
    assert any("2,048 of 3,000 rows" in note for note in finding.notes)
