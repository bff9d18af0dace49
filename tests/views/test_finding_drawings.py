"""What findings have to draw: histograms under ``-v`` and on the page, the likeness of layers as a heat map."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from model_pairs import PAIRS
from program import diffai as program
from safetensors.numpy import save_file

import diffai
from diffai.views import svg
from diffai.views.blocks import Chart, Histogram
from diffai.views.findings import drawings, finding_lines


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, arrays in zip(("old", "new"), PAIRS["pruning"], strict=True):
        save_file(arrays, tmp_path / f"{name}.safetensors")
    return tmp_path


def test_verbose_text_has_a_row_of_bars_a_side() -> None:
    diff = diffai.compare(*PAIRS["pruning"], analyses=["show_distribution"])
    lines = [line.strip() for _, line in finding_lines(diff, verbose=True)]
    place = next(n for n, line in enumerate(lines) if line.startswith("old  "))
    assert lines[place - 1] == diff.findings[0].fields["most"]
    assert len(lines[place].split()[1]) == len(lines[place + 1].split()[1]) == 32
    assert not any(line.startswith("old  ") for _, line in finding_lines(diff))


def test_markdown_has_them_in_code_spans(files: Path) -> None:
    done = program("old.safetensors", "new.safetensors", "--show-distribution", "-v", "--format", "markdown", cwd=files)
    assert re.search(r"^- `lm_head.weight`: old `[▁-█]{32}`, new `[▁-█]{32}`, -0\.\d+ \.\. 0\.\d+$", done.stdout, re.M)


def test_likeness_is_a_heat_map_on_a_scale_from_zero_to_one() -> None:
    diff = diffai.compare(*PAIRS["layers dropped"], analyses=["similarity_matrix"])
    (chart,) = drawings(diff)
    assert isinstance(chart, Chart) and chart.shares
    assert (len(chart.heat), len(chart.heat[0].values)) == (23, 16)
    drawn = svg.drawing(chart)
    assert drawn.count("<rect") == 23 * 16
    assert 'fill-opacity="1.00"' in drawn


def test_charts_ask_for_what_they_draw(files: Path) -> None:
    done = program("old.safetensors", "new.safetensors", "--include-charts", "--format", "html", cwd=files)
    assert done.returncode == 0, done.stderr
    labels = re.findall('<svg role="img" aria-label="([^"]*)"', done.stdout)
    assert "lm_head.weight" in labels
    assert any(label.startswith("How alike layers are") for label in labels)


def test_nothing_is_drawn_of_what_was_not_asked() -> None:
    assert drawings(diffai.compare(*PAIRS["pruning"], analyses=["bit_distance"])) == ()
    histograms = drawings(diffai.compare(*PAIRS["pruning"], analyses=["show_distribution"]))
    assert len(histograms) == 23 and all(isinstance(block, Histogram) for block in histograms)
