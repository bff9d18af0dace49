"""What a walk remembers of the versions it has passed: what each was compared with, and the names that changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from diffai.history.version import Version


@dataclass(slots=True)
class Chain:
    """Of the versions walked so far, by content: what each was compared with, and the names it changed."""

    base: dict[str, Version] = field(default_factory=dict)
    renames: dict[str, Mapping[str, str]] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    home: dict[str, Version] = field(default_factory=dict)

    def copy(self) -> Chain:
        """One that can go ahead of this one."""
        return Chain(dict(self.base), dict(self.renames), set(self.unreadable), dict(self.home))

    def label(self, version: Version) -> str:
        """A version named by the commit that brought it."""
        return self.home.get(version.content, version).label

    def names_before(self, version: Version | None) -> Mapping[str, str]:
        """Name in the version before by name in ``version``, where they differ."""
        return self.renames.get(version.content, {}) if version is not None else {}

    def names_in_first(self, version: Version | None) -> dict[str, str]:
        """Name in the first version by name in ``version``, where they differ."""
        names: dict[str, str] = {}
        seen = set[str]()
        while version is not None and version.content not in seen:
            seen.add(version.content)
            renames = self.renames.get(version.content, {})
            names = {now: renames.get(then, then) for now, then in names.items()} | {
                now: then for now, then in renames.items() if now not in names
            }
            version = self.base.get(version.content)
        return names
