"""Files beside a changed model are named with it: directories, revisions, gate, CI, DVC; and never decide anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gitrepo import Repo
from jsonschema import Draft202012Validator
from program import diffai
from safetensors.numpy import save

from diffai.views.report import schema_path

LINE = "~ config.json: hidden_size 768 -> 1024, +seed 7, layers (1 element differs)"


def files(version: int, wide: int = 0) -> dict[str, bytes]:
    config: dict[str, Any] = {"hidden_size": 768 + 256 * version, "act": "gelu", "layers": [1, 2, 3 + version]}
    if version:
        config["seed"] = 7
    values = np.arange(600 + wide, dtype=np.float32) + version
    return {"m/model.safetensors": save({"w": values}), "m/config.json": json.dumps(config).encode(),
            "m/other.json": str(version).encode()}  # fmt: skip


def put(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return put(tmp_path / "a", files(0)), put(tmp_path / "b", files(1))


def test_directories_name_them_in_every_look(folders: tuple[Path, Path]) -> None:
    for words in ([], ["--format", "table"], ["--format", "markdown"], ["--format", "html"], ["--stats"]):
        text = diffai(*folders, *words).stdout
        told = "hidden_size 768 -> 1024, +seed 7" in text.replace("&gt;", ">").replace("\\", "")
        assert told == ("--stats" not in words), words
        assert "other.json" not in text
    found = json.loads(diffai(*folders, "--format", "json").stdout)
    Draft202012Validator(json.loads(Path(schema_path()).read_text())).validate(found)
    beside = found["files"][0]["report"]["beside"]
    assert beside[0]["file"] == "config.json"
    assert beside[0]["changes"][0] == {"key": "hidden_size", "status": "changed", "old": 768, "new": 1024}


def test_they_are_no_part_of_the_model(folders: tuple[Path, Path]) -> None:
    old, new = folders
    (new / "m/model.safetensors").write_bytes((old / "m/model.safetensors").read_bytes())
    result = diffai(old, new)
    assert "config.json" not in result.stdout  # the model beside it did not change
    assert "other files: 2 differ" in result.stdout
    assert "config.json" not in json.dumps(json.loads(diffai(*folders, "--output", "json").stdout))


def test_globs_decide_whether_they_are_looked_at(folders: tuple[Path, Path]) -> None:
    for words in (["--include", "*.safetensors"], ["--exclude", "*.json"]):
        assert "config.json:" not in diffai(*folders, *words).stdout


def test_one_that_cannot_be_read_says_why_and_fails_nothing(folders: tuple[Path, Path]) -> None:
    (folders[1] / "m/config.json").write_text('{"a": ')
    (folders[1] / "m/params.yaml").write_text("a: 1\n")
    result = diffai(*folders)
    assert result.returncode == 0
    assert "~ config.json: was not compared:" in result.stdout
    assert "~ params.yaml: is only on the new side" in result.stdout


def test_shards_of_one_model_too(tmp_path: Path) -> None:
    for side, version in (("a", 0), ("b", 1)):
        names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
        data = {name: save({f"w{n}": np.full(9, version, np.float32)}) for n, name in enumerate(names)}
        index = {"metadata": {}, "weight_map": {f"w{n}": name for n, name in enumerate(names)}}
        data["model.safetensors.index.json"] = json.dumps(index).encode()
        put(tmp_path / side, {**data, "config.json": files(version)["m/config.json"]})
    assert LINE in diffai(tmp_path / "a", tmp_path / "b").stdout


def test_revisions_name_them_once_a_folder(repo: Repo) -> None:
    def both(version: int) -> dict[str, bytes | str]:
        found = files(version)
        return {**found, "m/second.safetensors": found["m/model.safetensors"]}

    repo.commit(both(0))
    repo.write(both(1))
    for words in (["HEAD", "--"], ["HEAD", "--", "m"]):
        assert diffai(*words, cwd=repo.top).stdout.count(LINE) == 1
    repo.commit(both(1))
    assert diffai("HEAD~1..HEAD", cwd=repo.top).stdout.count(LINE) == 1
    assert LINE not in repo.git("diff", "HEAD~1")


def test_the_gate_and_ci_name_them(repo: Repo, tmp_path: Path) -> None:
    repo.commit(files(0))
    repo.commit(files(1, wide=9))
    result = diffai("gate", "--base", "HEAD~1", cwd=repo.top)
    assert result.returncode == 1
    assert LINE in result.stdout + result.stderr
    diffai("ci", "--base", "HEAD~1", "--comment", tmp_path / "c.md", cwd=repo.top)
    assert "hidden_size 768 -> 1024" in (tmp_path / "c.md").read_text().replace("\\", "")


EXPERIMENT = ("--recursive", "--include", "*.json", "--include", "*.safetensors", "--include", "*.csv", "--include", "*.log",
              "--include", "*.yaml")  # fmt: skip


def experiment(folder: Path, version: int) -> Path:
    more = {
        "metrics.json": json.dumps({"eval": {"accuracy": 0.5 + version / 4}}), "runs/m.csv": "step,loss\n1,0.5\n" + "2,0.4\n" * version,
        "train.log": "INFO a\n" * (1 + version), "same.yaml": f"a: 1 # {version}\n", "notes.md": str(version),
    }  # fmt: skip
    if version:
        more["new.yaml"] = "a: 1\n"
    return put(folder, {**files(version), **{name: text.encode() for name, text in more.items()}})


def test_a_directory_of_an_experiment_is_one_report(tmp_path: Path) -> None:
    old, new = experiment(tmp_path / "exp1", 0), experiment(tmp_path / "exp2", 1)
    text = diffai(old, new, *EXPERIMENT).stdout
    for line in ("m/model.safetensors", "~ hidden_size: 768 -> 1024", "~ eval.accuracy: 0.5 -> 0.75",
                 '+ rows[1]: {"step": 2, "loss": 0.4}', "~ lines: 1 -> 2", "+ new.yaml",
                 "7 documents: 5 changed, 1 unchanged, 1 added", "1 model file: 1 changed", "(2 files left out by"):  # fmt: skip
        assert line in text, line
    assert "config.json: hidden" not in text
    records = json.loads(diffai(old, new, *EXPERIMENT, "--output", "json").stdout)
    Draft202012Validator(json.loads(Path(schema_path("changes")).read_text())).validate(records)
    assert {"Modified": ["metrics.json:eval.accuracy", 0.5, 0.75]} in records
    assert {"FileAdded": ["new.yaml"]} in records
    found = json.loads(diffai(old, new, *EXPERIMENT, "--format", "json").stdout)
    Draft202012Validator(json.loads(Path(schema_path()).read_text())).validate(found)
    for one in found["documents"]:
        if one["report"]:
            Draft202012Validator(json.loads(Path(schema_path("document")).read_text())).validate(one["report"])
    for kind in ("table", "markdown", "html"):
        assert "eval.accuracy" in diffai(old, new, *EXPERIMENT, "--format", kind).stdout


def test_of_an_experiment_too_what_it_says_decides_the_exit_code(tmp_path: Path) -> None:
    old, new = experiment(tmp_path / "a", 0), experiment(tmp_path / "b", 1)
    assert diffai(old, new, "--include", "same.yaml", "-q").returncode == 0
    assert diffai(old, new, "--include", "metrics.json", "-q").returncode == 1
    (new / "metrics.json").write_text("{")
    result = diffai(old, new, "--include", "*.json")
    assert result.returncode == 2
    assert "! metrics.json: " in result.stdout


def test_documents_between_revisions_where_globs_choose_them(repo: Repo) -> None:
    repo.commit(files(0))
    repo.commit(files(1))
    text = diffai("HEAD~1..HEAD", "--include", "*.json", cwd=repo.top).stdout
    assert "~ hidden_size: 768 -> 1024" in text
    assert "2 documents: 2 changed" in text


def test_documents_between_revisions_that_are_named(repo: Repo) -> None:
    repo.commit(files(0))
    repo.commit(files(1))
    text = diffai("HEAD~1", "HEAD", "--", "m/config.json", "m/other.json", cwd=repo.top).stdout
    assert "~ hidden_size: 768 -> 1024" in text
    assert "2 documents: 2 changed" in text
    assert "document" not in diffai("HEAD~1", "HEAD", "--", "m", cwd=repo.top).stdout
