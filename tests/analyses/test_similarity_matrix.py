"""Layers that changed places are seen, training and casts leave layers like themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model_pairs import PAIRS, transformer

import diffai
from diffai.finding import Finding


def found(old: Any, new: Any) -> Finding:
    (finding,) = diffai.compare(old, new, analyses=["similarity_matrix"]).findings
    return finding


@pytest.mark.parametrize("name", ["identity", "noise", "scaling", "cast", "freezing"])
def test_a_layer_is_like_itself(name: str) -> None:
    finding = found(*PAIRS[name])
    assert finding.fields["least_cka"] > 0.999
    assert finding.fields["like_others"] == ()


def test_the_matrix_has_a_row_for_every_old_layer_and_a_column_for_every_new_one() -> None:
    finding = found(*PAIRS["layers dropped"])
    table = finding.fields["cka"]
    assert len(table) == len(finding.fields["layers_old"]) == 23
    assert {len(row) for row in table} == {len(finding.fields["layers_new"])} == {16}


def test_layers_that_changed_places_are_more_like_each_other() -> None:
    rng = np.random.default_rng(1)
    old = {f"layers.{n}.weight": rng.normal(size=(48, 24)) for n in range(4)}
    new = {**old, "layers.1.weight": old["layers.2.weight"], "layers.2.weight": old["layers.1.weight"]}
    finding = found(old, new)
    assert finding.severity == "notice"
    pairs = {row["name"]: row["most_like"] for row in finding.fields["like_others"]}
    assert pairs == {"layers.1.weight": "layers.2.weight", "layers.2.weight": "layers.1.weight"}
    assert "2 layers more like another one" in finding.text


def test_other_weights_are_strangers() -> None:
    assert abs(found(*PAIRS["re-initialised"]).fields["median_cka"]) < 0.2


def test_a_rotation_of_what_a_layer_gives_is_none_to_it() -> None:
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(24, 40))
    turned = np.linalg.qr(rng.normal(size=(24, 24)))[0] @ weight
    assert found({"l.weight": weight}, {"l.weight": turned}).fields["least_cka"] == pytest.approx(1.0)


def test_layers_beyond_the_cap_are_said() -> None:
    rng = np.random.default_rng(3)
    old = {f"l.{n}.weight": rng.normal(size=(8, 8)) for n in range(70)}
    finding = found(old, {name: array * 2 for name, array in old.items()})
    assert len(finding.fields["layers_old"]) == 64
    assert any("64 of 70 layers" in note for note in finding.notes)


def test_layers_without_products_are_left_out_and_said() -> None:
    new = transformer()
    new["lm_head.weight"] = np.full_like(new["lm_head.weight"], np.nan)
    finding = found(transformer(), new)
    assert "lm_head.weight" not in finding.fields["layers_new"]
    assert any("1 layer left out" in line for line in finding.evidence)
