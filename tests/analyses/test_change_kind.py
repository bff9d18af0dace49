"""Planted controls: each kind of change is called what it is, and nothing false is said of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from controls import (
    CONTROLS,
    Arrays,
    adapter,
    base,
    fresh,
    merged,
    noise,
    pruned,
    put,
    quantized,
    taller,
    truncated,
    zeroed,
)

import diffai
from diffai.analyses.change_kind import change_kind
from diffai.analyses.look_first import look_first
from diffai.comparison.result import CompareOptions

pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")


@pytest.mark.parametrize("control", CONTROLS)
def test_a_planted_change_is_called_what_it_is(control: str, tmp_path: Path) -> None:
    planted = CONTROLS[control]
    found = change_kind(diffai.compare(*planted.sides(tmp_path)))
    assert found is not None and found.kinds == planted.kinds, found


@pytest.mark.parametrize("control", CONTROLS)
def test_the_kind_and_what_to_look_at_do_not_depend_on_what_is_shown(control: str, tmp_path: Path) -> None:
    sides = CONTROLS[control].sides(tmp_path)
    told = []
    for statistics in ("all", "few", "pairs"):
        options = CompareOptions(statistics=statistics, few_limit=1, update_size=True)
        diff = diffai.compare(*sides, options)
        told.append((change_kind(diff), look_first(diff)))
    assert told[0] == told[1] == told[2]


def test_above_the_limit_of_judging_the_kind_rests_on_norms_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffai.analyses import growth
    from diffai.comparison import values

    monkeypatch.setattr(growth, "MOST_JUDGED", 5)
    monkeypatch.setattr(values, "MOST_JUDGED", 5)
    for new in (pruned(base()), fresh(base()), {n: v * np.float32(0.7) for n, v in base().items()}):
        kinds = {change_kind(diffai.compare(base(), new, CompareOptions(statistics=s))) for s in ("all", "few")}
        assert len(kinds) == 1


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


def phrase(new: object, old: object | None = None) -> str:
    found = change_kind(diffai.compare(base() if old is None else old, new))
    assert found is not None
    return found.phrase


def test_parts_of_one_pattern_are_named_as_one() -> None:
    assert phrase(merged(base())).startswith("fine-tune of layers.[0-5].attn (")


def test_a_tensor_that_only_has_another_name_is_no_part_of_a_fine_tune() -> None:
    tuned = noise(base(), only="head")
    tuned["tail.weight"] = tuned.pop("embed.weight")
    assert phrase(tuned) == "renamed ('embed' -> 'tail') and fine-tune of head (97% of the parameters untouched)"


def test_factors_that_went_are_said_beside_the_weights_that_changed() -> None:
    assert phrase(merged(base()), adapter(base(), 0.1)).startswith("adapter removed (12 low-rank factors) and fine-t")


def test_the_decoded_error_of_codes_is_said(tmp_path: Path) -> None:
    import torch

    torch.save(quantized(base()), tmp_path / "q.pt")
    assert phrase(str(tmp_path / "q.pt")).startswith("quantized F32 -> QI8 (relative L2 0.00")


def test_a_cast_that_is_not_to_the_nearest_is_one_with_loss_up_to_a_thousandth_of_the_elements() -> None:
    new = truncated(base())
    assert phrase(new) == "cast F32 -> BF16 with loss"
    flat = new["layers.0.mlp.weight"].reshape(-1)
    flat[:3] = 9.0  # 3 of 6,136 elements are within the thousandth
    assert phrase(new) == "cast F32 -> BF16 with loss"
    flat[:9] = 9.0
    assert "with loss" not in phrase(new)


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
    assert "norm " in looks(grown)["layers.3.mlp.bias"]
    still = {**small, **{n: v for n, v in base().items() if n.startswith("layers.4.")}}
    assert looks(still)["layers.4"] == "4 tensors untouched while their neighbours moved"
    one = {**base(), "layers.4.attn.weight": small["layers.4.attn.weight"]}
    assert looks(one)["layers.4"] == "the only one of 6 layers that moved"


def test_a_recorded_metric_that_became_worse_is_pointed_at() -> None:
    old, small = base(), noise(base())
    assert looks({**small, "val_loss": 1.5}, {**old, "val_loss": 1.0}) == {"val_loss": "recorded 1 -> 1.5, 50.0% worse"}
    assert looks({**small, "val_loss": 1.005}, {**old, "val_loss": 1.0}) == {}
    assert looks({**small, "val_accuracy": 0.9}, {**old, "val_accuracy": 0.8}) == {}
    assert looks({**small, "epoch": 2, "lr": 0.1}, {**old, "epoch": 1, "lr": 0.2}) == {}


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


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ((6, 6), "resized (embed.weight and 1 more 4 -> 6 rows)"),
        ((6, 5), "resized (embed.weight 4 -> 6 rows, rows of 1 more)"),
        ((6, 4), "resized (embed.weight 4 -> 6 rows)"),
    ],
)
def test_every_tensor_with_other_rows_is_counted(rows: tuple[int, int], said: str) -> None:
    names = ("embed.weight", "head.weight")
    old = {name: np.ones((4, 3), "f4") for name in names}
    new = {name: np.ones((count, 3), "f4") for name, count in zip(names, rows, strict=True)}
    found = change_kind(diffai.compare(old, new))
    assert found is not None and found.phrase == said


def test_statistics_taken_anew_are_no_fine_tune() -> None:
    old = {"conv.weight": np.ones((8, 4), "f4"), "bn.weight": np.ones(8, "f4"), "bn.running_var": np.ones(8, "f4")}
    found = change_kind(diffai.compare(old, old | {"bn.running_var": np.full(8, 1.5, "f4")}))
    assert found is not None and (found.kinds, found.phrase) == (("changed",), "bn.running_var changed")
    both = old | {"bn.running_var": np.full(8, 1.5, "f4"), "bn.weight": np.full(8, 1.1, "f4")}
    found = change_kind(diffai.compare(old, both))
    assert found is not None and found.phrase == "fine-tune of bn (80% of the parameters untouched)"


def test_one_value_that_became_zero_is_one() -> None:
    (look,) = look_first(diffai.compare({"gain": np.ones(1, "f4")}, {"gain": np.zeros(1, "f4")}))
    assert look.text == "its one value is zero now"


def test_what_left_beside_whole_layers_is_not_passed_over() -> None:
    rows = {f"{stack}.{n}.w": np.full((2, 2), n + 1.0, "f4") for stack, most in (("enc", 6), ("dec", 4)) for n in range(most)}
    old = {**rows, "proj.w": np.full((3, 2), 90.0, "f4"), "head.w": np.full((3, 3), 70.0, "f4")}
    for left, said in (
        (("enc.4.w", "enc.5.w"), "2 layers of enc removed"),
        (("enc.4.w", "enc.5.w", "proj.w"), "2 layers of enc and proj.w removed"),
        (("enc.4.w", "enc.5.w", "dec.3.w", "proj.w"), "2 layers of enc and 2 other tensors removed"),
    ):
        new = {name: value for name, value in old.items() if name not in left}
        for pair, words in (((old, new), said), ((new, old), said.replace("removed", "added"))):
            kind = change_kind(diffai.compare(*pair))
            assert kind is not None and words in kind.phrase, kind


def test_parameters_that_were_cast_are_not_called_untouched() -> None:
    tuned = noise(base(), only="head")
    new = {name: array.astype("f2") for name, array in tuned.items()}
    text = phrase(new, base())
    assert " of the parameters cast alone)" in text and "untouched" not in text
    some = {name: new[name] if name.startswith("embed") else array for name, array in tuned.items()}
    assert " of the parameters untouched or cast alone)" in phrase(some, base())


def test_a_trained_adapter_beside_its_model_is_told_once() -> None:
    old = adapter(base())
    new = {name: array + np.float32(0.01) if "lora_" in name else array for name, array in old.items()}
    assert phrase(new, old) == "adapter changed (12 low-rank factors)"


def test_a_share_that_is_not_all_is_not_rounded_to_all() -> None:
    old = {"body.weight": np.ones((400, 400), "f4") * np.arange(400, dtype="f4"), "head.bias": np.ones(64, "f4")}
    old["head.weight"] = np.ones((2, 4), "f4")
    new = {**old, "head.weight": np.arange(1, 9, dtype="f4").reshape(2, 4)}
    assert "fine-tune of head (over 99.9% of the parameters untouched)" in phrase(new, old)
