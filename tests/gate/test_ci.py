"""``diffai ci``: what it writes, under which size, and what GitHub and GitLab make of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gating import diffai, gate, model
from gitrepo import Repo, lfs_pointer

from diffai import api
from diffai.policy.verdicts import GateReport, Verdict, Violation
from diffai.views.gate_markdown import limited

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def branch(repo: Repo) -> Repo:
    """Of main and ``work``, which changes four models in four ways."""
    repo.commit({f"{name}.safetensors": model(4) for name in ("bad", "good", "gone", "nan", "lfs")})
    repo.git("checkout", "-q", "-b", "work")
    repo.git("rm", "-q", "gone.safetensors")
    repo.commit({
        "bad.safetensors": model(5), "good.safetensors": model(4, scale=2), "nan.safetensors": model(4, nan=True),
        "lfs.safetensors": lfs_pointer("0" * 64, 123),
    })  # fmt: skip
    return repo


def test_every_output_of_one_run(branch: Repo, tmp_path: Path) -> None:
    summary, comment, output = tmp_path / "s.md", tmp_path / "c.md", tmp_path / "out"
    summary.write_text("before\n")
    done = diffai(
        "ci", "--base", "main", "--summary", summary, "--comment", comment, "--json", tmp_path / "r.json",
        "--code-quality", tmp_path / "q.json", cwd=branch.top,
        env={"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(output)},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr  # one could not be judged
    values = dict(line.split("=") for line in output.read_text().splitlines())
    assert values == {"result": "not-judged", "models": "5", "refused": "2", "warned": "1", "approved": "0",
                      "not-judged": "1", "structure-changes": "5", "param-diff": "-25"}, values  # fmt: skip
    assert summary.read_text().startswith("before\n## Model changes\n")
    assert comment.read_text().startswith("<!-- diffai-ci -->\n## Model changes\n")
    rows = [line for line in comment.read_text().splitlines() if "`bad.safetensors` |" in line]
    assert len(rows) == 1 and rows[0].startswith("| ❌ refused: `structure.reshaped`"), rows
    assert "| \\~2 | +10.7% |" in rows[0] and "resized" in rows[0]
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["schema"] == "diffai.gate/1" and report["exit_code"] == 2
    lines = [line for line in done.stdout.splitlines() if line.startswith("::")]
    assert len(lines) == 4
    assert [line.partition(" ")[0] for line in lines].count("::error") == 3
    start = "::error file=bad.safetensors,title=diffai%3A refused::structure.reshaped: 2 tensors reshaped"
    assert any(line.startswith(start) for line in lines)
    quality = json.loads((tmp_path / "q.json").read_text())
    assert {entry["location"]["path"] for entry in quality} == {
        "bad.safetensors", "nan.safetensors", "gone.safetensors", "lfs.safetensors",
    }  # fmt: skip
    assert len({entry["fingerprint"] for entry in quality}) == len(quality)
    assert {entry["severity"] for entry in quality} == {"critical", "minor"}


def test_the_report_keeps_its_schema(branch: Repo) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / "diffai" / "views" / "gate.schema.json").read_text())
    for words in ((), ("--base", "main")):
        report = json.loads(gate(branch, *words, "--format", "json").stdout)
        jsonschema.Draft202012Validator(schema).validate(report)


def test_sizes_are_kept_and_omissions_said(repo: Repo, tmp_path: Path) -> None:
    many = tuple(f"adapter.{n}.weight" for n in range(150))
    repo.commit({f"m{n:03}.safetensors": model(4) for n in range(40)})
    repo.commit({f"m{n:03}.safetensors": model(5, extra=many, scale=2) for n in range(40)})
    comment = tmp_path / "c.md"
    assert diffai("ci", "--base", "HEAD~1", "--comment", comment, cwd=repo.top).returncode == 1
    text = comment.read_text()
    assert len(text.encode()) <= 40_000 and all(f"`m{n:03}.safetensors`" in text for n in range(40))


@pytest.mark.parametrize("most", [4_000, 9_000, 30_000])
def test_of_what_has_no_room_whole_sections_are_left_out_aloud(most: int) -> None:
    old = {f"part{n}.weight": np.ones((4, 4), "f4") for n in range(12)}
    diff = api.compare(old, {name: values * np.float32(2 + n) for n, (name, values) in enumerate(old.items())})
    broken = Violation("frozen", "forbid", "12 tensors changed, though frozen", changes=diff.changes)
    verdicts = tuple(Verdict(f"m{n:02}.pt", "changed", diff=diff, violations=(broken,)) for n in range(40))
    text = limited(GateReport("a", "b", verdicts=verdicts), most, title="x")
    assert len(text.encode()) <= max(most, 7_000)  # the row of every model stays
    assert f"left out to keep this under {most:,} bytes" in text
    assert text.count("<details>") == text.count("</details>") and all(f"`m{n:02}.pt`" in text for n in range(40))


def test_a_comment_on_twenty_models_is_read_in_a_minute(repo: Repo, tmp_path: Path) -> None:
    """Under 20 kB, the row of each model first, the refused ones at the top, at most 15 rows of details each."""
    many = tuple(f"adapter.{n}.weight" for n in range(150))
    repo.commit({f"m{n:02}.safetensors": model(4, extra=many) for n in range(20)})
    repo.commit({f"m{n:02}.safetensors": model(4 if n < 17 else 5, extra=many, scale=2) for n in range(20)})
    comment, summary = tmp_path / "c.md", tmp_path / "s.md"
    assert diffai("ci", "--base", "HEAD~1", "--comment", comment, "--summary", summary, cwd=repo.top).returncode == 1
    for text in (comment.read_text(), summary.read_text()):
        assert len(text.encode()) <= 20_000
        head, *details = text.split("<details>")
        rows = [line for line in head.splitlines() if ".safetensors`" in line]
        assert len(rows) == 20 and [row.startswith("| ❌ refused") for row in rows] == [True] * 3 + [False] * 17
        for each in details:
            tables = re.findall(r"^\|.*\n\|[-|:]+\n((?:\|.*\n)*)", each, re.MULTILINE)
            assert 1 <= sum(table.count("\n") for table in tables) <= 15


ZEROS = "0" * 40


def judged(repo: Repo, folder: Path, *words: str, **env: str) -> tuple[Any, Any, dict[str, str]]:
    """(the process, the report, the output values) of a run that must leave all its files behind."""
    names = {"--summary": "s.md", "--comment": "c.md", "--json": "r.json", "--code-quality": "q.json", "--output": "o"}
    for name in names.values():
        (folder / name).unlink(missing_ok=True)
    files = [word for option, name in names.items() for word in (option, str(folder / name))]
    done = diffai("ci", *words, *files, "--annotations", cwd=repo.top, env=env)
    report = json.loads((folder / "r.json").read_text())
    values = dict(line.split("=") for line in (folder / "o").read_text().splitlines())
    if report["failure"]:
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert all("NOT JUDGED" in (folder / name).read_text() for name in ("s.md", "c.md", "q.json"))
        assert "No model changed" not in (folder / "c.md").read_text() and values["result"] == "not-judged"
        assert "::error title=diffai::NOT JUDGED: " in done.stdout
    return done, report, values


def validate(report: object) -> None:
    import jsonschema

    schema = json.loads((ROOT / "diffai" / "views" / "gate.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(report)


def test_a_shallow_clone_leaves_not_judged_behind(branch: Repo, tmp_path: Path) -> None:
    shallow = branch.clone(tmp_path / "shallow", "--depth", "1", "--branch", "work", "--no-single-branch")
    done, report, _ = judged(shallow, tmp_path, "--base", "origin/main")
    assert "shallow" in report["failure"] and "fetch-depth: 0" in done.stderr
    validate(report)


@pytest.mark.parametrize("words", [(), ("--base", ""), ("--base", "nowhere"), ("--base", "main", "--config", "gone")])
def test_whatever_stops_it_is_left_behind(branch: Repo, tmp_path: Path, words: tuple[str, ...]) -> None:
    _, report, _ = judged(branch, tmp_path, *words)
    assert report["failure"] and report["result"] == "not judged" and report["models"] == []


def test_a_new_branch_is_judged_from_the_default_branch_by_its_policy(branch: Repo, tmp_path: Path) -> None:
    branch.commit({".diffai.toml": "[gate]\nstructure = 'allow'\nforbid_nan = false\n"})  # what is pushed weakens
    branch.git("branch", "loose", "work~1")
    clone = branch.clone(tmp_path / "clone", "--branch", "work")
    for words, env in (
        (("origin/main", "main"), {}), (("origin/main", ""), {"CI_DEFAULT_BRANCH": "main"}),
        (("origin/main", ""), {"DIFFAI_DEFAULT_BRANCH": "main"}), (("origin/main", ""), {"GITHUB_EVENT_PATH": "e"}),
    ):  # fmt: skip
        clone.git("remote", "set-head", "origin", *([words[1]] if words[1] else ["--delete"]))
        (clone.top / "e").write_text('{"repository": {"default_branch": "main"}}')
        _, report, _ = judged(clone, tmp_path, "--base", ZEROS, **env)
        assert report["failure"] is None and report["counts"]["refused"] == 2 and words[0] in report["old"]
        assert not report["policy"]


def test_a_new_branch_without_a_known_default_is_not_judged(branch: Repo, tmp_path: Path) -> None:
    _, report, _ = judged(branch, tmp_path, "--base", ZEROS)  # no remote at all
    assert "default branch" in report["failure"]
    branch.git("checkout", "-q", "main")
    clone = branch.clone(tmp_path / "clone")  # the first push of the default branch itself
    _, report, _ = judged(clone, tmp_path, "--base", ZEROS)
    assert "origin/main itself" in report["failure"]
    clone.git("checkout", "-q", "-b", "release")
    _, report, _ = judged(clone, tmp_path, "--base", ZEROS)
    assert report["failure"] is None and report["models"] == []


def test_an_empty_base_is_no_question_about_the_index(branch: Repo) -> None:
    done = gate(branch, "--base", "")
    assert done.returncode == 2 and "--base is empty" in done.stderr


def test_no_output_holds_control_bytes_or_commands(repo: Repo, tmp_path: Path) -> None:
    evil = ("::add-mask::x", "  ::stop-commands::y", "a##[group]b", "c\x1b[2Jd\r::error::e", "f\u202eg")
    first = {"::m.safetensors": model(4, metadata={"k": "::add-mask::x"}), "n.pt": "x"}
    changed = model(5, nan=True, extra=evil, metadata={"k": "::set-output::z", "::l\x1b": "##[error]v"})
    second = {"::m.safetensors": changed, "##[group]\x1b.safetensors": changed, "n.pt": "::add-mask::y"}
    for files in ({**first, ".diffai.toml": "[gate]\nmetadata = 'forbid'\n"}, second):
        repo.write(files)
        repo.git("add", "-A")
        repo.git("commit", "-q", "-m", "x")
    outputs = [gate(repo, "--base", "HEAD~1", "--format", name).stdout for name in ("text", "json", "markdown", "github")]
    outputs.append(gate(repo, "approve", "./::m.safetensors", "--why", "::add-mask::w", "--base", "HEAD~1").stdout)
    outputs.append(gate(repo, "approve", "--list").stdout)
    done, _, _ = judged(repo, tmp_path, "--base", "HEAD~1")
    outputs += [done.stdout, *((tmp_path / name).read_text() for name in ("s.md", "c.md", "r.json", "q.json", "o"))]
    assert all("REFUSED" in text or "refused" in text for text in (outputs[0], outputs[2], outputs[3]))
    for text in outputs:
        data = text.startswith("{")  # JSON escapes what would act; the rest is data
        assert not [c for c in text if (c < " " if data else not c.isprintable()) and c not in "\n\u200b"]
    for text in (outputs[0], *outputs[3:7]):  # what is printed into a log
        lines = [line.strip() for line in text.splitlines() if line.strip().startswith("::")]
        assert all(line.startswith(("::error file=", "::warning file=")) for line in lines)
        assert "##[" not in text


def test_at_most_ten_annotations(repo: Repo) -> None:
    repo.commit({f"m{n}.safetensors": model(4) for n in range(14)})
    repo.commit({f"m{n}.safetensors": model(5) for n in range(14)})
    done = diffai("ci", "--base", "HEAD~1", "--annotations", cwd=repo.top)
    lines = [line for line in done.stdout.splitlines() if line.startswith("::")]
    assert len(lines) == 10 and "5 more models are in the summary" in lines[-1]


def test_names_cannot_forge_workflow_commands_or_markup(repo: Repo, tmp_path: Path) -> None:
    names = ("::error::x.safetensors", "a,b%0A::warning::y|`@someone`<img>.safetensors")
    evil = "w`|<script>@someone\n::error::z"
    for content in (model(4), model(4, extra=(evil,))):
        repo.write(dict.fromkeys(names, content))
        repo.git("add", "-A")
        repo.git("commit", "-q", "-m", "x")
    done = diffai("ci", "--base", "HEAD~1", "--annotations", "--comment", tmp_path / "c.md", cwd=repo.top)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("::")]
    assert len(lines) == 2 and all(line.startswith("::error file=") for line in lines)
    assert "file=%3A%3Aerror%3A%3Ax.safetensors," in lines[0] + lines[1]
    text = (tmp_path / "c.md").read_text()
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert "@someone" not in outside and "<script>" not in outside and "<img>" not in outside


def test_nothing_changed(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"m.safetensors": model(4)})
    repo.commit({"a.txt": "a"})
    done = diffai("ci", "--base", "HEAD~1", "--comment", tmp_path / "c.md", cwd=repo.top)
    assert done.returncode == 0 and "no model changed" in done.stdout
    assert "✅ No model changed" in (tmp_path / "c.md").read_text()


def test_the_base_of_a_merge_request_is_found(branch: Repo) -> None:
    oid = branch.rev_parse("main")
    done = diffai("ci", cwd=branch.top, env={"CI_MERGE_REQUEST_DIFF_BASE_SHA": oid})
    assert done.returncode == 2 and "bad.safetensors: REFUSED" in done.stdout
    none = diffai("ci", cwd=branch.top, env={"CI_MERGE_REQUEST_DIFF_BASE_SHA": "", "GITHUB_BASE_REF": ""})
    assert none.returncode == 2 and "diffai ci --base origin/main" in none.stderr


def check_jsonschema(*arguments: str) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_action_and_the_examples_keep_the_published_schemas() -> None:
    check_jsonschema("--builtin-schema", "vendor.github-actions", "action.yml")
    for name in ("github-workflow.yml", "github-workflow-script.yml"):
        check_jsonschema("--builtin-schema", "vendor.github-workflows", f"docs/examples/{name}")
    gitlab = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    check_jsonschema(*gitlab, "docs/examples/gitlab-ci.yml")


def test_the_script_of_the_action_runs(branch: Repo, tmp_path: Path) -> None:
    """The step of action.yml itself, under bash -e as GitHub runs it."""
    import yaml
    from program import DIFFAI

    steps = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    script = next(step["run"] for step in steps if step.get("id") == "gate")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], cwd=branch.top, text=True,
        capture_output=True, check=False,
        env={**os.environ, "PATH": f"{DIFFAI.parent}:/usr/bin:/bin", "BASE": branch.rev_parse("main"),
             "HEAD": "HEAD", "ON_MISSING": "warn", "CONFIG": "", "FETCH": "true", "RUNNER_TEMP": str(tmp_path), "GITHUB_ACTIONS": "true",
             "GITHUB_OUTPUT": str(tmp_path / "o"), "GITHUB_STEP_SUMMARY": str(tmp_path / "s")},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    said = (tmp_path / "o").read_text()
    assert "result=refused" in said and (tmp_path / "diffai-comment.md").exists()
    assert f"page={tmp_path / 'diffai-report.html'}\n" in said
    assert (tmp_path / "diffai-report.html").read_text().startswith("<!doctype html>")


def braces(pattern: str) -> list[str]:
    """The patterns of one with an alternative."""
    head, _, rest = pattern.partition("{")
    if not rest:
        return [pattern]
    words, _, tail = rest.partition("}")
    return [head + word + tail for word in words.split(",")]


def test_the_examples_see_every_name_that_install_registers() -> None:
    import yaml

    from diffai.formats.table import model_globs

    workflow = yaml.safe_load((ROOT / "docs/examples/github-workflow.yml").read_text())
    gitlab = yaml.safe_load((ROOT / "docs/examples/gitlab-ci.yml").read_text())
    wanted = {f"**/{glob}" for glob in model_globs()} | {"**/*.dvc", "**/dvc.lock", ".diffai.toml"}
    assert wanted <= set(workflow[True]["pull_request"]["paths"])  # YAML 1.1: on is true
    changes = gitlab["models"]["rules"][0]["changes"]
    assert len(changes) <= 50  # as many as GitLab takes
    assert wanted <= {one for pattern in changes for one in braces(pattern)}


def test_the_examples_fetch_upload_the_page_and_come_from_nowhere_but_the_readers_copy() -> None:
    for name in ("github-workflow.yml", "github-workflow-script.yml", "gitlab-ci.yml", "pre-commit-config.yaml"):
        text = (ROOT / "docs/examples" / name).read_text()
        assert "OWNER/diffai" in text and not re.search(r"(?:pip install|uses:|github\.com/)[ '\"]*diffai(?!\s*@ git)", text)
    action = (ROOT / "action.yml").read_text()
    assert "options+=(--fetch)" in action and '--html "$page"' in action
    assert "steps.diffai.outputs.page" in (ROOT / "docs/examples/github-workflow.yml").read_text()
    gitlab = (ROOT / "docs/examples/gitlab-ci.yml").read_text()
    assert "--fetch" in gitlab and "--html models.html" in gitlab and "paths: [models.html, models.md]" in gitlab


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_documented_scripts_run_with_real_jq(repo: Repo, tmp_path: Path) -> None:
    """Every script of the example workflow, under bash -e."""

    import yaml
    from program import DIFFAI

    workflow = yaml.safe_load((ROOT / "docs/examples/github-workflow-script.yml").read_text())
    count, guard = (step["run"] for step in workflow["jobs"]["compare"]["steps"] if "BASE" in step.get("env", {}))
    repo.commit({"models/model.safetensors": model(4, extra=("classifier.weight",))})
    base = repo.rev_parse("HEAD")
    environment = {**os.environ, "PATH": f"{DIFFAI.parent}:{os.environ['PATH']}", "BASE": base,
                   "GITHUB_STEP_SUMMARY": str(tmp_path / "s")}  # fmt: skip

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=repo.top, env=environment, text=True,
                              capture_output=True, check=False)  # fmt: skip

    assert run(guard).returncode == 0  # nothing differs: [] and no output
    repo.write({"models/model.safetensors": model(5, extra=("classifier.weight",))})
    assert run(guard).returncode == 0  # another tensor is reshaped
    done = run(count)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "s").read_text() == "parameters: 3, structural changes: 2, significant changes: 0\n"
    import struct

    import safetensors_writer

    repo.write({"models/model.safetensors": safetensors_writer.build(
        {"classifier.weight": ("F32", (5,), struct.pack("<5f", *range(5)))})})  # fmt: skip
    refused = run(guard)
    assert refused.returncode == 1 and '"classifier.weight"' in refused.stdout, refused.stderr
