"""Read ``[gate]`` and ``[[gate.rule]]`` out of TOML text; whatever is wrong is named with its line and nearest key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from diffai.config.keys import parse_size
from diffai.config.toml import Lines, parse_toml
from diffai.errors import UsageError
from diffai.globs import MAX_LENGTH
from diffai.policy.rules import GLOBAL_KEYS, KEYS, KINDS, LEVELS, Amount, Policy, Rule, Setting

_EXPECTED = {
    "level": "one of allow, warn, forbid",
    "globs": f"a list of globs of at most {MAX_LENGTH:,} characters, such as [\"encoder.*\"]",
    "names": "a list of strings",
    "globals": "a list of exact names, such as [\"mypkg.model.Net\"]",
    "amount": "a number of parameters of at least 0, or a share such as \"5%\"",
    "number": "a finite number of at least 0",
    "share": "a share of at least 0, such as 0.02 or \"2%\"",
    "findings": "a list of findings, each with the least severity, such as [\"anomaly_detection:critical\"]",
    "size": "a size in bytes, such as 500000000 or \"500m\"",
    "bool": "true or false",
    "missing": "warn or fail",
}


def parse_policy(data: bytes, label: str, prefix: Sequence[str] = ()) -> Policy | None:
    """The policy in a TOML file; None where the file has no ``gate`` table.

    Args:
        data: the whole file.
        label: how messages name it (``.diffai.toml``, ``main:.diffai.toml``).
        prefix: the tables above ``gate``: ``("tool", "diffai")`` in pyproject.toml.

    Raises:
        UsageError: it is not valid TOML, or a key or a value is unknown; with line, key and the nearest known one.
    """
    table: object = parse_toml(data, label)
    for part in (*prefix, "gate"):
        table = table.get(part) if isinstance(table, dict) else None
    if table is None:
        return None
    return _Reader(label, Lines(data.decode("utf-8")), (*prefix, "gate")).policy(table)


class _Reader:
    """Checks one gate table key by key."""

    def __init__(self, label: str, lines: Lines, path: tuple[str, ...]) -> None:
        self.label, self.lines, self.path = label, lines, path

    def policy(self, table: object) -> Policy:
        gate = self._table(table, ())
        rules = gate.pop("rule", [])
        if not isinstance(rules, list):
            raise self._error(("rule",), "rules are written as [[gate.rule]], with two brackets")
        own = {key: gate.pop(key) for key in GLOBAL_KEYS if key in gate}
        found = {key: _checked(GLOBAL_KEYS[key], value) for key, value in own.items()}
        for key, value in found.items():
            if value is None:
                raise self._wrong((key,), GLOBAL_KEYS[key], own[key])
        return Policy(
            self.label,
            self._settings(gate, (), (*KEYS, *GLOBAL_KEYS, "rule"), ""),
            tuple(self._rule(number, rule) for number, rule in enumerate(rules, 1)),
            ask=bool(found.get("ask", False)),
            include=tuple(found.get("include", ())),
        )

    def _rule(self, number: int, value: object) -> Rule:
        at = ("rule", number - 1)
        table = self._table(value, at)
        for key in GLOBAL_KEYS:
            if key in table:
                raise self._error((*at, key), f"{key} holds for the whole gate: move it to [gate]")
        paths = table.pop("paths", None)
        if paths is None:
            raise self._error(at, 'this rule has no paths; name the files it is for: paths = ["models/*.safetensors"]')
        globs = _checked("globs", [paths] if isinstance(paths, str) else paths)
        if not globs or not all(globs):
            raise self._wrong((*at, "paths"), "globs", paths)
        return Rule(number, globs, self._settings(table, at, (*KEYS, "paths"), f" (rule {number})"))

    def _settings(
        self, table: Mapping[str, Any], at: tuple[str | int, ...], known: Iterable[str], note: str
    ) -> dict[str, Setting]:
        settings: dict[str, Setting] = {}
        for key, value in table.items():
            here = (*at, key)
            if key not in KEYS:
                raise self._error(here, f"unknown key {_plain(key)}{_hint(key, list(known))}")
            if KEYS[key] != "levels":
                result = _checked(KEYS[key], value)
                if result is None:
                    raise self._wrong(here, KEYS[key], value)
                settings[key] = Setting(result, self._origin(here, note))
            elif isinstance(value, dict):
                settings |= self._kinds(key, value, here, note)
            else:
                if value not in LEVELS:
                    expected = f"one of allow, warn, forbid, or a table of {', '.join(KINDS[key])}"
                    raise self._error(here, f"{key} must be {expected}, not {_excerpt(value)}{_level_hint(value)}")
                origin = self._origin(here, note)
                settings |= {f"{key}.{kind}": Setting(value, origin) for kind in KINDS[key]}
        return settings

    def _kinds(
        self, key: str, table: Mapping[str, Any], at: tuple[str | int, ...], note: str
    ) -> dict[str, Setting]:
        settings = {}
        for kind, level in table.items():
            here = (*at, kind)
            if kind not in KINDS[key]:
                raise self._error(here, f"unknown key {_plain(kind)} in {key}{_hint(kind, list(KINDS[key]))}")
            if level not in LEVELS:
                raise self._wrong(here, "level", level)
            settings[f"{key}.{kind}"] = Setting(level, self._origin(here, note))
        return settings

    def _table(self, value: object, at: tuple[str | int, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._error(at, "must be a table")
        return dict(value)

    def _origin(self, at: tuple[str | int, ...], note: str) -> str:
        line = self.lines.find((*self.path, *at))
        return f"{self.label}:{line}{note}" if line else f"{self.label}{note}"

    def _error(self, at: tuple[str | int, ...], what: str) -> UsageError:
        return UsageError(f"{self._origin(at, '')}: {what}")

    def _wrong(self, at: tuple[str | int, ...], kind: str, value: object) -> UsageError:
        key = ".".join(str(part) for part in at if isinstance(part, str) and part != "rule")
        hint = _level_hint(value) if kind == "level" else _finding_hint(value) if kind == "findings" else ""
        return self._error(at, f"{key} must be {_EXPECTED[kind]}, not {_excerpt(value)}{hint}")


def _checked(kind: str, value: object) -> Any:
    """The value as a policy holds it; None when it is none of its kind."""
    return _CHECKS[kind](value)


def _texts(value: object) -> tuple[str, ...] | None:
    good = isinstance(value, list) and all(isinstance(item, str) and item for item in value)
    return tuple(value) if good else None  # type: ignore[arg-type]


def _globs(value: object) -> tuple[str, ...] | None:
    texts = _texts(value)
    return texts if texts is None or all(len(glob) <= MAX_LENGTH for glob in texts) else None


def _globals(value: object) -> tuple[str, ...] | None:
    texts = _texts(value)
    exact = texts is not None and all("." in t and all(p.isidentifier() for p in t.split(".")) for t in texts)
    return texts if exact else None


def _number(value: object) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and 0 <= value < float("inf") else None  # type: ignore[arg-type,operator]


def _share(value: object) -> float | None:
    """A share as a number, or in percent."""
    if isinstance(value, str) and value.rstrip().endswith("%"):
        try:
            share = _number(float(value.rstrip()[:-1]))
        except ValueError:
            return None
        return None if share is None else share / 100
    return _number(value)


def _findings(value: object) -> tuple[str, ...] | None:
    """``NAME:SEVERITY`` each, of analyses that there are."""
    from diffai.analyses.table import ANALYSES
    from diffai.finding import SEVERITIES

    texts = _texts(value)
    known, found = {row.name for row in ANALYSES}, []
    for text in texts or ():
        name, colon, severity = text.replace("-", "_").partition(":")
        if name not in known or (colon and severity not in SEVERITIES):
            return None
        found.append(f"{name}:{severity or 'warning'}")
    return tuple(found) if texts is not None else None


def _finding_hint(value: object) -> str:
    """The first word that is none, and what was probably meant."""
    from diffai.analyses.table import ANALYSES
    from diffai.finding import SEVERITIES

    for text in _texts(value) or ():
        name, _, severity = text.partition(":")
        names = [row.name for row in ANALYSES]
        if name.replace("-", "_") not in names:
            return f"; there is no finding {_excerpt(name)}{_hint(name, names).partition('; known')[0]}"
        if severity and severity not in SEVERITIES:
            return f"; there is no severity {_excerpt(severity)}{_hint(severity, SEVERITIES)}"
    return ""


def _size(value: object) -> int | None:
    if isinstance(value, str):
        try:
            return parse_size(value)
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _amount(value: object) -> Amount | None:
    if isinstance(value, str) and value.rstrip().endswith("%"):
        try:
            share = _number(float(value.rstrip()[:-1]))
        except ValueError:
            return None
        return Amount(share, percent=True) if share is not None else None
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return Amount(value) if whole else None  # type: ignore[arg-type]


_CHECKS: Mapping[str, Callable[[object], Any]] = {
    "level": lambda value: value if value in LEVELS else None,
    "globs": _globs,
    "names": _texts,
    "globals": _globals,
    "amount": _amount,
    "number": _number,
    "share": _share,
    "findings": _findings,
    "size": _size,
    "bool": lambda value: value if isinstance(value, bool) else None,
    "missing": lambda value: value if value in ("warn", "fail") else None,
}


def _plain(name: str) -> str:
    return name if name.isprintable() and name else repr(name)


def _excerpt(value: object) -> str:
    text = ("true" if value else "false") if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _level_hint(value: object) -> str:
    near = _nearest(value, LEVELS) if isinstance(value, str) else ""
    return f"; did you mean {near}?" if near else ""


def _hint(name: str, known: Sequence[str]) -> str:
    near = _nearest(name, known)
    return f"; did you mean {near}?" if near else "; known: " + ", ".join(known)


def _nearest(name: str, known: Sequence[str]) -> str:
    import difflib

    found = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return found[0] if found else ""
