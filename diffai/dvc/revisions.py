"""Revisions as ``dvc diff`` takes them: git's, and names of experiments.

Source: ``dvc/scm.py`` (``resolve_rev``) and ``dvc/repo/experiments/utils.py`` of DVC 3.67; an experiment NAME on a
commit SHA is ``refs/exps/<2 digits>/<38 digits>/NAME``.
"""

from __future__ import annotations

import os

from diffai.errors import SourceError
from diffai.repository.runner import GitError, Repository


def resolve(repository: Repository, word: str) -> str:
    """Full name of the commit that a word means.

    Raises:
        SourceError: it means none, or experiments of this name stand on several commits and none of them on HEAD.
    """
    try:
        return repository.commit(word)
    except GitError:
        raise
    except SourceError as error:
        found = _experiment(repository, word)
        if not found:
            raise error
        return found


def _experiment(repository: Repository, name: str) -> str:
    """The commit of an experiment, that on HEAD where several have the name; "" when there is none."""
    refs = [ref for ref in _refs(repository, "refs/exps/") if ref[1].split("/", 4)[4:] == [name] and _is_based(ref[1])]
    if len(refs) > 1:
        head = repository.commit("HEAD")
        refs = [ref for ref in refs if ref[1].startswith(f"refs/exps/{head[:2]}/{head[2:]}/")]
        if not refs:
            raise SourceError(f"{name}: several experiments have this name, and none of them is based on HEAD")
    return refs[0][0] if refs else ""


def _is_based(ref: str) -> bool:
    """Whether it names an experiment's base; other names below ``refs/exps`` are DVC's own (``exec``, ``stash``)."""
    parts = ref.split("/")
    return len(parts[2]) == 2 and len(parts[3]) in (38, 62)


def _refs(repository: Repository, below: str) -> list[tuple[str, str]]:
    """(full object name, name) of the references below a prefix."""
    answer = os.fsdecode(repository.ask("for-each-ref", "--format=%(objectname) %(refname)", below))
    return [(oid, ref) for oid, _, ref in (line.partition(" ") for line in answer.splitlines())]
