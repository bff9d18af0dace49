"""The two configuration files that travel with a clone: found, read with distrust, checked key by key.

Imported only where one of them exists; loads tomllib only where it speaks of us, since that costs more than
the rest of the settings together.
"""

from __future__ import annotations

import os

from diffai.config.keys import CHECKED_ELSEWHERE, KEYS, AnalysisSetting, Found, checked
from diffai.config.toml import MAX_BYTES, Lines, parse_toml
from diffai.errors import UsageError

_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # a FIFO of that name must not hang a driver


def read_own(path: str, root: str | None) -> Found:
    """What a .diffai.toml says. Raises UsageError with file, line and key where it makes no sense."""
    return _File(path, _read(path, root), root).settings()


def read_pyproject(path: str, root: str | None) -> Found | None:
    """What ``[tool.diffai]`` says; None where there is no such table."""
    if _leads_out(path, root):
        return None
    data = _read(path, root)
    if b"diffai" not in data:  # most do not name us and need not be parsed
        return None
    file = _File(path, data, root, prefix=("tool", "diffai"))
    return file.settings() if file.tables is not None else None


def read_named(path: str) -> Found:
    """What the file given as ``--config FILE`` says, of either kind."""
    if os.path.basename(path) == "pyproject.toml":
        return read_pyproject(path, None) or {}
    return read_own(path, None)


def _leads_out(path: str, root: str | None) -> bool:
    """Whether this is a symbolic link to a place outside the repository, which a clone must not decide on."""
    if root is None or not os.path.islink(path):
        return False
    top = os.path.realpath(root)
    return os.path.commonpath([os.path.realpath(path), top]) != top


def _read(path: str, root: str | None) -> bytes:
    if _leads_out(path, root):
        raise UsageError(f"{_shown(path, root)}: is a symbolic link that leads out of the repository")
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NONBLOCK)) as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{_shown(path, root)}: {error.strerror}") from error
    return data


def _shown(path: str, root: str | None) -> str:
    text = os.path.relpath(path, root) if root is not None else path
    return text if text.isprintable() else repr(text)


class _File:
    """One parsed TOML file: finds our tables in it and the line of each key."""

    def __init__(self, path: str, data: bytes, root: str | None, prefix: tuple[str, ...] = ()) -> None:
        self.name = _shown(path, root)
        self.prefix = prefix
        self.tables: object
        self.tables = parse_toml(data, self.name)
        self.lines = Lines(data.decode("utf-8"))
        for part in prefix:
            self.tables = self.tables.get(part) if isinstance(self.tables, dict) else None

    def settings(self) -> Found:
        """Checked values by field, each with the line it stands on."""
        known = {key.toml: key for key in KEYS if key.toml}
        sections = sorted({name.partition(".")[0] for name in known} | {*CHECKED_ELSEWHERE})
        found: Found = {}
        analyses: list[AnalysisSetting] = []
        for section, table in self._table(self.tables, ()).items():
            if section in CHECKED_ELSEWHERE:
                continue
            if section not in sections:
                raise self._unknown((section,), _section_words(section, table), sections)
            for name, value in self._table(table, (section,)).items():
                if section == "analyses" and isinstance(value, dict):
                    analyses += self._analysis(name, value)
                    continue
                key = known.get(f"{section}.{name}")
                if key is None:
                    names = [k.rpartition(".")[2] for k in known if k.startswith(section + ".")]
                    raise self._unknown((section, name), f"key {_plain(name)} in [{section}]", names)
                origin = self._place((section, name))
                found[key.field] = (checked(key, value, f"{origin}: {section}.{name}"), origin)
        if analyses:
            found["analyses"] = (tuple(analyses), self.name)
        return found

    def _analysis(self, name: str, table: dict[str, object]) -> list[AnalysisSetting]:
        """The keys of ``[analyses.NAME]``, each with its line; an empty table is one of no key."""
        rows = [AnalysisSetting(name, key, value, self._place(("analyses", name, key))) for key, value in table.items()]
        return rows or [AnalysisSetting(name, "", None, self._place(("analyses", name)))]

    def _table(self, value: object, path: tuple[str, ...]) -> dict[str, object]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise UsageError(f"{self._place(path)}: {'.'.join(path) or 'tool.diffai'} must be a table")
        return value

    def _place(self, path: tuple[str, ...]) -> str:
        line = self.lines.find((*self.prefix, *path))
        return f"{self.name}:{line}" if line else self.name

    def _unknown(self, path: tuple[str, ...], what: str, known: list[str]) -> UsageError:
        return UsageError(f"{self._place(path)}: unknown {what}{_hint(path[-1], known)}")


def _section_words(name: str, value: object) -> str:
    return f"table [{_plain(name)}]" if isinstance(value, dict) else f"key {_plain(name)} outside of any table"


def _plain(name: str) -> str:
    return name if name.isprintable() and name else repr(name)


def _hint(name: str, known: list[str]) -> str:
    import difflib

    for key in KEYS:
        if key.toml.partition(".")[2] == name and name not in known:
            return f"; it belongs in [{key.toml.partition('.')[0]}]"
        if not key.toml and name.lower() in (key.field, key.git.lower()):
            return f"; each user sets this one with `git config diffai.{key.git}`"
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if nearest:
        return f"; did you mean {nearest[0]}?"
    return "; known: " + ", ".join(known)
