"""Models behind DVC's pointers between two trees: shards as one, moves across every way of keeping a model."""

from __future__ import annotations

import io
import json
import subprocess

import numpy as np
from dvcrepo import DvcRepo
from pair_models import changed, found, shard, sharded, values
from program import DIFFAI, diffai
from safetensors.numpy import save


def test_shards_in_a_dvc_folder_whose_index_did_not_change(dvc: DvcRepo) -> None:
    dvc.add_directory("m", {name[2:]: data for name, data in sharded(0).items()})
    dvc.commit("one")
    dvc.add_directory("m", {name[2:]: data for name, data in sharded(1).items()})
    dvc.commit("two")
    for words in (("HEAD~1..HEAD",), ("HEAD~1:m", "HEAD:m")):
        done = diffai(*words, "--output", "json", cwd=dvc.top)
        assert [name.rpartition(":")[2] for name in changed(done)] == ["b"], (words, done.stdout, done.stderr)


def test_dvc_diff_tells_a_sharded_model_once(dvc: DvcRepo) -> None:
    for seed in (0, 1):
        files = sharded(seed) | {f"m/{shard(1)}": values("a", seed=seed)}
        dvc.add_directory("m", {name[2:]: data for name, data in files.items()})
        for name, data in files.items():
            dvc.add(f"alone/{name[2:]}", data, here=False)  # each file with a pointer of its own
        dvc.commit(str(seed))
    text = diffai("dvc", "diff", "HEAD~1", "HEAD", cwd=dvc.top).stdout
    for folder in ("m", "alone"):
        assert text.count(f"    {folder}/{shard(1)}\n        model.safetensors, all of its files:\n") == 1, text
    assert text.count("Model Changes:") == 2 and text.count("~ a: ") == text.count("~ b: ") == 2
    records = json.loads(diffai("dvc", "diff", "--json", "--tensors", "HEAD~1", "HEAD", cwd=dvc.top).stdout)["modified"]
    told = {record["path"]: record["diffai"] for record in records if "diffai" in record}
    assert sorted(told) == [f"alone/{shard(1)}", f"m/{shard(1)}"]
    assert all([change["TensorStatsChanged"][0] for change in each] == ["a", "b"] for each in told.values())
    hashed = diffai("dvc", "diff", "--json", "--show-hash", "HEAD~1", "HEAD", cwd=dvc.top).stdout
    command = [str(DIFFAI), "dvc", "diff", "-"]
    filtered = subprocess.run(command, cwd=dvc.top, input=hashed, capture_output=True, text=True, check=True)
    assert filtered.stdout.count("all of its files:") == 1


def test_one_model_wherever_it_is_kept(dvc: DvcRepo) -> None:
    """git -> .dvc -> dvc.lock -> a folder of DVC's -> git: the same path, each step with a reshape."""
    repo, path = dvc.repo, "m/x.safetensors"
    repo.commit({path: values("a", width=2)})
    repo.git("rm", "-q", "--cached", path)
    dvc.add(path, values("a", width=3), here=False)
    dvc.commit("file")
    repo.git("rm", "-q", f"{path}.dvc")
    content = values("a", width=4)
    dvc.lock({"train": {path: (dvc.object(content), len(content))}})
    dvc.commit("stage")
    repo.git("rm", "-q", "dvc.lock")
    dvc.add_directory("m", {"x.safetensors": values("a", width=5)})
    dvc.commit("folder")
    repo.git("rm", "-q", "m.dvc")
    (dvc.top / ".gitignore").unlink(missing_ok=True)
    repo.write({path: values("a", width=6)})
    repo.git("add", "-f", path)
    repo.git("commit", "-qm", "git")
    for step in range(4, 0, -1):
        done = diffai(f"HEAD~{step}..HEAD~{step - 1}", cwd=dvc.top)
        assert f"~ a: shape=[{6 - step}] -> [{7 - step}]" in done.stdout, (step, done.stdout, done.stderr)


def test_a_dvc_move_with_a_reshape_is_one_model(dvc: DvcRepo) -> None:
    dvc.add("old/x.safetensors", values("a", "b", width=2), here=False)
    dvc.commit("one")
    dvc.repo.git("rm", "-q", "old/x.safetensors.dvc")
    dvc.add("new/x.safetensors", values("a", "b", width=3), here=False)
    dvc.commit("two")
    (pair,) = found(dvc.repo)
    assert (pair.old_path, pair.new_path) == ("old/x.safetensors", "new/x.safetensors")
    assert pair.held_by == ("old/x.safetensors.dvc", "new/x.safetensors.dvc")


def test_include_makes_models_of_arrays_and_of_what_a_pointer_holds(dvc: DvcRepo) -> None:
    for content in (npy(1), npy(2)):
        dvc.repo.write({"f.npy": content})
        dvc.repo.git("add", "f.npy")
        dvc.add("behind.feat", content, here=False)
        dvc.commit("x")
    assert found(dvc.repo) == []
    done = diffai("HEAD~1..HEAD", "--include", "*.npy", "--include", "*.feat", cwd=dvc.top)
    assert "f.npy" in done.stdout and "behind.feat" in done.stdout


def npy(value: float) -> bytes:
    file = io.BytesIO()
    np.save(file, np.full(1000, value))
    return file.getvalue()


def test_the_log_tells_a_model_that_only_its_shards_were_cut_anew(dvc: DvcRepo) -> None:
    """From a pointer for each file to a folder, in other shards: a version of it that changes nothing."""
    one = {"a": np.ones((2, 2), "f4"), "b": np.ones((2, 2), "f4")}
    for name in one:
        dvc.add(f"m/model-0000{1 + (name == 'b')}-of-00002.safetensors", save({name: one[name]}), here=False)
    dvc.commit("two shards")
    for file in (dvc.top / "m").glob("*.dvc"):
        file.unlink()
    dvc.add_directory("m", {"model-00001-of-00001.safetensors": save(one)})
    dvc.repo.git("add", "-A")
    dvc.commit("one shard")
    entries = json.loads(diffai("log", "--format", "json", "--", "m/model.safetensors", cwd=dvc.top).stdout)["entries"]
    assert [(entry["subject"], entry["kind"]) for entry in entries] == [("one shard", "same"), ("two shards", "added")]
