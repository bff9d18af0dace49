"""Which tensor is which: by one rule of names, by bytes, or by evidence in the values; the same in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from diffai import api
from diffai.comparison.pairing import Pairing, pair_tensors
from diffai.comparison.result import ModelDiff
from diffai.model import TensorSpec, TensorSummary

Shape = tuple[int, ...]
RNG = np.random.default_rng(7)


def specs(shapes: Mapping[str, Shape]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(name, "F32", shape, 4 * int(np.prod(shape))) for name, shape in shapes.items()}


def by_names(old: Mapping[str, Shape], new: Mapping[str, Shape]) -> dict[str, tuple[str, str]]:
    """Old name -> (new name, evidence), headers only."""
    pairing = pair_tensors(specs(old), specs(new), None)
    return {a.name: (b.name, how) for a, b, how in pairing.renamed}


def both_ways(old: dict[str, Any], new: dict[str, Any]) -> ModelDiff:
    """The comparison, whose pairs must be the same the other way round."""
    there, back = api.compare(old, new), api.compare(new, old)
    pairs = [
        {(a.name if a else None, b.name if b else None, c.evidence) for c in diff.tensors for a, b in [sides(c, turn)]}
        for diff, turn in ((there, False), (back, True))
    ]
    assert pairs[0] == pairs[1]
    return there


def sides(change: Any, turn: bool) -> tuple[Any, Any]:
    return (change.new, change.old) if turn else (change.old, change.new)


def noise(*shape: int) -> Any:
    return RNG.normal(0, 1, shape).astype("f4")


def mlp(layers: int = 5) -> dict[str, Any]:
    return {
        f"l{i}.{leaf}": noise(*shape) for i in range(layers) for leaf, shape in (("weight", (8, 8)), ("bias", (8,)))
    }


def test_ten_tensors_gain_a_prefix_and_one_of_them_changes() -> None:
    old = mlp()
    new = {f"module.{name}": value for name, value in old.items()}
    new["module.l3.bias"] = new["module.l3.bias"] + 1
    diff = both_ways(old, new)
    assert (diff.totals.renamed, diff.totals.added, diff.totals.removed, diff.totals.changed) == (10, 0, 0, 1)
    assert {c.evidence for c in diff.tensors} == {"prefix"}


def test_a_prefix_and_a_wider_head() -> None:
    old = mlp(2) | {"head.weight": noise(10, 8)}
    new = {f"model.{name}": value for name, value in old.items()} | {"model.head.weight": noise(12, 8)}
    diff = both_ways(old, new)
    assert (diff.totals.renamed, diff.totals.reshaped, diff.totals.added, diff.totals.removed) == (5, 1, 0, 0)


def test_a_prefix_and_one_cast() -> None:
    old = mlp(2)
    new = {f"model.{name}": value for name, value in old.items()}
    new["model.l0.weight"] = new["model.l0.weight"].astype("f2")
    diff = both_ways(old, new)
    assert (diff.totals.renamed, diff.totals.cast, diff.totals.added) == (4, 1, 0)


def test_a_prefix_dropped_and_every_matrix_wider(corpus: Path) -> None:
    files = [next(folder.iterdir()) for folder in sorted((corpus / "histories" / "metapredict").iterdir())]
    for old, new in ((files[3], files[1]), (files[1], files[3])):
        diff = api.compare(old, new)
        assert (diff.totals.renamed, diff.totals.reshaped) == (10, 9)
        assert {c.evidence for c in diff.tensors if c.old and c.new} == {"prefix"}
        assert diff.totals.added + diff.totals.removed == 8


def test_a_bias_of_a_linear_layer_is_not_that_of_the_normalisation_in_its_place() -> None:
    old = {f"{i}.{leaf}": noise(*shape) for i in range(4) for leaf, shape in (("weight", (80, 80)), ("bias", (80,)))}
    new = {}
    for i in range(4):
        new |= {f"{i}.conv.weight": noise(80, 80, 3, 3), f"{i}.bn.weight": noise(80), f"{i}.bn.bias": noise(80)}
        new |= {f"{i}.bn.running_mean": noise(80), f"{i}.bn.running_var": noise(80)}
    diff = both_ways(old, new)
    assert (diff.totals.renamed, diff.totals.removed, diff.totals.added) == (0, 8, 20)


def test_other_values_outside_a_rule_need_evidence() -> None:
    trained, other = noise(16, 8), noise(16, 8)
    alike = both_ways({"a.w": trained, "b.v": noise(4)}, {"c.x": trained + 0.1 * noise(16, 8), "d": noise(5)})
    assert {(c.old.name, c.name, c.evidence) for c in alike.tensors if c.old and c.new} == {("a.w", "c.x", "values")}
    assert both_ways({"a.w": trained}, {"c.x": other}).totals.renamed == 0


def test_values_of_few_elements_are_no_evidence() -> None:
    small = noise(7, 9)
    assert both_ways({"a": small}, {"b": small * np.float32(1.01)}).totals.renamed == 0
    larger = noise(8, 8)
    assert both_ways({"a": larger}, {"b": larger * np.float32(1.01)}).totals.renamed == 1


def test_a_table_and_its_square_root_are_two_tables() -> None:
    table = np.geomspace(110, 41_000, 309)
    diff = both_ways({"root": np.sqrt(table).astype("<f4")}, {"Cast.x": table, "Cast.y": table.copy()})
    assert sorted((c.name, c.status) for c in diff.tensors) == [
        ("Cast.x", ("added",)), ("Cast.y", ("added",)), ("root", ("removed",)),
    ]  # fmt: skip
    far = noise(40, 8)
    assert {c.evidence for c in both_ways({"a": far}, {"b": far * 1000, "c": 0.5 * far + 0.1 * noise(40, 8)}).tensors} \
        >= {"values"}  # fmt: skip


def test_each_must_be_the_others_best() -> None:
    base = noise(32, 32)
    near, far = base + 0.1 * noise(32, 32), base + noise(32, 32)
    diff = both_ways({"a": base}, {"x": far, "y": near})
    assert [(c.old.name, c.name) for c in diff.tensors if c.old and c.new] == [("a", "y")]


def test_a_large_tensor_is_known_by_a_sample() -> None:
    large = noise(300, 301)
    diff = both_ways({"a": large}, {"b": large + 0.1 * noise(300, 301)})
    assert diff.totals.renamed == 1


def test_a_segment_within_names() -> None:
    old = {f"layers.{i}.attn.{p}.weight": (4, 4) for i in range(3) for p in "qk"}
    new = {f"layers.{i}.self_attn.{p}.weight": (4, 4) for i in range(3) for p in "qk"}
    found = by_names(old, new)
    assert found == {name: (name.replace("attn", "self_attn"), "segment") for name in old}


def test_a_segment_that_came() -> None:
    old = {f"layers.{i}.{p}.weight": (4, 4) for i in range(3) for p in "qk"}
    new = {f"layers.{i}.attn.{p}.weight": (4, 4) for i in range(3) for p in "qk"}
    assert {a: b for a, (b, _) in by_names(old, new).items()} == {
        name: ".".join([*name.split(".")[:2], "attn", *name.split(".")[2:]]) for name in old
    }


def test_two_rules_that_contradict_each_other_are_left_to_the_values() -> None:
    old = {f"norm{i}.{leaf}": noise(80) for i in range(3) for leaf in ("gamma", "beta")}
    words = {"gamma": "weight", "beta": "bias"}
    new = {name.replace(x, y): value for name, value in old.items() for x, y in words.items() if name.endswith(x)}
    assert by_names({n: v.shape for n, v in old.items()}, {n: v.shape for n, v in new.items()}) == {}
    assert {c.evidence for c in both_ways(old, new).tensors} == {"digest"}
    moved = {name: value + 0.1 * noise(80) for name, value in new.items()}
    diff = both_ways(old, moved)
    assert all(c.old.name == c.name.replace("weight", "gamma").replace("bias", "beta") for c in diff.tensors if c.old)
    assert {c.evidence for c in diff.tensors} == {"values"}


def test_a_prefix_that_was_replaced() -> None:
    leaves = {"a.weight": (2, 2), "b.weight": (2, 2), "c.bias": (3,)}
    found = by_names({f"encoder.{n}": s for n, s in leaves.items()}, {f"model.back.{n}": s for n, s in leaves.items()})
    assert found == {f"encoder.{n}": (f"model.back.{n}", "prefix") for n in leaves}


def test_a_suffix_that_many_names_changed() -> None:
    found = by_names({f"{x}.kernel": (6, 2) for x in "abc"}, {f"{x}.weight": (6, 2) for x in "abc"})
    assert found == {f"{x}.kernel": (f"{x}.weight", "suffix") for x in "abc"}


def test_one_pair_alone_proves_nothing() -> None:
    assert by_names({"x.w": (2,), "y.b": (2,)}, {"module.x.w": (2,), "other.thing": (2,)}) == {}


def test_training_state_is_never_a_weight_renamed() -> None:
    value = noise(16, 8)
    old, new = ({"a": value}, {"optimizer.exp_avg": value})
    pairing = pair_tensors(
        specs({"a": (16, 8)}),
        {"optimizer.exp_avg": TensorSpec("optimizer.exp_avg", "F32", (16, 8), 512, role="training")},
        lambda left, right: tuple([TensorSummary(digest="same")] * len(side) for side in (left, right)),  # type: ignore[arg-type,return-value]
        lambda left, right: list(zip(left, right, strict=False)),
    )
    assert pairing.renamed == () and old.keys() != new.keys()


NAMES = st.lists(
    st.builds(".".join, st.lists(st.sampled_from(["m", "enc", "0", "1", "w", "b"]), min_size=1, max_size=4)),
    max_size=10,
    unique=True,
)
SHAPES = st.sampled_from([(2,), (3,), (2, 2)])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_pairs_are_one_to_one_and_the_same_in_both_directions(data: st.DataObject) -> None:
    models = []
    for _ in range(2):
        names = data.draw(NAMES)
        models.append({name: (data.draw(SHAPES), data.draw(st.integers(0, 3))) for name in names})
    if data.draw(st.booleans()):
        models[1] |= {f"module.{name}": value for name, value in models[0].items()}
    there, back = paired(*models), paired(*reversed(models))
    assert {(a.name, b.name, how) for a, b, how in there.renamed} == {
        (b.name, a.name, how) for a, b, how in back.renamed
    }
    assert (
        len({a.name for a, _, _ in there.renamed}) == len(there.renamed) == len({b.name for _, b, _ in there.renamed})
    )
    assert {spec.name for spec in there.added} == {spec.name for spec in back.removed}


def paired(old: dict[str, tuple[Shape, int]], new: dict[str, tuple[Shape, int]]) -> Pairing:
    """A pairing in which a number stands for content; near numbers are alike."""

    def digests(*both: Sequence[TensorSpec]) -> Any:
        return tuple(
            [TensorSummary(digest=str(side[spec.name][1]), constant=side[spec.name][1] == 0) for spec in chosen]
            for side, chosen in zip((old, new), both, strict=True)
        )

    def alike(left: Sequence[TensorSpec], right: Sequence[TensorSpec]) -> list[tuple[TensorSpec, TensorSpec]]:
        near = [(a, b) for a, b in product(left, right) if a.shape == b.shape and old[a.name][1] + new[b.name][1] == 3]
        return [p for p in near if sum(p[0] is a for a, _ in near) == 1 == sum(p[1] is b for _, b in near)]

    sides = [specs({name: shape for name, (shape, _) in side.items()}) for side in (old, new)]
    return pair_tensors(*sides, digests, alike)


def test_constants_are_paired_inside_layers_that_other_tensors_prove() -> None:
    layers = {f"{name}.vars.0": noise(3, 4) for name in ("first", "second", "head")}
    old = {**layers, "norm.vars.0": np.ones(4, "f4"), "norm.vars.1": np.zeros(4, "f4"), "norm.vars.2": noise(4),
           "ln.vars.0": np.ones(4, "f4"), "ln.vars.1": np.zeros(4, "f4")}  # fmt: skip
    leaves = ({"0": "kernel"}, {"0": "gamma", "1": "beta", "2": "mean"})
    new = {
        f"{name}.{leaves[name in ('norm', 'ln')][leaf]}": value
        for (name, _, leaf), value in ((key.split("."), value) for key, value in old.items())
    }
    diff = both_ways(old, new)
    assert {(c.old.name, c.name) for c in diff.tensors if c.old and c.new} >= {
        ("norm.vars.0", "norm.gamma"), ("norm.vars.1", "norm.beta"), ("ln.vars.0", "ln.gamma"),
    }  # fmt: skip
    assert all("renamed" in c.status for c in diff.tensors)


def test_constants_of_layers_that_nothing_joins_stay_what_they_are() -> None:
    body = noise(8, 8)
    old = {"a.w": body, "x.gamma": np.ones(4, "f4"), "a.g1": np.ones(3, "f4"), "a.g2": np.ones(3, "f4")}
    new = {"b.k": body, "y.scale": np.ones(4, "f4"), "b.g": np.ones(3, "f4")}
    flat = both_ways({"w": body, "gamma": np.ones(4, "f4")}, {"k": body, "scale": np.ones(4, "f4")})
    assert [(c.old.name, c.name) for c in flat.tensors if c.old and c.new] == [("w", "k")]
    diff = both_ways(old, new)
    assert [(c.old.name, c.name) for c in diff.tensors if c.old and c.new] == [("a.w", "b.k")]
