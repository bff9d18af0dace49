"""What an install that was killed left: said by doctor, and finished by running it again."""

from __future__ import annotations

import os
from collections.abc import Iterator

from diffai.errors import DiffaiError
from diffai.git.abandoned import abandoned_beside, abandoned_lock
from diffai.git.hooks import half_installed
from diffai.git.scopes import Place, Scope, locate


def leftovers(cwd: str | None, *, in_repository: bool) -> Iterator[tuple[str, str]]:
    """(what is left, the command that finishes or clears it away), in the scopes that can be looked at."""
    scopes: tuple[Scope, ...] = ("local", "global") if in_repository else ("global",)
    for scope in scopes:
        try:
            place = locate(scope, cwd)
        except DiffaiError:  # a user without a home has no global files
            continue
        again = "diffai install" if scope == "local" else f"diffai install --{scope}"
        for path in _files_of(place):
            lock = abandoned_lock(path)
            if lock:
                yield f"{lock} is left of an install that was interrupted, and keeps git from changing {path}", again
            elif abandoned_beside(path):
                yield f"an install was interrupted while it wrote {path}, which is as it was before", again
    if in_repository:
        for path, hook in half_installed(cwd):
            yield (
                f"{path}.before-diffai is left of an install that was interrupted (or of a hook that was deleted)"
                + ("" if os.path.lexists(path) else ", and no longer runs"),
                f"diffai install --hook {hook}",
            )


def _files_of(place: Place) -> list[str]:
    names = [place.config, place.attributes, *([place.committed] if place.committed else [])]
    return [os.path.realpath(name) for name in names]
