"""Renamed files and models that move between git, LFS, annex and DVC: followed, and said how they were known."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from gitrepo import Repo
from holders import has_dvc, run_dvc, why_not
from model_history import commit, diffai, expected, history, start, trained
from safetensors.numpy import save

from diffai.history.renames import likeness_of
from diffai.model import TensorSpec


def log(repo: Repo, *words: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(diffai(repo.top, "log", "--format", "json", *words))
    return result


def entries(repo: Repo, *words: str) -> list[dict[str, Any]]:
    """Oldest first."""
    return list(reversed(log(repo, *words)["entries"]))


def rename(repo: Repo, old: str, new: str, weights: Any, subject: str) -> str:
    """Rename and train in one commit."""
    repo.git("rm", "-q", "--", old)
    return commit(repo, weights, subject, path=new, day=20)


def test_a_rename_with_changed_content_is_followed_by_its_header(repo: Repo) -> None:
    run = history(repo, 3, path="old.safetensors")
    last = trained(run[-1][1], 77)
    renamed = rename(repo, "old.safetensors", "runs/model.safetensors", last, "rename and train")
    plain = log(repo, "--", "runs/model.safetensors")
    assert (plain["earlier_path"], plain["earlier_by"]) == ("old.safetensors", "tensors")
    text = diffai(repo.top, "log", "--", "runs/model.safetensors")
    assert "(renamed from old.safetensors, by the names and shapes of its tensors: --follow goes on there)" in text
    found = entries(repo, "--follow", "--", "runs/model.safetensors")
    assert [e["kind"] for e in found] == ["added", "changed", "changed", "changed"]
    assert found[3]["commit"] == renamed
    assert (found[3]["renamed_from"], found[3]["renamed_by"]) == ("old.safetensors", "tensors")
    rows = expected([weights for _, weights in run] + [last])
    for name in ("update_size", "cosine", "drift", "update_cosine"):
        assert found[3]["figures"][name] == pytest.approx(rows[3][name], rel=1e-9)
    followed = diffai(repo.top, "log", "--follow", "--", "runs/model.safetensors")
    assert "> old.safetensors -> runs/model.safetensors (by the names and shapes of its tensors)" in followed


def test_blame_goes_through_it(repo: Repo) -> None:
    ((first, weights),) = history(repo, 1, path="old.safetensors")
    last = rename(repo, "old.safetensors", "model.safetensors", trained(weights, 5, "head"), "rename")
    report = json.loads(diffai(repo.top, "blame", "--format", "json", "--", "model.safetensors"))
    by = {t["name"]: t["values"]["commit"] for t in report["tensors"]}
    assert {by["head.bias"], by["head.weight"]} == {last}
    assert {by[name] for name in by if not name.startswith("head")} == {first}
    assert {t["introduced"]["commit"] for t in report["tensors"]} == {first}


def test_the_same_file_is_known_by_its_content(repo: Repo) -> None:
    history(repo, 1, path="old.safetensors")
    repo.git("mv", "old.safetensors", "model.safetensors")
    repo.git("commit", "-q", "-m", "rename")
    found = entries(repo, "--follow", "--", "model.safetensors")
    assert (found[1]["renamed_from"], found[1]["renamed_by"], found[1]["kind"]) == (
        "old.safetensors", "content", "same",
    )  # fmt: skip
    assert "tensors)" not in diffai(repo.top, "log", "--follow", "--", "model.safetensors").splitlines()[1]


def test_another_model_in_its_place_is_no_rename(repo: Repo) -> None:
    history(repo, 1, path="old.safetensors")
    rename(repo, "old.safetensors", "model.safetensors", {f"other.{i}": v for i, v in enumerate(start().values())}, "x")
    found = log(repo, "--follow", "--", "model.safetensors")
    assert [e["kind"] for e in found["entries"]] == ["added"]
    assert found["earlier_path"] is None


def test_of_several_alike_only_one_of_the_same_name_is_taken(repo: Repo) -> None:
    weights = start()
    commit(repo, weights, "a", path="a/model.safetensors")
    commit(repo, trained(weights, 1), "b", path="b/other.safetensors")
    repo.git("mv", "a/model.safetensors", "gone.safetensors")
    repo.git("rm", "-q", "-f", "gone.safetensors", "b/other.safetensors")
    commit(repo, trained(weights, 2), "both went", path="model.safetensors")
    assert log(repo, "--", "model.safetensors")["earlier_path"] == "a/model.safetensors"
    # Here none has the name, and it would be a guess.
    repo.git("rm", "-q", "model.safetensors")
    commit(repo, trained(weights, 3), "x", path="x.safetensors")
    commit(repo, trained(weights, 4), "y", path="y.safetensors")
    repo.git("rm", "-q", "x.safetensors", "y.safetensors")
    commit(repo, trained(weights, 5), "z", path="z.safetensors")
    assert log(repo, "--", "z.safetensors")["earlier_path"] is None


def test_two_files_renamed_at_once_are_not_mixed_up(repo: Repo) -> None:
    weights = start()
    commit(repo, weights, "a", path="a.safetensors")
    commit(repo, trained(weights, 1), "b", path="b.safetensors")
    repo.git("mv", "a.safetensors", "c.safetensors")
    rename(repo, "b.safetensors", "d.safetensors", trained(weights, 2), "both")
    assert log(repo, "--", "c.safetensors")["earlier_path"] == "a.safetensors"
    assert log(repo, "--", "d.safetensors")["earlier_path"] == "b.safetensors"


def test_a_folder_of_shards_that_moves(repo: Repo) -> None:
    weights = start()
    names = sorted(weights)

    def shards(folder: str, values: Any) -> dict[str, bytes | str]:
        files: dict[str, bytes | str] = {
            f"{folder}/model-0000{i + 1}-of-00002.safetensors": save({n: values[n] for n in names[i::2]})
            for i in range(2)
        }
        places = {n: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, n in enumerate(names)}
        files[f"{folder}/model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": places})
        return files

    repo.commit(shards("m", weights), "one")
    repo.git("mv", "m", "n")
    repo.git("commit", "-q", "-m", "moved")
    found = entries(repo, "--follow", "--", "n")
    assert [(e["subject"], e["kind"]) for e in found] == [("one", "added"), ("moved", "same")]
    repo.git("rm", "-q", "-r", "n")
    repo.commit(shards("o", trained(weights, 1, "head.bias")), "moved and trained")
    found = entries(repo, "--follow", "--", "o/model.safetensors")
    assert [(e["subject"], e["kind"]) for e in found] == [
        ("one", "added"), ("moved", "same"), ("moved and trained", "changed"),
    ]  # fmt: skip
    assert found[2]["figures"]["changed"] == 1


# ---------------------------------------------------------------- moves between holders

TO = ("git", "lfs", "annex", "dvc")


def put(repo: Repo, holder: str, path: str, data: bytes) -> None:
    """Have ``path`` held in a way, in the index; whatever held it before is undone as its own program does it."""
    attributes = repo.top / ".git/info/attributes"  # there git-annex has claimed every file, and would win
    annex = attributes.read_text().splitlines()[:2]
    lfs = [f"{path} filter=lfs diff=lfs merge=lfs -text"] if holder == "lfs" else []
    attributes.write_text("\n".join([*annex, *lfs]) + "\n")
    (repo.top / path).unlink(missing_ok=True)
    if holder == "dvc":
        repo.run("rm", "-q", "--cached", "--", path)
        repo.write({path: data})
        run_dvc("add", "-q", path, cwd=repo.top)
        repo.git("add", f"{path}.dvc", ".gitignore")
        return
    repo.write({path: data})
    if holder == "annex":
        repo.git("annex", "add", "-q", "--force-large", path)
    else:
        repo.git("-c", "annex.gitaddtoannex=false", "add", "--force", "--", path)


def drop(repo: Repo, holder: str, path: str) -> None:
    """Have it no longer held."""
    if holder == "dvc":
        run_dvc("remove", f"{path}.dvc", cwd=repo.top)
        repo.git("add", "-A", "--", ".gitignore") if (repo.top / ".gitignore").exists() else None
        repo.run("rm", "-q", "--cached", "--ignore-unmatch", f"{path}.dvc", ".gitignore")
    else:
        repo.git("rm", "-q", "--cached", "--", path)
    (repo.top / path).unlink(missing_ok=True)


@pytest.fixture
def all_holders(repo: Repo) -> Repo:
    """A repository with git-lfs, git-annex and DVC set up."""
    for holder in ("lfs", "annex-locked", "real-dvc"):
        if why := why_not(holder):
            pytest.skip(why)
    repo.git("lfs", "install", "--local", "--force")
    repo.git("annex", "init", "-q", "test")
    run_dvc("init", "-q", cwd=repo.top)
    repo.git("commit", "-q", "-m", "start")
    return repo


HOLDER_NAME = {"git": "git", "lfs": "git-lfs", "annex": "git-annex", "dvc": "dvc"}


MOVES = [(old, new, renamed) for old in TO for new in TO for renamed in (False, True) if old != new or renamed]


@pytest.mark.parametrize(("old", "new", "renamed"), MOVES)
def test_a_move_between_holders(all_holders: Repo, old: str, new: str, renamed: bool) -> None:
    """The same bytes, then trained further: with and without another name in the same commit."""
    repo = all_holders
    one = start()
    two = trained(one, 1)
    source, path = ("old.safetensors", "new.safetensors") if renamed else ("model.safetensors", "model.safetensors")
    put(repo, old, source, save(one))
    repo.git("commit", "-q", "-m", "one")
    drop(repo, old, source)
    put(repo, new, path, save(one))
    repo.git("commit", "-q", "-m", "moved")
    put(repo, new, path, save(two))
    repo.git("commit", "-q", "-m", "trained")
    found = entries(repo, "--follow", "--", path)
    assert [e["subject"] for e in found] == ["one", "moved", "trained"]
    assert [e["kind"] for e in found] == ["added", "same", "changed"]
    assert [e["holder"] for e in found] == [HOLDER_NAME[old], HOLDER_NAME[new], HOLDER_NAME[new]]
    assert found[1]["moved_from"] == (HOLDER_NAME[old] if old != new else None)
    assert found[1]["renamed_from"] == (source if renamed else None)
    row = expected([one, one, two])[2]
    assert found[2]["figures"]["update_size"] == pytest.approx(row["update_size"], rel=1e-9)
    assert found[2]["figures"]["drift"] == pytest.approx(row["drift"], rel=1e-9)
    blame = json.loads(diffai(repo.top, "blame", "--format", "json", "HEAD", "--", path))
    assert {t["introduced"]["subject"] for t in blame["tensors"]} == {"one"}


@pytest.mark.skipif(not has_dvc(), reason="dvc is not installed (pip install 'diffai[dvc]')")
def test_dvc_move(repo: Repo) -> None:
    run_dvc("init", "-q", cwd=repo.top)
    repo.write({"old.safetensors": save(start())})
    run_dvc("add", "-q", "old.safetensors", cwd=repo.top)
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "one")
    run_dvc("move", "old.safetensors", "new.safetensors", cwd=repo.top)
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "dvc move")
    shutil.rmtree(repo.top / ".dvc/cache")
    (repo.top / "new.safetensors").unlink()
    found = entries(repo, "--follow", "--", "new.safetensors")  # known by its address: nothing has to be here
    assert [e["subject"] for e in found] == ["one", "dvc move"]
    assert log(repo, "--", "new.safetensors")["earlier_by"] == "content"


def test_likeness() -> None:
    def specs(*shapes: tuple[str, tuple[int, ...]]) -> list[TensorSpec]:
        return [TensorSpec(name, "F32", shape, 0) for name, shape in shapes]

    a = specs(("x", (2,)), ("y", (3,)))
    assert likeness_of(a, a) == 1.0
    assert likeness_of(a, specs(("x", (2,)), ("y", (4,)))) == 0.5
    assert likeness_of(a, specs(("z", (2,)))) == 0.0
    assert likeness_of([], []) == 0.0
