"""Judge one model diff by the policy that holds for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from diffai.analyses import nonfinite
from diffai.analyses.finding import counted
from diffai.analyses.update import shares, update_size
from diffai.comparison.result import STRUCTURAL, ModelDiff, TensorChange, ValueChange
from diffai.formats.safety import unsafe, with_allowed
from diffai.frozen import frozen
from diffai.globs import name_matches
from diffai.model import Absent, Problem, Scalar
from diffai.policy.rules import DEFAULTS, Amount, Effective, Level
from diffai.policy.verdicts import FileStatus, Violation

_EVENT = {"appeared": "", "changed kind": " (of another kind before)", "more": " (more than before)"}
_PAST = {"added": "added", "removed": "removed", "reshaped": "reshaped", "renamed": "renamed"}


TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.policy.findings import Broken


@frozen
class Case:
    """What is judged.

    Attributes:
        diff: the comparison. Where the old side exists but cannot be read, the diff against nothing, and ``alone``.
        status: what happened to the file.
        metadata: all of the new side.
        alone: only the new side can be judged, because the old one is not here.
        headers: values may not be read, because they are far away.
    """

    diff: ModelDiff
    status: FileStatus
    metadata: Mapping[str, Scalar]
    alone: bool = False
    headers: bool = False


@frozen
class Judgement:
    """What the policy says of a case.

    Attributes:
        violations: every rule that the change breaks, forbidden ones first.
        allowed: rules of the built-in policy that it would break, had the policy not loosened them.
        unjudged: rules that could not be judged, and why.
    """

    violations: tuple[Violation, ...] = ()
    allowed: tuple[Violation, ...] = ()
    unjudged: tuple[str, ...] = ()


def judge(case: Case, policy: Effective) -> Judgement:
    """Judge one comparison."""
    work = _Judge(case, policy)
    found = [*work.of_file(), *work.of_change(), *work.of_new_side()]
    broken = sorted((v for v in found if v.level != "allow"), key=lambda violation: violation.level != "forbid")
    allowed = tuple(v for v in found if v.level == "allow" and DEFAULTS[v.rule] not in ("allow", False))
    return Judgement(tuple(broken), allowed, tuple(work.unjudged()))


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
        if status != "changed":
            old = self.diff.old
            held = f" ({counted(old.tensors, 'tensor')}, {counted(old.parameters, 'parameter')})"
            size = held if status == "deleted" else ""
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
        yield from self._update()
        if self.policy.judges_figures:
            from diffai.policy.findings import broken_figures

            yield from map(self._broken, broken_figures(self.diff, self.policy))

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
            broken = [c for c in self.diff.tensors if kind in c.status and c.role == "weight"]
            if broken:
                yield self._at_level(f"structure.{kind}", f"{_tensors(broken)} {word}", changes=broken)
        if self.diff.classes:
            text = f"{_counted(len(self.diff.classes), 'class', 'classes')} changed"
            yield self._at_level("structure.classes", text, values=self.diff.classes)
        if self.diff.graph:
            text = f"{_counted(len(self.diff.graph), 'entry', 'entries')} of the graph changed"
            yield self._at_level("structure.graph", text, values=self.diff.graph)

    def _dtype(self) -> Iterable[Violation]:
        broken = [c for c in self.diff.tensors if "cast" in c.status and c.role == "weight"]
        if broken:
            kinds = sorted({f"{c.old.dtype} to {c.new.dtype}" for c in broken if c.old and c.new})
            text = f"{_tensors(broken)} cast ({', '.join(kinds[:3])}{', ...' if len(kinds) > 3 else ''})"
            yield self._at_level("dtype", text, changes=broken)

    def _metadata(self) -> Iterable[Violation]:
        for kind in ("added", "removed", "changed"):
            broken = [v for v in self.diff.metadata if v.status == kind]
            if broken:
                count = f"{_counted(len(broken), 'metadata key', 'metadata keys')} {kind}"
                rule = f"metadata.{kind}"
                yield self._violation(rule, count, self.policy.level(rule), values=broken)

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
        if limit is None:
            return
        broken = self._non_finite("max_relative_l2", limit)
        if broken is not None:
            yield broken
        moved = [c for c in self.diff.tensors if "changed" in c.status and c.is_parameter]
        size = self.diff.totals.changed_relative_l2
        if size is None:
            moved = [c for c in moved if c.figures and c.figures.delta and c.figures.delta.l2 > 0]
            text = f"the changed values were all zero, so that max_relative_l2 = {limit:g} cannot hold"
        elif size > limit:
            text = f"relative L2 of the changed tensors {size:.4g} is more than max_relative_l2 = {limit:g}"
        else:
            return
        if moved:
            yield self._violation("max_relative_l2", text, changes=_strongest(moved)[:5])

    def _update(self) -> Iterable[Violation]:
        limit = self.policy.values["max_update"]
        if limit is None:
            return
        broken = self._non_finite("max_update", limit)
        if broken is not None:
            yield broken
        size = update_size(self.diff)
        if size.relative_l2 is None and not size.reason and size.update:
            text = f"the parameters were all zero, so that max_update = {limit:g} cannot hold"
        elif size.relative_l2 is not None and size.relative_l2 > limit:
            text = f"update size {size.relative_l2:.4g} is more than max_update = {limit:g}"
        else:
            return
        yield self._violation("max_update", text, changes=[change for change, _ in shares(self.diff)[:5]])

    def _non_finite(self, rule: str, limit: float) -> Violation | None:
        """No size of an update can be told of a parameter that became NaN or infinite, so it breaks every limit."""
        broken = [e.change for e in nonfinite.worse(self.diff) if e.parameter and e.change.old is not None]
        if not broken:
            return None
        text = f"{_tensors(broken)} with values that became NaN or infinite, so that {rule} = {limit:g} cannot hold"
        return self._violation(rule, text, changes=broken)

    def unjudged(self) -> Iterable[str]:
        """Rules that the comparison leaves open, with the reason."""
        if isinstance(self.diff.new.state, Absent):
            return
        problems = self.diff.new.problems
        damaged = [p for p in problems if p.severity == "error" and p not in unsafe(problems)]
        if damaged:
            yield f"a part of it is damaged: {_described(damaged[0])}"
        if self.policy.names_findings or self.policy.judges_figures:
            from diffai.policy.findings import open_findings

            yield from open_findings(self.diff, self.policy, pair=self.pair)
        if self.case.headers:
            if self.policy.needs_values:
                yield "its values are on a DVC remote, of which only headers are read (diffai.remote = header)"
            return
        unread = [c for c in self.diff.tensors if c.status == ("uncompared",) and c.reason]
        if unread and self.policy.needs_values:
            yield f"the values of {_tensors(unread)} were not compared: {unread[0].reason}"
        limit = self.policy.values["max_update"]
        if limit is None or not self.pair or unread:
            return
        size = update_size(self.diff)
        most = max(self.diff.old.parameters, self.diff.new.parameters)
        if size.reason:
            yield f"max_update = {limit:g}: {size.reason}"
        elif 2 * size.parameters < most:
            yield f"max_update = {limit:g}: {size.parameters:,} of {most:,} parameters have a partner of the same shape"

    # -- the new side by itself

    def of_new_side(self) -> Iterable[Violation]:
        if isinstance(self.diff.new.state, Absent):
            return
        yield from self._nonfinite()
        if self.policy.names_findings and not self.case.alone:
            from diffai.policy.findings import broken_findings

            yield from map(self._broken, broken_findings(self.diff, self.policy))
        yield from self._pickles()
        size = max(self.diff.new.size, sum(c.new.nbytes for c in self.diff.tensors if c.new and not c.new.alias_of))
        yield from judge_size(size, self.policy)
        if self.policy.values["require_safetensors"] and not self.diff.new.format.startswith("safetensors"):
            yield self._violation("require_safetensors", f"the format is {self.diff.new.format}, not safetensors")
        lacking = [key for key in self.policy.values["require_metadata"] if not self.case.metadata.get(key)]
        if lacking:
            keys = ", ".join(repr(key) for key in lacking)
            yield self._violation("require_metadata", f"metadata lacks {keys}")

    def _broken(self, found: Broken) -> Violation:
        named = frozenset(found.tensors)
        changes = [change for change in self.diff.tensors if change.name in named] if named else ()
        return self._violation(found.rule, found.message, found.level, changes=changes)

    def _nonfinite(self) -> Iterable[Violation]:
        found = nonfinite.worse(self.diff)
        if not found:
            return
        level: Level = "forbid" if self.policy.values["forbid_nan"] else "allow"
        parts = []
        for kind, some in nonfinite.groups(found):
            nan, inf = sum(e.new.nan for e in some), sum(e.new.pos_inf + e.new.neg_inf for e in some)
            counts = [f"{count:,} {word}" for count, word in ((nan, "NaN"), (inf, "Inf")) if count]
            where = some[0].change.name if len(some) == 1 else _tensors([e.change for e in some])
            parts.append(f"{' and '.join(counts)} in {where}{_EVENT[kind]}")
        yield self._violation("forbid_nan", "; ".join(parts), level, changes=[e.change for e in found])

    def _pickles(self) -> Iterable[Violation]:
        level: Level = "forbid" if self.policy.values["forbid_unsafe_pickle"] else "allow"
        allow = frozenset(self.policy.values["allow_globals"])
        left = unsafe(with_allowed(self.diff.new.problems, allow))
        for problem in left[:5]:
            yield self._violation("forbid_unsafe_pickle", _described(problem), level)
        if len(left) > 5:
            yield self._violation("forbid_unsafe_pickle", f"and {len(left) - 5:,} more such problems", level)
        permitted = [problem.name for problem in unsafe(self.diff.new.problems) if problem not in left]
        if permitted:
            text = f"permitted by name: {', '.join(dict.fromkeys(permitted))}"
            yield Violation("forbid_unsafe_pickle", "allow", text, self.policy.origin("allow_globals"))

    def _at_level(
        self, rule: str, message: str, *, changes: Iterable[TensorChange] = (), values: Iterable[ValueChange] = ()
    ) -> Violation:
        """A change of structure, at the level that the policy gives it."""
        level = self.policy.level(rule)
        return self._violation(rule, message, level, changes=changes, values=values, approvable=True)

    def _violation(
        self,
        rule: str,
        message: str,
        level: Level = "forbid",
        *,
        changes: Iterable[TensorChange] = (),
        values: Iterable[ValueChange] = (),
        approvable: bool = False,
    ) -> Violation:
        return Violation(
            rule, level, message, self.policy.origin(rule), tuple(changes), tuple(values), approvable=approvable
        )


def _named(change: TensorChange, globs: tuple[str, ...]) -> bool:
    """Whether the old or the new name matches."""
    return any(spec is not None and name_matches(spec.name, globs) for spec in (change.old, change.new))


def _strongest(changes: Iterable[TensorChange]) -> list[TensorChange]:
    """Structural ones first, then by relative L2; the natural order among equals."""
    return sorted(changes, key=lambda c: (STRUCTURAL.isdisjoint(c.status), -c.relative_l2))


def _tensors(changes: list[TensorChange]) -> str:
    return _counted(len(changes), "tensor", "tensors")


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


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
