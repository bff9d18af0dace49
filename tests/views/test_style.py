from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffai.views import style


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fc1.weight", "fc1.weight"),
        ("gewicht.größe", "gewicht.größe"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
        ("a\ud800b", "a\\ud800b"),
        ("back\\slash", "back\\slash"),
        ("back\\slash\n", "back\\\\slash\\n"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert style.escape(text) == shown


def test_a_long_name_is_cut_and_its_length_said() -> None:
    shown = style.escape("x" * 10_000)
    assert len(shown) < 240
    assert shown.endswith("(10,000 characters)")
    assert style.escape("x" * 10_000, longest=0) == "x" * 10_000


@given(st.text())
def test_escaped_text_is_one_printable_line(text: str) -> None:
    shown = style.escape(text)
    assert all(c.isprintable() or c == "\u3000" for c in shown)
    shown.encode("utf-8")


@given(st.text(max_size=50), st.text(max_size=50))
def test_escaping_never_makes_two_names_one(a: str, b: str) -> None:
    escaped = style.escape(a, longest=0), style.escape(b, longest=0)
    if a != b and "\\" not in a + b:
        assert escaped[0] != escaped[1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0018, "0.0018"),
        (0.0, "0.0000"),
        (-17.853, "-17.8530"),
        (1.2e-7, "1.2e-07"),
        (3.4e38, "3.4e+38"),
        (12, "12"),
        (None, "n/a"),
    ],
)
def test_number(value: float | int | None, text: str) -> None:
    assert style.number(value) == text


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (0.0018, 0.0017, "0.0018->0.0017"),
        (0.000969, 0.001969, "0.000969->0.001969"),
        (0.01980001, 0.01980111, "0.0198->0.0198011"),
        (0.5, 0.5 + 1e-9, "0.5000->0.5000"),
        (None, 1.0, "n/a->1.0000"),
    ],
)
def test_transition(old: float | None, new: float | None, text: str) -> None:
    assert style.transition(old, new) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 10, "0%"),
        (10, 10, "100%"),
        (1, 10**9, "1e-07%"),
        (10**9 - 1, 10**9, ">99.9%"),
        (943, 1000, "94.3%"),
        (0, 0, "0%"),
    ],
)
def test_percent_never_rounds_to_none_or_all(part: int, whole: int, text: str) -> None:
    assert style.percent(part, whole) == text


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [(10, 10, "0% change"), (1000, 1024, "+2.4% change"), (10**9, 10**9 + 1, "+1e-07% change"), (0, 5, "new"),
     (112_576, 49, "-99.96% change"), (10**9, 1, "-99.9999999% change"), (5, 0, "-100.0% change")],
)
def test_change_percent(old: int, new: int, text: str) -> None:
    assert style.change_percent(old, new) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (4_100_000_000, "4.1 GB"), (-1, "unknown size")]
)
def test_size(count: int, text: str) -> None:
    assert style.size(count) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::add-mask::x", "\\x3a:add-mask::x"),
        ("  ::error::x\n", "  \\x3a:error::x\\n"),
        ("a::b", "a::b"),
        ("x ##vso[task.setvariable]y ##teamcity[z] ## plain", "x #\\x23vso[task.setvariable]y #\\x23teamcity[z] ## plain"),
        ("x##[group]y##[endgroup]", "x#\\x23[group]y#\\x23[endgroup]"),
    ],
)
def test_no_name_is_a_command_of_a_ci(text: str, shown: str) -> None:
    assert style.escape(text) == shown


def test_each_painted_line_is_reset_by_itself() -> None:
    assert style.paint("+ x", "+", True) == "\x1b[32m+ x\x1b[m"
    assert style.paint("+ x", "+", False) == "+ x"
