"""Clusters that are there are compared by the adjusted Rand index; where there are none, that is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model_pairs import PAIRS
from sklearn.metrics import adjusted_rand_score

import diffai
from diffai.finding import Finding

RNG = np.random.default_rng(6)
LABELS = np.arange(120) % 4
CENTRES = RNG.normal(0, 5, (4, 8))
ROWS = CENTRES[LABELS] + RNG.normal(size=(120, 8))


def found(old: Any, new: Any) -> Finding:
    pair = ({"embed.weight": old}, {"embed.weight": new})
    (finding,) = diffai.compare(*pair, analyses=["clustering_change"]).findings
    return finding


def test_clusters_that_stay_agree() -> None:
    finding = found(ROWS, ROWS + RNG.normal(0, 0.1, ROWS.shape))
    assert (finding.fields["k"], finding.fields["adjusted_rand"], finding.fields["clear"]) == (4, 1.0, True)
    assert finding.severity == "info"


def test_rows_that_went_to_another_cluster_are_seen() -> None:
    moved = LABELS.copy()
    moved[::3] = (moved[::3] + 1) % 4
    finding = found(ROWS, CENTRES[moved] + RNG.normal(size=ROWS.shape))
    assert finding.fields["adjusted_rand"] == pytest.approx(adjusted_rand_score(LABELS, moved), rel=1e-4)
    assert finding.severity == "notice"


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1e300])
def test_scale_and_rotation_are_no_change(scale: float) -> None:
    turn = np.linalg.qr(RNG.normal(size=(8, 8)))[0]
    assert found(ROWS, ROWS @ turn * scale / 100).fields["adjusted_rand"] == 1.0


@pytest.mark.parametrize("name", PAIRS)
def test_rows_without_clusters_are_never_said_to_have_changed(name: str) -> None:
    (finding,) = diffai.compare(*PAIRS[name], analyses=["clustering_change"]).findings
    assert finding.severity == "info"
    if finding.status == "found":
        assert "no clear clusters" in finding.text


@pytest.mark.parametrize("odd", [np.ones((20, 3)), np.full((20, 3), np.nan), np.zeros((20, 3)), np.ones((3, 2))])
def test_rows_that_cannot_be_clustered_are_said(odd: np.ndarray) -> None:
    assert found(odd, odd + 1).status == "nothing"
