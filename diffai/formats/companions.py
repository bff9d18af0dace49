"""The files beside a model that hold values of it: external data, shards, a file of weights."""

from __future__ import annotations

from diffai.errors import FormatError, SourceError
from diffai.sources.base import Source
from diffai.sources.spool import spool

_MOST_FILES = 100_000


class Companions:
    """Files beside a model, each opened once and owned; never one outside the model's folder.

    Attributes:
        opened: by their place as the model names it.
        missing: why the others could not be opened.

    """

    def __init__(self, source: Source, max_spool: int) -> None:
        self._source, self._max_spool = source, max_spool
        self.opened: dict[str, Source] = {}
        self.missing: dict[str, str] = {}

    def open(self, place: str) -> Source:
        """The file; OutsideError where the place leads elsewhere, SourceError, which says so, where it is not here."""
        if place not in self.missing:
            try:
                return self.need(place)
            except SourceError as error:
                self.missing[place] = str(error)
        raise SourceError(f"the values are in {place[:200]!r}, which is not here")

    def need(self, place: str) -> Source:
        """As :meth:`open` of a file without which there is no model: the error is that of the file itself."""
        found = self.opened.get(place)
        if found is None:
            parts = place.replace("\\", "/").split("/")
            if not place or place.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in place:
                raise OutsideError(f"has values outside the model's folder: {place[:200]!r}")
            if len(self.opened) + len(self.missing) >= _MOST_FILES:
                raise FormatError(f"has values in more than {_MOST_FILES:,} files")
            beside = self._source.sibling("/".join(part for part in parts if part not in ("", ".")))
            found = self.opened[place] = spool(beside, self._max_spool)
        return found

    def identity(self) -> str:
        """Of the model and all files together; "" where one is not here, or nothing names its content."""
        names = [self._source.identity, *(source.identity for source in self.opened.values())]
        if self.missing or not all(names):
            return ""
        return " ".join((names[0], *(f"{place}={source.identity}" for place, source in sorted(self.opened.items()))))

    def verify_unchanged(self) -> None:
        """Raise SourceError when one of them was changed since it was opened."""
        for source in self.opened.values():
            source.verify_unchanged()

    def close(self) -> None:
        """Close all."""
        for source in self.opened.values():
            source.close()
        self.opened.clear()


class OutsideError(FormatError):
    """A file that a model names lies outside its folder."""
