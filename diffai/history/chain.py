"""What a walk remembers of the versions it has passed: what each was compared with, and the names that changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from diffai.history.version import Version


@dataclass(slots=True, eq=False)
class _Link:
    """A version, what it was compared with, and names of its tensors there by names in it, where they differ."""

    version: Version
    base: _Link | None
    renames: Mapping[str, str]
    in_first: Mapping[str, str]
    """Name in the first version by name in this one, where they differ; "" where another took the name over."""

    @classmethod
    def to(cls, version: Version, base: _Link | None, renames: Mapping[str, str]) -> _Link:
        """The link of a version that was compared with ``base``."""
        earlier = base.in_first if base is not None else {}
        if not renames:
            return cls(version, base, renames, earlier)
        # What has a name now that another tensor had before is something else.
        own = {**dict.fromkeys(set(renames.values()) - renames.keys(), ""), **renames}
        in_first = {now: earlier.get(then, then) for now, then in own.items()}
        return cls(version, base, renames, {**earlier, **in_first})


@dataclass(slots=True)
class Chain:
    """The versions walked so far. A content that comes again stands for its last place, with what came before that."""

    links: dict[str, _Link] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    home: dict[str, Version] = field(default_factory=dict)

    def copy(self) -> Chain:
        """One that can go ahead of this one."""
        return Chain(dict(self.links), set(self.unreadable), dict(self.home))

    def add(
        self, version: Version, base: Version | None, renames: Mapping[str, str] | None = None, *, same: bool = False
    ) -> None:
        """Go on to a version that was compared with ``base``.

        Args:
            version: the new one.
            base: what it was compared with; None where there was nothing.
            renames: names in ``base`` by names in ``version``, where they differ.
            same: they hold the same; then what comes is seen against the version that ``base`` was compared with.
        """
        below = self._link(base) if base is not None else None
        if same and below is not None:
            self.links[_key(version)] = _Link.to(version, below.base, below.renames)
        else:
            self.links[_key(version)] = _Link.to(version, below, renames or {})

    def add_unreadable(self, version: Version, base: Version | None) -> None:
        """Go on to a version that cannot be read."""
        self.unreadable.add(_key(version))
        self.add(version, base)

    def come_home(self, version: Version) -> None:
        """Remember the commit that first brought a content."""
        self.home.setdefault(_key(version), version)

    def label(self, version: Version) -> str:
        """A version named by the commit that brought it."""
        return self.home.get(_key(version), version).label

    def is_unreadable(self, version: Version) -> bool:
        """Whether it was found to be so."""
        return _key(version) in self.unreadable

    def before(self, version: Version | None) -> Version | None:
        """What a version was compared with."""
        link = self._link(version).base if version is not None else None
        return link.version if link is not None else None

    def readable(self, version: Version | None, is_unreadable: Callable[[Version], bool]) -> Version | None:
        """A version, or the nearest before it that can be read."""
        link = self._link(version) if version is not None else None
        while link is not None and is_unreadable(link.version):
            link = link.base
        return link.version if link is not None else None

    def names_before(self, version: Version | None) -> Mapping[str, str]:
        """Name in the version before by name in ``version``, where they differ."""
        return self._link(version).renames if version is not None else {}

    def names_in_first(self, version: Version | None) -> Mapping[str, str]:
        """Name in the first version by name in ``version``, where they differ; "" where another took the name over."""
        return self._link(version).in_first if version is not None else {}

    def _link(self, version: Version) -> _Link:
        return self.links.get(_key(version)) or _Link.to(version, None, {})


def _key(version: Version) -> str:
    """Equal for equal contents, as far as names tell."""
    return version.content or " ".join(part.held_as for part in version.parts)
