"""The first commit at which something holds: a NaN, a new structure, too far a drift, a tensor that should have stayed.

Every version is looked at, oldest first: what goes bad may come good again, so that halving would not find it.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from typing import Literal

from diffai.cache.store import Store
from diffai.comparison.models import Input
from diffai.comparison.result import CompareOptions
from diffai.errors import DiffaiError, SourceError, UsageError
from diffai.finding import SEVERITIES, Severity
from diffai.formats.base import Limits
from diffai.frozen import frozen
from diffai.globs import name_regex
from diffai.history.entries import Level, LogEntry, LogOptions, ModelLog, Progress
from diffai.history.figures import Figure, Movement, movement_of
from diffai.history.log import log_model
from diffai.history.log_records import entry_record
from diffai.history.log_text import entry_view
from diffai.history.model_path import ModelPath
from diffai.history.versions import close
from diffai.repository.runner import Repository
from diffai.views import values
from diffai.views.blocks import Block, View, said
from diffai.views.state import describe_state
from diffai.views.style import escape, plural, ratio
from diffai.views.text import TextOptions

CHECKS = "nonfinite, structure, drift>X, update>X, changed:GLOB, FINDING[:SEVERITY]"
_LIMIT = re.compile(r"(drift|update)\s*>\s*(.+)", re.DOTALL)


@frozen
class Check:
    """What makes a version bad.

    ``limit`` of a drift or an update is a relative L2, ``glob`` names tensors, ``finding`` an analysis, which makes a
    version bad from ``severity`` up.
    """

    text: str
    kind: Literal["nonfinite", "structure", "drift", "update", "changed", "finding"]
    limit: float = 0.0
    glob: str = ""
    finding: str = ""
    severity: Severity = "warning"


@frozen
class FirstBad:
    """The first bad entry, None when there is none; versions looked at, those that could not be read, those that have
    less than half of their parameters in common with what the check compares them with, and those of which the finding
    could not be computed.
    """

    path: str
    check: Check
    entry: LogEntry | None
    looked_at: int
    unreadable: int
    not_comparable: int = 0
    not_judged: int = 0


def parse_check(text: str) -> Check:
    """A check as the user writes it.

    Raises:
        UsageError: it is none.

    >>> parse_check("drift>0.5").limit, parse_check("changed:*.bias").glob
    (0.5, '*.bias')
    """
    word = text.strip()
    if word in ("nonfinite", "nan"):
        return Check(word, "nonfinite")
    if word in ("structure", "shape"):
        return Check(word, "structure")
    if word.startswith("changed:") and len(word) > len("changed:"):
        return Check(word, "changed", glob=word.removeprefix("changed:"))
    limited = _LIMIT.fullmatch(word)
    if limited:
        try:
            limit = float(limited[2])
        except ValueError:
            limit = math.nan
        if limit >= 0:
            return Check(word, "drift" if limited[1] == "drift" else "update", limit)
    return _finding_check(word, text)


def _finding_check(word: str, text: str) -> Check:
    """A check by a finding: ``anomaly_detection``, ``risk_assessment:critical``."""
    from diffai.analyses.table import ANALYSES

    name, colon, severity = word.partition(":")
    row = next((row for row in ANALYSES if row.name == name.replace("-", "_")), None)
    if row is None:
        raise UsageError(f"{text!r} is no check (known: {CHECKS}; X is a relative L2 such as 0.5)")
    if row.second_pass:
        raise UsageError(f"{text!r}: {row.name} reads tensors again, which a history does not (see diffai OLD NEW)")
    for known in SEVERITIES:
        if known == (severity if colon else "warning"):
            return Check(word, "finding", finding=row.name, severity=known)
    raise UsageError(f"{text!r}: there is no severity {severity!r}; there are {', '.join(SEVERITIES)}")


def is_bad(entry: LogEntry, check: Check) -> bool:
    """Whether a readable entry is bad."""
    figures = entry.figures
    if figures is None or entry.kind == "removed":
        return False
    moved = figures.movement
    if check.kind == "nonfinite":
        return moved is not None and moved.nonfinite > 0
    if entry.kind == "added":
        return False  # there is nothing that it changed
    if check.kind == "structure":
        return figures.structural
    if check.kind == "changed":
        return figures.structural or figures.changed > 0
    if check.kind == "finding":
        return any(found.judged and _reaches(found.severity, check) for found in figures.findings)
    value = _figure(moved, check).value
    return value is not None and value > check.limit


def _reaches(severity: Severity, check: Check) -> bool:
    return SEVERITIES.index(severity) >= SEVERITIES.index(check.severity)


def _figure(moved: Movement | None, check: Check) -> Figure:
    """What a limit is compared with."""
    if moved is None:
        return Figure()
    return moved.drift if check.kind == "drift" else moved.update


def find_first_bad(
    repository: Repository,
    model: ModelPath,
    options: LogOptions,
    store: Store,
    check: Check,
    progress: Progress | None = None,
) -> FirstBad:
    """The first version, oldest first, at which ``check`` holds.

    Raises:
        SourceError: as :func:`diffai.history.log.log_model`.
    """
    level: Level = {"structure": "header", "changed": "digest"}.get(check.kind, "values")  # type: ignore[assignment]
    wanted = dataclasses.replace(
        options,
        level=level,
        limit=0,
        only_structure=False,
        tensor=check.glob or options.tensor,
        findings=(check.finding,) if check.finding else (),
    )
    log: ModelLog = log_model(repository, model, wanted, store, progress, until=lambda entry: is_bad(entry, check))
    found = next((entry for entry in reversed(log.entries) if is_bad(entry, check)), None)
    unreadable = sum(entry.kind == "unreadable" for entry in log.entries)
    apart = 0
    if check.kind in ("drift", "update"):
        moves = [entry.figures.movement for entry in log.entries if entry.figures is not None]
        apart = sum(not _figure(moved, check).comparable for moved in moves)
    judged = [entry.figures.findings for entry in log.entries if entry.figures is not None]
    unjudged = sum(any(not each.judged for each in findings) for findings in judged)
    return FirstBad(log.path, check, found, log.versions, unreadable, apart, unjudged)


def first_bad_view(found: FirstBad, options: TextOptions) -> View:
    """The answer for people."""
    seen = plural(found.looked_at, "version")
    where = f"at none of {seen}" if found.entry is None else "first at"
    blocks: list[Block] = [said(f"{escape(found.path)}: {escape(found.check.text)} holds {where}")]
    if found.entry is not None:
        blocks += entry_view(found.entry, options, detail=True)
        if found.check.finding and found.entry.figures is not None:
            texts = (f"! {each.name}: {escape(each.text, longest=500)}" for each in found.entry.figures.findings)
            blocks += [said(text, "!", indent=1) for text in texts]
    if found.unreadable:
        blocks.append(said(f"({plural(found.unreadable, 'version')} could not be read and may be bad as well)", "…"))
    if found.not_comparable:
        text = f"({plural(found.not_comparable, 'version')} share too few parameters to be compared: not judged)"
        blocks.append(said(text, "…"))
    if found.not_judged:
        text = f"({found.check.finding} could not be computed of {plural(found.not_judged, 'version')}: not judged)"
        blocks.append(said(text, "…"))
    return tuple(blocks)


def first_bad_json(found: FirstBad) -> str:
    """The answer for programs; ``first_bad`` is null when there is none."""
    return values.dump(
        {
            "schema": "diffai.first-bad/1",
            "path": values.text(found.path),
            "check": values.text(found.check.text),
            "first_bad": entry_record(found.entry) if found.entry is not None else None,
            "versions": found.looked_at,
            "unreadable": found.unreadable,
            "not_comparable": found.not_comparable,
            "not_judged": found.not_judged,
        },
        "json",
    )


class Against:
    """A check of single models against one good revision, for ``git bisect run``.

    Args:
        check: what is bad.
        repository, rev: where the good version is.
        limits, threads: of reading.
    """

    def __init__(self, check: Check, repository: Repository, rev: str, limits: Limits, threads: int) -> None:
        self._check, self._rev, self._limits, self._threads = check, rev, limits, threads
        self._repository = repository

    def verify(self) -> None:
        """UsageError when the revision does not exist: no commit could be judged."""
        if self._check.kind != "nonfinite":
            try:
                self._repository.commit(self._rev)
            except SourceError as error:
                raise UsageError(f"--against: {error}") from error

    def judge(self, word: str) -> tuple[bool, str]:
        """Whether a model is bad, and why.

        Raises:
            DiffaiError: it, or the good version, is not here or is no model.
        """
        new = self._opened(word)
        try:
            if self._check.kind == "nonfinite":
                return self._nonfinite(new)
            path = os.path.relpath(word.partition(":")[2] if not os.path.lexists(word) else word)
            old = self._opened(f"{self._rev}:{path if path.startswith('../') else './' + path}")
            try:
                return self._compared(old, new)
            finally:
                close(old)
        finally:
            close(new)

    def _opened(self, word: str) -> Input:
        from diffai.models.inputs import open_input

        side = open_input(word, self._limits)
        if side.state is not None:
            raise DiffaiError(f"{word}: {describe_state(side.state)}")
        return side

    def _nonfinite(self, side: Input) -> tuple[bool, str]:
        from diffai.tensors.engine import summarise

        assert side.checkpoint is not None
        specs = list(side.checkpoint.tensors.values())
        found = summarise(side.checkpoint, specs, statistics=True, digest=False, threads=self._threads)
        for spec, summary in zip(specs, found, strict=True):
            s = summary.statistics
            if s is not None and s.nan_count + s.pos_inf_count + s.neg_inf_count:
                return True, f"{spec.name} has NaN or infinite values"
        return False, "all values are finite"

    def _found(self, old: Input, new: Input) -> tuple[bool, str]:
        """Whether the finding is there, with files beside the models looked at."""
        from diffai.analyses.run import Asked, with_analyses
        from diffai.comparison.models import compare_models

        check = self._check
        asked = Asked(frozenset((check.finding,)), threads=self._threads)
        (found,) = compare_models(old, new, with_analyses(CompareOptions(threads=self._threads), asked)).findings
        if found.status == "not computed":
            raise DiffaiError(f"{new.label}: {found.name} is {found.text}")
        return found.status == "found" and _reaches(found.severity, check), f"{found.name}: {found.text}"

    def _compared(self, old: Input, new: Input) -> tuple[bool, str]:
        from diffai.comparison.models import compare_models

        check = self._check
        if check.kind == "finding":
            return self._found(old, new)
        options = CompareOptions(
            filter=name_regex(check.glob), shape_only=check.kind == "structure", statistics="none",
            threads=self._threads, update_size=check.kind in ("drift", "update"),
        )  # fmt: skip
        diff = compare_models(old, new, options)
        if check.kind == "structure":
            named = next((change for change in diff.tensors if change.status[0] != "uncompared"), None)
            return named is not None, f"{named.name} is {named.status[0]}" if named else "the same structure"
        if check.kind == "changed":
            changed = diff.changes
            return bool(changed), f"{changed[0].name} is {changed[0].status[0]}" if changed else "not changed"
        far = movement_of(diff, None, None, ()).update
        if not far.comparable:
            raise DiffaiError(f"{new.label}: has only {plural(far.parameters, 'parameter')} in common with {self._rev}")
        return far.value is not None and far.value > check.limit, f"update size {ratio(far.value)} from {self._rev}"
