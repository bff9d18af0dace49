"""Where a change began, as CI services say it, and the default branch that a new branch left."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from diffai.errors import SourceError
from diffai.repository.runner import GitError, Repository

_MOST_BYTES = 10_000_000


def base_from_environment(environment: Mapping[str, str] = os.environ) -> str:
    """The base of a merge request or pull request, as GitLab and GitHub name it; "" elsewhere."""
    if environment.get("CI_MERGE_REQUEST_DIFF_BASE_SHA"):
        return environment["CI_MERGE_REQUEST_DIFF_BASE_SHA"]
    branch = environment.get("GITHUB_BASE_REF", "")
    return f"origin/{branch}" if branch else ""


def branch_from_environment(environment: Mapping[str, str] = os.environ) -> str:
    """The branch that CI runs for; "" where none is named."""
    return environment.get("CI_COMMIT_BRANCH") or environment.get("GITHUB_REF_NAME") or ""


def default_branch(repository: Repository, environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """(the ref of the default branch, its name); each "" where it is not known.

    Named by CI (``DIFFAI_DEFAULT_BRANCH``, GitLab's ``CI_DEFAULT_BRANCH``, GitHub's event), else by what the remote
    said when it was cloned, else the one of ``main`` and ``master`` that the remote has.
    """
    named = environment.get("DIFFAI_DEFAULT_BRANCH") or environment.get("CI_DEFAULT_BRANCH") or _of_event(environment)
    if named:
        return (f"origin/{named}", named) if _is_commit(repository, f"refs/remotes/origin/{named}") else ("", named)
    try:
        head = repository.ask("symbolic-ref", "-q", "refs/remotes/origin/HEAD")
        name = os.fsdecode(head).strip().removeprefix("refs/remotes/origin/")
        return f"origin/{name}", name
    except GitError:
        pass
    there = [name for name in ("main", "master") if _is_commit(repository, f"refs/remotes/origin/{name}")]
    return (f"origin/{there[0]}", there[0]) if len(there) == 1 else ("", "")


def current_branch(repository: Repository) -> str:
    """The branch that is checked out, or that CI names; "" where neither is known."""
    named = branch_from_environment()
    if named:
        return named
    try:
        return os.fsdecode(repository.ask("symbolic-ref", "-q", "--short", "HEAD")).strip()
    except GitError:
        return ""


def _is_commit(repository: Repository, ref: str) -> bool:
    try:
        repository.commit(ref)
    except SourceError:
        return False
    return True


def _of_event(environment: Mapping[str, str]) -> str:
    """GitHub describes what happened in a JSON file."""
    path = environment.get("GITHUB_EVENT_PATH", "")
    try:
        if not path or os.path.getsize(path) > _MOST_BYTES:
            return ""
        with open(path, "rb") as file:
            event = json.load(file)
    except (OSError, ValueError, RecursionError):
        return ""
    about = event.get("repository") if isinstance(event, dict) else None
    name = about.get("default_branch") if isinstance(about, dict) else None
    return name if isinstance(name, str) else ""
