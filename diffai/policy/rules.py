"""A policy as frozen data: what is forbidden, warned of or allowed, for which files, and where each value stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from diffai.frozen import frozen
from diffai.globs import path_matches

Level = Literal["allow", "warn", "forbid"]
OnMissing = Literal["warn", "fail"]
LEVELS: tuple[Level, ...] = ("allow", "warn", "forbid")

#: Keys whose value is one level, or a table with a level for each of these kinds.
KINDS: Mapping[str, tuple[str, ...]] = {
    "structure": ("added", "removed", "reshaped", "renamed", "classes", "graph"),
    "metadata": ("added", "removed", "changed"),
    "models": ("added", "deleted", "renamed"),
}

#: Every key of ``[gate]`` and ``[[gate.rule]]`` by what it holds; those of ``KINDS`` stand once for each kind.
KEYS: Mapping[str, str] = {
    "structure": "levels",
    "dtype": "level",
    "metadata": "levels",
    "models": "levels",
    "frozen": "globs",
    "protected": "globs",
    "max_param_change": "amount",
    "max_relative_l2": "number",
    "max_update": "number",
    "max_metric_drop": "share",
    "min_sqnr_db": "number",
    "forbid_findings": "findings",
    "warn_findings": "findings",
    "max_size": "size",
    "forbid_nan": "bool",
    "forbid_unsafe_pickle": "bool",
    "allow_globals": "globals",
    "require_safetensors": "bool",
    "require_metadata": "names",
    "on_missing": "missing",
}
#: Keys of ``[gate]`` alone.
GLOBAL_KEYS: Mapping[str, str] = {"ask": "bool", "include": "globs"}

DEFAULTS: Mapping[str, Any] = {
    **{f"structure.{kind}": "forbid" for kind in KINDS["structure"]},
    **{f"metadata.{kind}": "allow" for kind in KINDS["metadata"]},
    "models.added": "allow", "models.deleted": "warn", "models.renamed": "allow",
    "dtype": "allow", "frozen": (), "protected": (), "max_param_change": None, "max_relative_l2": None,
    "max_update": None, "max_metric_drop": None, "min_sqnr_db": None, "forbid_findings": (), "warn_findings": (),
    "max_size": None, "forbid_nan": True, "forbid_unsafe_pickle": True, "allow_globals": (),
    "require_safetensors": False, "require_metadata": (), "on_missing": None,
}  # fmt: skip


@frozen
class Amount:
    """A largest change of the number of parameters: absolute, or a share of the old number in percent."""

    value: float
    percent: bool = False

    def __str__(self) -> str:
        return f"{self.value:g}%" if self.percent else f"{int(self.value):,}"


@frozen
class Setting:
    """One value of a policy, and where it is written: ``.diffai.toml:7``."""

    value: Any
    origin: str


@frozen
class Rule:
    """One ``[[gate.rule]]``: settings that hold for the files that match; ``number`` counts from 1."""

    number: int
    paths: tuple[str, ...]
    settings: Mapping[str, Setting]


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules of one place.

    Attributes:
        source: what it was read from (``.diffai.toml``, ``origin/main:.diffai.toml``); "" = the built-in one.
        settings: those of ``[gate]``, by dotted key (``structure.added``).
        rules: in the order of the file; a later one beats an earlier one, key by key.
        ask: whether a person at a terminal may let a refused commit pass.
        include: globs of files that are models in spite of their names.
    """

    source: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    ask: bool = False
    include: tuple[str, ...] = ()

    def for_path(self, *paths: str) -> Effective:
        """What holds for one file; of a renamed one, every rule that matches its old or its new path."""
        found = dict(self.settings)
        for rule in self.rules:
            if any(path_matches(path, rule.paths) for path in paths if path):
                found.update(rule.settings)
        values = {**DEFAULTS, **{key: setting.value for key, setting in found.items()}}
        return Effective(values, {key: setting.origin for key, setting in found.items()})


@frozen
class Effective:
    """The policy of one file: a value for every dotted key of ``DEFAULTS``, and where each comes from."""

    values: Mapping[str, Any]
    origins: Mapping[str, str]

    def level(self, key: str) -> Level:
        """The level of ``dtype``, ``structure.added`` and the like."""
        level: Level = self.values[key]
        return level

    def origin(self, key: str) -> str:
        """Where the value of a key is written; ``default`` where it is not."""
        return self.origins.get(key, "default")

    @property
    def frozen(self) -> tuple[str, ...]:
        """Globs of tensors of which no bit may change."""
        return tuple(self.values["frozen"])

    @property
    def protected(self) -> tuple[str, ...]:
        """Globs of tensors whose shape and dtype may not change."""
        return tuple(self.values["protected"])

    @property
    def needs_values(self) -> bool:
        """Whether it can only be judged by reading the values of tensors, not headers alone."""
        limits = (self.values[key] for key in ("max_relative_l2", "max_update", "min_sqnr_db"))
        limited = any(limit is not None for limit in limits)
        return bool(self.values["forbid_nan"] or self.frozen or limited or self.names_findings)

    @property
    def names_findings(self) -> bool:
        """Whether it forbids findings, or warns of them."""
        return bool(self.values["forbid_findings"] or self.values["warn_findings"])

    @property
    def judges_figures(self) -> bool:
        """Whether it limits metrics or the noise of casts."""
        return any(self.values[key] is not None for key in ("max_metric_drop", "min_sqnr_db"))

    def analyses(self, *, pair: bool = True) -> frozenset[str]:
        """The analyses that have to run for its rules.

        Args:
            pair: whether there are two sides, so that a metric can drop.
        """
        words = (*self.values["forbid_findings"], *self.values["warn_findings"])
        metrics = ("metric_comparison",) if pair and self.values["max_metric_drop"] is not None else ()
        return frozenset((*(word.partition(":")[0] for word in words), *metrics))


def on_missing(effective: Effective, default: OnMissing) -> OnMissing:
    """What to do with a model that cannot be judged: as the policy says, else ``default``."""
    chosen: OnMissing | None = effective.values["on_missing"]
    return chosen or default
