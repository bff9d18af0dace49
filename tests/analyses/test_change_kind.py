"""Planted controls: each kind of change is called what it is, and nothing false is said of the others."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest

import diffai
from diffai.analyses.change_kind import change_kind
from diffai.analyses.look_first import look_first

Arrays = dict[str, np.ndarray]  # type: ignore[type-arg]


def base() -> Arrays:
    rng = np.random.default_rng(0)
    arrays: Arrays = {"embed.weight": rng.normal(0, 0.02, (50, 16)).astype("f4")}
    for layer in range(6):
        prefix = f"layers.{layer}"
        arrays[f"{prefix}.attn.weight"] = rng.normal(0, 0.1, (16, 16)).astype("f4")
        arrays[f"{prefix}.mlp.weight"] = rng.normal(0, 0.1, (32, 16)).astype("f4")
        arrays[f"{prefix}.mlp.bias"] = rng.normal(0, 0.1, 32).astype("f4")
        arrays[f"{prefix}.norm.weight"] = (1 + rng.normal(0, 0.01, 16)).astype("f4")
    arrays["bn.running_var"] = np.ones(16, "f4")
    arrays["head.weight"] = rng.normal(0, 0.1, (10, 16)).astype("f4")
    return arrays


def noise(arrays: Arrays, scale: float = 0.001, only: str = "") -> Arrays:
    rng = np.random.default_rng(1)
    return {
        name: (array + rng.normal(0, scale, array.shape)).astype(array.dtype) if name.startswith(only) else array
        for name, array in arrays.items()
    }


def fresh(arrays: Arrays) -> Arrays:
    rng = np.random.default_rng(2)
    return {
        name: array if "norm" in name else rng.normal(0, 0.1, array.shape).astype("f4")
        for name, array in arrays.items()
    }


def pruned(arrays: Arrays) -> Arrays:
    made = {}
    for name, array in arrays.items():
        made[name] = array.copy()
        if array.ndim == 2:
            made[name][np.abs(array) < np.quantile(np.abs(array), 0.4)] = 0
    return made


def put(name: str, value: float, at: int = 3) -> Callable[[Arrays], Arrays]:
    def apply(arrays: Arrays) -> Arrays:
        made = {key: array.copy() for key, array in arrays.items()}
        made[name].reshape(-1)[at] = value
        return made

    return apply


def zeroed(arrays: Arrays) -> Arrays:
    return {**noise(arrays), "layers.2.mlp.weight": np.zeros((32, 16), "f4")}


def taller(arrays: Arrays) -> Arrays:
    extra = np.random.default_rng(3).normal(0, 0.02, (7, 16)).astype("f4")
    return {**arrays, "embed.weight": np.concatenate((arrays["embed.weight"], extra))}


def without_layer(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if not name.startswith("layers.5.")}


def adapter(arrays: Arrays) -> Arrays:
    made = dict(arrays)
    for layer in range(6):
        for half, shape in (("lora_A", (2, 16)), ("lora_B", (16, 2))):
            made[f"layers.{layer}.attn.{half}.weight"] = np.random.default_rng(layer).normal(size=shape).astype("f4")
    return made


CONTROLS: dict[str, tuple[Callable[[Arrays], Arrays], tuple[str, ...]]] = {
    "identity": (dict, ("identical",)),
    "noise": (noise, ("training step",)),
    "scaling": (lambda a: {n: v * np.float32(0.7) for n, v in a.items()}, ("scaled",)),
    "negation": (lambda a: {n: -v for n, v in a.items()}, ("scaled",)),
    "one tensor zeroed": (zeroed, ("training step",)),
    "pruning": (pruned, ("pruned",)),
    "pruning and training": (lambda a: pruned(noise(a)), ("pruned",)),
    "freezing": (lambda a: noise(a, only="head"), ("fine-tune",)),
    "cast": (lambda a: {n: v.astype(ml_dtypes.bfloat16) for n, v in a.items()}, ("cast",)),
    "lossless cast": (lambda a: {n: v.astype("f8") for n, v in a.items()}, ("cast",)),
    "NaN appeared": (put("head.weight", np.nan), ("diverged", "fine-tune")),
    "NaN in training": (lambda a: put("head.weight", np.nan)(noise(a)), ("diverged", "training step")),
    "re-initialised": (fresh, ("other weights",)),
    "rows permuted": (lambda a: {n: v[::-1].copy() for n, v in a.items()}, ("other weights",)),
    "head resized": (lambda a: {**a, "head.weight": np.zeros((12, 16), "f4") + 1}, ("resized",)),
    "vocabulary extended": (taller, ("resized",)),
    "layer dropped": (without_layer, ("resized",)),
    "adapter": (adapter, ("adapter",)),
    "prefix": (lambda a: {f"model.{n}": v for n, v in a.items()}, ("renamed",)),
    "prefix and training": (lambda a: {f"model.{n}": v for n, v in noise(a).items()}, ("renamed", "training step")),
    "cast and training": (lambda a: {n: v.astype("f2") for n, v in noise(a).items()}, ("cast", "training step")),
    "far": (lambda a: noise(a, 0.09), ("changed",)),
}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_planted_change_is_called_what_it_is(control: str) -> None:
    change, kinds = CONTROLS[control]
    found = change_kind(diffai.compare(base(), change(base())))
    assert found is not None and found.kinds == kinds, found


def test_a_healed_value_is_no_divergence() -> None:
    found = change_kind(diffai.compare(put("head.weight", np.nan)(base()), base()))
    assert found is not None and "diverged" not in found.kinds


def test_a_mask_with_infinities_that_was_added_is_no_divergence() -> None:
    mask = {**base(), "attn.mask": np.triu(np.full((8, 8), -np.inf, "f4"), 1)}
    found = change_kind(diffai.compare(base(), mask))
    assert found is not None and "diverged" not in found.kinds


def test_the_part_that_was_tuned_is_named() -> None:
    found = change_kind(diffai.compare(base(), noise(base(), only="head")))
    assert found is not None and found.phrase.startswith("fine-tune of head (")


def test_the_resized_rows_are_named() -> None:
    found = change_kind(diffai.compare(base(), taller(base())))
    assert found is not None and "embed.weight 50 -> 57 rows" in found.phrase


def looks(new: Arrays, old: Arrays | None = None) -> dict[str, str]:
    return {look.name: look.text for look in look_first(diffai.compare(old or base(), new))}


def test_nothing_is_pointed_at_where_nothing_stands_out() -> None:
    for new in (base(), noise(base()), noise(base(), only="head"), taller(base())):
        assert looks(new) == {}


def test_what_stands_out_is_pointed_at() -> None:
    small = noise(base())
    assert "1 of" in looks(put("layers.0.attn.weight", np.nan)(small))["layers.0.attn.weight"]
    assert looks(zeroed(base()))["layers.2.mlp.weight"] == "all 512 values are zero now"
    assert "x)" in looks(put("layers.1.mlp.bias", 900.0)(small))["layers.1.mlp.bias"]
    assert "running statistics" in looks({**small, "bn.running_var": np.full(16, 1.7e5, "f4")})["bn.running_var"]
    grown = {**small, "layers.3.mlp.bias": base()["layers.3.mlp.bias"] * 20}
    assert "x its norm" in looks(grown)["layers.3.mlp.bias"]
    still = {**small, **{n: v for n, v in base().items() if n.startswith("layers.4.")}}
    assert looks(still)["layers.4"] == "4 tensors untouched while their neighbours moved"
    one = {**base(), "layers.4.attn.weight": small["layers.4.attn.weight"]}
    assert looks(one)["layers.4"] == "the only one of 6 layers that moved"


def test_a_small_tensor_that_holds_the_update_is_pointed_at() -> None:
    new = noise(base(), 1e-4)
    new["layers.0.norm.weight"] = new["layers.0.norm.weight"] + np.float32(0.5)
    text = looks(new)["layers.0.norm.weight"]
    assert "of the update in" in text and "relative L2" in text


def test_factors_that_begin_at_zero_grow_by_design() -> None:
    old = {**adapter(base())}
    for name in old:
        if "lora_B" in name:
            old[name] = np.full_like(old[name], 1e-9)
    assert not any("lora_B" in name for name in looks(adapter(base()), old))


def test_at_most_five_lines_the_worst_first() -> None:
    new = noise(base())
    for layer in range(6):
        new[f"layers.{layer}.mlp.bias"] = new[f"layers.{layer}.mlp.bias"] * 50
    new = put("head.weight", np.inf)(new)
    found = look_first(diffai.compare(base(), new))
    assert len(found) == 5 and found[0].name == "head.weight" and found[0].severity == "critical"
