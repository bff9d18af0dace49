"""Distributions that shifted are told from those of few elements, and figures are those of scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model_pairs import PAIRS
from scipy.stats import ks_2samp

import diffai
from diffai.finding import Finding

RNG = np.random.default_rng(2)


def found(old: Any, new: Any) -> Finding:
    (finding,) = diffai.compare(old, new, analyses=["show_distribution"]).findings
    return finding


def test_every_histogram_holds_every_finite_element() -> None:
    old, new = RNG.normal(size=(30, 40)), RNG.normal(1, 2, size=(30, 40))
    new[0, :5] = np.nan
    (row,) = found({"w": old}, {"w": new}).fields["histograms"]
    assert (sum(row["old"]), sum(row["new"])) == (1200, 1195)
    assert (row["not_finite_old"], row["not_finite_new"]) == (0, 5)
    assert len(row["edges"]) == 33
    expected = ks_2samp(old.reshape(-1), new[np.isfinite(new)], method="asymp").statistic
    assert row["ks"] == pytest.approx(expected, rel=1e-4)
    assert row["exact"] is True


@pytest.mark.parametrize("name", ["noise", "cast", "permutation", "heads permuted", "re-initialised", "LoRA merged", "NaN healed"])
def test_what_keeps_the_distribution_is_not_shifted(name: str) -> None:
    finding = found(*PAIRS[name])
    assert (finding.fields["shifted"], finding.severity) == (0, "info")
    assert finding.text.startswith("none of")


@pytest.mark.parametrize(("name", "tensors"), [("zeroing", 1), ("pruning", 23)])
def test_what_changes_it_is(name: str, tensors: int) -> None:
    finding = found(*PAIRS[name])
    assert (finding.fields["shifted"], finding.severity) == (tensors, "notice")


def test_tensors_of_which_nothing_is_finite_are_said() -> None:
    old = {"a": np.ones(9), "b": np.ones(9)}
    finding = found(old, {"a": np.full(9, np.nan), "b": np.zeros(9)})
    assert finding.fields["tensors"] == 1
    assert finding.evidence == ("a: no finite value on a side",)


def test_of_too_few_values_nothing_is_told() -> None:
    finding = found({"w": np.zeros(3)}, {"w": np.ones(3)})
    assert (finding.fields["ks"], finding.fields["shifted"], finding.fields["too_few_values"]) == (1, 0, 1)
    assert finding.text.startswith("too few values to tell whether 1 tensor shifted; most w: KS 1, ")
    many, still = RNG.normal(size=4000), RNG.normal(size=4000)
    both = found({"w": np.zeros(3), "v": many, "u": still}, {"w": np.ones(3), "v": many + 3, "u": -still})
    assert both.text.startswith("1 of 3 tensors shifted, 1 with too few values to tell; most v: KS ")
