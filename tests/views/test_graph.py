"""Changes of a graph in few lines."""

from __future__ import annotations

from diffai.comparison.result import ValueChange
from diffai.views.graph import graph_lines


def changed(layers: int) -> list[ValueChange]:
    """Every Relu of so many layers became a Sigmoid."""
    nodes = [ValueChange(f"node l{n}/Relu", "removed", "Relu") for n in range(layers)]
    nodes += [ValueChange(f"node l{n}/Sigmoid", "added", None, "Sigmoid") for n in range(layers)]
    return [*nodes, ValueChange("operator Relu", "removed", str(layers)),
            ValueChange("operator Sigmoid", "added", None, str(layers)),
            ValueChange("wiring", "changed", "0" * 32, "1" * 32),
            ValueChange("wiring with names", "changed", "0" * 32, "1" * 32)]  # fmt: skip


def test_counts_come_first_nodes_fold_and_the_wiring_is_one_line() -> None:
    assert graph_lines(changed(30)) == [
        "~ operators: Relu 30 -> 0, Sigmoid 0 -> 30",
        "~ wiring changed",
        "- node l[0-29]/Relu  x30: Relu",
        "+ node l[0-29]/Sigmoid  x30: Sigmoid",
    ]


def test_one_node_is_called_by_its_name() -> None:
    assert graph_lines(changed(1))[2:] == ["- node l0/Relu: Relu", "+ node l0/Sigmoid: Sigmoid"]


def test_nodes_that_changed_differently_say_that_the_text_is_an_example() -> None:
    changes = [ValueChange(f"node c{n}", "changed", f"Conv(group={n})", f"Conv(group={n + 1})") for n in range(3)]
    assert graph_lines(changes) == ["~ node c[0-2]  x3: such as Conv(group=0) -> Conv(group=1)"]
    other = ValueChange("node c9", "changed", "Conv", "Gemm")
    assert graph_lines([*changes, other])[1] == "~ node c9: Conv -> Gemm"


def test_a_wiring_that_only_names_tell_apart_says_so() -> None:
    change = ValueChange("wiring with names", "changed", "0", "1")
    assert graph_lines([change]) == ["~ wiring changed, as far as names tell it"]


def test_many_nodes_without_a_pattern_are_told_by_operator() -> None:
    names = [f"block_{letter * 3}/x" for letter in "abcdefghijklm"]
    added = [ValueChange(f"node {name}", "added", None, "Conv(group=1)") for name in names]
    changed_ = [ValueChange(f"node {name}.y", "changed", "Pool(k=1)", "Pool(k=2)") for name in names[:2]]
    swapped = [ValueChange(f"node {name}.z", "changed", "Relu", "Gelu") for name in names[:2]]
    assert graph_lines([*added, *changed_, *swapped, ValueChange("node last", "removed", "Softmax(axis=1)")]) == [
        "+ 13 nodes: Conv, such as block_aaa/x",
        "~ 2 nodes: Pool with other attributes, such as block_aaa/x.y",
        "~ 2 nodes: Relu -> Gelu, such as block_aaa/x.z",
        "- node last: Softmax(axis=1)",
    ]


def test_hostile_names_cannot_forge_a_line() -> None:
    changes = [ValueChange(f"node a{n}\n+ b", "added", None, "Relu\x1b[31m") for n in range(2)]
    (text,) = graph_lines(changes)
    assert "\n" not in text and "\x1b" not in text
    mixed = [ValueChange(f"node a{mark}", "added", None, "Relu") for mark in ("\0", "1", "\0 7")]
    assert len(graph_lines(mixed)) == 3
