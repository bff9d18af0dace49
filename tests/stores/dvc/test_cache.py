"""Only content-addressed files are opened below a cache, and no link leads out of it: its folder can come with a clone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from dvcrepo import DvcRepo, md5
from gitrepo import Repo
from program import diffai

from diffai.repository.place import find_repository
from diffai.stores.dvc.cache import DvcPlace, find_dvc, find_object, work_tree_file

SECRET = b"what no clone may read"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    return tmp_path / "secret"


def place_of(repo: Repo) -> DvcPlace:
    found = find_dvc(str(repo.top), find_repository(str(repo.top)))
    assert found is not None
    return found


def test_a_committed_cache_dir_opens_no_link_out_of_the_work_tree(repo: Repo, secret: Path) -> None:
    """``cache.dir = /`` makes every file of the machine one "in the cache"; its md5 may be known."""
    dvc = DvcRepo(repo, config="[cache]\n    dir = /\n")
    (repo.top / "m.pt").symlink_to(secret)
    dvc.pointer("m.pt", f"- md5: {md5(SECRET)}\n  size: {len(SECRET)}\n")
    dvc.commit()
    assert work_tree_file(place_of(repo), "m.pt") == ""
    done = diffai("show", "HEAD:m.pt", cwd=repo.top)
    assert done.returncode == 2 and "is not here" in done.stderr


@pytest.mark.parametrize("below", ["files/md5", ""])
def test_links_of_a_cache_lead_nowhere_else(repo: Repo, secret: Path, below: str) -> None:
    DvcRepo(repo, config="[cache]\n    dir = ../stored\n")
    address = md5(SECRET)
    outside = secret.parent / "elsewhere" / address[:2]
    outside.mkdir(parents=True)
    (outside / address[2:]).write_bytes(SECRET)
    folder = repo.top / "stored" / below
    folder.mkdir(parents=True)
    (folder / address[:2]).symlink_to(outside)
    assert find_object(address, False, place_of(repo)) == ""
    (folder / address[:2]).unlink()
    (folder / address[:2]).mkdir()
    (folder / address[:2] / address[2:]).symlink_to(secret)
    assert find_object(address, False, place_of(repo)) == ""


def test_a_cache_that_is_itself_behind_a_link_is_read(repo: Repo, tmp_path: Path) -> None:
    dvc = DvcRepo(repo)
    address = dvc.object(SECRET, cache=tmp_path / "shared")
    (repo.top / ".dvc" / "cache").symlink_to(tmp_path / "shared")
    found = find_object(address, False, place_of(repo))
    assert Path(found).read_bytes() == SECRET
    (repo.top / "m.pt").symlink_to(os.path.realpath(found))  # as dvc links large files
    assert Path(work_tree_file(place_of(repo), "m.pt")).read_bytes() == SECRET
