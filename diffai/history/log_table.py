"""A model's history as blocks: one aligned row a commit, newest first, its update as a bar in a column of bars."""

from __future__ import annotations

from collections.abc import Sequence

from diffai.analyses.nonfinite import BETTER, WORDS
from diffai.frozen import replace
from diffai.history.entries import LogEntry, ModelLog
from diffai.history.figures import CommitFigures, Figure, Movement
from diffai.history.log_text import notes_view
from diffai.history.series import course
from diffai.views.blocks import Cell, Column, Gap, Spark, Table, Tone, View, Word, said
from diffai.views.overview import NOT_COMPARABLE
from diffai.views.state import describe_state
from diffai.views.style import change_percent, plural, short

_WIDEST_AUTHOR = 14
_WIDEST_SUBJECT = 48
_LEAST = 1e-3
"""The scale of the column of bars reaches three decades below the largest at most."""

_WIDEST_METRIC = 12
_MARKS = ("~", "+", "-", ">")
_COLUMNS = (
    Column("commit"), Column("date", rank=2), Column("author", rank=4), Column("~", "right"), Column("+", "right"),
    Column("-", "right"), Column(">", "right"), Column("params", "right"), Column("update", "right"), Column(""),
    Column("drift", "right", rank=3), Column("metric", "right", rank=1), Column("lr", "right", rank=3),
    Column("kind, most moved", shrinks=True, least=34, sentence=True),
    Column("subject", rank=5, sentence=True),
)  # fmt: skip

_METRIC = next(n for n, column in enumerate(_COLUMNS) if column.title == "metric")


def log_view(log: ModelLog) -> View:
    """The blocks of one model's history."""
    scale = _scale([_moved(entry) for entry in log.entries])
    metric = metric_of(log)
    rows = [_row(entry, scale, metric) for entry in log.entries]
    optional = (*_MARKS, "metric", "lr")
    used = [n for n, column in enumerate(_COLUMNS) if column.title not in optional or any(_text(r[n]) for r in rows)]
    titled = replace(_COLUMNS[_METRIC], title=metric.rpartition(".")[2][-_WIDEST_METRIC:] or "metric")
    columns = [titled if n == _METRIC else column for n, column in enumerate(_COLUMNS)]
    table = Table(tuple(columns[n] for n in used), tuple(tuple(row[n] for n in used) for row in rows), indent=0)
    notes = [*(said(text, "…") for text in _notes(log)), *notes_view(log)]
    return (table, *([Gap()] if notes else []), *notes)


def metric_of(log: ModelLog) -> str:
    """The metric that is shown of every version: the first of the newest that records one, so its own of validation."""
    recorded = (entry.figures.metrics for entry in log.entries if entry.figures is not None and entry.figures.metrics)
    return next((metrics[0][0] for metrics in recorded), "")


def _text(cell: Cell) -> str:
    return cell.text if isinstance(cell, Word) else ""


def _moved(entry: LogEntry) -> Movement | None:
    return entry.figures.movement if entry.figures is not None else None


def _scale(moves: Sequence[Movement | None]) -> tuple[float, float]:
    """Bounds of the bars: the largest update, and the smallest if that is not very far below it."""
    sizes = [m.update.value for m in moves if m is not None and m.update.value]
    if not sizes:
        return _LEAST, 1.0
    most = max(sizes)
    return max(most * _LEAST, min(sizes) / 1.5), most


def _row(entry: LogEntry, scale: tuple[float, float], metric: str) -> tuple[Cell, ...]:
    commit, figures, moved = entry.commit, entry.figures, _moved(entry)
    author = commit.author if len(commit.author) <= _WIDEST_AUTHOR else commit.author[: _WIDEST_AUTHOR - 1] + "…"
    subject = commit.subject if len(commit.subject) <= _WIDEST_SUBJECT else commit.subject[: _WIDEST_SUBJECT - 1] + "…"
    counts = _counts(entry, figures)
    words, tone = _said(entry, figures, moved)
    drift = _figure(moved.drift) if moved is not None and entry.kind == "changed" else ""
    return (
        Word(commit.short, "changed"), Word(commit.day), Word(author), *counts, Word(_parameters(entry, figures)),
        *_update(entry, moved, scale), Word(drift), *_recorded(figures, metric), Word(words, tone),
        Word(subject, "faint"),
    )  # fmt: skip


def _recorded(figures: CommitFigures | None, metric: str) -> tuple[Word, Word]:
    """The chosen metric and the learning rate, where this version records them."""
    if figures is None:
        return Word(""), Word("")
    value, rate = dict(figures.metrics).get(metric), figures.learning_rate
    return Word(f"{value:.4g}" if value is not None else ""), Word(f"{rate:.3g}" if rate is not None else "")


def _counts(entry: LogEntry, figures: CommitFigures | None) -> tuple[Word, ...]:
    """``~ + - >``; nothing where the whole model came or went."""
    if figures is None or entry.kind in ("added", "removed"):
        return (Word(""),) * len(_MARKS)
    changed = figures.changed + figures.reshaped
    counts = (changed, figures.added, figures.removed, figures.renamed)
    tones: tuple[Tone, ...] = ("changed", "added", "removed", "renamed")
    return tuple(Word(f"{count:,}" if count else "", tone) for count, tone in zip(counts, tones, strict=True))


def _parameters(entry: LogEntry, figures: CommitFigures | None) -> str:
    if figures is None or entry.kind == "removed":
        return ""
    if entry.kind == "added":
        return f"{figures.parameters:,}"
    before, now = figures.parameters_before, figures.parameters
    return "=" if before == now else change_percent(before, now).removesuffix(" change")


def _update(entry: LogEntry, moved: Movement | None, scale: tuple[float, float]) -> tuple[Cell, Cell]:
    if moved is None or entry.kind not in ("changed", "same"):
        return Word(""), Word("")
    value = moved.update.value
    return Word(_figure(moved.update)), Spark((value,), *scale) if value is not None else Word("")


def _figure(figure: Figure) -> str:
    if not figure.comparable:
        return NOT_COMPARABLE
    return "" if figure.value is None else short(figure.value)


def _said(entry: LogEntry, figures: CommitFigures | None, moved: Movement | None) -> tuple[str, Tone]:
    """What kind of change it was, in words."""
    if entry.state is not None or figures is None:
        return f"! {describe_state(entry.state) if entry.state is not None else 'not read'}", "problem"
    if entry.kind == "removed":
        return "removed", "removed"
    parts, there = _happened(moved), _there(moved)
    tone: Tone = "problem" if moved is not None and any(kind not in BETTER for kind, _ in moved.events) else "plain"
    if entry.renamed_from and entry.version is not None:
        parts.append(f"file renamed from {entry.renamed_from}")
    if entry.moved_from and entry.version is not None:
        parts.append(f"moved from {entry.moved_from} to {entry.version.holder}")
    if entry.compared_with:
        parts.append(f"against {entry.compared_with}")
    if entry.kind == "added":
        word = "oldest version here" if entry.cut or entry.compared_with else "new"
        return "; ".join([*parts, f"{word}, {figures.format}, {plural(figures.tensors, 'tensor')}", *there]), tone
    return "; ".join(part for part in (*parts, ", ".join(_kind(entry, figures, moved)), *there) if part), tone


def _happened(moved: Movement | None) -> list[str]:
    """Non-finite values, the worst first."""
    events = moved.events if moved is not None else ()
    return [f"{'' if kind in BETTER else '! '}{WORDS[kind]} in {plural(count, 'tensor')}" for kind, count in events]


def _there(moved: Movement | None) -> list[str]:
    """Non-finite values that no commit is to blame for here: they were there before, or in the first version."""
    if moved is None or moved.events or not moved.nonfinite:
        return []
    return [f"{plural(moved.nonfinite, 'NaN or infinite value')} in it"]


def _kind(entry: LogEntry, figures: CommitFigures, moved: Movement | None) -> list[str]:
    header = figures.level == "header"
    if entry.kind == "same" or (header and not figures.structural):
        return ["same names, shapes and dtypes" if header else "no difference in tensors or metadata"]
    kinds = [kind for kind in figures.kinds if kind != "diverged"]  # which tensors that were is said before it
    words = [" and ".join(kinds)] if kinds else []
    training = figures.training
    words += [f"training state {training.kind}"] if training is not None and training.kind != "changed" else []
    largest = moved.largest if moved is not None else None
    if moved is not None and largest is not None and len(moved.groups) > 1 and moved.update.comparable:
        words.append(f"{largest.name} {short(largest.relative) if largest.relative is not None else 'from 0'}")
    if not figures.kinds:
        words += [f"{old} -> {new}" for old, new, _ in figures.casts]
        counts = ((figures.reshaped, "reshaped"), (figures.renamed, "renamed"), (figures.added, "added"),
                  (figures.removed, "removed"), (figures.changed, "changed"))  # fmt: skip
        words += [f"{count:,} {word}" for count, word in counts if count]
    return words or ["" if figures.kinds else "changed"]


def _notes(log: ModelLog) -> list[str]:
    """The meaning of signs that occur, and the course of the whole."""
    moves = [_moved(entry) for entry in log.entries]
    notes = []
    if any(m is not None and m.not_comparable for m in moves):
        notes.append(f"{NOT_COMPARABLE}: fewer than half of the parameters are shared with the version compared with")
    words = course(list(reversed(moves)))
    return [*notes, *([words] if words else [])]
