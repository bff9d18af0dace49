from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gitrepo import Repo

from diffai.repository.place import GitPlace, find_repository
from diffai.stores.lfs import find_object

CONTENT = b"weights" * 1000
OID = hashlib.sha256(CONTENT).hexdigest()
BELOW = Path("objects") / OID[:2] / OID[2:4] / OID


@pytest.fixture
def lfs_repo(repo: Repo) -> Repo:
    repo.lfs_track("*.pt")
    repo.commit({"sub/m.pt": CONTENT})
    return repo


def find(start: Path | str) -> str:
    return find_object(OID, len(CONTENT), find_repository(str(start)))


def test_default_store(lfs_repo: Repo) -> None:
    expected = lfs_repo.top / ".git" / "lfs" / BELOW
    assert Path(find(lfs_repo.top)).samefile(expected)
    assert Path(find(lfs_repo.top / "sub")).samefile(expected)


def test_place(lfs_repo: Repo) -> None:
    top = os.path.realpath(lfs_repo.top)
    assert find_repository(str(lfs_repo.top / "sub")) == GitPlace(f"{top}/.git", f"{top}/.git", top)


def test_no_repository(home: Path, tmp_path: Path) -> None:
    assert find_repository(str(tmp_path)) is None
    assert find_object(OID, 1, None) == ""


def test_object_of_another_size_is_not_it(lfs_repo: Repo) -> None:
    place = find_repository(str(lfs_repo.top))
    assert find_object(OID, len(CONTENT) + 1, place) == ""
    assert find_object("0" * 64, len(CONTENT), place) == ""


@pytest.mark.parametrize("oid", ["../" * 22, "a" * 63, "A" * 64, "", "a" * 64 + "\n"])
def test_an_oid_is_64_hexadecimal_digits(lfs_repo: Repo, oid: str) -> None:
    with pytest.raises(ValueError, match="sha256"):
        find_object(oid, 1, find_repository(str(lfs_repo.top)))


def test_linked_worktree(lfs_repo: Repo, tmp_path: Path) -> None:
    lfs_repo.git("worktree", "add", "-q", str(tmp_path / "linked"), "-b", "other")
    place = find_repository(str(tmp_path / "linked"))
    assert place is not None
    assert place.git_dir != place.common_dir
    assert Path(place.common_dir).samefile(lfs_repo.top / ".git")
    assert place.top == os.path.realpath(tmp_path / "linked")
    assert find(tmp_path / "linked")


def test_bare_repository(lfs_repo: Repo, tmp_path: Path) -> None:
    bare = lfs_repo.clone(tmp_path / "bare.git", "--bare")
    assert find(bare.top) == ""
    target = bare.top / "lfs" / BELOW
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    assert Path(find(bare.top)).samefile(target)


def test_git_dir_from_the_environment(
    lfs_repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("") == ""
    monkeypatch.setenv("GIT_DIR", str(lfs_repo.top / ".git"))
    assert find("")
    monkeypatch.chdir(lfs_repo.top / ".git")
    monkeypatch.setenv("GIT_DIR", ".")
    assert find("")


def test_submodule_style_git_file(lfs_repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / ".git").write_text("gitdir: ../repo/.git\n")
    assert find(tmp_path / "work")


@pytest.mark.parametrize("absolute", [True, False])
def test_configured_storage(lfs_repo: Repo, tmp_path: Path, absolute: bool) -> None:
    store = tmp_path / "store" if absolute else lfs_repo.top / ".git" / "elsewhere"
    (lfs_repo.top / ".git" / "lfs").rename(store)
    assert find(lfs_repo.top) == ""
    lfs_repo.config("lfs.storage", str(store) if absolute else "elsewhere")
    assert Path(find(lfs_repo.top)).samefile(store / BELOW)


def test_storage_of_a_committed_lfsconfig_is_not_followed(lfs_repo: Repo, tmp_path: Path) -> None:
    (lfs_repo.top / ".git" / "lfs").rename(tmp_path / "store")
    lfs_repo.write({".lfsconfig": f"[lfs]\n\tstorage = {tmp_path / 'store'}\n"})
    assert find(lfs_repo.top) == ""


def test_alternates(lfs_repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_LFS_SKIP_SMUDGE", "1")
    subprocess.run(["git", "clone", "-q", "-s", str(lfs_repo.top), str(tmp_path / "shared")], check=True)
    assert not (tmp_path / "shared" / ".git" / "lfs" / BELOW).exists()
    assert Path(find(tmp_path / "shared")).samefile(lfs_repo.top / ".git" / "lfs" / BELOW)


def test_alternates_of_the_environment(lfs_repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Repo.init(tmp_path / "other")
    assert find(other.top) == ""
    monkeypatch.setenv("GIT_ALTERNATE_OBJECT_DIRECTORIES", f"/nowhere:{lfs_repo.top}/.git/objects")
    assert find(other.top)


def test_a_present_object_is_found_without_starting_a_program(lfs_repo: Repo) -> None:
    code = (
        "import sys\nfrom diffai.stores.lfs import *\nfrom diffai.repository.place import find_repository\n"
        f"assert find_object({OID!r}, {len(CONTENT)}, find_repository({str(lfs_repo.top)!r}))\n"
        "print('subprocess' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
