"""A version of a model is a change of any of its files, whichever of them it is called by."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path

import pytest
from gitrepo import Repo
from program import diffai
from several_files import MODELS, Files

from diffai.cache.store import Store
from diffai.history.blame import blame_model
from diffai.history.entries import LogOptions
from diffai.history.log import log_model
from diffai.history.model_path import model_path
from diffai.history.walk import Range
from diffai.repository.runner import Repository


def placed(files: Files, folder: str) -> dict[str, bytes]:
    return {posixpath.join(folder, name): content for name, content in files.items()}


def planted(repo: Repo, files: Files, changed: Files, folder: str) -> str:
    """Four commits beside a text in the same folder, the third of which changes the model; its name."""
    repo.commit({**placed(files, folder), f"{folder}/README.md": "one\n"})
    repo.commit({f"{folder}/README.md": "two\n"})
    repo.commit(placed(changed, folder))
    found = repo.rev_parse("HEAD")
    repo.commit({f"{folder}/README.md": "three\n", f"{folder}/train.log": "loss 1\n"})
    return found


@pytest.mark.parametrize("name", MODELS)
def test_log_and_blame_see_a_change_of_another_file_of_the_model(
    repo: Repo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    path, files, changed = MODELS[name]()
    trained = planted(repo, files, changed, "out")
    monkeypatch.chdir(repo.top)
    git, store = Repository(), Store(str(tmp_path / "cache"), 1 << 30)
    for _ in range(2):  # the second time out of the cache
        model = model_path(git, f"out/{path}", Range())
        log = log_model(git, model, LogOptions(), store)
        assert [entry.kind for entry in log.entries] == ["changed", "added"]
        assert log.entries[0].commit.hash == trained
        figures = log.entries[0].figures
        assert figures is not None and figures.differs
    if name == "an adapter's configuration":
        return  # no tensor changed
    assert figures.movement is not None and figures.movement.update.value
    origins = {row.values.commit.hash for row in blame_model(git, model, "HEAD", store).tensors}
    assert trained in origins
    first = repo.rev_parse("HEAD~3")
    assert origins <= {trained, first}


@pytest.mark.parametrize("name", MODELS)
def test_the_program_tells_the_same_between_revisions_and_in_its_history(repo: Repo, name: str) -> None:
    path, files, changed = MODELS[name]()
    trained = planted(repo, files, changed, "out")
    done = diffai("log", "--format", "json", "--", f"out/{path}", cwd=repo.top)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["entries"]
    assert [entry["commit"] for entry in told] == [trained, repo.rev_parse("HEAD~3")], done.stdout
    for word in (f"{trained}^..{trained}", "HEAD~3..HEAD"):
        assert diffai(word, "--exit-code", "--", f"out/{path}", cwd=repo.top).returncode == 1, word
        assert diffai(word, "--exit-code", "--include", path, cwd=repo.top).returncode == 1, word
    assert diffai(f"{trained}..HEAD", "--exit-code", "--", f"out/{path}", cwd=repo.top).returncode == 0
