"""Which models a commit changes, however they are kept: shards, pointers, moves; one rule says what a model is."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import safetensors_writer
from dvcrepo import DvcRepo
from gating import EVIL, diffai, gate, gate_json, model, staged
from gitrepo import Repo

Floats = Mapping[str, list[float]]
WHOLE: Floats = {"a": [1, 2, 3], "b": [4, 5, 6, 7], "c": [8, 9]}


def shard(tensors: Floats) -> bytes:
    return safetensors_writer.build(
        {name: ("F32", (len(values),), struct.pack(f"<{len(values)}f", *values)) for name, values in tensors.items()}
    )


def shards(parts: list[Floats], *, index: bool = True) -> dict[str, bytes]:
    """The files of one model in some shards."""
    names = [f"model-{n:05}-of-{len(parts):05}.safetensors" for n in range(1, len(parts) + 1)]
    files = {name: shard(part) for name, part in zip(names, parts, strict=True)}
    if index:
        weights = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
        files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": weights}).encode()
    return files


def two(**changed: list[float]) -> list[Floats]:
    tensors = {**WHOLE, **changed}
    return [{"a": tensors["a"]}, {name: values for name, values in tensors.items() if name != "a"}]


def put(repo: Repo, folder: str, files: Mapping[str, bytes]) -> dict[str, bytes | str]:
    return {f"{folder}/{name}": data for name, data in files.items()}


def outcomes(report: Any) -> dict[str, tuple[str, list[str]]]:
    return {m["path"]: (m["outcome"], [v["rule"] for v in m["violations"]]) for m in report["models"]}


@pytest.fixture
def dvc(repo: Repo) -> DvcRepo:
    return DvcRepo(repo)


def pointer(address: str, path: str) -> str:
    return f"outs:\n- md5: {address}\n  hash: md5\n  path: {path}\n"


def lock(**outs: str) -> str:
    lines = "".join(f"    - path: {name}\n      hash: md5\n      md5: {md5}\n" for name, md5 in outs.items())
    return f"schema: '2.0'\nstages:\n  train:\n    cmd: train\n    outs:\n{lines}"


# ---------------------------------------------------------------- shards whose index did not change


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize(
    ("policy", "values", "rule"),
    [
        ("", [8, float("nan")], "forbid_nan"),
        ("frozen = ['*']", [8, 9.5], "frozen"),
        ("max_relative_l2 = 0.01", [8, 9.5], "max_relative_l2"),
        ("max_update = 0.01", [8, 9.5], "max_update"),
    ],
)
def test_a_changed_shard_is_judged_though_the_index_is_the_same(
    repo: Repo, policy: str, values: list[float], rule: str, index: bool
) -> None:
    repo.commit({**put(repo, "m", shards(two(), index=index)), ".diffai.toml": f"[gate]\n{policy}\n"})
    files = put(repo, "m", shards(two(c=values), index=index))
    staged(repo, files)
    assert outcomes(gate_json(repo)) == {"m/model.safetensors": ("refused", [rule])}
    repo.git("commit", "-q", "-m", "x")
    assert outcomes(gate_json(repo, "--base", "HEAD~1")) == {"m/model.safetensors": ("refused", [rule])}
    assert diffai("ci", "--base", "HEAD~1", cwd=repo.top).returncode == 1


def test_a_named_shard_means_its_model(repo: Repo) -> None:
    repo.commit(put(repo, "m", shards(two())))
    staged(repo, {**put(repo, "m", shards(two(c=[1, 2, 3]))), "n.safetensors": model(4)})
    for path in ("m/model-00002-of-00002.safetensors", "m/model.safetensors.index.json", "m/model.safetensors", "m"):
        assert list(outcomes(gate_json(repo, path))) == ["m/model.safetensors"], path


def test_what_is_said_about_a_sharded_model_can_be_typed(repo: Repo) -> None:
    repo.commit(put(repo, "m", shards(two())))
    staged(repo, put(repo, "m", shards(two(c=[1, 2, 3]))))
    done = gate(repo)
    line = next(line for line in done.stdout.splitlines() if line.strip().startswith("look"))
    shown = diffai(*line.split()[2:], cwd=repo.top)
    assert shown.returncode == 0 and "c: shape=[2] -> [3]" in shown.stdout, (line, shown.stderr)
    assert "::error file=m/model" in gate(repo, "--format", "github").stdout
    file = gate_json(repo)["models"][0]["file"]
    assert (repo.top / file).exists()


@pytest.mark.parametrize("index", [True, False])
def test_a_pure_reshard_keeps_everything_frozen(repo: Repo, index: bool) -> None:
    repo.commit({**put(repo, "m", shards(two(), index=index)), ".diffai.toml": "[gate]\nfrozen = ['*']\n"})
    repo.git("rm", "-q", "-r", "m")
    staged(repo, put(repo, "m", shards([{name: values} for name, values in WHOLE.items()], index=index)))
    report = gate_json(repo)
    assert report["exit_code"] == 0 and outcomes(report) == {"m/model.safetensors": ("pass", [])}


# ---------------------------------------------------------------- models that DVC keeps


def test_a_sharded_model_of_dvc_is_one(repo: Repo, dvc: DvcRepo) -> None:
    before = dvc.manifest(shards(two()))
    repo.commit({"m.dvc": pointer(before, "m"), ".diffai.toml": "[gate]\nfrozen = ['*']\nmax_size = 200\n"})
    same = shards([{name: values} for name, values in WHOLE.items()])
    staged(repo, {"m.dvc": pointer(dvc.manifest(same), "m")})
    report = gate_json(repo)
    assert outcomes(report) == {"m/model.safetensors": ("refused", ["max_size"])}  # of all shards together
    more = {f"x{n}": [1.0] for n in range(6)}
    grown = shards([*two(), more])
    staged(repo, {"m.dvc": pointer(dvc.manifest(grown), "m"), ".diffai.toml": "[gate]\n"})
    report = gate_json(repo)
    assert outcomes(report) == {"m/model.safetensors": ("refused", ["structure.added"])}
    assert "6 tensors added" in report["models"][0]["violations"][0]["message"]
    assert report["models"][0]["file"] == "m.dvc"


def test_a_pure_reshard_in_dvc_keeps_everything_frozen(repo: Repo, dvc: DvcRepo) -> None:
    repo.commit({"m.dvc": pointer(dvc.manifest(shards(two())), "m"), ".diffai.toml": "[gate]\nfrozen = ['*']\n"})
    same = shards([{name: values} for name, values in WHOLE.items()])
    staged(repo, {"m.dvc": pointer(dvc.manifest(same), "m")})
    assert outcomes(gate_json(repo)) == {"m/model.safetensors": ("pass", [])}


@pytest.mark.parametrize("store", ["lock", "folder", "git", "moved", "renamed"])
@pytest.mark.parametrize(("classes", "outcome"), [(4, "pass"), (5, "refused")])
def test_a_model_stays_one_when_its_store_changes(
    repo: Repo, dvc: DvcRepo, store: str, classes: int, outcome: str
) -> None:
    old, new = model(4), model(classes, scale=2)
    repo.commit({"m/a.safetensors.dvc": pointer(dvc.object(old), "a.safetensors"), ".diffai.toml": "[gate]\n"
                 "models = {added = 'forbid', deleted = 'forbid'}\n"})  # fmt: skip
    repo.git("rm", "-q", "m/a.safetensors.dvc")
    path = "m/a.safetensors"
    if store == "lock":
        files: dict[str, bytes | str] = {"m/dvc.lock": lock(**{"a.safetensors": dvc.object(new)})}
    elif store == "folder":
        files = {"m.dvc": pointer(dvc.manifest({"a.safetensors": new}), "m")}
    elif store == "git":
        files = {path: new}
    else:
        path = "n/a.safetensors" if store == "moved" else "m/b.safetensors"
        files = {f"{path}.dvc": pointer(dvc.object(new), path.rpartition("/")[2])}
    staged(repo, files)
    rules = ["structure.reshaped"] if outcome == "refused" else []
    assert outcomes(gate_json(repo)) == {path: (outcome, rules)}


def test_a_model_renamed_in_its_own_folder_and_reshaped_is_one(repo: Repo) -> None:
    repo.commit({"m/epoch-1.safetensors": model(4), "m/other.safetensors": model(4, extra=("x", "y", "z", "u"))})
    repo.git("rm", "-q", "m/epoch-1.safetensors")
    staged(repo, {"m/epoch-2.safetensors": model(5)})
    report = gate_json(repo)
    assert outcomes(report) == {"m/epoch-2.safetensors": ("refused", ["structure.reshaped"])}
    assert report["models"][0]["old_path"] == "m/epoch-1.safetensors"


# ---------------------------------------------------------------- what is a model


def big(data: bytes) -> bytes:
    """At least 1 KiB of the same kind."""
    return safetensors_writer.build({"w": ("F32", (400,), bytes(1600))}) if data == b"" else data


def test_content_and_attributes_and_include_make_a_model(repo: Repo, dvc: DvcRepo) -> None:
    repo.commit({".gitattributes": "*.weights diff=diffai\n", ".diffai.toml": "[gate]\ninclude = ['*.npz']\n"
                 "models = {added = 'warn'}\n"})  # fmt: skip
    staged(repo, {
        "a.weights": model(4), "unknown.xyz": big(b""), "small.xyz": model(4), "text.xyz": "x\n" * 2000,
        "image.dat": b"\x89PNG\r\n\x1a\n" + bytes(2000),
        "behind.npz.dvc": pointer(dvc.object(npz()), "behind.npz"), "blob.xyz.dvc": pointer(dvc.object(big(b"")), "blob.xyz"),
    })  # fmt: skip
    assert set(outcomes(gate_json(repo))) == {"a.weights", "unknown.xyz", "behind.npz", "blob.xyz"}


def npz() -> bytes:
    import io

    file = io.BytesIO()
    np.savez(file, x=np.arange(300.0))
    return file.getvalue()


def npy() -> bytes:
    import io

    file = io.BytesIO()
    np.save(file, np.arange(300.0))
    return file.getvalue()


def test_a_folder_of_features_is_data(repo: Repo, dvc: DvcRepo) -> None:
    features = {f"{n}.npy": npy() for n in range(5)}
    repo.commit({"x": "x"})
    staged(repo, {**put(repo, "f", features), "g.dvc": pointer(dvc.manifest(features), "g"), "h.npz": npz()})
    done = gate(repo, "-v")
    assert done.returncode == 0 and "no model changed" in done.stdout


def test_the_quick_answer_and_the_whole_one_agree(repo: Repo) -> None:
    repo.commit({"a.txt": "a", ".gitattributes": "*.w diff=diffai\n"})
    for files in ({"unknown.xyz": EVIL + bytes(0)}, {"b.w": EVIL}, {"c.xyz": big(b"")}):
        repo.git("reset", "-q", "--hard")
        staged(repo, {**files, "a.txt": "b" * 3000})
        for words in ((), ("--hook", "pre-commit")):
            quick = gate(repo, *words)
            whole = gate(repo, *words, "-v")
            assert quick.returncode == whole.returncode, files
    assert whole.returncode == 0 and "1 changed model keeps" in whole.stdout


# ---------------------------------------------------------------- known and not read; not recognised; no model


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.ggml", b"lmgg" + bytes(2000)),
        ("lower/x.bin1", b"lmgg" + bytes(2000)),
        ("m.pt", bytes(range(256)) * 8),
        ("m.safetensors", bytes(range(256)) * 8),
        ("m.pdparams", bytes(range(1, 255)) * 8),
    ],
)
def test_what_is_not_read_is_not_judged_and_never_no_model(repo: Repo, name: str, content: bytes) -> None:
    repo.commit({"x": "x"})
    staged(repo, {name: content})
    done = gate(repo)
    assert "NOT JUDGED" in done.stdout
    repo.git("commit", "-q", "-m", "x")
    assert gate(repo, "--base", "HEAD~1").returncode == 2
    done = diffai("ci", "--base", "HEAD~1", cwd=repo.top)
    assert done.returncode == 2 and "NOT JUDGED" in done.stdout


def test_a_format_that_is_not_read_follows_on_missing(repo: Repo) -> None:
    repo.commit({"x": "x"})
    staged(repo, {"m.ggml": b"lmgg" + bytes(2000), "n.pt": bytes(range(256)) * 8})
    assert gate(repo).returncode == 0
    assert gate(repo, "--on-missing", "fail").returncode == 2
    repo.git("commit", "-q", "-m", "x")
    assert gate(repo, "--base", "HEAD~1", "--on-missing", "warn").returncode == 0


def test_what_is_recognised_as_no_model_passes_as_what_it_is(repo: Repo) -> None:
    repo.commit({"x": "x"})
    staged(repo, {"a.pt": "only text\n", "b.ckpt": b"\x89PNG\r\n\x1a\n" + bytes(2000), "c.safetensors": b""})
    assert gate(repo, "--on-missing", "fail").returncode == 0
