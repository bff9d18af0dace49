"""Flags of analyses, their options, ``--base`` and ``--fail-on``, as users type them."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from gitrepo import Repo
from model_pairs import PAIRS, adapter, cast, noised, transformer
from program import diffai
from safetensors.numpy import save, save_file

from diffai.analyses.table import ANALYSES

FLAG = "--memory-analysis"
NAMES = ("old.safetensors", "new.safetensors")


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    for name, arrays in zip(NAMES, PAIRS["cast"], strict=True):
        save_file(arrays, tmp_path / name)
    return tmp_path


def validated(text: str, name: str) -> object:
    loaded = json.loads(text)
    jsonschema.validate(loaded, json.loads(resources.files("diffai.views").joinpath(f"{name}.schema.json").read_text()))
    return loaded


def test_a_flag_adds_a_line_behind_the_text(pair: Path) -> None:
    without, done = diffai(*NAMES, cwd=pair), diffai(*NAMES, FLAG, cwd=pair)
    assert done.returncode == 0 and done.stdout.startswith(without.stdout)
    (line,) = done.stdout.removeprefix(without.stdout).splitlines()
    assert line.startswith("+ memory_analysis: delta=-") and line.endswith(" (estimate)")


def test_details_come_with_v(pair: Path) -> None:
    assert "      weight_bytes=" in diffai(*NAMES, FLAG, "-v", cwd=pair).stdout


def test_the_change_list_holds_a_finding_only_when_its_flag_is_given(pair: Path) -> None:
    without = json.loads(diffai(*NAMES, "--output", "json", cwd=pair).stdout)
    failing = diffai(*NAMES, "--output", "json", "--fail-on", "memory_analysis:info", cwd=pair)
    assert json.loads(failing.stdout) == without and failing.returncode == 1
    records = validated(diffai(*NAMES, FLAG, "--output", "json", cwd=pair).stdout, "changes")
    assert isinstance(records, list) and records[:-1] == without
    (finding,) = records[-1]["MemoryAnalysis"]
    assert finding["name"] == "memory_analysis" and finding["status"] == "found"


def test_the_report_holds_automatic_findings_without_a_flag(pair: Path) -> None:
    report = validated(diffai(*NAMES, "--format", "json", cwd=pair).stdout, "report")
    assert isinstance(report, dict)
    assert "memory_analysis" in [finding["name"] for finding in report["findings"]]


@pytest.mark.parametrize("words", [("--format", "text"), ("--format", "table"), ("--format", "table", "-v"),
                                   ("--format", "markdown"), ("--format", "html"), ("--format", "json"),
                                   ("--output", "json"), ("--output", "yaml"), ("--stats",), ("--tensor-details",)])  # fmt: skip
def test_every_output_is_sorted_by_magnitude(tmp_path: Path, words: tuple[str, ...]) -> None:
    """``large`` holds most of the update, ``small`` moved farthest for its size."""
    old = {"large.weight": np.full((64, 64), 10, "f4"), "small.weight": np.ones(8, "f4")}
    new = {"large.weight": old["large.weight"] + 1, "small.weight": old["small.weight"] * 3}
    for name, arrays in zip(NAMES, (old, new), strict=True):
        save_file(arrays, tmp_path / name)

    def places(*more: str) -> list[int]:
        text = diffai(*NAMES, *words, *more, cwd=tmp_path).stdout
        start = max(text.find("<tbody"), text.find("rel L2"), 0)  # behind what is to be looked at first
        return [text.index(name, start) for name in ("large.weight", "small.weight")]

    assert places() == sorted(places())
    assert places("--sort-by-change-magnitude") != sorted(places("--sort-by-change-magnitude"))


def test_the_whole_report_holds_every_analysis_of_one_pass(pair: Path) -> None:
    done = diffai(*NAMES, "--generate-report", cwd=pair)
    assert done.stdout.startswith("## `old.safetensors`")
    asked = [row for row in ANALYSES if row.help and not row.second_pass]
    assert all(f"- `{row.name}` " in done.stdout for row in asked)
    records = json.loads(diffai(*NAMES, "--generate-report", "--output", "json", cwd=pair).stdout)
    assert {row.record for row in asked} <= {next(iter(record)) for record in records}
    assert done.returncode == 0


def test_markdown_output_is_the_format(pair: Path) -> None:
    assert (
        diffai(*NAMES, "--markdown-output", cwd=pair).stdout
        == diffai(*NAMES, "--format", "markdown", cwd=pair).stdout
    )  # fmt: skip


def test_auto_false_leaves_only_what_was_asked_for(pair: Path) -> None:
    (pair / ".diffai.toml").write_text("[analyses]\nauto = false\n")
    assert json.loads(diffai(*NAMES, "--format", "json", cwd=pair).stdout)["findings"] == []
    report = json.loads(diffai(*NAMES, FLAG, "--format", "json", cwd=pair).stdout)
    assert [finding["name"] for finding in report["findings"]] == ["memory_analysis"]


def test_markdown_and_the_page_have_a_section(pair: Path) -> None:
    markdown = diffai(*NAMES, FLAG, "--format", "markdown", cwd=pair).stdout
    assert "**FINDINGS**" in markdown and "- `memory_analysis` delta" in markdown
    assert "FINDINGS" not in diffai(*NAMES, "--format", "markdown", cwd=pair).stdout
    page = diffai(*NAMES, FLAG, "--format", "html", cwd=pair).stdout
    assert re.search(">memory_analysis</span></span>delta", page)
    assert "<summary>memory_analysis: what it rests on</summary>" in page
    assert "FINDINGS" in diffai(*NAMES, FLAG, "--format", "table", cwd=pair).stdout


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--fail-on", "memory_analysis:info"), 1),
        (("--fail-on", "memory-analysis:info", "-q"), 1),
        (("--fail-on", "memory_analysis"), 0),
        (("--fail-on", "memory_analysis", "-q"), 0),
        (("--fail-on", "memory_analysis", "-q", "--exit-code"), 1),
        (("--fail-on", "cast:info", "--fail-on", "non_finite"), 1),
        (("--fail-on", "non_finite:info"), 0),
    ],
)
def test_fail_on_decides_the_exit_code(pair: Path, words: tuple[str, ...], code: int) -> None:
    done = diffai(*NAMES, *words, cwd=pair)
    assert done.returncode == code and done.stderr == ""
    assert ("-q" in words) == (done.stdout == "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fail-on", "memory"), "--fail-on memory: there is no analysis 'memory'; did you mean memory_analysis?"),
        (("--fail-on", "cast:loud"), "--fail-on cast:loud: there is no severity 'loud'; there are info, notice"),
        (("--base", "old.safetensors"), "--base: names a third model for an analysis, and none was asked for"),
        ((FLAG, "--base", "missing.safetensors"), "missing.safetensors: no such file or directory"),
        (("--markdown-output", "--format", "json"), "--markdown-output takes the place of --format and --output"),
        (("--template", "brief.md", "--output", "json"), "--template takes the place of --format and --output"),
        (("--memory-analyse",), "no such option: --memory-analyse; did you mean --memory-analysis?"),
        (("--memory-optimization",), "no such option: --memory-optimization; --memory-analysis does that here"),
        (("--brief",), "no such option: --brief; --stat does that here"),
        (("--completions",), "no such option: --completions; diffai completion does that here"),
    ],
)
def test_what_cannot_be_asked_for_is_said(pair: Path, words: tuple[str, ...], said: str) -> None:
    done = diffai(*NAMES, *words, cwd=pair)
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""


def test_a_base_that_is_no_model_is_said(pair: Path) -> None:
    (pair / "notes.txt").write_text("nothing")
    done = diffai(*NAMES, FLAG, "--base", "notes.txt", cwd=pair)
    assert done.returncode == 2 and done.stderr.startswith("diffai: --base notes.txt: ")


def test_the_help_groups_the_flags() -> None:
    text = diffai("diff", "--help").stdout
    heading = text.index("Analyses: Architecture and performance:")
    assert text.index("Options:") < heading < text.index(FLAG)


def test_one_line_a_model_and_its_findings(pair: Path, tmp_path: Path) -> None:
    lines = diffai(*NAMES, "--stat", FLAG, cwd=pair).stdout.splitlines()
    assert len(lines) == 2 and lines[1].startswith("+ memory_analysis: delta=-")
    for name in "ab":
        (tmp_path / name).mkdir()
    for folder, name in zip("ab", NAMES, strict=True):
        (tmp_path / folder / "m.safetensors").write_bytes((pair / name).read_bytes())
    lines = diffai("a", "b", "--stat", FLAG, cwd=tmp_path).stdout.splitlines()
    assert lines[1].startswith("+ m.safetensors: memory_analysis: delta=-")


def test_options_come_from_the_configuration(pair: Path) -> None:
    (pair / ".diffai.toml").write_text("[analyses.memory_analysis]\ntraining_bytes = 0\n")
    done = diffai(*NAMES, FLAG, cwd=pair)
    assert "training_est=0 B" in done.stdout and "! " not in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[analyses.zzz]\nx = 1\n", ".diffai.toml:2: unknown key zzz in [analyses]; there are auto, "),
        ("[analyses.memory_analysi]\n", ".diffai.toml:1: unknown key memory_analysi in [analyses]; did you mean memory_"),
        ("[analyses.memory_analysis]\ntraining = 1\n", "unknown key training in [analyses.memory_analysis]; did you mean "),
        ("[analyses.memory_analysis]\ntraining_bytes = -1\n", "must be a finite number of at least 0, not -1"),
        ("[analyses.cast]\nx = 1\n", ".diffai.toml:2: unknown key x in [analyses.cast], which has no keys"),
    ],
)  # fmt: skip
def test_a_wrong_name_or_key_is_an_error(pair: Path, text: str, said: str) -> None:
    (pair / ".diffai.toml").write_text(text)
    done = diffai(*NAMES, cwd=pair)  # whether or not it is asked for
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""


def test_a_third_model_is_counted_with_an_adapter(tmp_path: Path) -> None:
    for name, arrays in (("a", adapter()), ("b", noised(adapter())), ("base", transformer())):
        save_file(arrays, tmp_path / f"{name}.safetensors")
    files = ("a.safetensors", "b.safetensors", FLAG)
    assert "gpu_est=not recorded" in diffai(*files, cwd=tmp_path).stdout
    assert "gpu_est=160 kB" in diffai(*files, "--base", "base.safetensors", cwd=tmp_path).stdout


def test_directories_and_revisions_have_findings_of_each_model(repo: Repo) -> None:
    old, new = transformer(), cast(transformer())
    repo.commit({name: save(old) for name in ("a.safetensors", "b.safetensors", "c.safetensors")})
    repo.commit({name: save(new) for name in ("a.safetensors", "b.safetensors")})
    done = diffai("HEAD~1..HEAD", FLAG, cwd=repo.top)
    assert done.stdout.count("+ memory_analysis: delta=-65.8 kB") == 2
    one = diffai("HEAD~1", "HEAD", FLAG, "--", "a.safetensors", cwd=repo.top)
    assert one.stdout.count("+ memory_analysis: delta=-65.8 kB") == 1
    word = diffai("HEAD~1:a.safetensors", "a.safetensors", FLAG, "--fail-on", "memory_analysis:info", cwd=repo.top)
    assert word.stdout.count("+ memory_analysis") == 1 and word.returncode == 1
    records = validated(diffai("HEAD~1..HEAD", FLAG, "--output", "json", cwd=repo.top).stdout, "changes")
    assert isinstance(records, list)
    assert [r["MemoryAnalysis"][0]["file"] for r in records if "MemoryAnalysis" in r] == ["a.safetensors", "b.safetensors"]
