"""The changes of two documents are what makes one of the other, and say no more and no less."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffai.comparison.documents import align
from diffai.comparison.documents.align import Aligner
from diffai.comparison.documents.applied import applied
from diffai.comparison.documents.compare import compare_documents
from diffai.comparison.documents.paths import path_text
from diffai.comparison.documents.result import DocumentDiff, DocumentOptions, Special
from diffai.comparison.documents.structure import Comparison
from diffai.comparison.result import CompareOptions
from diffai.errors import UsageError
from diffai.sources.local import MemoryBytes

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 0.5, math.inf]) | st.text("ab", max_size=2)
TREES = st.recursive(
    SCALARS, lambda inside: st.lists(inside, max_size=6) | st.dictionaries(st.text("ab.", max_size=2), inside), max_leaves=30
)


def equal_pairs(aligner: Aligner, old: list[int], new: list[int]) -> list[tuple[int, int]]:
    return [(i + n, j + n) for i, j, length in aligner.equal_runs(old, new) for n in range(length)]


def changes(old: Any, new: Any, **options: Any) -> list[tuple[Any, ...]]:
    comparison = Comparison(DocumentOptions(**options))
    comparison.compare(old, new)
    return [(c.kind, path_text(c.path), c.old, c.new) for c in comparison.changes]


def strict(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


@settings(max_examples=150, deadline=None)
@given(TREES, TREES)
def test_applying_the_changes_to_the_old_document_gives_the_new(old: Any, new: Any) -> None:
    comparison = Comparison(DocumentOptions())
    comparison.compare(old, new)
    assert strict(applied(old, comparison.changes)) == strict(new)
    assert bool(comparison.changes) == (strict(old) != strict(new))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 2)), max_size=12), st.randoms(use_true_random=False))
def test_lists_of_mappings_that_were_edited_become_each_other(old: list[dict[str, int]], random: Any) -> None:
    new = [dict(one) for one in old]
    for _ in range(3):
        if new:
            random.choice([lambda: new.pop(random.randrange(len(new))), lambda: new.insert(0, {"a": 9}),
                           lambda: new[random.randrange(len(new))].update(b=7)])()  # fmt: skip
    comparison = Comparison(DocumentOptions())
    comparison.compare(old, new)
    assert applied(old, comparison.changes) == new


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=40), st.lists(st.integers(0, 4), max_size=40))
def test_aligned_places_are_equal_and_ascend(old: list[int], new: list[int]) -> None:
    pairs = equal_pairs(Aligner(), old, new)
    assert all(old[i] == new[j] for i, j in pairs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(pairs))


@pytest.mark.parametrize("count", [1_000, 100_000])
def test_one_element_that_came_leaves_two_runs(count: int) -> None:
    old = list(range(count))
    new = [*old[:10], -5, *old[10 : count // 2], -7, *old[count // 2 + 1 :]]
    runs = [(0, 0, 10), (10, 11, count // 2 - 10), (count // 2 + 1, count // 2 + 2, count - count // 2 - 1)]
    assert Aligner().equal_runs(old, new) == runs


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=40), st.lists(st.integers(0, 40), max_size=40))
def test_anchors_of_many_elements_are_those_of_few(old: list[int], new: list[int]) -> None:
    ends = (len(old), len(new))
    few, many = align._anchors(old, new, (0, 0), ends), align._many_anchors(old, new, (0, 0), ends)
    assert few == many


def test_short_lists_are_aligned_as_well_as_can_be() -> None:
    assert len(equal_pairs(Aligner(), [1, 2, 3, 2, 1], [2, 1, 3, 1, 2, 1])) == 4


def test_long_lists_of_which_nothing_is_unique_end_soon() -> None:
    aligner = Aligner()
    assert equal_pairs(aligner, [1, 2] * 50_000, [2, 1, 3] * 40_000) is not None


@pytest.mark.parametrize(
    ("old", "new"), [(1, "1"), (1, 1.0), (1, True), (0, False), (None, 0), (None, False), ("", None), (1.0, True),
                     (Special("date", "2024-01-01"), "2024-01-01"), ([], {}), ({}, None), ("1", [1])]
)  # fmt: skip
def test_values_of_different_types_are_told_apart(old: Any, new: Any) -> None:
    assert [c[0] for c in changes({"a": old}, {"a": new})] == ["TypeChanged"]
    assert [c[0] for c in changes([old, 5], [new, 5])] == ["TypeChanged"]


def test_nan_at_the_same_place_is_no_change() -> None:
    assert changes({"a": math.nan, "b": [math.nan]}, {"a": math.nan, "b": [math.nan]}) == []
    assert [c[0] for c in changes({"a": math.nan}, {"a": 1.0})] == ["Modified"]
    assert [c[0] for c in changes({"a": math.inf}, {"a": -math.inf}, compare=CompareOptions(epsilon=1, rtol=1))] == ["Modified"]


def test_whole_numbers_are_compared_exactly() -> None:
    assert changes({"a": 2**63}, {"a": 2**63 + 1}) == [("Modified", "a", 2**63, 2**63 + 1)]
    assert changes({"a": 10**400}, {"a": 10**400 + 1}, compare=CompareOptions(epsilon=0.5, rtol=1e-9)) != []


def test_an_element_that_came_moves_no_other() -> None:
    old = [{"name": name, "width": n} for n, name in enumerate("abcdef")]
    new = [{"name": "x", "width": 9}, *old[:3], {**old[3], "width": 30}, *old[4:]]
    assert changes({"layers": old}, {"layers": new}) == [
        ("Added", "layers[0]", None, {"name": "x", "width": 9}), ("Modified", "layers[4].width", 3, 30)
    ]  # fmt: skip


def test_numbers_of_lists_of_one_length_are_compared_by_place() -> None:
    assert changes({"betas": [0.9, 0.999]}, {"betas": [0.9, 0.98]}) == [("Modified", "betas[1]", 0.999, 0.98)]
    assert changes([1, 2, 3], [2, 3, 4])[0] == ("Modified", "[0]", 1, 2)


def test_elements_are_matched_by_the_key_that_identifies_them() -> None:
    old = [{"id": 1, "v": 1}, {"id": 2, "v": 2}, {"id": 3, "v": 3}]
    new = [{"id": 3, "v": 3}, {"id": 1, "v": 9}, {"id": 4, "v": 4}]
    comparison = Comparison(DocumentOptions(array_id_key="id"))
    comparison.compare(old, new)
    assert [(c.kind, path_text(c.path)) for c in comparison.changes] == [
        ("Removed", "[id=2]"), ("Modified", "[id=1].v"), ("Added", "[id=4]")
    ]  # fmt: skip
    assert comparison.notes == ["elements of . stand in another order"]
    assert sorted(applied(old, comparison.changes), key=str) == sorted(new, key=str)


def test_elements_without_the_key_are_matched_by_place_and_that_is_said() -> None:
    comparison = Comparison(DocumentOptions(array_id_key="id"))
    comparison.compare([{"id": 1}, {}], [{"id": 1}, {"x": 1}])
    assert comparison.notes == ["elements of . are not all known by 'id': matched by place"]


def test_tolerances_act_on_numbers_and_are_counted() -> None:
    comparison = Comparison(DocumentOptions(CompareOptions(epsilon=0.1, rtol=0.0)))
    comparison.compare({"a": 1.0, "b": [1.0, 2.0], "c": 5, "d": "1e-3"}, {"a": 1.05, "b": [1.0, 2.5], "c": 6, "d": "2e-3"})
    assert [path_text(c.path) for c in comparison.changes] == ["b[1]", "c"]
    assert comparison.tolerated == 2


OLD = {"model": {"lr": 1, "seed": 1, "layers": [1, 2]}, "time": 1}
NEW = {"model": {"lr": 2, "seed": 2, "layers": [1, 3]}, "time": 2, "extra": {"lr": 1, "time": 5}}


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        (CompareOptions(path="model"), ["model.lr", "model.seed", "model.layers[1]"]),
        (CompareOptions(path="model.layers"), ["model.layers[1]"]),
        (CompareOptions(filter="lr$"), ["model.lr", "extra.lr"]),
        (CompareOptions(ignore=("seed", "time")), ["model.lr", "model.layers[1]", "extra.lr"]),
        (CompareOptions(ignore_globs=("model.*",)), ["time", "extra.lr", "extra.time"]),
    ],
)
def test_options_choose_paths_inside_of_what_came_too(options: CompareOptions, paths: list[str]) -> None:
    comparison = Comparison(DocumentOptions(options))
    comparison.compare(OLD, NEW)
    assert [path_text(c.path) for c in comparison.changes] == paths
    assert sum(left.count for left in comparison.chosen.left_out()) == 6 - len(paths)


def compare(old: str, new: str, kinds: tuple[str, str] = ("json", "json"), **options: Any) -> DocumentDiff:
    sources = [MemoryBytes(text.encode(), label=f"{n}.{kind}") for n, text, kind in zip("ab", (old, new), kinds, strict=True)]
    return compare_documents(sources[0], sources[1], DocumentOptions(**options))


@pytest.mark.parametrize(("path", "near"), [("modle.lr", "model.lr"), ("zzz", "")])
def test_a_path_that_chooses_nothing_is_refused_with_the_nearest(path: str, near: str) -> None:
    text = json.dumps(OLD)
    with pytest.raises(UsageError) as error:
        compare(text, text, compare=CompareOptions(path=path))
    assert str(error.value) == f"--path {path} selects nothing" + (f"; did you mean {near}?" if near else "")


def test_documents_of_two_kinds_compare_by_what_they_say() -> None:
    assert compare("lr: 0.1\nids: {0: a}\n", '{"ids": {"0": "a"}, "lr": 0.1}', ("yaml", "json")).equal
    assert compare("lr = 0.1\n", '{"lr": 0.10}', ("toml", "json")).equal
    found = compare("[run]\nlr = 0.1\nn = 3\non = true\n", '{"run": {"lr": 0.1, "n": 4, "on": true}}', ("ini", "json"))
    assert [(c.kind, path_text(c.path)) for c in found.changes] == [("Modified", "run.n")]
    assert found.notes == ("INI holds text only: values compared as text",)


def test_a_document_and_a_stream_of_documents() -> None:
    found = compare("a: 1\n", "a: 1\n---\nb: 2\n", ("yaml", "yaml"))
    assert [(c.kind, path_text(c.path)) for c in found.changes] == [("Added", "[1]")]


def test_order_of_keys_comments_and_style_are_no_difference() -> None:
    found = compare("# x\na: 1\nb: [1, 2]\n", "b:\n- 1\n- 2\na: 1 # y\n", ("yaml", "yaml"))
    assert found.equal
    assert found.same_bytes is False


def test_children_of_xml_that_stand_alone_have_no_place() -> None:
    found = compare("<m><lr>1</lr><l>a</l></m>", "<m><lr>2</lr><l>a</l><l>b</l></m>", ("xml", "xml"))
    assert [(c.kind, path_text(c.path)) for c in found.changes] == [("Modified", "m.lr"), ("Added", "m.l[1]")]


@pytest.mark.parametrize(
    ("path", "text"),
    [(("a", "b"), "a.b"), (("a.b", "c d"), '["a.b"]["c d"]'), (("x", 0, "y"), "x[0].y"), (("", "ü"), '[""].ü'),
     (("a\n",), '["a\\n"]'), (("@id",), "@id"), (("x-y", "0"), 'x-y["0"]')],
)  # fmt: skip
def test_paths_as_text(path: tuple[Any, ...], text: str) -> None:
    assert path_text(path) == text
