"""docs/examples: what each script logs is read back from the tracker it was logged to."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
BIN = Path(sys.executable).parent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    old = {"a": rng.normal(size=(8, 4)).astype("f4"), "b": rng.normal(size=(4,)).astype("f4")}
    new = {**old, "a": old["a"] + np.float32(0.1), "c": np.ones(7, "f4")}
    save_file(old, tmp_path / "baseline.safetensors")
    save_file(new, tmp_path / "candidate.safetensors")
    return tmp_path


def run(name: str, folder: Path, *words: str, **environment: str) -> None:
    """Run one script on the pair in the folder, without any network."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "baseline.safetensors", "candidate.safetensors", *words],
        cwd=folder, env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def report(folder: Path) -> dict:
    done = subprocess.run(
        [BIN / "diffai", "baseline.safetensors", "candidate.safetensors", "--format", "json"],
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_mlflow(folder: Path) -> None:
    store = {"MLFLOW_TRACKING_URI": (folder / "mlruns").as_uri(), "MLFLOW_ALLOW_FILE_STORE": "true"}
    run("mlflow_log_changes.py", folder, "--step", "3", **store)
    os.environ.update(store)
    import mlflow

    (found,) = mlflow.MlflowClient(store["MLFLOW_TRACKING_URI"]).search_runs(["0"])
    assert found.data.metrics["diffai/model/param_diff"] == 7
    assert found.data.metrics["diffai/model/structure_changes"] == 1
    assert found.data.metrics["diffai/model/update_size"] == pytest.approx(report(folder)["comparison"]["update_size"])
    assert "candidate.safetensors" in found.data.tags["mlflow.note.content"]
    kept = mlflow.artifacts.load_dict(f"{found.info.artifact_uri}/diffai/report.json")
    assert kept["param_diff"] == 7


def records(path: Path):
    """Records of a ``.wandb`` file: a log in blocks of 32 KiB, each piece with CRC, length and kind before it."""
    from wandb.proto import wandb_internal_pb2

    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def test_wandb_offline(folder: Path) -> None:
    run("wandb_log_changes.py", folder, "--step", "3", WANDB_MODE="offline", WANDB_DIR=str(folder), HOME=str(folder))
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    logged = {}
    for record in records(path):
        for item in record.history.item:
            logged[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    assert logged["diffai/param_diff"] == 7 and logged["diffai/structure_changes"] == 1
    assert logged["diffai/update_size"] == pytest.approx(report(folder)["comparison"]["update_size"])
    (table,) = folder.glob("wandb/offline-run-*/files/media/table/**/*.table.json")
    rows = {row[0]: row for row in json.loads(table.read_text())["data"]}
    assert rows["a"][1] == "changed" and rows["c"][1] == "added" and rows["c"][2] is None


def test_tensorboard(folder: Path) -> None:
    run("tensorboard_log_changes.py", folder, "--logdir", "runs/a", "--step", "3")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "runs" / "a"))
    events.Reload()
    (logged,) = events.Scalars("diffai/param_diff")
    assert (logged.step, logged.value) == (3, 7)
    (size,) = events.Scalars("diffai/update_size")
    assert size.value == pytest.approx(report(folder)["comparison"]["update_size"], rel=1e-6)
