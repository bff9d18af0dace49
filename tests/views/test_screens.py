"""Check, doctor and the gate on a terminal: the words of the text, in lines that fit; commands and paths stay whole."""

from __future__ import annotations

import re

import numpy as np
import pytest

from diffai import api
from diffai.comparison.checking import CheckResult
from diffai.comparison.result import CompareOptions
from diffai.git.doctor import Diagnosis, Finding, Group
from diffai.git.doctor_text import doctor_lines
from diffai.model import Problem
from diffai.policy.verdicts import GateReport, Verdict, Violation
from diffai.views.blocks import Labelled, Line, Word, said
from diffai.views.check import check_text
from diffai.views.gate_github import annotation_lines
from diffai.views.gate_markdown import document_head
from diffai.views.gate_text import gate_lines
from diffai.views.model_table import model_view
from diffai.views.overview import described, overview
from diffai.views.screen import Screen, cut_end, width_of
from diffai.views.terminal import present, present_plain

NARROW = Screen(60)
LONG = "models/" + "a-long-folder-name/" * 4 + "m.pt"


def words(lines: list[str]) -> list[str]:
    return re.findall(r"\S+", " ".join(lines))


def test_check_wraps_and_loses_no_word() -> None:
    problems = (
        Problem("PT03", "error", "a pickle that names os.system, which runs whatever its author chose when loaded", "a.b", 7),
        Problem("VAL01", "warning", "short"),
    )  # fmt: skip
    result = CheckResult("m.pt", "torch", 1200, 3, problems, None, True, "unsafe")
    text, shown = check_text(result), check_text(result, screen=NARROW)
    assert text[0] == "m.pt: 1 error, 1 warning (torch, 3 tensors, 1.2 kB)" and len(text) == 4
    assert text[2].startswith("  PT03   error   a.b: a pickle") and text[2].endswith(" at offset 7")
    assert words(text) == words(shown) and all(width_of(line) <= 60 for line in shown)


def diagnosis() -> Diagnosis:
    todo = Finding("todo", "the configured program does not start, so that git prints what it would without it",
                   "diffai install --global --include '*.a-suffix-that-is-long' --include '*.another'")  # fmt: skip
    return Diagnosis(("diffai 1",), "/r/" + LONG, (todo,), (), (Group("diffai", None, (LONG,), todo),), ())


def test_doctor_wraps_sentences_and_keeps_commands_and_paths_whole() -> None:
    text, shown = doctor_lines(diagnosis()), doctor_lines(diagnosis(), screen=NARROW)
    assert "  !!  the configured program does not start, so that git prints what it would without it" in text
    assert words(text) == words(shown)
    for line in text:
        if "install" in line or line.endswith(".pt"):
            assert line in shown
    assert all(width_of(line) <= 60 for line in shown if "install" not in line and ".pt" not in line)


def refused() -> GateReport:
    old = {"fc.weight": np.ones((4, 8), "f4"), "x": np.ones(40, "f4")}
    diff = api.compare(old, {**old, "fc.weight": np.ones((6, 8), "f4"), "x": old["x"] * np.float32(1.5)})
    broken = Violation("structure.reshaped", "forbid", "1 tensor reshaped", changes=diff.changes[:1], approvable=True)
    commands = {"approve": "diffai gate approve {path} --why '...'", "compare": "diffai HEAD:{path} :{path}",
                "skip": "DIFFAI_GATE=off git commit ..."}  # fmt: skip
    return GateReport("HEAD", "the index", verdicts=(Verdict(LONG, "changed", diff=diff, violations=(broken,)),),
                      commands=commands)  # fmt: skip


def test_the_gate_says_on_a_terminal_what_kind_of_change_it_refuses() -> None:
    text, shown = gate_lines(refused()), gate_lines(refused(), screen=Screen(100))
    assert not any("resized" in line for line in text)
    assert any(line.startswith("  resized (fc.weight 4 -> 6 rows)") for line in shown)
    approve = next(line for line in text if "approve" in line)
    assert approve in shown and approve.endswith("--why '...'")  # to be copied: neither cut nor wrapped
    assert set(words(text)) <= set(words(shown))


def test_a_row_of_a_pull_request_says_verdict_structure_size_kind() -> None:
    row = next(line for line in document_head(refused(), "x") if ".pt`" in line)
    cells = [cell.strip() for cell in row.split(" | ")]
    assert cells[0].endswith("refused: `structure.reshaped`") and cells[2] == "\\~1" and cells[3] == "+22.2%"
    assert "resized" in cells[5]
    assert "resized" in annotation_lines(refused())[0]


@pytest.mark.parametrize("screen", [Screen(40), Screen(40, color=True), Screen(40, unicode=False)])
def test_plain_and_screen_hold_the_same_words(screen: Screen) -> None:
    view = (said("! something is wrong with a thing that has a long name", "!", indent=1),
            Labelled("ok", ((Word("a sentence that is longer than the screen is wide"),),), wraps=True),
            Line((Word("a/path/that/is/longer/than/the/screen/of/40/columns"),), whole=True))  # fmt: skip
    bare = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in present(view, screen)]
    assert words(bare) == words(present_plain(view)) and len(present_plain(view)) == 3


def test_sentences_are_cut_at_their_end() -> None:
    assert cut_end("one two three", 8, Screen()) == "one two…" and cut_end("one", 8, Screen()) == "one"
    assert cut_end("日本語の文", 5, Screen()) == "日本…"


def test_an_update_over_less_than_half_of_the_parameters_is_no_figure_of_the_model() -> None:
    """One bias of a model whose every matrix was reshaped: the update of one parameter of 401 is not the model's."""
    old = {"w": np.ones((10, 10), "f4"), "b": np.ones(1, "f4")}
    diff = api.compare(old, {"w": np.ones((20, 20), "f4"), "b": np.zeros(1, "f4")}, CompareOptions(update_size=True))
    assert overview(diff).update == "n/c" and overview(diff).size is None
    assert "update size n/c" in described(overview(diff))
    assert any("over 1 of 401 parameters only" in line for line in present(model_view(diff), Screen(120)))
