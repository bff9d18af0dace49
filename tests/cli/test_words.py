"""Words that name nothing, and options that do not exist: what was meant is said, and what to type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gitrepo import Repo, isolate
from program import diffai
from safetensors.numpy import save


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("home"))
        repo = Repo.init(tmp_path_factory.mktemp("words") / "repository")
        for epoch in (1, 2):
            values = save({"classifier.weight": np.full(8, epoch, "f4"), "encoder.bias": np.zeros(3, "f4")})
            repo.commit({"model.safetensors": values, "sub/other one.pt": f"{epoch}", "README": f"{epoch}"})
            repo.git("tag", f"epoch-{epoch}")
        repo.git("rm", "-q", "--cached", "sub/other one.pt")
        return repo


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("epoch-1 epoch-2", "epoch-1 and epoch-2 are revisions and no files; type for one model: diffai epoch-1"),
        ("epoch-1 epoch-2", " epoch-2 -- model.safetensors, for all 2 that differ: diffai epoch-1 epoch-2 --"),
        ("epoch-2", "epoch-2 is a revision and no file; type: diffai epoch-2 -- 'sub/other one.pt'"),
        ("epoch-1 model.safetensors", "epoch-1 is a revision and no file; type: diffai epoch-1 -- model.safetensors"),
        ("epoch-1 epoch-3", "epoch-1 is a revision, and epoch-3 is neither a revision nor a file"),
        ("HEAD~1 HEAD model.safetensors", "type: diffai 'HEAD~1' HEAD -- model.safetensors"),
        ("shwo model.safetensors", "no command and no file is called shwo; did you mean: diffai show model.safetensors"),
        ("gaet --base HEAD", "no command and no file is called gaet; did you mean: diffai gate --base HEAD"),
        ("doctro", "did you mean: diffai doctor"),
        ("gone.pt model.safetensors", "gone.pt: no such file or directory"),
        ("model.safetensors gone.pt", "gone.pt: no such file or directory"),
        ("HEAD:gone.pt model.safetensors", "gone.pt"),
        ("model.safetensors", "only one model given"),
        ("model.safetensors model.safetensors --exitcode", "no such option: --exitcode; did you mean --exit-code?"),
        ("--quite model.safetensors model.safetensors", "no such option: --quite; did you mean --quiet?"),
        ("show --digest model.safetensors", "did you mean --digests? (diffai show --help lists all)"),
        ("show --zzz", "no such option: --zzz (diffai show --help lists all)"),
        ("help nonsense", "No such command 'nonsense'"),
    ],
)  # fmt: skip
def test_what_was_meant_is_said(repo: Repo, words: str, said: str) -> None:
    done = diffai(*words.split(), cwd=repo.top)
    assert done.returncode == 2 and done.stdout == ""
    assert said in done.stderr


def test_what_it_says_to_type_works(repo: Repo) -> None:
    done = diffai("epoch-1", "epoch-2", "--", "model.safetensors", cwd=repo.top)
    assert done.returncode == 0 and "classifier.weight" in done.stdout
    assert "classifier.weight" in diffai("epoch-1", "epoch-2", "--", cwd=repo.top).stdout


def test_paths_are_those_of_the_folder_one_is_in(repo: Repo) -> None:
    (repo.top / "sub").mkdir(exist_ok=True)
    done = diffai("epoch-1", "epoch-2", cwd=repo.top / "sub")
    assert "diffai epoch-1 epoch-2 -- ../model.safetensors" in done.stderr


def test_help_is_help(repo: Repo, tmp_path: Path) -> None:
    assert diffai("help", cwd=tmp_path).stdout == diffai("--help", cwd=tmp_path).stdout != ""
    assert diffai("help", "show", cwd=tmp_path).stdout == diffai("show", "--help", cwd=tmp_path).stdout


def test_outside_a_repository_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    assert diffai("a.pt", "b.pt", cwd=tmp_path).stderr == "diffai: a.pt: no such file or directory\n"
