"""``diffai a.yaml b.yaml`` with the real program: every look, every word that names two documents, every exit code."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from gitrepo import Repo
from jsonschema import Draft202012Validator
from program import diffai
from safetensors.numpy import save_file

from diffai.views.report import schema_path

OLD = "# run 1\nlearning_rate: 0.001\nepochs: 3\nlayers:\n- {name: a, width: 64}\n- {name: b, width: 32}\nseed: 7\n"
NEW = "seed: '7'\nlearning_rate: 0.0005\nlayers:\n- {name: new, width: 1}\n- {name: a, width: 64}\n- {name: b, width: 16}\nwarm: true\n"
TEXT = """\
Document Changes: yaml, 2 modified, 1 of another type, 2 added, 1 removed
  - epochs: 3
  ~ seed: 7 -> "7" (integer -> text)
  ~ learning_rate: 0.001 -> 0.0005
  + layers[0]: {"name": "new", "width": 1}
  ~ layers[2].width: 32 -> 16
  + warm: true
"""


@pytest.fixture
def two(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(OLD)
    (tmp_path / "b.yaml").write_text(NEW)
    return tmp_path


def run(folder: Path, *words: str, code: int = 0) -> str:
    result = diffai(*words, cwd=folder)
    assert (result.returncode, result.stderr) == (code, ""), result.stderr
    return result.stdout


def test_two_documents_as_text(two: Path) -> None:
    assert run(two, "a.yaml", "b.yaml") == TEXT


def test_the_change_list_and_its_schema(two: Path) -> None:
    records = json.loads(run(two, "a.yaml", "b.yaml", "--output", "json"))
    assert records == [
        {"Removed": ["epochs", 3]},
        {"TypeChanged": ["seed", 7, "7"]},
        {"Modified": ["learning_rate", 0.001, 0.0005]},
        {"Added": ["layers[0]", {"name": "new", "width": 1}]},
        {"Modified": ["layers[2].width", 32, 16]},
        {"Added": ["warm", True]},
    ]
    Draft202012Validator(json.loads(Path(schema_path("changes")).read_text())).validate(records)
    assert yaml.safe_load(run(two, "a.yaml", "b.yaml", "--output", "yaml")) == records
    assert json.loads(run(two, "a.yaml", "a.yaml", "--output", "json")) == []


@pytest.mark.parametrize("words", [(), ("--array-id-key", "name"), ("--epsilon", "0.1"), ("--path", "layers")])
def test_the_report_keeps_its_schema(two: Path, words: tuple[str, ...]) -> None:
    found = json.loads(run(two, "a.yaml", "b.yaml", "--format", "json", *words))
    Draft202012Validator(json.loads(Path(schema_path("document")).read_text())).validate(found)
    assert (found["kind"], found["equal"]) == ("document", False)
    (two / "a.csv").write_text("x,y\n1,nan\n2,b\n")
    (two / "b.csv").write_text("x,z\n1,\n3,1\n")
    found = json.loads(run(two, "a.csv", "b.csv", "--format", "json"))
    Draft202012Validator(json.loads(Path(schema_path("document")).read_text())).validate(found)
    assert found["table"]["rows"] == [2, 2]


def test_the_other_looks(two: Path) -> None:
    table = run(two, "a.yaml", "b.yaml", "--format", "enhanced")
    assert "~  learning_rate    0.001  0.0005" in table
    markdown = run(two, "a.yaml", "b.yaml", "--format", "markdown")
    assert "`learning_rate`" in markdown and "`0.0005`" in markdown
    page = run(two, "a.yaml", "b.yaml", "--format", "html", "--report-file", "r.md")
    assert page.startswith("<!doctype html>") and "learning_rate" in page
    assert "learning_rate" in (two / "r.md").read_text()
    assert run(two, "a.yaml", "b.yaml", "--stat") == "b.yaml: 2 modified, 1 of another type, 2 added, 1 removed\n"


def test_exit_codes_answer_whether_they_differ(two: Path) -> None:
    assert run(two, "a.yaml", "b.yaml", "-q", code=1) == ""
    run(two, "a.yaml", "b.yaml", "--exit-code", code=1)
    assert run(two, "a.yaml", "a.yaml", "--exit-code") == "No differences found\n"
    (two / "c.json").write_text(json.dumps(yaml.safe_load(OLD)))
    assert run(two, "a.yaml", "c.json", "-q") == ""
    assert run(two, "a.yaml", "c.json") == "No differences found (bytes differ, values equal)\n"


def test_what_is_wrong_is_one_line_that_names_file_and_place(two: Path) -> None:
    (two / "bad.json").write_text('{"a": 1,\n "b" 2}')
    result = diffai("a.yaml", "bad.json", cwd=two)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "diffai: bad.json: is not JSON: expecting ':' delimiter at line 2, column 6\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [(("--shape-only",), "diffai: --shape-only: is an option of models, and a.yaml and b.yaml are documents\n"),
     (("--memory-analysis",), "diffai: --memory-analysis: is an option of models, and a.yaml and b.yaml are documents\n"),
     (("--path", "layer"), "diffai: --path layer selects nothing; did you mean layers?\n"),
     (("--ignore-keys-regex", "("), "diffai: --ignore-keys-regex: '(' is not a regular expression: missing ), unterminated subpattern at position 0\n")],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(two: Path, words: tuple[str, ...], says: str) -> None:
    result = diffai("a.yaml", "b.yaml", *words, cwd=two)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", says)


def test_options_choose(two: Path) -> None:
    text = run(two, "a.yaml", "b.yaml", "--ignore-keys-regex", "seed|warm|epochs", "--array-id-key", "name")
    assert text == (
        "Document Changes: yaml, 2 modified, 2 added\n"
        "  ~ learning_rate: 0.001 -> 0.0005\n"
        "  + layers[name=new].name: new\n"
        "  + layers[name=new].width: 1\n"
        "  ~ layers[name=b].width: 32 -> 16\n"
        "  (3 differences ignored by --ignore-keys-regex seed|warm|epochs)\n"
    )


def test_words_and_revisions_name_documents(repo: Repo) -> None:
    repo.commit({"conf/a.yaml": OLD})
    repo.write({"conf/a.yaml": NEW})
    expected = TEXT
    for words in (["HEAD", "--", "conf/a.yaml"], ["HEAD:conf/a.yaml", "conf/a.yaml"]):
        assert run(repo.top, *words) == expected
    repo.git("add", ".")
    assert run(repo.top, "--staged", "--", "conf/a.yaml") == expected
    repo.commit({})
    for words in (["HEAD~1", "HEAD", "--", "conf/a.yaml"], ["HEAD~1..HEAD", "--", "conf/a.yaml"]):
        assert run(repo.top, *words) == expected
    assert run(repo.top, "HEAD", "--", "conf/a.yaml") == "No differences found\n"


def test_a_model_is_no_document_and_a_document_no_model(two: Path) -> None:
    save_file({"w": np.ones(3, np.float32)}, str(two / "m.safetensors"))
    result = diffai("m.safetensors", "b.yaml", cwd=two)
    assert result.returncode == 2
    assert "b.yaml" in result.stdout
    (two / "unknown").write_text("some text")
    (two / "other").write_text("another text")
    assert diffai("unknown", "other", cwd=two).returncode == 2


def test_input_format_says_what_a_file_is_whatever_it_is_called(two: Path) -> None:
    (two / "a").write_text("a = 1\n")
    (two / "b").write_text("a = 2\n")
    for words in (["--input-format", "toml"], ["--format", "toml"]):
        assert run(two, "a", "b", *words) == "Document Changes: toml, 1 modified\n  ~ a: 1 -> 2\n"


def test_control_characters_are_spelled_out(two: Path) -> None:
    (two / "a.json").write_text(json.dumps({"\x1b[31mk": 1}))
    (two / "b.json").write_text(json.dumps({"\x1b[31mk": "\x1b]0;x\x07"}))
    for words in ([], ["--format", "table"], ["--format", "markdown"], ["--format", "html"], ["--stat"]):
        assert "\x1b" not in run(two, "a.json", "b.json", *words)


def test_metrics_are_compared_by_their_directions(two: Path) -> None:
    old = {"eval": {"accuracy": 0.9, "loss": 0.5}, "epoch": 1, "log_history": [{"wer": 0.5}, {"wer": 0.4}], "only": {"f1": 1}}
    new = {"eval": {"accuracy": 0.8, "loss": 0.4}, "epoch": 2, "log_history": [{"wer": 0.5}, {"wer": 0.3}, {"step": 9}]}
    (two / "a.json").write_text(json.dumps(old))
    (two / "b.json").write_text(json.dumps(new))
    text = run(two, "a.json", "b.json", "--metric-comparison")
    assert "  ! metric_comparison: 2 better, 1 worse, 1 of unknown direction, 1 on one side only\n" in text
    for line in ("eval.accuracy: 0.9 -> 0.8 (-0.1, -11.1%) worse", "eval.loss: 0.5 -> 0.4 (-0.1, -20.0%) better",
                 "epoch: 1 -> 2 (+1, +100.0%) direction unknown", "log_history[-1].wer: 0.4 -> 0.3 (-0.1, -25.0%) better",
                 "only.f1: 1 only in the old one"):  # fmt: skip
        assert f"    {line}\n" in text, line
    records = json.loads(run(two, "a.json", "b.json", "--metric-comparison", "--output", "json"))
    assert records[-1]["MetricComparison"][0]["fields"]["worse"] == 1
    report = json.loads(run(two, "a.json", "b.json", "--metric-comparison", "--format", "json"))
    Draft202012Validator(json.loads(Path(schema_path("document")).read_text())).validate(report)
    assert report["findings"][0]["fields"]["metrics"][0]["verdict"] == "worse"
    assert "eval.loss" in run(two, "a.json", "b.json", "--metric-comparison", "--format", "html")


def test_a_worse_metric_fails_where_that_is_asked_for(two: Path) -> None:
    for name, value in (("a", 0.9), ("b", 0.8)):
        (two / f"{name}.csv").write_text(f"step,val_acc\n1,0.1\n2,{value}\n")
    run(two, "a.csv", "b.csv", "--fail-on", "metric_comparison", code=1)
    run(two, "b.csv", "a.csv", "--fail-on", "metric_comparison")
    assert "val_acc: 0.9 -> 0.8" in run(two, "a.csv", "b.csv", "--metric-comparison")


def test_distributions_of_columns(two: Path) -> None:
    for name, add in (("a", 0), ("b", 50)):
        (two / f"{name}.csv").write_text("v,t\n" + "".join(f"{n + add},x\n" for n in range(100)))
    assert "DISTRIBUTION  v  KS 0.5, " in run(two, "a.csv", "b.csv", "--show-distribution")
    report = json.loads(run(two, "a.csv", "b.csv", "--show-distribution", "--format", "json"))
    assert report["table"]["columns"][0]["distribution"]["kolmogorov_smirnov"] == pytest.approx(0.5)


def test_a_document_loads_neither_numpy_nor_what_reads_models(two: Path) -> None:
    (two / "a.json").write_text('{"a": 1}')
    (two / "b.json").write_text('{"a": 2}')
    program = (
        "import sys\nfrom diffai.cli.main import main\nmain(['a.json', 'b.json'])\n"
        "print([n for n in ('numpy', 'yaml', 'torch', 'safetensors', 'git', 'rich', 'duckdb') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=two, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("~ a: 1 -> 2\n[]\n")


def test_what_git_calls_loads_nothing_of_documents(two: Path) -> None:
    program = "import sys\nimport diffai.git.driver, diffai.git.textconv\nprint([n for n in sys.modules if '.documents' in n])"
    done = subprocess.run([sys.executable, "-c", program], cwd=two, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("kind", ["lfs", "dvc"])
def test_pointers_are_followed_and_what_is_not_here_is_said(repo: Repo, kind: str) -> None:
    old, new = b'{"a": 1}', b'{"a": 2}'
    if kind == "lfs":
        repo.lfs_track("*.json")
        repo.commit({"a.json": old})
        repo.write({"a.json": new})
        assert "~ a: 1 -> 2" in run(repo.top, "HEAD", "--", "a.json")
        shutil.rmtree(repo.top / ".git/lfs/objects")
        result = diffai("HEAD", "--", "a.json", cwd=repo.top)
        assert result.returncode == 2
        assert "HEAD:a.json: is a git-LFS pointer; its object (8 bytes) is not here" in result.stderr
        return
    for name, data in (("a", old), ("b", new)):
        digest = hashlib.md5(data).hexdigest()
        place = repo.top / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
        place.parent.mkdir(parents=True)
        place.write_bytes(data)
        repo.write({f"{name}.json.dvc": f"outs:\n- md5: {digest}\n  size: {len(data)}\n  hash: md5\n  path: {name}.json\n"})
    repo.write({".dvc/config": ""})
    repo.git("add", ".")
    assert "~ a: 1 -> 2" in run(repo.top, "a.json", "b.json")


def test_nothing_of_a_document_is_executed(two: Path) -> None:
    (two / "a.yaml").write_text(f"a: !!python/object/apply:os.system ['touch {two}/made']\n")
    run(two, "a.yaml", "b.yaml")
    assert not (two / "made").exists()


def test_settings_of_a_clone_that_hide_something_are_named(two: Path) -> None:
    (two / ".diffai.toml").write_text('[compare]\nignore = ["seed"]\nepsilon = 0.1\n')
    for name, text in (("a", "seed: 1\nlr: 0.1\n"), ("b", "seed: 2\nlr: 0.11\n")):
        (two / f"{name}.yaml").write_text(text)
    result: Any = diffai("a.yaml", "b.yaml", cwd=two)
    assert "! 1 difference ignored by 'seed'" in result.stdout
    found = json.loads(diffai("a.yaml", "b.yaml", "--format", "json", cwd=two).stdout)
    assert found["equal"] is None
    assert "'seed'" in diffai("a.yaml", "b.yaml", "-q", cwd=two).stderr
