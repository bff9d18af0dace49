"""The pipeline stage: its files, its entry in dvc.yaml, and real pipelines around it."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import safetensors_writer as writer
import yaml
from dvcrepo import RunDvc
from gitrepo import Repo
from program import diffai

from diffai.dvc.pipeline import add_stage, snippet
from diffai.dvc.stage import FILES, LOG_FLOOR, stage_definition
from diffai.errors import UsageError


def model(scale: float, *, names: tuple[str, ...] = ("a.w", "b.w"), special: float = 0.0) -> bytes:
    values = {name: struct.pack("<4f", *(scale * (k + 1) for k in range(3)), special) for name in names}
    return writer.build({name: ("F32", (4,), data) for name, data in values.items()})


def run(folder: Path, old: bytes, new: bytes) -> dict[str, Any]:
    (folder / "old.safetensors").write_bytes(old)
    (folder / "new.safetensors").write_bytes(new)
    done = diffai("dvc", "stage", "old.safetensors", "new.safetensors", "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(FILES)

    def strict(text: str) -> Any:
        def refuse(token: str) -> Any:
            raise AssertionError(f"JSON has {token}")

        return json.loads(text, parse_constant=refuse)

    return {name: strict((folder / "out" / name).read_text()) if name.endswith(".json") else
            (folder / "out" / name).read_text() for name in FILES}  # fmt: skip


def test_files(tmp_path: Path) -> None:
    files = run(tmp_path, model(1.0), model(1.1))
    metrics = files["metrics.json"]
    assert metrics["tensors"] == {
        "changed": 2, "added": 0, "removed": 0, "renamed": 0, "reshaped": 0, "cast": 0, "not_finite": 0,
        "from_zero": 0, "to_zero": 0,
    }  # fmt: skip
    assert metrics["update_size"] == pytest.approx(0.1, rel=1e-5)
    assert metrics["compared_percent"] == 100.0
    assert metrics["update_size_log10"] == pytest.approx(-1, rel=1e-5)
    assert metrics["modified_percent"] == 75.0
    assert [row["tensor"] for row in files["tensors.json"]] == ["a.w", "b.w"]
    assert [row["index"] for row in files["tensors.json"]] == [0, 1]
    assert files["tensors.json"][0]["relative_l2"] == pytest.approx(0.1, rel=1e-5)
    assert files["report.json"]["schema"] == "diffai.report/1"
    assert "old.safetensors" in files["report.md"]


def test_equal_models_and_floor(tmp_path: Path) -> None:
    files = run(tmp_path, model(1.0), model(1.0))
    assert files["metrics.json"]["update_size"] == 0
    assert files["metrics.json"]["max_relative_l2_log10"] == LOG_FLOOR
    assert files["metrics.json"]["min_cosine"] == 1.0
    assert [row["relative_l2"] for row in files["tensors.json"]] == [0, 0]


@pytest.mark.parametrize("special", [math.nan, math.inf, -math.inf])
def test_only_finite_numbers(tmp_path: Path, special: float) -> None:
    metrics = run(tmp_path, model(1.0), model(1.0, special=special))["metrics.json"]
    assert metrics["tensors"]["not_finite"] == 2
    assert all(math.isfinite(value) for value in metrics.values() if isinstance(value, float))


def test_from_zero_and_structure(tmp_path: Path) -> None:
    files = run(tmp_path, model(0.0, names=("a.w", "gone")), model(1.0, names=("a.w", "new")))
    assert files["metrics.json"]["tensors"]["added"] == files["metrics.json"]["tensors"]["removed"] == 1
    assert files["metrics.json"]["parameters_delta"] == 0
    run(tmp_path, model(1e-30), model(1e30))


def of(values: dict[str, list[float]]) -> bytes:
    return writer.build({name: ("F32", (len(v),), struct.pack(f"<{len(v)}f", *v)) for name, v in values.items()})


def test_no_figure_is_invented_for_what_is_not_defined(tmp_path: Path) -> None:
    """Relative to zero there is no figure, and the cosine of a tensor of zeros is not that of an unchanged one."""
    old = of({"from": [0, 0], "same": [3, 4], "to": [3, 4]})
    files = run(tmp_path, old, of({"from": [1, 1], "same": [3, 4], "to": [0, 0]}))
    metrics, rows = files["metrics.json"], {row["tensor"]: row for row in files["tensors.json"]}
    assert (rows["from"]["relative_l2"], rows["from"]["relative_l2_log10"], rows["from"]["cosine"]) == (None,) * 3
    assert (rows["to"]["relative_l2"], rows["to"]["cosine"]) == (1.0, None)
    assert (rows["same"]["relative_l2"], rows["same"]["cosine"], rows["same"]["changed_percent"]) == (0.0, 1.0, 0.0)
    assert (metrics["tensors"]["from_zero"], metrics["tensors"]["to_zero"]) == (1, 1)
    assert (metrics["max_relative_l2"], metrics["min_cosine"]) == (1.0, None)
    assert metrics["update_size"] == pytest.approx(math.sqrt(27 / 50))


def test_a_healed_value_became_nothing_worse(tmp_path: Path) -> None:
    metrics = run(tmp_path, model(1.0, special=math.nan), model(1.0))["metrics.json"]
    assert metrics["tensors"]["not_finite"] == 0


def test_findings_are_counted(tmp_path: Path) -> None:
    """Of what the models hold: a file of metrics beside them is no dependency of the stage."""
    (tmp_path / "metrics.json").write_text('{"loss": 1.0}')
    calm = run(tmp_path, model(1.0), model(1.0))["metrics.json"]["findings"]
    assert calm == {"anomalies": 0, "risk": 0, "metrics_worse": None}
    grown = run(tmp_path, model(1.0), model(30.0))["metrics.json"]["findings"]
    assert grown["anomalies"] > 0 and grown["risk"] == 1
    broken = run(tmp_path, model(1.0), model(1.0, special=math.nan))["metrics.json"]["findings"]
    assert broken["anomalies"] == 2 and broken["risk"] == 2
    weights = {"w": ("F32", (4,), struct.pack("<4f", 1, 2, 3, 4))}
    sides = [writer.build(weights, {"val_loss": loss, "val_acc": "0.5"}) for loss in ("0.5", "0.7")]
    assert run(tmp_path, *sides)["metrics.json"]["findings"]["metrics_worse"] == 1


def test_metrics_say_how_much_of_the_model_they_cover(tmp_path: Path) -> None:
    old = of({"a": [1.0] * 4, "body": [1.0] * 100, "z": [1.0]})
    files = run(tmp_path, old, of({"a": [1.0] * 4, "body": [1.0] * 195, "z": [2.0]}))
    assert files["metrics.json"]["compared_percent"] == 2.5
    assert [(row["index"], row["tensor"], row["status"]) for row in files["tensors.json"]] == [
        (0, "a", "identical"), (1, "body", "reshaped"), (2, "z", "changed")
    ]  # fmt: skip
    assert files["tensors.json"][1]["relative_l2_log10"] is None
    nothing = run(tmp_path, of({"a": [1.0] * 4}), of({"a": [1.0] * 5}))["metrics.json"]
    assert nothing["compared_percent"] == 0
    assert [nothing[k] for k in ("update_size", "max_relative_l2", "min_cosine", "max_abs", "modified_percent")] == [None] * 5


def test_training_state_is_no_part_of_the_metrics(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    for name, step in (("old", 1.0), ("new", 50.0)):
        weights = {"w": torch.full((4,), 2.0 if name == "old" else 2.2)}
        moments = {"state": {0: {"exp_avg": torch.full((4,), step), "step": step}}, "param_groups": [{"params": [0]}]}
        torch.save({"model": weights, "optimizer": moments}, tmp_path / f"{name}.pt")
    done = diffai("dvc", "stage", "old.pt", "new.pt", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["tensors"]["changed"] == 1
    assert metrics["max_relative_l2"] == pytest.approx(0.1, rel=1e-5) == metrics["update_size"]
    assert metrics["max_abs"] == pytest.approx(0.2, rel=1e-5)
    assert len(json.loads((tmp_path / "out" / "tensors.json").read_text())) == 1


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run(tmp_path / name, model(1.0), model(1.1))
        contents.append({file: (tmp_path / name / "out" / file).read_bytes() for file in FILES})
    assert contents[0] == contents[1]


def test_what_cannot_be_compared_fails_the_stage(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(model(1.0))
    (tmp_path / "b.safetensors").write_text("text")
    done = diffai("dvc", "stage", "a.safetensors", "b.safetensors", cwd=tmp_path)
    assert done.returncode == 2
    assert "diffai: b.safetensors: " in done.stderr
    assert not (tmp_path / "diffai").exists()
    assert diffai("dvc", "stage", "a.safetensors", "nothing", cwd=tmp_path).returncode == 2


# ---------------------------------------------------------------- dvc.yaml


DEFINITION = stage_definition("modeldiff", "base.safetensors", "m.safetensors", "diffai")

EXISTING = """\
# our pipeline
vars:
  - params.yaml   # kept

stages:
    prepare:      # four spaces
        cmd: >-
            python prepare.py
            --all
        outs:
            - data.csv

    train:
        cmd: python train.py
        deps: [data.csv]

# about metrics
metrics:
- scores.json
plots:
- roc.json:
    x: fpr
artifacts:
  model: {path: m.safetensors, type: model}
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_add_keeps_what_is_there(tmp_path: Path, newline: str) -> None:
    path = tmp_path / "dvc.yaml"
    path.write_bytes(EXISTING.replace("\n", newline).encode())
    assert add_stage(str(path), DEFINITION)
    after = path.read_bytes().decode()
    kept = [line for line in after.split(newline) if line in EXISTING.split("\n")]
    assert [line for line in kept if line] == [line for line in EXISTING.split("\n") if line]
    assert ("\r\n" in after) == (newline == "\r\n")
    data = yaml.safe_load(after)
    assert data["stages"]["modeldiff"] == DEFINITION["stages"]["modeldiff"]
    assert data["plots"][1] == {"diffai/tensors.json": DEFINITION["plots"]["diffai/tensors.json"]}
    assert after.index("modeldiff") < after.index("# about metrics")
    assert not add_stage(str(path), DEFINITION)
    assert path.read_bytes().decode() == after


@pytest.mark.parametrize(
    "text",
    ["", "stages:\n", "stages: {}\n", "plots:\n  x.json:\n    x: a\n", "stages:\n  a:\n    cmd: b", "# only\n",
     "stages:\n  a:\n    cmd: |\n      x\n\n      y\nvars: [1]\n"],
)  # fmt: skip
def test_add_to_every_shape_or_refuse(tmp_path: Path, text: str) -> None:
    path = tmp_path / "dvc.yaml"
    path.write_text(text)
    before = yaml.safe_load(text) or {}
    try:
        add_stage(str(path), DEFINITION)
    except UsageError as error:
        assert "add by hand:\nstages:\n  modeldiff:" in str(error)
        assert path.read_text() == text
        return
    after = yaml.safe_load(path.read_text())
    assert after["stages"].pop("modeldiff") == DEFINITION["stages"]["modeldiff"]
    assert after["stages"] == (before.get("stages") or {})


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "dvc.yaml"
    path.write_text("stages:\n  modeldiff:\n    cmd: other\n")
    with pytest.raises(UsageError, match="already has a stage modeldiff"):
        add_stage(str(path), DEFINITION)
    path.write_text("stages: [\n")
    with pytest.raises(UsageError, match=r"not a dvc\.yaml"):
        add_stage(str(path), DEFINITION)
    assert yaml.safe_load(snippet(DEFINITION))["stages"] == DEFINITION["stages"]


def test_add_from_the_command_line(tmp_path: Path) -> None:
    """Options go into the stage; a revision is no dependency; a baseline that is missing is said."""
    words = ("dvc", "stage", "--add", "base.safetensors", "m.safetensors")
    done = diffai(*words, "--epsilon", "1e-6", "--rtol", "0.5", cwd=tmp_path)
    assert done.returncode == 0
    assert (
        "base.safetensors is not here yet; import the version to compare with: dvc import --rev REV . m" in done.stdout
    )
    stage = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["stages"]["modeldiff"]
    assert stage["cmd"].endswith("m.safetensors --out diffai --epsilon 1e-06 --rtol 0.5")
    before = (tmp_path / "dvc.yaml").read_text()
    done = diffai("dvc", "stage", "--add", "--name", "x", "HEAD:m.safetensors", "m.safetensors", cwd=tmp_path)
    assert done.returncode == 2 and "DVC does not notice when a revision moves" in done.stderr
    assert (tmp_path / "dvc.yaml").read_text() == before


# ---------------------------------------------------------------- real pipelines


@pytest.fixture
def pipeline(template: Any, real_dvc: RunDvc) -> Repo:
    """A stage that trains with a seed, its result imported as the baseline, and the comparison of both."""
    made: Repo = template("pipeline", lambda repo: make_pipeline(repo, real_dvc))
    return made


def make_pipeline(repo: Repo, real_dvc: RunDvc) -> None:
    real_dvc("init", "-q", cwd=repo.top)
    real_dvc("config", "core.autostage", "true", cwd=repo.top)
    script = """import shutil
seed = open("params.yaml").read().split()[-1]
shutil.copy(f"seed{seed}.bin", "m.safetensors")
"""
    repo.write({f"seed{k}.bin": model(float(k)) for k in (1, 2, 3)} | {"train.py": script, "params.yaml": "seed: 1\n"})
    stage = "  train:\n    cmd: python train.py\n    deps: [train.py]\n    params: [seed]\n    outs: [m.safetensors]\n"
    repo.write({"dvc.yaml": f"stages:\n{stage}# the end\n"})
    real_dvc("repro", "-q", cwd=repo.top)
    repo.git("add", "-A")
    repo.git("commit", "-qm", "v1")
    repo.git("tag", "v1")
    real_dvc("import", "-q", "--rev", "v1", ".", "m.safetensors", "-o", "baseline.safetensors", cwd=repo.top)
    done = diffai("dvc", "stage", "--add", "baseline.safetensors", "m.safetensors", cwd=repo.top)
    assert done.stdout == "dvc.yaml: stage modeldiff added; run: dvc repro modeldiff\n"
    assert "# the end" in (repo.top / "dvc.yaml").read_text()
    real_dvc("repro", "-q", cwd=repo.top)
    repo.git("add", "-A")
    repo.git("commit", "-qm", "base")


def figure(repo: Repo) -> float:
    return float(json.loads((repo.top / "diffai" / "metrics.json").read_text())["update_size"])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_run_cache_trap(pipeline: Repo, real_dvc: RunDvc) -> None:
    """Seeds 1, 2, 3, 2, with a commit between: the figures are those of the baseline, each time."""
    assert figure(pipeline) == 0.0  # seed 1
    for seed, expected in ((2, 1.0), (3, 2.0), (2, 1.0)):
        pipeline.write({"params.yaml": f"seed: {seed}\n"})
        real_dvc("repro", "-q", cwd=pipeline.top)
        assert figure(pipeline) == pytest.approx(expected), seed
        pipeline.git("add", "-A")
        pipeline.git("commit", "-qm", f"seed {seed}")
    assert "up to date" in real_dvc("repro", cwd=pipeline.top).stdout
    pipeline.git("tag", "v2", "HEAD")
    real_dvc("update", "-q", "--rev", "v2", "baseline.safetensors.dvc", cwd=pipeline.top)
    real_dvc("repro", "-q", cwd=pipeline.top)
    assert figure(pipeline) == 0.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_metrics_and_plots(pipeline: Repo, real_dvc: RunDvc) -> None:
    pipeline.write({"params.yaml": "seed: 2\n"})
    real_dvc("repro", "-q", cwd=pipeline.top)
    table = real_dvc("metrics", "diff", "--md", cwd=pipeline.top).stdout
    (line,) = (line for line in table.splitlines() if " update_size " in line)
    assert [word.strip() for word in line.split("|")[2:6]] == ["update_size", "0.0", "1.0", "1.0"]
    assert "tensors.changed" in table and "nan" not in table
    plots = json.loads(real_dvc("plots", "diff", "--json", cwd=pipeline.top).stdout)
    assert any("tensors.json" in name for name in plots.get("data", plots))
    real_dvc("plots", "diff", "-o", "html", "HEAD", cwd=pipeline.top)
    assert "relative_l2_log10" in (pipeline.top / "html" / "index.html").read_text()
    assert "report.md" in pipeline.git("diff", "--stat", "--", "diffai")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_experiment(pipeline: Repo, real_dvc: RunDvc) -> None:
    real_dvc("exp", "run", "-q", "-n", "three", "-S", "seed=3", cwd=pipeline.top)
    shown = real_dvc("exp", "show", "--csv", cwd=pipeline.top).stdout
    assert figure(pipeline) == pytest.approx(2.0)
    header = shown.splitlines()[0].split(",")
    row = next(line for line in shown.splitlines() if ",three," in f",{line},").split(",")
    assert float(row[header.index("update_size")]) == pytest.approx(2.0)
