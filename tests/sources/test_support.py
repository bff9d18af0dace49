from __future__ import annotations

from gitrepo import Repo


def test_repo_commits_without_the_users_configuration(repo: Repo) -> None:
    commit = repo.commit({"sub/a.txt": "one\n"})
    assert repo.git("show", "-s", "--format=%an <%ae>", commit) == "A U Thor <author@example.com>\n"


def test_lfs_track_commits_pointers(repo: Repo) -> None:
    repo.lfs_track("*.bin")
    repo.commit({"a.bin": b"x" * 2000})
    assert repo.git("cat-file", "-p", "HEAD:a.bin").startswith("version https://git-lfs.github.com/spec/v1\n")
