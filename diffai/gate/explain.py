"""Say which policy holds for a file, and where each of its values is written."""

from __future__ import annotations

import os
from typing import Any

from diffai.gate.changes import may_be_model, work_prefix
from diffai.gate.judgement import Request
from diffai.gate.policies import load_named, load_policy
from diffai.gate.ranges import find_range, from_framework
from diffai.policy.rules import KEYS, KINDS, Effective, Policy
from diffai.repository.runner import Repository
from diffai.views.style import escape


def explain_lines(request: Request) -> list[str]:
    """The lines of ``diffai gate --explain``: for each path given, else for every model in the index.

    Raises:
        UsageError: the policy is wrong.
        SourceError: not in a repository.
    """
    repository = Repository()
    found = find_range(repository, from_framework(request.words))
    policy = load_named(request.config_file) if request.config_file else load_policy(repository, found.policy)
    prefix = work_prefix(repository)
    paths = [os.path.normpath(os.path.join(prefix, path)) for path in request.paths] or _models(repository, policy)
    lines = [f"policy: {escape(policy.source) if policy.source else 'the built-in one (no [gate] in .diffai.toml)'}"]
    if policy.source:
        lines.append(f"ask: {_shown(policy.ask)}")
    for shared, group in _grouped(paths, policy).values():
        lines += ["", *(escape(path) for path in group), *_effective_lines(shared)]
    if not paths:
        lines += ["", "no model is tracked here; name a path to see what would hold for it"]
    return lines


def _grouped(paths: list[str], policy: Policy) -> dict[str, tuple[Effective, list[str]]]:
    """Paths for which the same holds, together."""
    groups: dict[str, tuple[Effective, list[str]]] = {}
    for path in paths:
        effective = policy.for_path(path)
        groups.setdefault(repr(effective), (effective, []))[1].append(path)
    return groups


def _models(repository: Repository, policy: Policy) -> list[str]:
    names = os.fsdecode(repository.ask("ls-files", "-z", "--full-name", ":/")).split("\0")
    return [name for name in names if name and may_be_model(name, policy.include)]


def _effective_lines(effective: Effective) -> list[str]:
    rows: list[tuple[str, str, str]] = []
    for key in KEYS:
        kinds = [f"{key}.{kind}" for kind in KINDS.get(key, ())]
        if kinds and len({(effective.values[k], effective.origin(k)) for k in kinds}) == 1:
            rows.append((key, _shown(effective.values[kinds[0]]), effective.origin(kinds[0])))
            continue
        rows += [(k, _shown(effective.values[k]), effective.origin(k)) for k in kinds or [key]]
    wide, value = (max(len(row[at]) for row in rows) for at in (0, 1))
    return [f"  {key:<{wide}}  {text:<{value}}  {escape(origin)}".rstrip() for key, text, origin in rows]


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(escape(str(item)) for item in value) + "]"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
