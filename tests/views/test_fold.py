from __future__ import annotations

import pytest

from diffai.comparison.result import TensorChange
from diffai.model import TensorSpec
from diffai.views.fold import fold, fold_line, pattern_text


def added(*names: str, shape: tuple[int, ...] = (2,)) -> list[TensorChange]:
    return [TensorChange(n, ("added",), new=TensorSpec(n, "F32", shape, 8)) for n in names]


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["h.0.w", "h.1.w", "h.2.w"], "h.[0-2].w"),
        (["h.0.w", "h.2.w", "h.3.w", "h.10.w"], "h.[0,2-3,10].w"),
        (["h.0.q_proj.w", "h.0.k_proj.w", "h.1.q_proj.w", "h.1.k_proj.w"], "h.[0-1].{q,k}_proj.w"),
        (["b.0.conv1.w", "b.0.conv2.w", "b.1.conv1.w", "b.1.conv2.w"], "b.[0-1].conv[1-2].w"),
        (["e.0.x.3.w", "e.1.x.3.w"], "e.[0-1].x.3.w"),
    ],
)
def test_patterns(names: list[str], pattern: str) -> None:
    (only,) = fold(added(*names))
    assert pattern_text(only) == pattern
    assert len(only.changes) == len(names)


def test_no_tensor_is_lost_or_doubled() -> None:
    names = [f"m.{i}.{part}.{kind}" for i in range(50) for part in ("a", "b_x", "c_x") for kind in ("weight", "bias")]
    folds = fold(added(*names))
    assert sorted(c.name for f in folds for c in f.changes) == sorted(names)


def test_different_kinds_never_share_a_line() -> None:
    changes = added("h.0.w", "h.1.w")
    changes.append(TensorChange("h.2.w", ("removed",), old=TensorSpec("h.2.w", "F32", (2,), 8)))
    assert [f.kind[0] for f in fold(changes)] == ["+", "-"]


def test_shapes_that_differ_are_counted_not_claimed() -> None:
    changes = [*added("h.0.w"), *added("h.1.w", shape=(3,))]
    assert fold_line(fold(changes)[0]) == "+ h.[0-1].w  x2  2 shapes, dtype=F32"


def test_hostile_names_fold_and_are_escaped() -> None:
    (only,) = fold(added("a\x1b.0", "a\x1b.1"))
    assert fold_line(only).startswith("+ a\\x1b.[0-1]  x2")
    (nul,) = fold(added("a\0b.5", "a\0b.6"))
    assert pattern_text(nul) == "a\u2400b.[5-6]"
    assert len(fold(added("9" * 5000, "8" * 5000))) == 1
