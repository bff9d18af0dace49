"""Where the policy of a change is read, and whether the change touches it. Loads tomllib only where there is one."""

from __future__ import annotations

import os
from dataclasses import replace

from diffai.errors import UsageError
from diffai.gate.changes import POLICY_FILES, Point, read_texts, top
from diffai.policy.reading import parse_policy
from diffai.policy.rules import Policy
from diffai.repository.runner import Repository

_PREFIXES = ((), ("tool", "diffai"))


def load_policy(repository: Repository, point: Point) -> Policy:
    """The policy at a point: ``.diffai.toml`` at the top, else ``[tool.diffai.gate]`` of pyproject.toml, else built in.

    For the index, a policy file that git does not track yet is read from disk, so that a first policy works
    before it is committed.

    Raises:
        UsageError: the policy is wrong; the text names line and key.
    """
    texts = read_texts(repository, [point.word(name) for name in POLICY_FILES])
    for name, prefix, text in zip(POLICY_FILES, _PREFIXES, texts, strict=True):
        label = f"{point.label}:{name}" if point.tree else name
        tracked = text is not None
        if text is None and not point.tree:
            text = _from_disk(top(repository), name)
        if text is not None and b"gate" in text:
            policy = parse_policy(text, label, prefix)
            if policy is not None:
                return policy if tracked else replace(policy, source=f"{name} (not tracked)")
    return Policy()


def load_named(path: str) -> Policy:
    """The policy in a file that the user names (``--config``).

    Raises:
        UsageError: it cannot be read, or is wrong.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    prefix = _PREFIXES[1] if os.path.basename(path) == "pyproject.toml" else ()
    return parse_policy(data, path, prefix) or Policy(path)


def policy_changed(repository: Repository, old: Point, new: Point) -> str:
    """Name of the policy file whose gate differs between two points; "" when the policy is the same."""
    names = [point.word(name) for point in (old, new) for name in POLICY_FILES]
    texts = read_texts(repository, names)
    for at, (name, prefix) in enumerate(zip(POLICY_FILES, _PREFIXES, strict=True)):
        before, after = texts[at], texts[at + len(POLICY_FILES)]
        if before != after and _gate(before, prefix) != _gate(after, prefix):
            return name
    return ""


def _gate(text: bytes | None, prefix: tuple[str, ...]) -> object:
    """The gate table of a file; the whole text where it cannot be parsed."""
    if text is None or b"gate" not in text:
        return None
    from diffai.config.toml import parse_toml

    try:
        table: object = parse_toml(text, "")
    except UsageError:
        return text
    for part in (*prefix, "gate"):
        table = table.get(part) if isinstance(table, dict) else None
    return table


def load_from_disk(folder: str) -> Policy:
    """The policy in the files of the work tree at ``folder``; the built-in one for "".

    Raises:
        UsageError: it is wrong.
    """
    for name, prefix in zip(POLICY_FILES, _PREFIXES, strict=True):
        text = _from_disk(folder, name) if folder else None
        policy = parse_policy(text, name, prefix) if text is not None and b"gate" in text else None
        if policy is not None:
            return policy
    return Policy()


def _from_disk(folder: str, name: str) -> bytes | None:
    """A policy file on disk; a symbolic link, which a clone may point anywhere, is not followed."""
    path = os.path.join(folder, name)
    if os.path.islink(path) or not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()
