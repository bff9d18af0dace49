"""Bits are counted in what is stored: floats, codes and scales, blocks; what is stored otherwise is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantizers import KINDS, gguf_of
from safetensors.numpy import save_file

import diffai
from diffai.finding import Finding

RNG = np.random.default_rng(7)


def found(old: Any, new: Any) -> Finding:
    (finding,) = diffai.compare(old, new, analyses=["bit_distance"]).findings
    return finding


def bits(*pairs: tuple[np.ndarray, np.ndarray]) -> tuple[int, int]:
    sides = [tuple(np.frombuffer(array.tobytes(), np.uint8) for array in pair) for pair in pairs]
    return int(sum(np.unpackbits(a ^ b).sum() for a, b in sides)), 8 * sum(len(a) for a, _ in sides)


@pytest.mark.parametrize("dtype", ["f4", "f2", "f8", "i1", "i8"])
def test_bits_of_plain_tensors(dtype: str) -> None:
    old = {"a": (RNG.normal(size=(9, 7)) * 50).astype(dtype), "b": np.ones(5, dtype)}
    new = {"a": old["a"] + np.ones(1, dtype), "b": old["b"]}
    finding = found(old, new)
    apart, every = bits((old["a"], new["a"]), (old["b"], new["b"]))
    assert (finding.fields["bits_apart"], finding.fields["bits"]) == (apart, every)
    assert finding.fields["share"] == pytest.approx(apart / every, rel=1e-5)
    assert finding.fields["bits_per_element"] == pytest.approx(apart / (63 + 5), rel=1e-5)


def test_one_bit_is_seen() -> None:
    old = np.ones(1000, "f4")
    new = old.copy()
    new.view("u4")[3] ^= 1
    finding = found({"a": old}, {"a": new})
    assert finding.fields["bits_apart"] == 1
    assert finding.text.startswith("3.13e-05 of the bits differ")


@pytest.mark.parametrize("kind", KINDS)
def test_bits_of_codes_and_their_scales(tmp_path: Path, kind: str) -> None:
    weight = RNG.normal(0, 0.1, (64, 128))
    old, new = KINDS[kind](weight), KINDS[kind](weight * 1.01 + 1e-3)
    finding = found(old.save(tmp_path / "a"), new.save(tmp_path / "b"))
    names = [name for name in old.tensors if not name.endswith(("_shape", "nf4"))]
    assert (finding.fields["bits_apart"], finding.fields["bits"]) == bits(*((old.tensors[n], new.tensors[n]) for n in names))


def test_bits_of_blocks_of_gguf(tmp_path: Path) -> None:
    from gguf import GGMLQuantizationType, quants

    weight = RNG.normal(0, 0.1, (8, 64)).astype("f4")
    sides = [weight, weight * np.float32(1.5)]
    for name, side in zip("ab", sides, strict=True):
        gguf_of({"w": side}, "Q4_0", tmp_path / f"{name}.gguf")
    finding = found(tmp_path / "a.gguf", tmp_path / "b.gguf")
    packed = [quants.quantize(side, GGMLQuantizationType.Q4_0) for side in sides]
    assert (finding.fields["bits_apart"], finding.fields["bits"]) == bits((packed[0], packed[1]))


def test_what_is_stored_otherwise_is_not_compared_and_said(tmp_path: Path) -> None:
    weight = RNG.normal(0, 0.1, (64, 128)).astype("f4")
    save_file({"l.weight": weight, "n": np.ones(8, "f4")}, tmp_path / "float.safetensors")
    finding = found(tmp_path / "float.safetensors", {"l.weight": weight.astype("f2"), "n": np.ones(8, "f4")})
    assert (finding.fields["tensors"], finding.fields["not_compared"]) == (1, 1)
    assert "in 1 of 2 tensors" in finding.text
