"""Where analyses run: remembered second passes, loosened thresholds, what is open and what is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gitrepo import Repo
from model_pairs import PAIRS
from safetensors.numpy import save

import diffai
from diffai.analyses import memory, options, run
from diffai.analyses.context import Context
from diffai.analyses.options import analysis_options
from diffai.analyses.run import Asked, while_open
from diffai.analyses.table import Analysis, Key
from diffai.comparison.request import compare_words
from diffai.comparison.result import CompareOptions, ModelDiff
from diffai.config import load_settings
from diffai.errors import SourceError
from diffai.finding import Finding
from diffai.formats.base import Limits

ROW = Analysis(
    "counted", "memory", automatic=False, needs=("second pass", "siblings"), siblings=("config.json",),
    keys=(Key("most", 3.0, "a threshold", looser="higher"), Key("least", 2.0, "another", looser="lower")),
)  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Asked]:
    """An analysis of one row, whose calls are counted in its finding."""
    calls: list[int] = []

    def find(_diff: ModelDiff, context: Context) -> Finding:
        calls.append(1)
        context.cap("one cap acted")
        return Finding("counted", "info", "fact", {"calls": len(calls), "rows": ({"a": 1.5, "b": None},)}, ("e",), "t")

    monkeypatch.setattr(memory, "find", find)
    for module in (run, options):
        monkeypatch.setattr(module, "ANALYSES", (ROW,))
    return lambda **rest: Asked(frozenset(["counted"]), **rest)


@pytest.fixture
def large(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    monkeypatch.chdir(repo.top)
    rng = np.random.default_rng(0)
    for number in (1, 2):
        model = save({"w": rng.normal(size=(400, 400)).astype("f4")})
        repo.commit({"m.safetensors": model, "config.json": str(number)})
    return repo


def found(old: str, new: str, asked: Asked, **rest: Any) -> Finding:
    diff = compare_words(old, new, CompareOptions(while_open=while_open(asked), **rest), Limits())
    assert isinstance(diff, ModelDiff)
    (finding,) = diff.findings
    return finding


def test_a_second_pass_over_the_same_contents_is_remembered(large: Repo, asked: Callable[..., Asked]) -> None:
    sides = ("HEAD~1:m.safetensors", "HEAD:m.safetensors")
    first = found(*sides, asked(cache_size=1 << 20))
    assert first.fields["calls"] == 1 and first.notes == ("one cap acted",)
    assert found(*sides, asked(cache_size=1 << 20)) == first
    assert found(*sides, asked()).fields["calls"] == 2  # without a cache
    assert found(*sides, asked(cache_size=1 << 20), filter="w").fields["calls"] == 3  # another question
    other = asked(cache_size=1 << 20, options=options.AnalysisOptions({"counted": {"most": 4.0}}))
    assert found(*sides, other).fields["calls"] == 4
    large.commit({"config.json": "3"})  # another file beside the same models
    assert found("HEAD~2:m.safetensors", "HEAD~1:m.safetensors", asked(cache_size=1 << 20)) == first
    assert found("HEAD~2:m.safetensors", "HEAD:m.safetensors", asked(cache_size=1 << 20)).fields["calls"] == 5


def test_what_nothing_names_is_not_remembered(large: Repo, asked: Callable[..., Asked]) -> None:
    sides = ("HEAD~1:m.safetensors", "m.safetensors")  # a file of the work tree
    assert [found(*sides, asked(cache_size=1 << 20)).fields["calls"] for _ in range(2)] == [1, 2]


def test_headers_alone_are_no_second_pass(large: Repo, asked: Callable[..., Asked]) -> None:
    said = found("HEAD~1:m.safetensors", "HEAD:m.safetensors", asked(), shape_only=True)
    assert said.status == "not computed" and "only headers were read" in said.text


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("most = 3.5", ("threshold most = 3.5 (default 3) is set by .diffai.toml:2",)),
        ("most = 2", ()),
        ("least = 1", ("threshold least = 1 (default 2) is set by .diffai.toml:2",)),
        ("least = 9", ()),
    ],
)
def test_a_threshold_that_a_committed_file_loosens_is_named(
    tmp_path: Path, asked: Callable[..., Asked], text: str, notes: tuple[str, ...]
) -> None:
    (tmp_path / ".diffai.toml").write_text(f"[analyses.counted]\n{text}\n")
    settings = load_settings(str(tmp_path), root=str(tmp_path))
    run_ = while_open(asked(options=analysis_options(settings)))
    diff = diffai.compare(*PAIRS["noise"], CompareOptions(while_open=run_))
    assert diff.findings[0].notes[1:] == notes
    named = load_settings(str(tmp_path), root=str(tmp_path), file=str(tmp_path / ".diffai.toml"))
    assert analysis_options(named).loosened == ()  # --config: the user named it
    trusted = load_settings(str(tmp_path), root=str(tmp_path), git_config={"trustrepository": ["true"]})
    assert analysis_options(trusted).loosened == ()


def test_no_bar_is_left_standing(asked: Callable[..., Asked], monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison's ends before the analysis begins, and that one's when it has ended, however it did."""
    said: list[tuple[str, int, int]] = []

    def bar(name: str) -> Callable[[int, int], None]:
        return lambda done, whole: said.append((name, done, whole))

    def find(_diff: ModelDiff, context: Context) -> Finding:
        context.progress(1, 3)
        raise SourceError("m: ends at offset 3")

    monkeypatch.setattr(memory, "find", find)
    run_ = while_open(asked(progress=bar))
    diff = diffai.compare(*PAIRS["noise"], CompareOptions(while_open=run_), progress=bar("comparing"))
    assert said[-3:] == [("comparing", 1, 1), ("counted", 1, 3), ("counted", 1, 1)]
    assert diff.findings[0].status == "not computed"


def test_without_a_name_nothing_runs() -> None:
    assert while_open(Asked()) is None


def test_automatic_ones_run_once() -> None:
    diff = diffai.compare(*PAIRS["cast"], CompareOptions(while_open=while_open(Asked(automatic=True))))
    assert diff.analysed and not any(each.asked for each in diff.findings)
    names = [each["name"] for each in diffai.report(diff)["findings"]]
    assert names == [each.name for each in diff.findings] and "cast" in names
    assert diffai.render_text(diff) == diffai.render_text(diffai.compare(*PAIRS["cast"]))
