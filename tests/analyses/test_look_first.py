"""Each thing that is to be looked at first, with the figures that were planted; and its neighbour, which is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from controls import Arrays, base, noise

import diffai
from diffai.analyses.look_first import MOST, Look, look_first

SMALL = noise(base())
pytestmark = pytest.mark.filterwarnings("ignore:torch._make_per_tensor_quantized_tensor", "ignore:torch.quantize")


def looked(new: Arrays, old: Arrays | None = None) -> dict[str, Look]:
    return {look.name: look for look in look_first(diffai.compare(base() if old is None else old, new))}


def put(arrays: Arrays, name: str, value: float, count: int = 1) -> Arrays:
    made = {key: array.copy() for key, array in arrays.items()}
    made[name].reshape(-1)[:count] = value
    return made


def test_a_largest_value_far_beyond_the_old_one() -> None:
    old = float(np.abs(base()["layers.1.mlp.bias"]).max())
    look = looked(put(SMALL, "layers.1.mlp.bias", 1001 * old))["layers.1.mlp.bias"]
    assert look.severity == "critical"
    assert look.text.startswith(f"largest value {old:.3g} -> {1001 * old:.3g} (1,001 x)")
    assert "largest value" not in looked(put(SMALL, "layers.1.mlp.bias", 900 * old))["layers.1.mlp.bias"].text


def test_a_norm_that_grew_ten_times() -> None:
    name = "layers.3.mlp.weight"
    assert looked({**SMALL, name: base()[name] * np.float32(10.5)})[name].text.startswith("norm 2.17 -> 22.8 (10.5 x)")
    assert name not in looked({**SMALL, name: base()[name] * np.float32(9.5)})


@pytest.mark.parametrize(("name", "value", "text"), [
    ("bn.running_var", 1.7e5, "running statistics 1.7e+05 x what they were"),
    ("bn.running_var", 0.05, "running statistics 0.05 x what they were"),
    ("bn.running_mean", 40.0, "running statistics 20 x what they were"),
])  # fmt: skip
def test_running_statistics_that_jumped(name: str, value: float, text: str) -> None:
    old = {**base(), "bn.running_mean": np.full(16, 2.0, "f4")}
    look = looked({**SMALL, "bn.running_mean": np.full(16, 2.0, "f4"), name: np.full(16, value, "f4")}, old)[name]
    assert text in look.text.replace("170,000", "1.7e+05") and look.severity == "warning"


def test_running_statistics_that_moved_a_little_are_none() -> None:
    assert "bn.running_var" not in looked({**SMALL, "bn.running_var": np.full(16, 3.0, "f4")})


def test_all_values_zeroed() -> None:
    look = looked({**SMALL, "layers.2.attn.weight": np.zeros((16, 16), "f4")})["layers.2.attn.weight"]
    assert look.text.startswith("all 256 values are zero now") and look.severity == "critical"
    assert "zero now" not in looked(put(SMALL, "layers.2.attn.weight", 0.0, 250))["layers.2.attn.weight"].text


def test_new_nan_and_more_of_them() -> None:
    assert looked(put(SMALL, "head.weight", np.nan, 3))["head.weight"].text.startswith(
        "NaN or Inf appeared: 0 -> 3 of 160 values"
    )
    before = put(base(), "head.weight", np.inf, 2)
    assert looked(put(SMALL, "head.weight", np.inf, 5), before)["head.weight"].text.startswith(
        "more NaN or Inf: 2 -> 5 of 160 values"
    )
    assert "head.weight" not in looked(put(SMALL, "head.weight", np.inf, 1), before)


def test_values_close_to_the_largest_of_their_dtype() -> None:
    old = {**base(), "big.weight": np.full((4, 4), 20_000, "f2")}
    new = {**SMALL, "big.weight": np.full((4, 4), 33_000, "f2")}
    assert "largest value 32,992, the dtype ends at 65,504 (overflow ahead)" in looked(new, old)["big.weight"].text
    assert "overflow" not in looked({**new, "big.weight": np.full((4, 4), 32_000, "f2")}, old).get(
        "big.weight", Look("", "")
    ).text  # fmt: skip
    assert "overflow" not in looked(new, {**base(), "big.weight": np.full((4, 4), 40_000, "f2")}).get(
        "big.weight", Look("", "")
    ).text  # fmt: skip


def test_a_layer_that_stayed_and_the_only_one_that_moved() -> None:
    still = {**SMALL, **{n: a for n, a in base().items() if n.startswith("layers.4.")}}
    assert looked(still)["layers.4"].text == "4 tensors untouched while their neighbours moved"
    two = {**still, **{n: a for n, a in base().items() if n.startswith("layers.1.")}}
    assert not any("untouched" in look.text for look in looked(two).values())  # a third of them is no exception
    one = {**base(), **{n: a for n, a in SMALL.items() if n.startswith("layers.4.")}}
    assert looked(one)["layers.4"].text == "the only one of 6 layers that moved"


def test_a_layer_that_only_has_another_name_has_not_moved() -> None:
    moved = {n.replace("layers.4.", "layers.9."): a for n, a in base().items()}
    assert not any("untouched" in look.text or "only one" in look.text for look in looked(moved).values())


def test_a_small_tensor_with_most_of_the_update() -> None:
    new = noise(base(), 1e-4)
    new["layers.0.norm.weight"] = new["layers.0.norm.weight"] + np.float32(0.5)
    new["layers.5.mlp.weight"] = new["layers.5.mlp.weight"] + np.float32(0.08)
    d = {name: np.linalg.norm((new[name] - base()[name]).astype("f8")) ** 2 for name in new if "running" not in name}
    share = d["layers.0.norm.weight"] / sum(d.values())
    text = looked(new)["layers.0.norm.weight"].text
    assert 0.5 < share < 0.6 and text == f"relative L2 0.499, {share:.0%} of the update in 0.27% of the parameters"


SCALES = {
    "layer.weight": np.arange(64, dtype="i1").reshape(8, 8), "layer.weight_scale": np.full(8, 0.1, "f4"),
    "other.qweight": np.arange(16, dtype="i4"), "other.scales": np.full(4, 0.2, "f2"),
    "other.qzeros": np.zeros(4, "i4"), "conv_quantized": np.arange(9, dtype="u1"),
    "conv_zero_point": np.array([3], "u1"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "codes"), [
    ("layer.weight_scale", "layer.weight"), ("other.scales", "other.qweight"), ("conv_zero_point", "conv_quantized"),
])  # fmt: skip
def test_a_scale_or_zero_point_that_changed_without_its_codes(name: str, codes: str) -> None:
    new = {**SCALES, name: SCALES[name] * 2}
    assert looked(new, SCALES)[name].text == f"changed without its codes ({codes})"
    assert name not in looked({**new, codes: SCALES[codes][::-1].copy()}, SCALES)


def test_the_scale_inside_a_quantized_tensor_that_changed_without_its_codes(tmp_path: Path) -> None:
    values = torch.arange(-32, 32, dtype=torch.float32).reshape(8, 8)
    for name, scale in (("a.pt", 1.0), ("b.pt", 3.0)):
        stored = torch._make_per_tensor_quantized_tensor(values.to(torch.int8), scale, 0)
        torch.save({"w": stored, "v": torch.ones(3, 3)}, tmp_path / name)
    (look,) = look_first(diffai.compare(tmp_path / "a.pt", tmp_path / "b.pt"))
    assert (look.name, look.text) == ("w", "its scale changed to 3 x, its codes did not")


def test_codes_of_an_unknown_scale_are_not_measured() -> None:
    new = {**SMALL, "layers.0.mlp.weight": np.round(base()["layers.0.mlp.weight"] * 500).astype("i1")}
    assert "layers.0.mlp.weight" not in looked(new)


def test_at_most_five_and_a_tensor_once() -> None:
    new = dict(SMALL)
    for layer in range(6):
        new[f"layers.{layer}.mlp.bias"] = new[f"layers.{layer}.mlp.bias"] * np.float32(50)
    new = put(new, "layers.0.mlp.bias", np.nan)
    lines = look_first(diffai.compare(base(), new))
    assert len(lines) == MOST == 5 and len({look.name for look in lines}) == 5
    assert lines[0].name == "layers.0.mlp.bias" and lines[0].severity == "critical"


def test_a_metric_that_became_worse_is_evidence_once() -> None:
    old, new = {**base(), "val_loss": 1.0}, {**SMALL, "val_loss": 1.5}
    asked = ("review_friendly", "risk_assessment")
    said = {each.name: each for each in diffai.compare(old, new, analyses=asked).findings}
    points = said["review_friendly"].fields["points"]
    assert isinstance(points, tuple) and sum("val_loss" in str(point) for point in points) == 1
    evidence = said["risk_assessment"].fields["evidence"]
    assert isinstance(evidence, tuple) and sum("val_loss" in str(each) for each in evidence) == 1
