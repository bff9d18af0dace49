"""``diffai log`` against figures recomputed from ``git show`` by numpy and the safetensors library."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
from gitrepo import Repo
from model_history import commit, diffai, expected, history, shown, start, trained

FIGURES = ("update_size", "cosine", "drift", "update_cosine", "norm")


def log(repo: Repo, *words: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(diffai(repo.top, "log", "--format", "json", *words))
    return result


def entries(repo: Repo, *words: str) -> list[dict[str, Any]]:
    """Oldest first."""
    return list(reversed(log(repo, *words)["entries"]))


def assert_close(entry: dict[str, Any], row: dict[str, float]) -> None:
    for name in FIGURES:
        got = entry["figures"][name]
        if name in row:
            assert got == pytest.approx(row[name], rel=1e-9, abs=1e-12), (entry["subject"], name)
        else:
            assert got is None, (entry["subject"], name)


def test_a_training_run_is_told_as_numpy_tells_it(repo: Repo) -> None:
    run = history(repo, 22)
    rows = expected([shown(repo, name) for name, _ in run])
    found = entries(repo, "--", "model.safetensors")
    assert [entry["commit"] for entry in found] == [name for name, _ in run]
    assert [entry["kind"] for entry in found] == ["added"] + ["changed"] * 21
    for entry, row in zip(found, rows, strict=True):
        assert_close(entry, row)
    assert found[-1]["figures"]["changed"] == 7
    assert found[-1]["figures"]["parameters"] == 4 * 64 + 24 + 3


def test_a_warm_cache_tells_the_same(repo: Repo) -> None:
    history(repo, 5)
    cold = diffai(repo.top, "log", "-p", "--", "model.safetensors")
    assert diffai(repo.top, "log", "-p", "--", "model.safetensors") == cold
    assert diffai(repo.top, "log", "-p", "--no-cache", "--", "model.safetensors") == cold


def test_lfs_is_told_like_git(repo: Repo) -> None:
    repo.lfs_track("*.safetensors")
    run = history(repo, 4)
    assert repo.git("show", "HEAD:model.safetensors").startswith("version https://git-lfs")
    found = entries(repo, "--", "model.safetensors")
    for entry, row in zip(found, expected([shown(repo, name) for name, _ in run]), strict=True):
        assert entry["holder"] == "git-lfs"
        assert_close(entry, row)


def test_a_missing_lfs_object_is_an_entry_and_the_rest_is_told(repo: Repo) -> None:
    repo.lfs_track("*.safetensors")
    run = history(repo, 4)
    repo.git("remote", "add", "origin", "file:///nowhere")
    oid = repo.git("show", f"{run[2][0]}:model.safetensors").split("sha256:")[1].split()[0]
    (repo.top / f".git/lfs/objects/{oid[:2]}/{oid[2:4]}/{oid}").unlink()
    found = entries(repo, "--", "model.safetensors")
    assert [entry["kind"] for entry in found] == ["added", "changed", "unreadable", "changed"]
    assert found[2]["state"] == "LfsPointer"
    assert f"git lfs fetch origin {run[2][0][:12]} -I /model.safetensors" in found[2]["reason"]
    assert run[1][0][:10] in found[3]["compared_with"]
    rows = expected([run[0][1], run[1][1], run[3][1]])
    assert found[3]["figures"]["update_size"] == pytest.approx(rows[2]["update_size"], rel=1e-9)


def test_moving_to_lfs_is_said_and_changes_nothing(repo: Repo) -> None:
    weights = start()
    commit(repo, weights, "in git")
    repo.lfs_track("*.safetensors")
    repo.git("add", "--renormalize", "model.safetensors")
    repo.git("commit", "-q", "-m", "to lfs")
    found = entries(repo, "--", "model.safetensors")
    assert [(e["kind"], e["moved_from"], e["holder"]) for e in found] == [
        ("added", None, "git"),
        ("same", "git", "git-lfs"),
    ]
    assert "moved from git to git-lfs" in diffai(repo.top, "log", "--", "model.safetensors")


def test_a_merge_that_equals_a_parent_is_left_out_and_another_is_told(repo: Repo) -> None:
    base = start()
    commit(repo, base, "base", day=1)
    repo.git("checkout", "-q", "-b", "side")
    side = trained(base, 1, "head")
    commit(repo, side, "side", day=2)
    repo.git("checkout", "-q", "main")
    repo.commit({"notes.txt": "x"}, "elsewhere")
    repo.git("merge", "-q", "--no-edit", "side")
    assert [e["subject"] for e in entries(repo, "--", "model.safetensors")] == ["base", "side"]
    repo.git("checkout", "-q", "-b", "other", "HEAD^1")
    other = trained(base, 2, "layers.0")
    commit(repo, other, "other", day=3)
    repo.run("merge", "-q", "--no-commit", "main")
    merged = {**other, **{name: value for name, value in side.items() if name.startswith("head")}}
    commit(repo, merged, "merged", day=4)
    found = entries(repo, "--", "model.safetensors")
    assert {e["subject"] for e in found} == {"base", "side", "other", "merged"}
    last = next(e for e in found if e["subject"] == "merged")
    assert len(last["parents"]) == 2
    assert last["figures"]["changed"] == 2  # against the first parent: the head came from the other side
    by_first = entries(repo, "--first-parent", "--", "model.safetensors")
    assert [e["subject"] for e in by_first] == ["base", "other", "merged"]


def test_deleted_and_added_again(repo: Repo) -> None:
    history(repo, 2)
    repo.git("rm", "-q", "model.safetensors")
    repo.git("commit", "-q", "-m", "gone")
    commit(repo, start(5), "again")
    found = entries(repo, "--", "model.safetensors")
    assert [e["kind"] for e in found] == ["added", "changed", "removed", "added"]
    assert found[2]["figures"]["tensors"] == 7
    repo.git("rm", "-q", "model.safetensors")
    repo.git("commit", "-q", "-m", "gone for good")
    assert entries(repo, "--", "model.safetensors")[-1]["kind"] == "removed"


def test_structure_dtype_and_renames(repo: Repo) -> None:
    weights = start()
    commit(repo, weights, "a")
    wider = dict(weights) | {"head.weight": np.ones((5, 8), "f4"), "extra": np.ones(2, "f4")}
    del wider["head.bias"]
    commit(repo, wider, "wider")
    half = {n: v.astype("f2") if n == "extra" else v for n, v in wider.items()}
    half["first.attn.weight"] = half.pop("layers.0.attn.weight")
    commit(repo, half, "half")
    first, second = entries(repo, "--", "model.safetensors")[1:]
    f = first["figures"]
    assert (f["added"], f["removed"], f["reshaped"]) == (1, 1, 1)
    assert f["shape_changes"] == [{"name": "head.weight", "old": [3, 8], "new": [5, 8]}]
    f = second["figures"]
    assert f["dtype_changes"] == [{"old": "F32", "new": "F16", "tensors": 1}]
    assert f["renamed"] == 1
    # A renamed tensor is still the same one: nothing but the rounding of 1.0 (none) moved.
    assert f["update_size"] == 0.0
    assert [e["subject"] for e in entries(repo, "--only-structure", "--", "model.safetensors")] == [
        "a",
        "wider",
        "half",
    ]


def test_renames_are_followed_through_the_drift(repo: Repo) -> None:
    one = start()
    two = {("new." + n if n.startswith("layers") else n): v for n, v in one.items()}
    three = trained(two, 3)
    for step, weights in enumerate((one, two, three)):
        commit(repo, weights, str(step), day=step + 1)
    last = entries(repo, "--", "model.safetensors")[-1]["figures"]
    names = [n for n in one if not n.endswith("running_mean")]
    a = np.concatenate([one[n].astype("f8").ravel() for n in names])
    c = np.concatenate([three["new." + n if n.startswith("layers") else n].astype("f8").ravel() for n in names])
    assert last["drift"] == pytest.approx(np.linalg.norm(c - a) / np.linalg.norm(a), rel=1e-9)


def test_tensor_glob_compare_to_and_limits(repo: Repo) -> None:
    weights = start()
    commit(repo, weights, "a", day=1)
    head = trained(weights, 1, "head")
    commit(repo, head, "head", day=2)
    commit(repo, trained(head, 2, "layers.1"), "layer", day=3)
    assert [e["subject"] for e in entries(repo, "--tensor", "head.*", "--", "model.safetensors")] == ["a", "head"]
    last = log(repo, "--compare-to", "first", "--", "model.safetensors")["entries"][0]
    assert last["figures"]["changed"] == 4
    assert last["figures"]["update_size"] == pytest.approx(last["figures"]["drift"])
    assert log(repo, "--compare-to", "HEAD~1", "--", "model.safetensors")["entries"][0]["figures"]["changed"] == 2
    assert len(log(repo, "-n", "1", "--", "model.safetensors")["entries"]) == 1
    assert [e["subject"] for e in entries(repo, "--since", "2024-01-02T00:00:00", "--", "model.safetensors")] == [
        "head", "layer",
    ]  # fmt: skip
    assert [e["subject"] for e in entries(repo, "HEAD~1..HEAD", "--", "model.safetensors")] == ["layer"]
    assert entries(repo, "--author", "A U", "--", "model.safetensors")
    assert "no commit that matches" in diffai(repo.top, "log", "--author", "nobody", "--", "model.safetensors", code=2)


@pytest.mark.parametrize("level", ["header", "digest"])
def test_levels(repo: Repo, level: str) -> None:
    history(repo, 3)
    last = log(repo, "--level", level, "--", "model.safetensors")["entries"][0]["figures"]
    assert last["update_size"] is None
    assert last["changed"] == (None if level == "header" else 7)
    assert "0%" not in diffai(repo.top, "log", "--level", level, "--", "model.safetensors")


def test_a_renamed_file_is_followed_when_asked(repo: Repo) -> None:
    run = history(repo, 2, path="old name.safetensors")
    repo.git("mv", "old name.safetensors", "model.safetensors")
    repo.git("commit", "-q", "-m", "rename")
    commit(repo, trained(run[-1][1], 9), "after", day=9)
    plain = diffai(repo.top, "log", "--", "model.safetensors")
    assert "renamed from old name.safetensors: --follow goes on there" in plain
    found = entries(repo, "--follow", "--", "model.safetensors")
    assert [e["subject"] for e in found] == ["step 0", "step 1", "rename", "after"]
    assert [e["kind"] for e in found] == ["added", "changed", "same", "changed"]
    assert found[2]["renamed_from"] == "old name.safetensors"
    rows = expected([run[0][1], run[1][1], run[1][1], trained(run[-1][1], 9)])
    assert found[3]["figures"]["drift"] == pytest.approx(rows[3]["drift"], rel=1e-9)


def test_shards_are_one_model(repo: Repo) -> None:
    from safetensors.numpy import save

    weights = start()
    for step in range(3):
        weights = trained(weights, step, "head") if step else weights
        names = list(weights)
        shards = {
            f"m/model-0000{i + 1}-of-00002.safetensors": save({n: weights[n] for n in names[i::2]}) for i in range(2)
        }
        index = {
            "metadata": {},
            "weight_map": {n: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, n in enumerate(names)},
        }
        repo.commit({**shards, "m/model.safetensors.index.json": json.dumps(index)}, f"step {step}")
    for word in ("m", "m/model.safetensors.index.json", "m/model-00001-of-00002.safetensors", "m/model.safetensors"):
        found = entries(repo, "--", word)
        assert [e["kind"] for e in found] == ["added", "changed", "changed"], word
        assert found[2]["figures"]["changed"] == 2
        assert found[2]["figures"]["tensors"] == 7
    blame = json.loads(diffai(repo.top, "blame", "--format", "json", "--", "m"))
    by = {t["name"]: t["values"]["subject"] for t in blame["tensors"]}
    assert by["head.bias"] == "step 2"
    assert by["layers.0.mlp.weight"] == "step 0"


def test_resharded_in_the_middle(repo: Repo) -> None:
    """One file, two shards, three shards without an index, one file: one model all along."""
    from safetensors.numpy import save

    def put(weights: dict[str, Any], count: int, subject: str, *, index: bool) -> None:
        repo.run("rm", "-q", "-r", "--cached", "m")
        names = list(weights)
        shards = [f"model-{i + 1:05}-of-{count:05}.safetensors" for i in range(count)]
        files: dict[str, bytes | str] = (
            {"m/model.safetensors": save(weights)} if count == 1 else
            {f"m/{shard}": save({n: weights[n] for n in names[i::count]}) for i, shard in enumerate(shards)}
        )  # fmt: skip
        if index:
            places = {n: shards[i % count] for i, n in enumerate(names)}
            files["m/model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": places})
        repo.commit(files, subject)

    a = start()
    b, c = trained(a, 1), trained(a, 2)
    d = trained(c, 3)
    put(a, 1, "one", index=False)
    put(a, 2, "two shards", index=True)
    put(b, 2, "trained", index=True)
    put(c, 3, "three shards, trained", index=False)
    put(c, 1, "one again", index=False)
    put(d, 1, "trained on", index=False)
    found = entries(repo, "--", "m/model.safetensors")
    assert [e["kind"] for e in found] == ["added", "same", "changed", "changed", "same", "changed"]
    assert [e["figures"]["tensors"] for e in found] == [7] * 6
    for entry, row in zip([found[0], found[2], found[3], found[5]], expected([a, b, c, d]), strict=True):
        assert_close(entry, row)
    blame = json.loads(diffai(repo.top, "blame", "--format", "json", "HEAD", "--", "m/model.safetensors"))
    assert {t["values"]["subject"] for t in blame["tensors"]} == {"trained on"}
    assert {t["introduced"]["subject"] for t in blame["tensors"]} == {"one"}


def test_all_models(repo: Repo) -> None:
    commit(repo, start(), "a", path="a.safetensors")
    commit(repo, start(1), "b", path="deep/b.safetensors")
    text = diffai(repo.top, "log", "--all-models")
    assert text.index("a.safetensors") < text.index("deep/b.safetensors")
    assert len(json.loads(diffai(repo.top, "log", "--all-models", "--format", "json"))) == 2


def test_shallow_and_partial_clones(repo: Repo, tmp_path: Any) -> None:
    history(repo, 4)
    shallow = repo.clone(tmp_path / "shallow", "--depth", "2")
    found = entries(shallow, "--", "model.safetensors")
    assert [e["history_cut"] for e in found] == [True, False]
    assert "oldest version here (shallow clone)" in diffai(shallow.top, "log", "--", "model.safetensors")
    repo.config("uploadpack.allowFilter", "true")
    partial = repo.clone(tmp_path / "partial", "--filter=blob:none")
    found = entries(partial, "--", "model.safetensors")
    assert [e["kind"] for e in found] == ["unreadable"] * 3 + ["added"]
    assert all(e["state"] == "NotPulled" for e in found[:3])
    missing = partial.git("rev-list", "--objects", "--all", "--missing=print")
    assert missing.count("?") == 3  # nothing was downloaded
    fetched = entries(partial, "--fetch", "--", "model.safetensors")
    assert [e["kind"] for e in fetched] == ["added", "changed", "changed", "changed"]


def test_paths_without_history(repo: Repo) -> None:
    assert "no commits yet" in diffai(repo.top, "log", "--", "model.safetensors", code=2)
    history(repo, 1)
    said = diffai(repo.top, "log", "--", "modle.safetensors", code=2)
    assert "did you mean model.safetensors?" in said
    assert "no such revision" in diffai(repo.top, "log", "nowhere", "--", "model.safetensors", code=2)


@pytest.mark.parametrize("format_", ["csv", "markdown", "html"])
def test_other_outputs(repo: Repo, format_: str) -> None:
    weights = start()
    commit(repo, weights, "=cmd|'x'<script>")
    commit(repo, trained(weights, 1), "two", day=2)
    text = diffai(repo.top, "log", "--format", format_, "--", "model.safetensors")
    if format_ == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["subject"][:1] for row in rows] == ["t", "'"]
        assert float(rows[0]["update_size"]) > 0
    assert "<script>" not in text or format_ == "csv"


@pytest.mark.parametrize("suffix", ["svg", "html", "png"])
def test_plots(repo: Repo, tmp_path: Any, suffix: str) -> None:
    if suffix == "png":
        pytest.importorskip("matplotlib", reason="matplotlib (the extra plot) is not installed")
    history(repo, 4)
    file = tmp_path / f"plot.{suffix}"
    diffai(repo.top, "log", "--plot", str(file), "--", "model.safetensors")
    data = file.read_bytes()
    assert data.startswith({"svg": b"<svg", "html": b"<!doctype", "png": b"\x89PNG"}[suffix])
    if suffix == "svg":
        import xml.dom.minidom

        xml.dom.minidom.parseString(data)


def test_a_plot_that_cannot_be_drawn_is_refused_first(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    history(repo, 1)
    assert "expected a file name ending in" in diffai(
        repo.top, "log", "--plot", "x.gif", "--", "model.safetensors", code=2
    )
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "matplotlib" else real(name, *a))
    assert "diffai[plot]" in diffai(repo.top, "log", "--plot", "x.png", "--", "model.safetensors", code=2)


@pytest.mark.parametrize("dtype", ["f4", "f2", "f8"])
def test_large_tensors_keep_their_digits(repo: Repo, dtype: str) -> None:
    r = np.random.default_rng(1)
    versions = [{"w.weight": r.standard_normal((300, 301)).astype(dtype)}]
    for scale in (0.1, 0.01, 0.01):
        moved = versions[-1]["w.weight"] + scale * r.standard_normal((300, 301))
        versions.append({"w.weight": moved.astype(dtype)})
    for step, weights in enumerate(versions):
        commit(repo, weights, str(step), day=step + 1)
    for entry, row in zip(entries(repo, "--", "model.safetensors"), expected(versions), strict=True):
        for name, value in row.items():
            assert entry["figures"][name] == pytest.approx(value, rel=1e-6, abs=1e-7), name
        if "cosine" in row:
            assert 1 - entry["figures"]["cosine"] == pytest.approx(1 - row["cosine"], rel=1e-5)


def test_strange_values_in_large_tensors(repo: Repo) -> None:
    r = np.random.default_rng(2)
    one = r.standard_normal((200, 200)).astype("f4")
    two = one + np.float32(0.1)
    two[3, 4] = np.nan
    three = one * np.float32(1e30)
    for step, value in enumerate((one, two, three)):
        commit(repo, {"w.weight": value}, str(step), day=step + 1)
    found = [entry["figures"] for entry in entries(repo, "--", "model.safetensors")]
    good = np.isfinite(two)
    assert found[1]["nonfinite"] == 1
    assert found[1]["update_size"] == pytest.approx(
        np.linalg.norm((two[good] - one[good]).astype("f8")) / np.linalg.norm(one[good].astype("f8")), rel=1e-6
    )
    assert found[2]["drift"] == pytest.approx(1e30, rel=1e-6)


def test_merges_that_add_and_delete(repo: Repo) -> None:
    """A merge commit that drops the model though both parents have it, and one that brings it though none has."""
    base = start()
    commit(repo, base, "base")
    for step, (subject, drop) in enumerate([("drops it", True), ("brings it", False)], start=1):
        repo.git("checkout", "-q", "-b", f"side{step}")
        repo.commit({f"side{step}.txt": "x"}, f"side {step}")
        repo.git("checkout", "-q", "main")
        repo.commit({f"main{step}.txt": "x"}, f"main {step}")
        repo.git("merge", "-q", "--no-commit", "--no-ff", f"side{step}")
        if drop:
            repo.git("rm", "-q", "model.safetensors")
            repo.git("commit", "-q", "-m", subject)
        else:
            commit(repo, trained(base, 1), subject, day=9)
    found = entries(repo, "--", "model.safetensors")
    assert [(e["subject"], e["kind"], len(e["parents"])) for e in found] == [
        ("base", "added", 0), ("drops it", "removed", 2), ("brings it", "added", 2),
    ]  # fmt: skip
    blame = json.loads(diffai(repo.top, "blame", "--format", "json", "--", "model.safetensors"))
    assert {t["introduced"]["subject"] for t in blame["tensors"]} == {"brings it"}
