"""The table of a comparison: it fits the screen, says the same without colour and in ASCII, and points where to look."""

from __future__ import annotations

import re

import numpy as np
import pytest

import diffai
from diffai.formats.arrays import ArrayCheckpoint
from diffai.frozen import replace
from diffai.views.blocks import Bar, Column, Labelled, Spark, Table, Word, line
from diffai.views.grouping import grouped
from diffai.views.model_table import TableOptions, cosine, model_view
from diffai.views.screen import Screen, cut, cut_path, width_of
from diffai.views.style import short
from diffai.views.terminal import present
from diffai.views.terminal_table import bar, spark

_ESCAPES = re.compile("\x1b\\[[0-9;]*m")
Arrays = dict[str, np.ndarray]  # type: ignore[type-arg]


def transformer(layers: int = 12) -> Arrays:
    rng = np.random.default_rng(0)
    arrays: Arrays = {"model.embed_tokens.weight": rng.normal(0, 0.02, (60, 16)).astype("f4")}
    for layer in range(layers):
        for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"):
            arrays[f"model.layers.{layer}.{name}.weight"] = rng.normal(0, 0.1, (16, 16)).astype("f4")
        arrays[f"model.layers.{layer}.input_layernorm.weight"] = np.ones(16, "f4")
    arrays["lm_head.weight"] = rng.normal(0, 0.1, (60, 16)).astype("f4")
    return arrays


def trained(arrays: Arrays) -> Arrays:
    rng = np.random.default_rng(1)
    made = {n: (a + rng.normal(0, 0.001, a.shape)).astype("f4") if a.ndim == 2 else a for n, a in arrays.items()}
    made["model.layers.7.self_attn.q_proj.weight"] = arrays["model.layers.7.self_attn.q_proj.weight"] * np.float32(1.5)
    return made


def shown(old: Arrays | ArrayCheckpoint, new: Arrays | ArrayCheckpoint, screen: Screen | None = None) -> list[str]:
    return present(model_view(diffai.compare(old, new), TableOptions()), screen or Screen())


PLANTED = {
    "trained": (transformer(), trained(transformer())),
    "nan": (transformer(), {**transformer(), "lm_head.weight": np.full((60, 16), np.nan, "f4")}),
    "resized": (transformer(), {**transformer(14), "lm_head.weight": np.zeros((70, 16), "f4")}),
    "renamed": (transformer(), {f"base_model.{n}": a for n, a in transformer().items()}),
    "hostile": ({"w\x1b[2J\n::x" * 30: np.zeros(3, "f4")}, {"w\x1b[2J\n::x" * 30: np.ones(3, "f4")}),
    "wide": ({"重み.層": np.zeros((3, 3), "f4")}, {"重み.層": np.ones((3, 3), "f4")}),
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("pair", PLANTED)
def test_no_line_is_wider_than_the_screen(pair: str, width: int) -> None:
    for text in shown(*PLANTED[pair], Screen(width)):
        assert width_of(text) <= width, text


@pytest.mark.parametrize("pair", PLANTED)
def test_colour_says_nothing_alone_and_ascii_says_the_same(pair: str) -> None:
    plain = shown(*PLANTED[pair], Screen(100))
    assert [_ESCAPES.sub("", text) for text in shown(*PLANTED[pair], Screen(100, color=True))] == plain
    ascii_only = shown(*PLANTED[pair], Screen(100, unicode=False))
    assert all(text.isascii() for text in ascii_only) and len(ascii_only) == len(plain)


def test_a_name_cannot_forge_a_line() -> None:
    text = "\n".join(shown(*PLANTED["hostile"], Screen(200)))
    assert "\x1b" not in text and "\n::x" not in text


def test_a_reviewer_reads_the_kind_and_where_to_look_first() -> None:
    lines = shown(*PLANTED["trained"], Screen(120))
    assert ("TRAINING STEP" in lines[1] and "update" in lines[2]) or "relative L2 of the changed" in lines[2]
    assert any("LOOK AT  model.layers.7.self_attn.q_proj.weight" in text for text in lines)
    row = next(text for text in lines if text.strip().startswith("model.layers.[0-11].self_attn.q_proj"))
    signs = re.search(r"[▁-█]{12}", row)
    assert signs is not None and signs[0].count("█") == 1 and signs[0][7] == "█"


def test_structure_comes_before_values_grouped_by_pattern() -> None:
    lines = shown(*PLANTED["resized"], Screen(120))
    text = "\n".join(lines)
    assert "STRUCTURE  +10 ~1" in text and "[60, 16] -> [70, 16]" in text and "2 layers of model.layers added" in text


def test_a_rename_is_one_line_a_rule() -> None:
    assert any("62 tensors: prefix 'base_model.' added (identical)" in text for text in shown(*PLANTED["renamed"]))


def test_every_tensor_is_in_one_group() -> None:
    diff = diffai.compare(*PLANTED["trained"])
    groups = grouped([change.name for change in diff.tensors], {})
    names = [name for group in groups for name in group.names]
    assert sorted(names) == sorted(change.name for change in diff.tensors) and 2 < len(groups) < 20


def test_names_with_zero_bytes_are_grouped_as_any_others() -> None:
    groups = grouped(["a\0.w", "a1.w", "a2.w", "a\0.v", "b.\0.3.w"], {})
    assert sorted(group.title for group in groups) == ["a\0", "a[1-2]", "b.\0.3.w"]


def test_what_is_hidden_is_counted_with_the_option_that_shows_it() -> None:
    old = {f"block{n}_{'abcdefgh'[n % 8]}.x.{n}.weight": np.ones((2, 2), "f4") for n in range(60)}
    lines = shown(old, {name: array * np.float32(1 + n / 100) for n, (name, array) in enumerate(old.items())})
    assert len(lines) < 40 or any("-v shows" in text for text in lines)


def test_numbers_have_three_digits() -> None:
    assert [short(v) for v in (0.0, 0.1234, 12.345, 0.00012345, 123456.0, None)] == [
        "0", "0.123", "12.3", "1.23e-04", "1.23e+05", "n/a",
    ]  # fmt: skip
    assert [cosine(v) for v in (1.0, 0.984, 0.99997, 1 - 2.5e-7)] == ["1", "0.984", "0.999970", "0.99999975"]


def test_bars_are_logarithmic_and_never_empty_for_a_size() -> None:
    screen = Screen(120)
    assert [width_of(bar(Bar(v), screen)) for v in (None, 0.0, 1e-9, 1e-2, 1.0, 50.0)] == [0, 0, 1, 8, 15, 15]
    assert bar(Bar(1e-2), Screen(120, unicode=False)) == "#" * 8
    assert spark(Spark((0.0, None, 1e-4, 1.0)), screen) == "_ ▁█"
    assert width_of(spark(Spark((0.1,) * 500), screen)) <= 32


def test_texts_are_cut_in_their_middle() -> None:
    assert cut("abcdefghij", 6, Screen()) == "ab…hij" and cut("abc", 6, Screen()) == "abc"
    assert width_of(cut("重み重み重み重み", 7, Screen())) <= 7


def test_columns_go_by_rank_where_there_is_little_room() -> None:
    columns = (Column("name", shrinks=True), Column("first", rank=2), Column("last", rank=1))
    table = Table(columns, ((Word("n" * 30), Word("x" * 20), Word("y" * 20)),), "1 more", indent=0)
    lines = present((table, line("done"), Labelled("L", ((Word("a"), Word("b")),))), Screen(50))
    assert "first" not in lines[0] and "last" in lines[0] and lines[2] == "1 more" and lines[4].strip() == "L  a  b"


def test_what_says_where_values_stand_is_a_row_too_and_has_no_size() -> None:
    """Indices of a sparse tensor, children of a tree: counted in the structure, so that they must be seen there."""

    def opened(nodes: int, first: int, more: tuple[str, ...] = ()) -> ArrayCheckpoint:
        names = ("tree.children", *more)
        checkpoint = ArrayCheckpoint({"w": np.ones(3, "f4")} | {n: np.arange(first, first + nodes) for n in names})
        for name in names:
            checkpoint.tensors[name] = replace(checkpoint.tensors[name], role="index")  # type: ignore[index]
        return checkpoint

    added = shown(opened(4, 0), opened(4, 0, ("other.children",)))
    assert "  STRUCTURE  +1" in added and "    +  other.children  [4]" in added
    assert any(line.split() == ["tree.children", "0", "changed"] for line in shown(opened(4, 0), opened(4, 1)))
    assert "    ~  tree.children  [4] -> [6]" in shown(opened(4, 0), opened(6, 0))


def test_a_long_path_loses_its_first_folders() -> None:
    screen = Screen(40)
    assert cut_path("a/" * 30 + "models/m.pt", 20, screen) == "…/a/a/a/models/m.pt"
    assert cut_path("x" * 30, 20, screen) == cut("x" * 30, 20, screen)


def test_a_cast_that_the_headline_tells_of_does_not_cut_the_names_of_rows() -> None:
    names = [f"encoder.layer.attention.{n}.weight" for n in ("query", "key", "value")]
    rng = np.random.default_rng(0)
    old = {name: rng.normal(size=(8, 8)).astype("f4") for name in names}
    half = {name: array.astype("f2") for name, array in old.items()}
    lines = shown(old, half, Screen(80))
    assert "CAST F32 -> F16" in lines[1] and sum("->" in text for text in lines) == 1
    assert all(any(name in text for text in lines) for name in names), lines
    for mixed in ({**half, names[0]: old[names[0]] * 2}, {**half, names[0]: old[names[0]].astype("f8")}):
        rows = [text for text in shown(old, mixed, Screen(80)) if "-> F16)" in text]
        assert len(rows) == 2, "which are cast is said where not all are, or not alike"
