"""Drawings as SVG, as signs of a terminal, and in Markdown: the same figures, small, and inert whatever names hold."""

from __future__ import annotations

import re
import xml.dom.minidom

import numpy as np
import pytest

from diffai import api
from diffai.comparison.result import CompareOptions
from diffai.finding import Finding
from diffai.frozen import replace
from diffai.views.blocks import Bars, Chart, Curve, Drawing, Histogram
from diffai.views.charts import charts, counted
from diffai.views.markdown import present_markdown
from diffai.views.scale import sparkline
from diffai.views.screen import Screen, width_of
from diffai.views.svg import document, drawing
from diffai.views.terminal import present, present_plain

HOSTILE = "</svg><script>alert(1)</script>\x1b[31m\u202e&\"'"


def chart(places: int, parts: int = 3, name: str = "layers.0") -> Chart:
    values = tuple(None if n == 1 else 0.0 if n == 2 else 0.1 * n for n in range(places))
    rows = tuple(Curve(f"{name}{row}", values) for row in range(parts))
    days = tuple(f"2024-01-{n:02}" for n in range(places))
    return Chart("m.pt", days, tuple(f"c{n} {name}" for n in range(places)), (Curve("update", values, name),), rows, "by layer")


HISTOGRAM = Histogram("w", (-1.0, 0.0, 1.0, 2.0), (1, 2, 1), (0, 1, 3), "KS 0.5")
BARS = Bars("Change per layer", (("a.weight", 0.5, "0.5 (99%)"), ("b", None, "=")), "logarithmic")


@pytest.mark.parametrize("block", [chart(7), chart(300, 40), BARS, HISTOGRAM, replace(HISTOGRAM, old=()), chart(1, 0)])
def test_every_drawing_is_xml_without_script_in_a_page_and_in_a_file(block: Drawing) -> None:
    for text in (drawing(block), document([block, block])):
        xml.dom.minidom.parseString(text)
        assert "NaN" not in text and "inf" not in text


@pytest.mark.parametrize("block", [chart(4, 2, HOSTILE), Bars(HOSTILE, ((HOSTILE, 0.1, HOSTILE),), HOSTILE),
                                   replace(HISTOGRAM, title=HOSTILE, note=HOSTILE)])  # fmt: skip
def test_names_are_nothing_but_text(block: Drawing) -> None:
    for text in (drawing(block), document([block])):
        found = xml.dom.minidom.parseString(text)
        assert not found.getElementsByTagName("script")
        assert not re.search("[\x1b\u202e]", text)
    for lines in (present((block,), Screen(80)), present_plain((block,)), present_markdown((block,))):
        assert not re.search("[\x1b\u202e]", "".join(lines))


def test_a_map_of_many_marks_is_small_and_one_of_few_says_each_figure() -> None:
    assert drawing(chart(7)).count("<title>c") == 6 and drawing(chart(7)).count("<title>layers.00, ") == 6
    many = drawing(chart(1000, 40))
    assert many.count("<title>layers") == 0 and len(many) < 1_200_000 and many.count("<path") < 60


def test_a_gap_is_a_gap_and_a_zero_is_seen() -> None:
    text = drawing(chart(7, 0))
    assert text.count("<polyline") == 2 and text.count("<circle") == 6
    assert 'fill="currentColor" fill-opacity="0.06"' in drawing(chart(7, 1))


def test_a_terminal_shows_curves_of_three_figures_and_more_within_its_width() -> None:
    lines = present((chart(300),), Screen(60))
    assert len(lines) == 1 and lines[0].startswith("update  ") and width_of(lines[0]) <= 60
    assert present((chart(3),), Screen(60)) == []
    assert present((chart(9),), Screen(60, unicode=False))[0].isascii()
    assert len(present_plain((chart(300),))[0]) > 300  # a file is as wide as it is


def test_a_histogram_and_bars_at_a_terminal() -> None:
    assert present((HISTOGRAM,), Screen(80)) == ["w", "old  ▄█▄", "new  ▁▃█", "     -1.0000 .. 2.0000  (KS 0.5)"]
    lines = present((BARS,), Screen(80))
    assert lines[0] == "Change per layer" and "████" in lines[1] and lines[1].endswith("0.5 (99%)")
    assert sparkline([1.0, None, 2.0], levels=".:-=+*#@") == "= @"


def test_charts_of_a_comparison_are_bars_and_the_histograms_that_were_counted() -> None:
    old = {"a.weight": np.ones((4, 4), "f4"), "b.weight": np.ones(4, "f4")}
    diff = api.compare(old, {**old, "a.weight": np.full((4, 4), 2, "f4")}, CompareOptions(update_size=True))
    assert [type(block) for block in charts(diff)] == [Bars]
    row = {"name": "a.weight", "ks": 1.0, "psi": 9.0, "js": 1.0, "edges": (0.0, 1.0, 2.0), "old": (16, 0), "new": (0, 16)}
    found = Finding("show_distribution", "info", "fact", {"histograms": (row,)}, (), "1 shifted")
    both = replace(diff, findings=(found,))
    assert [type(block) for block in charts(both)] == [Bars, Histogram]
    assert counted(both)[0].new == (0, 16) and counted(both)[0].note == "ks=1, psi=9, js=1"
