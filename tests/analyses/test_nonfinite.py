"""Whether values became NaN or infinite is decided once, by counts of each kind in each tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffai import api
from diffai.analyses import nonfinite
from diffai.analyses.table import row_of
from diffai.comparison.result import CompareOptions, ModelDiff
from diffai.model import NonFinite

INF, NAN = np.inf, np.nan


def compared(old: dict[str, Any], new: dict[str, Any], statistics: str = "none") -> ModelDiff:
    """A comparison that computes no statistics: the counts come from the first pass."""
    models = [{name: np.asarray(values, "f4") for name, values in side.items()} for side in (old, new)]
    return api.compare(*models, options=CompareOptions(statistics=statistics))  # type: ignore[arg-type]


def kinds(old: list[float], new: list[float]) -> list[str]:
    return [event.kind for event in nonfinite.events(compared({"w": old}, {"w": new}))]


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ([1, 2, 3], [1, NAN, 3], "appeared"),
        ([1, 2, 3], [1, 2, -INF], "appeared"),
        ([1, NAN, 3], [1, 2, 3], "healed"),
        ([NAN, 2, 3], [INF, 2, 3], "changed kind"),
        ([INF, 2, 3], [-INF, 2, 3], "changed kind"),
        ([NAN, 2, 3], [NAN, NAN, 3], "more"),
        ([NAN, 2, 3], [NAN, INF, 3], "more"),
        ([NAN, NAN, 3], [NAN, 2, 3], "fewer"),
        ([NAN, INF, 3], [NAN, 2, 3], "fewer"),
    ],
)
@pytest.mark.parametrize("size", [1, 20_000])
def test_each_kind_of_event(old: list[float], new: list[float], kind: str, size: int) -> None:
    assert kinds([*old, *[0.5] * size], [*new, *[0.5] * size]) == [kind]


def test_a_mere_move_is_no_event() -> None:
    assert kinds([NAN, 1, 2, 3], [0, NAN, 2, 3]) == []


def test_counts_of_both_sides() -> None:
    (event,) = nonfinite.events(compared({"w": [1, NAN, INF, INF]}, {"w": [NAN, NAN, 1, -INF]}))
    assert (event.old, event.new) == (NonFinite(1, 2, 0), NonFinite(2, 0, 1))


def test_an_added_tensor_with_nan_is_one_and_an_added_mask_is_not() -> None:
    base = {"w": [1, 2]}
    added = {"head": [1, NAN], "mask": [0, -INF, 0], "bn.running_var": [NAN, 1]}
    found = nonfinite.events(compared(base, base | added, "few"))
    assert [(event.change.name, event.kind) for event in found] == [
        ("bn.running_var", "appeared"), ("head", "appeared"),
    ]  # fmt: skip


def test_what_came_is_looked_at_however_many_came() -> None:
    many = {f"l{i}": [1.0, 2.0] for i in range(60)}
    found = nonfinite.events(compared({"w": [1]}, {"w": [1], **many, "l7": [NAN, 1]}, "few"))
    assert [event.change.name for event in found] == ["l7"]


def test_a_reshaped_tensor_is_judged_by_counts() -> None:
    assert [e.kind for e in nonfinite.events(compared({"w": [1, 2]}, {"w": [1, 2, NAN]}, "few"))] == ["appeared"]


def test_a_repaired_tensor_is_not_worse() -> None:
    assert nonfinite.worse(compared({"w": [1, NAN]}, {"w": [1, 2]})) == ()


def test_it_is_severe_in_a_parameter_only() -> None:
    found = row_of("non_finite").find(compared({"bn.running_mean": [1, 2]}, {"bn.running_mean": [1, NAN]}))
    assert found is not None and found.severity == "warning"
    found = row_of("non_finite").find(compared({"w": [1, 2]}, {"w": [1, NAN]}))
    assert found is not None and found.severity == "critical"
    assert row_of("non_finite").find(compared({"w": [1, 2]}, {"w": [1, 3]})) is None
