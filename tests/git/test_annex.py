"""A locked file of git-annex is a link, of which git hands over the target; what it points to is the model."""

from __future__ import annotations

import numpy as np
import pytest
from gitrepo import Repo
from holders import Held, why_not
from program import diffai


@pytest.fixture
def annexed(repo: Repo) -> Repo:
    if why := why_not("annex-locked"):
        pytest.skip(why)
    held = Held(repo, "annex-locked")
    for value in (1.0, 2.0):
        held.commit({"w": np.full(4, value, "f4")}, str(value))
    assert diffai("install", cwd=repo.top).returncode == 0
    assert (repo.top / held.path).is_symlink()
    return repo


def test_git_diff_of_locked_files_compares_the_models(annexed: Repo) -> None:
    for _ in range(2):  # the second from what is remembered
        text = annexed.git("diff", "HEAD~1", "HEAD")
        assert "~ w: mean=1.0000->2.0000" in text and "annex/objects" not in text


def test_an_object_that_was_dropped_is_said(annexed: Repo) -> None:
    annexed.git("diff", "HEAD~1", "HEAD")
    target = annexed.git("show", "HEAD~1:model.safetensors").strip()
    annexed.git("annex", "drop", "-q", "--force", f"--key={target.rpartition('/')[2]}")
    text = annexed.git("diff", "HEAD~1", "HEAD")
    assert "! old: model.safetensors: git-annex object SHA256E" in text and "bring it with: git annex get --key=" in text


def test_a_link_to_anything_else_is_shown_as_git_shows_it(annexed: Repo) -> None:
    (annexed.top / "x.safetensors").symlink_to("/etc/hostname")
    annexed.git("add", "x.safetensors")
    assert "+/etc/hostname" in annexed.git("diff", "--cached")
