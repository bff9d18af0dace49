from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from diffai.comparison.names import common_renames, natural_key, shared_ends


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


def shapes(*names: str) -> dict[str, tuple[int, ...]]:
    return {name: (len(name.rpartition(".")[2]), 2) for name in names}


def test_a_prefix_that_came_or_went() -> None:
    plain = shapes("fc1.weight", "fc1.bias", "fc2.weight")
    module = {f"module.{n}": s for n, s in plain.items()}
    assert common_renames(plain, module) == ({n: f"module.{n}" for n in plain}, "prefix")
    assert common_renames(module, plain) == ({f"module.{n}": n for n in plain}, "prefix")


def test_a_prefix_that_was_replaced() -> None:
    old = {f"encoder.{n}": s for n, s in shapes("a.weight", "b.weight", "c.bias").items()}
    new = {f"model.backbone.{n}": s for n, s in shapes("a.weight", "b.weight", "c.bias").items()}
    assert common_renames(old, new)[0] == {n: "model.backbone" + n.removeprefix("encoder") for n in old}


def test_a_suffix_that_many_names_changed() -> None:
    old, new = shapes("a.kernel", "b.kernel", "c.kernel"), dict.fromkeys(("a.weight", "b.weight", "c.weight"), (6, 2))
    assert common_renames(old, new) == (
        {"a.kernel": "a.weight", "b.kernel": "b.weight", "c.kernel": "c.weight"},
        "suffix",
    )


def test_one_pair_alone_proves_nothing() -> None:
    assert common_renames(shapes("x.w", "y.b"), shapes("module.x.w", "other.thing")) == ({}, "")


def test_a_change_that_leads_to_another_shape_is_dropped() -> None:
    old = shapes("a.w", "b.w", "c.w", "d.w")
    new = {f"m.{n}": s for n, s in old.items()} | {"m.d.w": (99,)}
    assert common_renames(old, new) == ({}, "")


@given(
    st.dictionaries(st.text(max_size=8), st.just((2,)), max_size=12),
    st.dictionaries(st.text(max_size=8), st.just((2,)), max_size=12),
)
def test_pairs_are_one_to_one_and_exist(old: dict[str, tuple[int, ...]], new: dict[str, tuple[int, ...]]) -> None:
    pairs, _ = common_renames(old, new)
    assert set(pairs) <= set(old)
    assert set(pairs.values()) <= set(new)
    assert len(set(pairs.values())) == len(pairs)
