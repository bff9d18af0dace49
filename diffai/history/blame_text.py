"""Blame for people and for programs: one line a tensor or a module, or one object."""

from __future__ import annotations

from collections.abc import Sequence

from diffai.history.blame import ModelBlame, Origin, TensorBlame
from diffai.history.figures import group_of
from diffai.history.uncommitted import STAGED, WORK_TREE
from diffai.history.walk import Commit
from diffai.views import values
from diffai.views.blocks import Cell, Column, Table, View, Word, said
from diffai.views.style import escape, plural, shape
from diffai.views.values import Json

SCHEMA = "diffai.blame/1"
_WIDEST_AUTHOR = 25


def blame_view(blame: ModelBlame, *, depth: int = 0) -> View:
    """A row a tensor, or a commit of a module of ``depth`` name parts; what is newest stands out."""
    newest = max((tensor.values.commit.date for tensor in blame.tensors), default="")
    rows: list[tuple[Cell, ...]] = []
    last = ""
    for origin, name, facts, older in _module_rows(blame, depth) if depth else _tensor_rows(blame):
        fresh = origin.commit in (STAGED, WORK_TREE) or origin.commit.date == newest
        same = _hash(origin) == last
        last = _hash(origin)
        rows.append((
            Word(last, "changed"), Word(_day(origin.commit), "faint" if same else "plain"),
            Word(_author(origin), "faint" if same else "plain"), Word(name, "strong" if fresh else "plain"),
            Word(facts), Word(older, "faint"),
        ))  # fmt: skip
    what = "module" if depth else "tensor"
    columns: tuple[Column, ...] = (
        Column("commit"), Column("date", rank=2), Column("author", rank=3), Column(what, shrinks=True),
        Column("tensors" if depth else "type", rank=1), Column("older", rank=4),
    )  # fmt: skip
    if not any(row[-1] != Word("", "faint") for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return (Table(columns, tuple(rows), indent=0), *(said(f"({note})", "…") for note in _notes(blame)))


def _tensor_rows(blame: ModelBlame) -> list[tuple[Origin, str, str, str]]:
    """Where values come from, the name, dtype and shape, and what is older."""
    rows = []
    for tensor in blame.tensors:
        spec = tensor.spec
        facts = f"{escape(spec.dtype)} {shape(spec.shape)}"
        rows.append((tensor.values, escape(spec.name), facts, _older(tensor)))
    return rows


def _older(tensor: TensorBlame) -> str:
    """What is older than the last change of values."""
    words = []
    if tensor.structure.commit not in (tensor.values.commit, tensor.introduced.commit):
        words.append(f"shape/dtype {_place(tensor.structure)}")
    if tensor.introduced.commit != tensor.values.commit:
        words.append(f"introduced {_place(tensor.introduced)}")
    if tensor.introduced.name != tensor.spec.name:
        words.append(f"as {escape(tensor.introduced.name)}")
    return ", ".join(words)


def _place(origin: Origin) -> str:
    return f"{_hash(origin)} {_day(origin.commit)}"


def _module_rows(blame: ModelBlame, depth: int) -> list[tuple[Origin, str, str, str]]:
    """The commits that a module's tensors were last changed by, most tensors first."""
    groups: dict[str, dict[Commit, list[TensorBlame]]] = {}
    for tensor in blame.tensors:
        name = group_of(tensor.spec.name, depth)
        groups.setdefault(name, {}).setdefault(tensor.values.commit, []).append(tensor)
    rows = []
    for name, by_commit in groups.items():
        total = sum(len(tensors) for tensors in by_commit.values())
        for tensors in sorted(by_commit.values(), key=lambda each: each[0].values.commit.date, reverse=True):
            share = (
                plural(total, "tensor") if len(tensors) == total else f"{len(tensors):,} of {plural(total, 'tensor')}"
            )
            rows.append((tensors[0].values, escape(name), share, ""))
    return rows


def _notes(blame: ModelBlame) -> list[str]:
    lines = []
    if len(blame.tensors) > 1:
        lines.append(_count(blame))
    if blame.left_out:
        lines.append(f"{plural(blame.left_out, 'tensor')} not asked for")
    origins = [origin for t in blame.tensors for origin in (t.values, t.structure, t.introduced)]
    if any(origin.boundary for origin in origins):
        lines.append("^ marks the oldest commit of a shallow clone: the change may be older")
    skipped = dict.fromkeys(name for origin in origins for name in origin.skipped)
    if skipped:
        names = ", ".join(name[:10] for name in list(skipped)[:5]) + (" …" if len(skipped) > 5 else "")
        lines.append(f"? marks a change that may be that of a version which could not be read: {names}")
    return lines


def _count(blame: ModelBlame) -> str:
    """``5 tensors last changed by 2 commits, 1 tensor not committed``."""
    changed_by = [tensor.values.commit for tensor in blame.tensors]
    committed = [commit for commit in changed_by if commit not in (STAGED, WORK_TREE)]
    words = []
    if committed:
        words.append(f"{plural(len(committed), 'tensor')} last changed by {plural(len(set(committed)), 'commit')}")
    if len(committed) < len(changed_by):
        words.append(f"{plural(len(changed_by) - len(committed), 'tensor')} not committed")
    return ", ".join(words)


def _hash(origin: Origin) -> str:
    mark = "^" if origin.boundary else "?" if origin.skipped else ""
    return f"{mark}{origin.commit.short}"[:10]


def _day(commit: Commit) -> str:
    return commit.day or " " * 10


def _author(origin: Origin) -> str:
    name = escape(origin.commit.author)
    return name if len(name) <= _WIDEST_AUTHOR else name[: _WIDEST_AUTHOR - 1] + "…"


def blame_report(blames: Sequence[ModelBlame]) -> Json:
    """The same as one object a model (a list where there are several)."""
    reports = [
        {
            "schema": SCHEMA,
            "path": values.text(blame.path),
            "at": values.text(blame.at),
            "tensors": [_record(tensor) for tensor in blame.tensors],
            "left_out": blame.left_out,
        }
        for blame in blames
    ]
    return reports[0] if len(reports) == 1 else reports


def _record(tensor: TensorBlame) -> dict[str, Json]:
    spec = tensor.spec
    return {
        "name": values.text(spec.name),
        "dtype": values.text(spec.dtype),
        "shape": list(spec.shape),
        "values": _origin(tensor.values),
        "structure": _origin(tensor.structure),
        "introduced": _origin(tensor.introduced),
    }


def _origin(origin: Origin) -> dict[str, Json]:
    commit = origin.commit
    committed = commit not in (STAGED, WORK_TREE)
    return {
        "commit": commit.hash if committed else None,
        "author": values.text(commit.author) if committed else None,
        "email": values.text(commit.email) if committed else None,
        "date": commit.date if committed else None,
        "subject": values.text(commit.subject) if committed else None,
        "uncommitted": None if committed else "staged" if commit == STAGED else "work tree",
        "name": values.text(origin.name),
        "boundary": origin.boundary,
        "unreadable_between": list(origin.skipped),
    }
