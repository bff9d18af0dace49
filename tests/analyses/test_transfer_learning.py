"""The frozen share is told by depth; casts and renames freeze, resized heads are new."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from model_pairs import LAYERS, PAIRS, noised, transformer

import diffai
from diffai.finding import Finding


def found(old: Any, new: Any) -> Finding:
    (finding,) = diffai.compare(old, new, analyses=["transfer_learning"]).findings
    return finding


def test_the_first_layers_frozen_are_told_by_depth() -> None:
    old = transformer()
    new = {**noised(old), **{name: old[name] for name in old if "layers.0." in name or "embed" in name}}
    finding = found(old, new)
    assert [row["frozen_share"] for row in finding.fields["by_depth"]] == [1.0, *[0.0] * (LAYERS - 1)]
    assert finding.fields["stack"] == "model.layers"
    kept = sum(array.size for name, array in old.items() if new[name] is array)
    assert finding.fields["frozen"] == kept
    assert finding.fields["frozen_share"] == pytest.approx(kept / sum(array.size for array in old.values()), rel=1e-5)


@pytest.mark.parametrize("name", ["identity", "cast", "layers dropped"])
def test_what_stayed_is_frozen(name: str) -> None:
    assert found(*PAIRS[name]).text == "all parameters frozen"


def test_a_cast_of_what_was_trained_is_not_frozen() -> None:
    old = transformer()
    new = {name: array.astype(ml_dtypes.bfloat16) for name, array in noised(old, 0.05, only="lm_head").items()}
    finding = found(old, new)
    assert finding.text.endswith("moved: lm_head")


def test_a_renamed_model_is_frozen() -> None:
    old = transformer()
    assert found(old, {f"base.{name}": array for name, array in old.items()}).text == "all parameters frozen"


def test_a_new_head_is_new() -> None:
    finding = found(*PAIRS["head resized"])
    assert finding.fields["frozen_share"] == 1
    assert finding.text == "all parameters frozen; new: lm_head"


def test_a_share_that_rounds_to_all_is_not_said_to_be_all() -> None:
    old = {"a": np.ones(10**6, "f4"), "b": np.ones(10, "f4")}
    assert found(old, {**old, "b": np.zeros(10, "f4")}).text.startswith("over 99.9% of parameters frozen")


@pytest.mark.parametrize("prefix", ["", "base."])
@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_headers_alone_freeze_nothing(prefix: str, dtype: str) -> None:
    new = {prefix + name: array.astype(dtype) for name, array in noised(transformer()).items()}
    options = diffai.CompareOptions(shape_only=True)
    diff = diffai.compare(transformer(), new, options, analyses=["transfer_learning"])
    assert diff.findings[0].status == "not computed"
