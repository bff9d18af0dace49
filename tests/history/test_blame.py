"""``diffai blame``: every tensor's commit, against a recomputation that reads each version with ``git show``."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pytest
from gitrepo import Repo
from holders import HOLDERS, Held, why_not
from model_history import commit, diffai, history, shown, start, trained
from program import diffai as run_diffai
from safetensors.numpy import save


def blame(repo: Repo, *words: str) -> dict[str, dict[str, Any]]:
    report = json.loads(diffai(repo.top, "blame", "--format", "json", *words))
    return {tensor["name"]: tensor for tensor in report["tensors"]}


def last_changes(repo: Repo, commits: list[str]) -> dict[str, str]:
    """Tensor -> the last commit of a straight history that changed its bytes, by plain comparison."""
    found: dict[str, str] = {}
    before: dict[str, np.ndarray] = {}
    for name in commits:
        now = shown(repo, name)
        for tensor, value in now.items():
            if (
                tensor not in before
                or before[tensor].tobytes() != value.tobytes()
                or before[tensor].shape != value.shape
            ):
                found[tensor] = name
        before = now
    return {tensor: found[tensor] for tensor in before}


def fine_tuning(repo: Repo) -> list[str]:
    weights = start()
    commits = [commit(repo, weights, "base")]
    for step, only in enumerate(["layers.0", "head", "layers.1.mlp", "layers", "head.bias", "norm"] * 3, start=1):
        weights = trained(weights, step, only)
        commits.append(commit(repo, weights, f"{step} {only}", day=step + 1))
    return commits


def test_every_tensor_has_the_commit_that_git_show_says(repo: Repo) -> None:
    commits = fine_tuning(repo)
    found = blame(repo, "--", "model.safetensors")
    assert {name: t["values"]["commit"] for name, t in found.items()} == last_changes(repo, commits)
    assert {t["introduced"]["commit"] for t in found.values()} == {commits[0]}
    assert {t["structure"]["commit"] for t in found.values()} == {commits[0]}


def test_lfs_and_a_revision(repo: Repo) -> None:
    repo.lfs_track("*.safetensors")
    commits = fine_tuning(repo)
    found = blame(repo, commits[7], "--", "model.safetensors")
    assert {name: t["values"]["commit"] for name, t in found.items()} == last_changes(repo, commits[:8])


def test_it_stops_when_every_tensor_is_attributed(repo: Repo, monkeypatch: Any) -> None:
    commits = fine_tuning(repo)
    last = commit(repo, {"fresh": np.arange(5, dtype="f4"), "new": np.ones(3, "f4")}, "all new", day=28)
    from diffai.history import blame as module

    looked: list[str] = []
    real = module._Blame.header
    monkeypatch.setattr(module._Blame, "header", lambda self, name: (looked.append(name), real(self, name))[1])
    found = blame(repo, "--", "model.safetensors")
    assert {t["introduced"]["commit"] for t in found.values()} == {last}
    assert set(looked) <= {last, commits[-1]}


def test_which_blobs_are_read(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values only of versions for which a question is open; no blob twice; nothing behind the last answer."""
    r = np.random.default_rng(0)
    weights = {f"layer.{i}.weight": r.standard_normal((64, 64)).astype("f4") for i in range(4)}
    commits = [commit(repo, weights, "base")]
    for step, name in enumerate([f"layer.{i}." for i in (0, 1, 2, 3, 3, 2, 1, 0)], start=1):
        weights = trained(weights, step, name)
        commits.append(commit(repo, weights, f"{step}", day=step + 1))
    names = {repo.rev_parse(f"{name}:model.safetensors"): name for name in commits}
    from diffai.history import digests
    from diffai.repository import objects

    opened: list[str] = []
    digested: list[str] = []
    take, digest = objects.ObjectReader.take, digests.digest_version
    monkeypatch.setattr(
        objects.ObjectReader, "take", lambda self, oid, label: (opened.append(names[oid]), take(self, oid, label))[1]
    )

    def recorded(versions: Any, version: Any, store: Any, **options: Any) -> Any:
        digested.append(version.commit)
        return digest(versions, version, store, **options)

    monkeypatch.setattr("diffai.history.blame.digest_version", recorded)
    # All layers were changed by the last four commits: of the four before only their nearest is looked at.
    found = blame(repo, "HEAD", "--", "model.safetensors", "layer.*")
    assert [found[f"layer.{i}.weight"]["values"]["commit"] for i in range(4)] == [commits[i] for i in (8, 7, 6, 5)]
    assert digested == [commits[i] for i in (8, 7, 6, 5, 4)]
    assert set(opened) <= set(commits)  # where they were introduced, headers tell
    again = len(opened)
    blame(repo, "HEAD", "--", "model.safetensors")
    assert len(opened) == again  # the second time nothing is
    monkeypatch.undo()


def test_changed_and_changed_back(repo: Repo) -> None:
    weights = start()
    commit(repo, weights, "a")
    commit(repo, trained(weights, 1, "head"), "there", day=2)
    back = commit(repo, weights, "and back", day=3)
    found = blame(repo, "--", "model.safetensors")
    assert found["head.weight"]["values"]["commit"] == back


def test_renamed_tensors_and_files_are_followed(repo: Repo) -> None:
    weights = start()
    first = commit(repo, weights, "a", path="old.safetensors")
    repo.git("mv", "old.safetensors", "model.safetensors")
    repo.git("commit", "-q", "-m", "file renamed")
    renamed = dict(weights)
    renamed["lm_head.weight"] = renamed.pop("head.weight")
    commit(repo, renamed, "tensor renamed", day=3)
    found = blame(repo, "--", "model.safetensors")
    assert {t["values"]["commit"] for t in found.values()} == {first}
    assert found["lm_head.weight"]["introduced"]["name"] == "head.weight"
    assert "as head.weight" in diffai(repo.top, "blame", "--", "model.safetensors")


def test_shape_and_dtype(repo: Repo) -> None:
    weights = start()
    first = commit(repo, weights, "a")
    wider = dict(weights) | {"head.weight": np.ones((5, 8), "f4")}
    second = commit(repo, wider, "wider", day=2)
    third = commit(repo, trained(wider, 3, "head"), "trained", day=3)
    head = blame(repo, "--", "model.safetensors", "head.weight")
    assert list(head) == ["head.weight"]
    t = head["head.weight"]
    assert [t[q]["commit"] for q in ("values", "structure", "introduced")] == [third, second, first]
    assert "not asked for" in diffai(repo.top, "blame", "--", "model.safetensors", "head.*")


def test_a_merge_asks_both_parents(repo: Repo) -> None:
    base = start()
    commit(repo, base, "base")
    repo.git("checkout", "-q", "-b", "side")
    side = trained(base, 1, "head")
    on_side = commit(repo, side, "side", day=2)
    repo.git("checkout", "-q", "main")
    ours = trained(base, 2, "layers.0")
    on_main = commit(repo, ours, "main", day=3)
    repo.run("merge", "-q", "--no-commit", "side")
    merged = {**ours, "head.weight": side["head.weight"], "head.bias": trained(side, 7, "head.bias")["head.bias"]}
    merge = commit(repo, merged, "merge", day=4)
    by = {name: t["values"]["commit"] for name, t in blame(repo, "--", "model.safetensors").items()}
    assert by["head.weight"] == on_side
    assert by["layers.0.attn.weight"] == on_main
    assert by["head.bias"] == merge


def uncommitted(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Tensor -> where its values lie that were not committed."""
    return {name: t["values"]["uncommitted"] for name, t in found.items() if t["values"]["commit"] is None}


def test_uncommitted_changes_are_named_so(repo: Repo) -> None:
    ((first, weights),) = history(repo, 1)
    repo.write({"model.safetensors": save(trained(weights, 1, "head.bias"))})
    found = blame(repo, "--", "model.safetensors")
    assert uncommitted(found) == {"head.bias": "work tree"}
    assert found["head.weight"]["values"]["commit"] == first
    text = diffai(repo.top, "blame", "--", "model.safetensors")
    assert "not committed (work tree)  head.bias" in text
    assert text.endswith("(6 tensors last changed by 1 commit, 1 tensor not committed)\n")
    assert "not committed" not in diffai(repo.top, "blame", "HEAD", "--", "model.safetensors")


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_is_staged_and_what_is_not(repo: Repo, holder: str) -> None:
    if why := why_not(holder):
        pytest.skip(why)
    held = Held(repo, holder)
    weights = start()
    first = held.commit(weights, "one")
    held.stage(staged := trained(weights, 1, "head.bias"))
    found = blame(repo, "--", held.path)
    assert uncommitted(found) == {"head.bias": "staged"}
    assert {t["introduced"]["commit"] for t in found.values()} == {first}
    held.edit(trained(staged, 2, "layers.0.attn"))
    found = blame(repo, "--", held.path)
    assert uncommitted(found) == {"head.bias": "staged", "layers.0.attn.weight": "work tree"}
    text = diffai(repo.top, "blame", "--depth", "1", "--", held.path)
    assert "not committed (staged)" in text and "not committed (work tree)" in text
    # Staged, and changed back in the work tree: what would be seen on disk is the commit's.
    held.edit(weights)
    assert uncommitted(blame(repo, "--", held.path)) == {"head.bias": "work tree"}


def test_a_file_that_was_only_touched_is_committed(repo: Repo) -> None:
    history(repo, 1)
    path = repo.top / "model.safetensors"
    os.utime(path, (1, 1))
    assert not uncommitted(blame(repo, "--", "model.safetensors"))


def test_a_new_file_and_one_that_comes_back(repo: Repo) -> None:
    ((_, weights),) = history(repo, 1)
    repo.write({"new.safetensors": save(weights)})
    assert set(uncommitted(blame(repo, "--", "new.safetensors")).values()) == {"work tree"}
    repo.git("add", "new.safetensors")
    found = blame(repo, "--", "new.safetensors")
    assert {t[q]["uncommitted"] for t in found.values() for q in ("values", "structure", "introduced")} == {"staged"}
    # Deleted by a commit and on disk again: it does not come from before the deletion.
    repo.git("rm", "-q", "--cached", "model.safetensors")
    repo.git("commit", "-q", "-m", "gone, and new")
    assert set(uncommitted(blame(repo, "--", "model.safetensors")).values()) == {"work tree"}


def test_a_damaged_file_of_the_work_tree_is_said(repo: Repo) -> None:
    history(repo, 1)
    repo.write({"model.safetensors": b"\xff\0\0\0\0\0\0\0{"})
    said = diffai(repo.top, "blame", "--", "model.safetensors", code=2)
    assert said.startswith("diffai: model.safetensors: unreadable safetensors: ")
    assert blame(repo, "HEAD", "--", "model.safetensors")


def test_shards_that_are_staged(repo: Repo) -> None:
    weights = start()
    names = sorted(weights)
    halves = [{n: weights[n] for n in names[i::2]} for i in range(2)]
    files = {f"m/model-0000{i + 1}-of-00002.safetensors": save(half) for i, half in enumerate(halves)}
    repo.commit(files, "one")
    name = "m/model-00001-of-00002.safetensors"
    repo.write({name: save(trained(halves[0], 1, names[0]))})
    repo.git("add", name)
    assert uncommitted(blame(repo, "--", "m")) == {names[0]: "staged"}
    repo.write({name: save(trained(halves[0], 1, names[2]))})
    assert uncommitted(blame(repo, "--", "m")) == {names[0]: "work tree", names[2]: "work tree"}


def test_modules(repo: Repo) -> None:
    fine_tuning(repo)
    lines = diffai(repo.top, "blame", "--depth", "2", "--", "model.safetensors").splitlines()
    assert any("layers.0  " in line and line.endswith("2 tensors") for line in lines)


def test_an_unreadable_version_between_is_named(repo: Repo) -> None:
    weights = start()
    first = commit(repo, weights, "a")
    bad = repo.commit({"model.safetensors": b"\x10\0\0\0\0\0\0\0{damaged"}, "damaged")
    last = commit(repo, trained(weights, 1, "head"), "b", day=3)
    found = blame(repo, "--", "model.safetensors")
    assert found["layers.0.attn.weight"]["values"]["commit"] == first
    assert found["head.bias"]["values"]["commit"] == last
    assert found["head.bias"]["values"]["unreadable_between"] == [bad]
    assert "may be that of a version which could not be read" in diffai(repo.top, "blame", "--", "model.safetensors")


def test_a_shallow_clone_marks_its_edge(repo: Repo, tmp_path: Any) -> None:
    history(repo, 3)
    shallow = repo.clone(tmp_path / "shallow", "--depth", "1")
    found = blame(shallow, "--", "model.safetensors")
    assert all(t["values"]["boundary"] for t in found.values())
    assert diffai(shallow.top, "blame", "--", "model.safetensors").splitlines()[1].startswith("^")


def test_it_says_what_is_wrong(repo: Repo) -> None:
    history(repo, 1)
    assert "does not have it" in diffai(repo.top, "blame", "--", "other.safetensors", code=2)
    assert "one revision" in diffai(repo.top, "blame", "HEAD~1..HEAD", "--", "model.safetensors", code=2)
    assert "no path given" in diffai(repo.top, "blame", code=2)


def test_hints(repo: Repo) -> None:
    history(repo, 1)
    for command in ("log", "blame"):
        assert diffai(repo.top, command, code=2) == (
            f"diffai: no path given; the model is named behind --: diffai {command} -- model.safetensors\n"
        )


def test_equal_values_in_other_bytes_are_no_change(repo: Repo) -> None:
    """As ``log`` has it: -0.0 is 0.0, and one NaN is as good as another; a number is not."""
    nan = np.array([0x7FC00000, 0x3F800000], "<u4").view("<f4")
    other = np.array([0x7FC00001, 0x3F800000], "<u4").view("<f4")
    one = {"zero": np.zeros(4, "<f4"), "nan": nan, "number": np.ones(4, "<f4"), "whole": np.zeros(4, "<i4")}
    two = {"zero": -one["zero"], "nan": other, "number": one["number"] * 2, "whole": one["whole"] + 1}
    first, second = commit(repo, one, "one"), commit(repo, two, "two", day=2)
    found = {name: tensor["values"]["commit"] for name, tensor in blame(repo, "--", "model.safetensors").items()}
    assert found == {"zero": first, "nan": first, "number": second, "whole": second}
    newest = json.loads(diffai(repo.top, "log", "--format", "json", "--", "model.safetensors"))["entries"][0]
    assert (newest["commit"], newest["figures"]["changed"]) == (second, 2)


@pytest.mark.parametrize("command", [("blame", "--", "model.safetensors", "layer.0.*"),
                                     ("log", "--tensor", "layer.0.*", "--", "model.safetensors"),
                                     ("blame", "--", "model.safetensors", "*", "[z-a]")])  # fmt: skip
def test_a_glob_of_no_tensor_is_a_usage_error(repo: Repo, command: tuple[str, ...]) -> None:
    history(repo, 2)
    done = run_diffai(*command, cwd=repo.top)
    glob = command[-1] if command[0] == "blame" else command[2]
    assert (done.returncode, done.stdout) == (2, "")
    near = "" if "z" in glob else "; did you mean layers.0?"
    assert done.stderr == f"diffai: the glob {glob!r} selects no tensor{near}\n"


def test_one_star_is_of_every_name(repo: Repo) -> None:
    history(repo, 2)
    every = blame(repo, "--", "model.safetensors")
    assert blame(repo, "--", "model.safetensors", "*") == every
    assert set(blame(repo, "--", "model.safetensors", "layers.*")) == {n for n in every if n.startswith("layers.")}
    words = ("log", "--tensor", "layers.*", "--format", "json", "--", "model.safetensors")
    assert len(json.loads(diffai(repo.top, *words))["entries"]) == 2
