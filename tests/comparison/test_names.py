from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from diffai.comparison.rules import shared_ends
from diffai.model import natural_key


def test_natural_order() -> None:
    names = ["layer.10.w", "layer.2.w", "layer.1.w", "head", "layer.01.w", "a9", "a10b2", "a10b10"]
    ordered = ["a9", "a10b2", "a10b10", "head", "layer.1.w", "layer.01.w", "layer.2.w", "layer.10.w"]
    assert sorted(names, key=natural_key) == ordered


@given(st.lists(st.text(max_size=20), max_size=20))
def test_any_names_can_be_ordered(names: list[str]) -> None:
    ordered = sorted(names, key=natural_key)
    assert sorted(ordered) == sorted(names)


def test_similarity_prefers_the_same_ending() -> None:
    assert shared_ends("a.layers.0.w", "b.layers.0.w") > shared_ends("a.layers.0.w", "a.layers.1.b")
