"""The contract of every row of the table of analyses, on planted controls and on bad input."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from controls import CONTROLS
from model_pairs import BAD, PAIRS, transformer
from program import diffai as program
from safetensors.numpy import save_file

import diffai
from diffai.analyses.context import Context
from diffai.analyses.table import ANALYSES, GROUPS, Analysis, find, row_of
from diffai.comparison.result import ModelDiff
from diffai.errors import UsageError
from diffai.finding import SEVERITIES, Finding
from diffai.views.values import dump, finding

_SPEC = importlib.util.spec_from_file_location(
    "analysis_examples", Path(__file__).resolve().parents[2] / "docs" / "analysis_examples.py"
)
assert _SPEC is not None and _SPEC.loader is not None
EXAMPLES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(EXAMPLES)
PAGES = Path(__file__).resolve().parents[2] / "docs" / "analyses"
pytestmark = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
ROWS = pytest.mark.parametrize("row", ANALYSES, ids=lambda row: row.name)
FLAGS = [row for row in ANALYSES if row.help]
EVERY = tuple(row.name for row in ANALYSES)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Finding]]:
    """Of each control and bad pair, the findings by name, with everything asked for."""
    pairs = {**PAIRS, **{f"bad: {name}": pair for name, pair in BAD.items()}}
    for name, control in CONTROLS.items():
        pairs[f"control: {name}"] = control.sides(tmp_path_factory.mktemp("control"))
    return {
        name: {each.name: each for each in diffai.compare(old, new, analyses=EVERY).findings}
        for name, (old, new) in pairs.items()
    }


@ROWS
def test_a_row_names_a_module_and_what_it_needs(row: Analysis) -> None:
    assert callable(import_module(row.place).find)
    assert set(row.needs) <= {"diff", "norms", "training", "values", "siblings", "second pass", "history"}
    assert re.fullmatch("[a-z][a-z0-9_]*", row.name)
    assert not (row.automatic and row.second_pass), "what reads tensors again runs when asked"
    assert bool(row.siblings) == ("siblings" in row.needs)


@pytest.mark.parametrize("row", FLAGS, ids=lambda row: row.name)
def test_a_flag_has_help_and_a_group(row: Analysis) -> None:
    assert row.help.endswith(".") and row.help[0].isupper()
    assert row.group in GROUPS
    assert re.fullmatch("--[a-z][a-z0-9-]*", row.option)


@ROWS
def test_keys_are_sound(row: Analysis) -> None:
    for key in row.keys:
        assert re.fullmatch("[a-z][a-z0-9_]*", key.name) and key.what and key.what[0].islower()
        kinds = {"number": float, "count": int, "flag": bool, "text": str}
        assert type(key.default) is kinds[key.kind], key
    context = Context(row)
    read = {"number": context.number, "count": context.count, "flag": context.flag, "text": context.word}
    assert [read[key.kind](key.name) for key in row.keys] == [key.default for key in row.keys]


def test_names_and_options_are_unique() -> None:
    assert len({row.name for row in ANALYSES}) == len(ANALYSES)
    options = [row.option for row in FLAGS]
    assert len(set(options)) == len(options)


@pytest.mark.parametrize("row", FLAGS, ids=lambda row: row.name)
def test_an_analysis_has_a_page(row: Analysis) -> None:
    text = (PAGES / f"{row.name}.md").read_text("utf-8")
    for heading in ("## What it says", "## How it is computed", "## Example", "## What it cannot say"):
        assert f"\n{heading}\n" in text
    assert all(f"`{key.name}`" in text for key in row.keys)


@pytest.mark.parametrize("row", FLAGS, ids=lambda row: row.name)
def test_the_example_of_a_page_is_what_is_said(row: Analysis) -> None:
    """``python docs/analysis_examples.py`` writes them anew."""
    standing, fresh = EXAMPLES.refreshed(row.name)
    assert standing == fresh


@ROWS
def test_what_was_asked_for_is_answered(found: dict[str, dict[str, Finding]], row: Analysis) -> None:
    for pair, findings in found.items():
        said = findings[row.name]
        assert said.asked and said.severity in SEVERITIES and said.text and "\n" not in said.text, pair
        plain = finding(said)
        assert json.loads(dump(plain, "json")) == plain, pair  # which never has a NaN or Infinity token
        assert not any(isinstance(value, float) and not math.isfinite(value) for value in said.fields.values()), pair
        if None in said.fields.values() and said.status == "found":
            assert said.evidence, f"{pair}: a figure that is missing has its reason"


_BROKEN = {"deployment_readiness", "regression_test", "risk_assessment", "alert_on_degradation"}
_GROWN = {"regression_test", "risk_assessment"}
WARNED: dict[str, set[str]] = {
    "zeroing": {"look_first", "anomaly_detection", "risk_assessment", "review_friendly"},
    "NaN appeared": {"change_kind", "look_first", "non_finite", "convergence_analysis", "anomaly_detection", *_BROKEN,
                     "review_friendly"},
    "permutation": {"risk_assessment"},
    "re-initialised": {"risk_assessment"},
    "head resized": _BROKEN,
    "vocabulary extended": _BROKEN,
    "layers dropped": _GROWN,
    "adapter added": _GROWN,
    "worse metric": {"look_first", "regression_test", "risk_assessment", "alert_on_degradation", "review_friendly"},
}  # fmt: skip
"""Which analyses warn of what was done; of everything else none does."""


@pytest.mark.parametrize("pair", PAIRS)
def test_what_is_wrong_is_warned_of_and_nothing_else(found: dict[str, dict[str, Finding]], pair: str) -> None:
    assert {name for name, said in found[pair].items() if said.serious} == WARNED.get(pair, set())


@ROWS
def test_nothing_open_is_said_and_never_raised(row: Analysis) -> None:
    for old, new in [*PAIRS.values(), *BAD.values()][::4]:
        row.find(diffai.compare(old, new))
        row.find(diffai.compare(old, new, diffai.CompareOptions(shape_only=True)))


@ROWS
def test_headers_alone_are_answered(row: Analysis) -> None:
    old, new = PAIRS["noise"]
    (said,) = diffai.compare(old, new, diffai.CompareOptions(shape_only=True), analyses=[row.name]).findings
    assert said.text
    if row.second_pass:
        assert said.status == "not computed" and "headers" in said.text


def test_a_side_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    save_file(transformer(), tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"no model at all")
    failing = [word for name in EVERY for word in ("--fail-on", f"{name}:critical")]
    done = program("a.safetensors", "b.safetensors", *failing, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    for name in EVERY:
        assert f"+ {name}: not computed: a side could not be read" in done.stdout


def test_a_file_that_ends_during_the_second_pass_is_said(tmp_path: Path) -> None:
    """No analysis may turn bytes that are gone into a traceback or an invented figure."""
    from diffai.analyses.run import Asked, while_open
    from diffai.comparison.result import CompareOptions
    from diffai.errors import SourceError
    from diffai.formats.arrays import ArrayCheckpoint
    from diffai.model import TensorSpec
    from diffai.models.inputs import Input

    class Ended(ArrayCheckpoint):
        def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
            raise SourceError("model: ends at offset 7")

    old, new = PAIRS["noise"]
    diff = diffai.compare(old, new)
    run = while_open(Asked(frozenset(EVERY)))
    assert run is not None
    whole = run(diff, Input("a", ArrayCheckpoint(old)), Input("b", ArrayCheckpoint(new))).findings
    computed = {each.name for each in whole if each.status != "not computed"}
    said = run(diff, Input("a", Ended(old)), Input("b", Ended(new))).findings
    assert {each.name for each in said} == set(EVERY)
    lost = [each for each in said if each.status == "not computed" and each.name in computed]
    assert lost and all("ends at offset" in each.text for each in lost)
    assert CompareOptions().while_open is None


def test_an_unknown_analysis_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="'memory_analisis'; did you mean memory_analysis"):
        row_of("memory_analisis")
    with pytest.raises(UsageError, match="there is no analysis 'x'"):
        find(ModelDiff.__new__(ModelDiff), ["x"])


def test_without_a_flag_the_automatic_ones_speak_where_there_is_something_to_say() -> None:
    old, _ = PAIRS["noise"]
    assert [each.name for each in find(diffai.compare(old, old))] == []


def test_the_table_loads_no_numpy() -> None:
    code = "import sys, diffai.analyses.table, diffai.analyses.run; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_results_do_not_depend_on_what_ran_before() -> None:
    old, new = PAIRS["noise"]
    one = diffai.compare(old, new, analyses=EVERY).findings
    two = diffai.compare(old, new, analyses=EVERY).findings
    assert [finding(each) for each in one] == [finding(each) for each in two]
    assert np.array_equal(old["lm_head.weight"], transformer()["lm_head.weight"])
