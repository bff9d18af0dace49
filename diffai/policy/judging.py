"""Judge one model diff by the policy that holds for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from diffai.comparison.result import STRUCTURAL, ModelDiff, TensorChange, ValueChange
from diffai.frozen import frozen
from diffai.globs import name_matches
from diffai.model import Absent, Problem, Scalar, Statistics
from diffai.policy.rules import Amount, Effective
from diffai.policy.verdicts import FileStatus, Violation

_PAST = {"added": "added", "removed": "removed", "reshaped": "reshaped", "renamed": "renamed"}


@frozen
class Case:
    """What is judged.

    Attributes:
        diff: the comparison. Where the old side exists but cannot be read, the diff against nothing, and ``alone``.
        status: what happened to the file.
        metadata: all of the new side.
        alone: only the new side can be judged, because the old one is not here.
    """

    diff: ModelDiff
    status: FileStatus
    metadata: Mapping[str, Scalar]
    alone: bool = False


def judge(case: Case, policy: Effective) -> tuple[Violation, ...]:
    """Every rule that the change breaks, forbidden ones first."""
    work = _Judge(case, policy)
    found = [*work.of_file(), *work.of_change(), *work.of_new_side()]
    return tuple(sorted(found, key=lambda violation: violation.level != "forbid"))


def judge_size(size: int, policy: Effective) -> tuple[Violation, ...]:
    """The one rule that can be judged by a pointer: the size in bytes of what it stands for."""
    limit = policy.values["max_size"]
    if limit is None or size <= limit:
        return ()
    text = f"{_bytes(size)} is larger than max_size = {_bytes(limit)}"
    return (Violation("max_size", "forbid", text, policy.origin("max_size")),)


class _Judge:
    def __init__(self, case: Case, policy: Effective) -> None:
        self.case, self.diff, self.policy = case, case.diff, policy
        self.pair = case.status in ("changed", "renamed") and not case.alone

    # -- the file as a whole

    def of_file(self) -> Iterable[Violation]:
        status = self.case.status
        level = self.policy.level(f"models.{status}") if status != "changed" else "allow"
        if level != "allow":
            old = self.diff.old
            size = f" ({old.tensors:,} tensors, {old.parameters:,} parameters)" if status == "deleted" else ""
            yield self._violation(f"models.{status}", f"model {status}{size}", level, approvable=status == "deleted")

    # -- what changed

    def of_change(self) -> Iterable[Violation]:
        if self.case.status == "added" or self.case.alone:
            return  # a new model is no change of an architecture
        yield from self._frozen()
        yield from self._protected()
        if self.case.status == "deleted":
            return
        yield from self._structure()
        yield from self._dtype()
        yield from self._metadata()
        yield from self._parameters()
        yield from self._relative_l2()

    def _frozen(self) -> Iterable[Violation]:
        globs = self.policy.frozen
        if not globs:
            return
        touched = [c for c in self.diff.tensors if c.status != ("identical",) and _named(c, globs)]
        unread = [c for c in touched if c.status == ("uncompared",)]
        broken = [c for c in touched if c.status != ("uncompared",)]
        if broken:
            text = f"{_tensors(broken)} changed, though frozen"
            yield self._violation("frozen", text, changes=_strongest(broken))
        if unread:
            text = f"{_tensors(unread)} could not be compared, though frozen"
            yield self._violation("frozen", text, changes=unread)

    def _protected(self) -> Iterable[Violation]:
        globs = self.policy.protected
        kinds = {"added", "removed", "reshaped", "cast", "renamed"}
        broken = [c for c in self.diff.tensors if not kinds.isdisjoint(c.status) and globs and _named(c, globs)]
        if broken:
            text = f"{_tensors(broken)} changed shape or dtype, though protected"
            yield self._violation("protected", text, changes=broken, approvable=True)

    def _structure(self) -> Iterable[Violation]:
        for kind, word in _PAST.items():
            level = self.policy.level(f"structure.{kind}")
            broken = [c for c in self.diff.tensors if kind in c.status and c.spec.role == "weight"]
            if broken and level != "allow":
                yield self._violation(
                    f"structure.{kind}", f"{_tensors(broken)} {word}", level, changes=broken, approvable=True
                )

    def _dtype(self) -> Iterable[Violation]:
        level = self.policy.level("dtype")
        broken = [c for c in self.diff.tensors if "cast" in c.status and c.spec.role == "weight"]
        if broken and level != "allow":
            kinds = sorted({f"{c.old.dtype} to {c.new.dtype}" for c in broken if c.old and c.new})
            text = f"{_tensors(broken)} cast ({', '.join(kinds[:3])}{', ...' if len(kinds) > 3 else ''})"
            yield self._violation("dtype", text, level, changes=broken, approvable=True)

    def _metadata(self) -> Iterable[Violation]:
        for kind in ("added", "removed", "changed"):
            level = self.policy.level(f"metadata.{kind}")
            broken = [v for v in self.diff.metadata if v.status == kind]
            if broken and level != "allow":
                count = f"{len(broken)} metadata key{'' if len(broken) == 1 else 's'} {kind}"
                yield self._violation(f"metadata.{kind}", count, level, values=broken)

    def _parameters(self) -> Iterable[Violation]:
        limit: Amount | None = self.policy.values["max_param_change"]
        old, new = self.diff.old.parameters, self.diff.new.parameters
        if limit is None or old == new:
            return
        moved = abs(new - old)
        if limit.percent:
            share = 100.0 * moved / old if old else float("inf")
            over, shown = share > limit.value, f"{share:.3g}%"
        else:
            over, shown = moved > limit.value, f"{moved:,}"
        if over:
            text = f"parameters {old:,} -> {new:,}: a change of {shown} is more than max_param_change = {limit}"
            yield self._violation("max_param_change", text, approvable=True)

    def _relative_l2(self) -> Iterable[Violation]:
        limit = self.policy.values["max_relative_l2"]
        totals = self.diff.totals
        if limit is None or not totals.changed:
            return
        moved = [c for c in self.diff.tensors if "changed" in c.status and c.spec.is_parameter]
        if not moved:
            return
        if totals.changed_relative_l2 is None:
            if not any(c.figures and c.figures.delta and c.figures.delta.l2 > 0 for c in moved):
                return
            text = f"the changed values were all zero, so that max_relative_l2 = {limit:g} cannot hold"
        elif totals.changed_relative_l2 > limit:
            size = f"relative L2 of the changed tensors {totals.changed_relative_l2:.4g}"
            text = f"{size} is more than max_relative_l2 = {limit:g}"
        else:
            return
        yield self._violation("max_relative_l2", text, changes=_strongest(moved)[:5])

    # -- the new side by itself

    def of_new_side(self) -> Iterable[Violation]:
        if isinstance(self.diff.new.state, Absent):
            return
        yield from self._nonfinite()
        yield from self._pickles()
        size = max(self.diff.new.size, sum(c.new.nbytes for c in self.diff.tensors if c.new and not c.new.alias_of))
        yield from judge_size(size, self.policy)
        if self.policy.values["require_safetensors"] and not self.diff.new.format.startswith("safetensors"):
            yield self._violation("require_safetensors", f"the format is {self.diff.new.format}, not safetensors")
        lacking = [key for key in self.policy.values["require_metadata"] if not self.case.metadata.get(key)]
        if lacking:
            keys = ", ".join(repr(key) for key in lacking)
            yield self._violation("require_metadata", f"metadata lacks {keys}")

    def _nonfinite(self) -> Iterable[Violation]:
        if not self.policy.values["forbid_nan"]:
            return
        broken = [c for c in self.diff.tensors if _became_nonfinite(c)]
        if broken:
            nan = sum(_counts(_new_statistics(c))[0] for c in broken)
            inf = sum(_counts(_new_statistics(c))[1] for c in broken)
            parts = [f"{count:,} {word}" for count, word in ((nan, "NaN"), (inf, "Inf")) if count]
            text = f"{' and '.join(parts)} in {broken[0].name if len(broken) == 1 else _tensors(broken)}"
            yield self._violation("forbid_nan", text, changes=broken)

    def _pickles(self) -> Iterable[Violation]:
        if not self.policy.values["forbid_unsafe_pickle"]:
            return
        unsafe = [problem for problem in self.diff.new.problems if problem.severity == "error"]
        for problem in unsafe[:5]:
            yield self._violation("forbid_unsafe_pickle", _described(problem))

    def _violation(
        self,
        rule: str,
        message: str,
        level: Literal["warn", "forbid", "allow"] = "forbid",
        *,
        changes: Iterable[TensorChange] = (),
        values: Iterable[ValueChange] = (),
        approvable: bool = False,
    ) -> Violation:
        strength: Literal["warn", "forbid"] = "warn" if level == "warn" else "forbid"
        return Violation(
            rule, strength, message, self.policy.origin(rule), tuple(changes), tuple(values), approvable=approvable
        )


def _named(change: TensorChange, globs: tuple[str, ...]) -> bool:
    """Whether the old or the new name matches."""
    return any(spec is not None and name_matches(spec.name, globs) for spec in (change.old, change.new))


def _strongest(changes: Iterable[TensorChange]) -> list[TensorChange]:
    """Structural ones first, then by relative L2; the natural order among equals."""
    return sorted(changes, key=lambda c: (STRUCTURAL.isdisjoint(c.status), -c.relative_l2))


def _tensors(changes: list[TensorChange]) -> str:
    return f"{len(changes):,} tensor{'' if len(changes) == 1 else 's'}"


def _counts(statistics: Statistics | None) -> tuple[int, int]:
    """(NaN, infinities)."""
    if statistics is None:
        return 0, 0
    return statistics.nan_count, statistics.pos_inf_count + statistics.neg_inf_count


def _new_statistics(change: TensorChange) -> Statistics | None:
    if change.figures is not None and change.figures.new_statistics is not None:
        return change.figures.new_statistics
    return change.new_summary.statistics if change.new_summary else None


def _old_statistics(change: TensorChange) -> Statistics | None:
    if change.figures is not None and change.figures.old_statistics is not None:
        return change.figures.old_statistics
    return change.old_summary.statistics if change.old_summary else None


def _became_nonfinite(change: TensorChange) -> bool:
    """Whether the new side has more NaN or more infinities than the old one had: what was there before may stay."""
    if change.new is None:
        return False
    new, old = _counts(_new_statistics(change)), _counts(_old_statistics(change))
    return new[0] > old[0] or new[1] > old[1]


def _described(problem: Problem) -> str:
    where = f", offset {problem.offset}" if problem.offset >= 0 else ""
    code = f" ({problem.code}{where})" if problem.code else ""
    return f"{problem.message}{code}"


def _bytes(count: int) -> str:
    """Bytes exactly, and in decimal units where that is shorter."""
    value, unit = float(count), "bytes"
    for name in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, name
    return f"{count:,} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
