"""What doctor says of ``.diffai.toml``: that it is wrong, or that git's calls do not follow all of it."""

from __future__ import annotations

from collections.abc import Iterator

from diffai.config import load_settings, read_git_config
from diffai.errors import DiffaiError


def not_applied(cwd: str) -> Iterator[tuple[bool, str, str]]:
    """(whether something has to be done, what was found, the command that changes it)."""
    try:
        own, root = read_git_config(cwd)
        settings = load_settings(cwd, root=root, git_config=own, by_git=True)
    except DiffaiError as error:
        yield True, f"the configuration is wrong, and git's calls go by the defaults: {error}", ""
        return
    for left in settings.not_applied:
        text = f"{left.key} = {left.value} ({left.origin}) came with the repository, and does not count under git"
        yield False, f"{text}; to trust it: git config diffai.trustRepository true", ""
