"""Judge two models that are named by hand (``--old OLD --new NEW``)."""

from __future__ import annotations

import os
from shlex import quote

from diffai.errors import SourceError
from diffai.gate import sides
from diffai.gate.approvals import read_from_disk
from diffai.gate.changes import top
from diffai.gate.judgement import Request, Sides, find_approval, judge_sides
from diffai.gate.policies import load_from_disk, load_named
from diffai.models.inputs import open_input
from diffai.policy.rules import on_missing
from diffai.policy.verdicts import GateReport, Verdict
from diffai.repository.runner import Repository


def run_by_hand(old: str, new: str, request: Request) -> GateReport:
    """Judge what two words name (paths or ``REV:path``), by the policy of the repository around the working directory.

    Raises:
        UsageError: the policy is wrong.
        SourceError: a word names nothing.
    """
    repository = Repository()
    folder = _top(repository)
    policy = load_named(request.config_file) if request.config_file else load_from_disk(folder)
    path = _path_of(new, folder)
    effective = policy.for_path(path)
    must = on_missing(effective, "fail") if not request.on_missing else request.on_missing
    blank = Verdict(path, "changed", path, must_judge=must == "fail")
    approvals = read_from_disk(repository) if folder else ()
    left = open_input(old, request.limits)
    try:
        right = open_input(new, request.limits)
        try:
            verdict = judge_sides(blank, Sides(left, right), effective, request, lambda v: find_approval(v, approvals))
        finally:
            sides.closing(right)
    finally:
        sides.closing(left)
    if verdict is None:
        raise SourceError(f"neither {old} nor {new} is a model")
    commands = {"policy": policy.source or ".diffai.toml", "compare": f"diffai {quote(old)} {quote(new)}"}
    return GateReport(old, new, policy.source, (verdict,), commands=commands)


def _top(repository: Repository) -> str:
    """Top of the work tree around the working directory; "" outside of one."""
    try:
        return top(repository) if repository.place() is not None else ""
    except SourceError:
        return ""


def _path_of(word: str, folder: str) -> str:
    """The path that rules know: relative to the top of the work tree where the word is a path in one."""
    if not os.path.lexists(word):
        return word.rpartition(":")[2]
    if not folder:
        return word
    inside = os.path.relpath(os.path.realpath(word), os.path.realpath(folder))
    return word if inside.startswith(os.pardir) else inside.replace(os.sep, "/")
