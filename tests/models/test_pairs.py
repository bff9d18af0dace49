from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from gitrepo import Repo
from pair_models import BOTH, ONE, TWO, changed, found, paths, shard, sharded, values
from program import diffai

# ---------------------------------------------------------------- shards


@pytest.mark.parametrize("words", [("HEAD~1..HEAD",), ("HEAD~1", "HEAD", "--", "m"), ("HEAD~1", "--", "m/model.safetensors.index.json")])
def test_shards_that_changed_under_an_index_that_did_not_are_a_change(repo: Repo, words: tuple[str, ...]) -> None:
    repo.commit(sharded(0))
    repo.commit(sharded(1))
    done = diffai(words[0], "--output", "json", *words[1:], cwd=repo.top)
    assert [name.rpartition(":")[2] for name in changed(done)] == ["b"], done.stdout
    (pair,) = found(repo)
    assert pair.path == "m/model.safetensors" and len(pair.old.files if pair.old else ()) == 3
    assert pair.touches(f"m/{shard(1)}") and not pair.touches("m/model")


def test_index_files_at_two_revisions_are_their_shards(repo: Repo) -> None:
    repo.commit(sharded(0))
    repo.commit(sharded(1))
    name = "m/model.safetensors.index.json"
    assert changed(diffai(f"HEAD~1:{name}", f"HEAD:{name}", "--output", "json", cwd=repo.top)) == ["b"]
    assert diffai(f"HEAD~1:{name}", f"HEAD:{name}", "-q", cwd=repo.top).returncode == 1
    assert diffai(f"HEAD:{name}", f"HEAD:{name}", "-q", cwd=repo.top).returncode == 0


def test_resharding_is_no_change_and_tensors_beside_it_are(repo: Repo) -> None:
    repo.commit(sharded(0))
    repo.git("rm", "-q", "-r", "m")
    repo.commit({"m/model.safetensors": values("a", "b", "c")})
    assert paths(repo) == [("m/model.safetensors", "m/model.safetensors")]
    assert "+ c: shape=[2]" in diffai("HEAD~1..HEAD", cwd=repo.top).stdout


# ---------------------------------------------------------------- moves


def test_a_model_renamed_in_its_folder_and_reshaped_is_one_by_its_tensors(repo: Repo) -> None:
    repo.commit({"m/first.safetensors": values("a", "b", "c"), "m/other.safetensors": values("x", "y", "z")})
    repo.git("rm", "-q", "-r", "m")
    repo.commit({"m/second.safetensors": values("a", "b", "c", width=3), "m/another.safetensors": values("p", "q", "r")})
    assert sorted(paths(repo)) == [
        ("", "m/another.safetensors"), ("m/first.safetensors", "m/second.safetensors"), ("m/other.safetensors", ""),
    ]  # fmt: skip


def test_a_file_of_the_same_name_that_is_another_model_is_not_joined(repo: Repo) -> None:
    repo.commit({"a/x.safetensors": values("a", "b")})
    repo.git("rm", "-q", "-r", "a")
    repo.commit({"b/x.safetensors": values("p", "q")})
    assert sorted(paths(repo)) == [("", "b/x.safetensors"), ("a/x.safetensors", "")]


# ---------------------------------------------------------------- what is a model


def torch_like() -> bytes:
    """A file that begins as torch's zips do."""
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, 2))
        archive.writestr("x/pad", bytes(2000))
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(1000))
    return file.getvalue()


def test_one_rule_says_what_is_a_model(repo: Repo, tmp_path: Path) -> None:
    models = {
        "by-name.pkl": pickle.dumps({"w": 1}), "by-name.pth.tar": pickle.dumps({"w": 1}), "by-head.model": torch_like(),
        "tagged.weights": b"W" * 10,
    }  # fmt: skip
    data = {"f1.npy": npy(), "f2.npy": npy(), "small.model": ONE[:100], "text.weights2": b"t" * 2000, "m.py": b"import x\n" * 300}
    repo.commit({**models, **data, ".gitattributes": b"*.weights diff=diffai\n"})
    repo.git("rm", "-q", *models, *data)
    repo.git("commit", "-qm", "gone")
    assert [old for old, _ in paths(repo)] == sorted(models)
    old, new = tmp_path / "old", tmp_path / "new"
    new.mkdir()
    for name, content in {**models, **data}.items():
        (old / name).parent.mkdir(exist_ok=True)
        (old / name).write_bytes(content)
    text = diffai(old, new).stdout
    assert "by-head.model" in text and "by-name.pkl" in text and "f1.npy" not in text
    assert "by-name.pth.tar" in text


# ---------------------------------------------------------------- snapshots


def test_what_a_sparse_checkout_leaves_out_is_not_removed(repo: Repo) -> None:
    repo.commit({"in/a.safetensors": ONE, "out/b.safetensors": TWO})
    repo.git("sparse-checkout", "set", "in")
    assert not (repo.top / "out").exists()
    done = diffai("HEAD", "--", "out/b.safetensors", cwd=repo.top)
    assert (done.returncode, done.stdout) == (0, "No differences found\n"), done.stderr
    repo.git("update-ref", "HEAD", repo.git("commit-tree", "-m", "x", "-p", "HEAD", "HEAD^{tree}").strip())
    assert "removed" not in diffai("HEAD~1", "--", cwd=repo.top).stdout.lower()


def test_a_folder_with_one_unsharded_model_is_that_model(repo: Repo) -> None:
    hub = {"hub/model.safetensors": ONE, "hub/config.json": b"{}", "hub/README.md": b"# x\n", "hub/optimizer.pt": b"\x80"}
    repo.commit(hub)
    for command in ("show", "check"):
        done = diffai(command, "HEAD:hub", cwd=repo.top)
        assert done.returncode == 0 and "SH1" not in done.stdout, done.stdout + done.stderr
    repo.commit({"hub/model.safetensors": TWO})
    assert changed(diffai("HEAD~1:hub", "HEAD:hub", "--output", "json", cwd=repo.top)) == BOTH
    assert diffai("HEAD:hub", "HEAD:hub", "-q", cwd=repo.top).returncode == 0


def test_an_unreadable_file_that_came_or_went_is_trouble(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, names in ((old, ("same", "gone")), (new, ("same", "come"))):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.safetensors").write_bytes(ONE if name == "same" else ONE[:50])
    assert diffai(old, new).returncode == 2
    (new / "come.safetensors").unlink()
    assert diffai(old, new, "-q").returncode == 2


def test_many_models_ask_git_few_times(repo: Repo, tmp_path: Path) -> None:
    """One process reads all blobs, however many there are."""
    repo.commit({f"m/{number}.safetensors": values("a", seed=number) for number in range(60)})
    repo.commit({f"m/{number}.safetensors": values("a", seed=number + 0.5) for number in range(60)})
    log, real = tmp_path / "log", repo.git("--exec-path").strip()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "git"
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec {real}/git "$@"\n')
    program.chmod(0o755)
    import os

    done = diffai("HEAD~1..HEAD", cwd=repo.top, env={"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"})
    assert done.stdout.count("~ a: mean") == 60
    assert len(log.read_text().splitlines()) < 12, log.read_text()
