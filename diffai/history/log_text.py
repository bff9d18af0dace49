"""A model's history for people: one block a commit, newest first, and a line that shows where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from diffai.analyses.nonfinite import BETTER, WORDS
from diffai.history.entries import LogEntry, ModelLog
from diffai.history.figures import CommitFigures, Movement
from diffai.history.log_records import shown
from diffai.history.series import scale_of
from diffai.history.version import Version
from diffai.history.walk import Commit
from diffai.views.lines import cosine
from diffai.views.state import describe_state
from diffai.views.style import change_percent, escape, paint, percent, plural, ratio, shape, size
from diffai.views.terminal import Screen
from diffai.views.text import TextOptions, render_text

_HASH = "\x1b[33m"  # as git colours commits
_OFF = "\x1b[m"
_BARS = "▁▂▃▄▅▆▇█"
_TURNED = 0.5  # cosine of successive updates beyond which a word is given to it
_FEWEST_FOR_LINE = 3
_FEWEST_BARS = 8
_MOST = 0.9  # of the parameters: figures over fewer say so
_ALIKE = "by the names and shapes of its tensors"


def log_lines(
    log: ModelLog, *, color: bool = False, detail: bool = False, verbose: bool = False, width: int = 0,
    screen: Screen | None = None,
) -> list[str]:  # fmt: skip
    """All lines of one model's history, without newline; the drawings keep to ``width`` characters (0 = any)."""
    lines: list[str] = []
    for entry in log.entries:
        lines += entry_lines(entry, color=color, detail=detail, verbose=verbose, screen=screen)
        lines.append("")
    lines += [*_trend(log, width), *log_notes(log, color=color)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def log_notes(log: ModelLog, *, color: bool = False) -> list[str]:
    """What was not looked at, left out, or came before."""
    lines: list[str] = []
    if log.level == "header":
        lines.append(paint("(only headers were read: whether values changed was not looked at)", "…", color))
    if log.level == "digest":
        lines.append(paint("(only digests were compared: by how much values changed was not looked at)", "…", color))
    if log.left_out:
        text = f"({plural(log.left_out, 'commit')} of {log.versions} changed nothing of what was asked for)"
        lines.append(paint(text, "…", color))
    if log.earlier_path:
        why = "" if log.earlier_exactly else f", {_ALIKE}"
        text = f"(renamed from {escape(log.earlier_path)}{why}: --follow goes on there)"
        lines.append(paint(text, "…", color))
    return lines


def entry_lines(
    entry: LogEntry, *, color: bool, detail: bool, verbose: bool, screen: Screen | None = None
) -> list[str]:
    """The block of one commit; what changed in detail is a table on a screen, else text."""
    lines = [commit_line(entry.commit, color=color)]
    body = _body(entry, verbose=verbose)
    lines += [paint(f"    {line}", line[0] if line[0] in "+-~>!" else "", color) for line in body]
    if detail and entry.diff is not None and entry.kind in ("changed", "removed"):
        inner = screen.narrower(6) if screen is not None else None
        shown = render_text(entry.diff, TextOptions(color=color, verbose=verbose, screen=inner))
        lines += [f"      {line}" for line in shown]
    return lines


def commit_line(commit: Commit, *, color: bool) -> str:
    """``1f2e3d4c5b 2024-05-01 A U Thor: subject``."""
    name = f"{_HASH}{commit.short}{_OFF}" if color else commit.short
    return f"{name} {commit.day} {escape(commit.author)}: {escape(commit.subject, longest=200)}"


def _body(entry: LogEntry, *, verbose: bool) -> list[str]:
    figures, version = entry.figures, entry.version
    lines = []
    if len(entry.commit.parents) > 1:
        names = ", ".join(name[:10] for name in entry.commit.parents)
        lines.append(f"merge of {names}{'' if entry.compared_with else ', compared with the first'}")
    if entry.renamed_from and version is not None:
        why = "" if entry.renamed_exactly else f" ({_ALIKE})"
        lines.append(f"> {escape(entry.renamed_from)} -> {escape(version.path)}{why}")
    if entry.moved_from and version is not None:
        lines.append(f"> moved from {entry.moved_from} to {version.holder}")
    if entry.state is not None or figures is None:
        why = describe_state(entry.state) if entry.state is not None else "not read"
        return [*lines, f"! {why}"]
    if entry.kind == "removed":
        return [*lines, f"- removed ({_what_it_is(figures, None)})"]
    if entry.kind == "added":
        word = "oldest version here (shallow clone)" if entry.cut else "added"
        word = "oldest version that can be read" if entry.compared_with else word
        lines.append(f"+ {word}: {_what_it_is(figures, version)}")
        return lines + _strange(figures)
    if entry.compared_with:
        lines.append(f"compared with {escape(entry.compared_with)}")
    described = verbose or figures.structural or figures.parameters != figures.parameters_before
    counts = _counts(figures)
    if counts and not described and figures.size >= 0:
        counts += f", {size(figures.size)}"
    lines += [line for line in (counts, _structure(figures)) if line]
    lines += [f"Training state: {figures.training.text}"] if figures.training is not None else []
    if entry.kind == "same" or (figures.level == "header" and not figures.structural):
        same = "no difference in tensors or metadata"
        lines.append("same names, shapes and dtypes" if figures.level == "header" else same)
    if figures.movement is not None and figures.differs:
        lines += _movement(figures, figures.movement)
    lines += _strange(figures)
    if described:
        lines.append(_what_it_is(figures, version))
    return lines


def _what_it_is(figures: CommitFigures, version: Version | None) -> str:
    """``safetensors, F32, 15 tensors, 309,633 parameters (+2.4% change), 1.2 MB, git-lfs``."""
    dtypes = "/".join(escape(name) for name, _ in figures.dtypes[:3])
    parameters = plural(figures.parameters, "parameter")
    if figures.parameters_before and figures.parameters_before != figures.parameters:
        parameters += f" ({change_percent(figures.parameters_before, figures.parameters)})"
    parts = [figures.format, dtypes, plural(figures.tensors, "tensor"), parameters]
    parts += [size(figures.size)] if figures.size >= 0 else []
    parts += [version.holder] if version is not None and version.holder != "git" else []
    return ", ".join(part for part in parts if part)


def _counts(figures: CommitFigures) -> str:
    """``+2 -1 ~12 >1 of 15 tensors, 94.3% of 309,633 parameters modified``."""
    marks = [
        f"{mark}{count:,}"
        for mark, count in (
            ("~", figures.changed), ("+", figures.added), ("-", figures.removed), (">", figures.renamed),
        )
        if count
    ]  # fmt: skip
    extra = [plural(figures.metadata, "metadata key")] if figures.metadata else []
    also = f"{' and '.join(extra)} changed" if extra else ""
    if not marks:
        return f"~ {also}" if also else ""
    text = f"{' '.join(marks)} of {plural(figures.tensors, 'tensor')}"
    if figures.compared and figures.changed and figures.level == "values":
        text += f", {percent(figures.modified, figures.compared)} of {plural(figures.compared, 'parameter')} modified"
    return text + (f"; {also}" if also else "")


def _structure(figures: CommitFigures) -> str:
    """Reshapes and casts."""
    parts = [f"{escape(name)} {shape(old)} -> {shape(new)}" for name, old, new in figures.reshapes[:3]]
    if figures.reshaped > 3:
        parts.append(f"{figures.reshaped - 3:,} more reshaped")
    parts += [f"{escape(old)} -> {escape(new)} ({plural(n, 'tensor')})" for old, new, n in figures.casts]
    parts += [f"{figures.classes:,} class{'' if figures.classes == 1 else 'es'} changed"] if figures.classes else []
    parts += [f"{figures.graph:,} of the graph changed"] if figures.graph else []
    return f"~ {', '.join(parts)}" if parts else ""


def _share(figures: CommitFigures, moved: Movement) -> str:
    """How many parameters the figures are of, where that is a small part of them: the others have another shape."""
    few, all_ = _MOST * figures.parameters, plural(figures.parameters, "parameter")
    words: list[str] = []
    for word, figure in (("", moved.update), ("drift ", moved.drift), ("the turn ", moved.turn)):
        known = figure.value is not None or not figure.comparable
        if known and figure.parameters < few and not (word and figure.parameters == moved.update.parameters):
            words.append(f"{word}over {figure.parameters:,}{'' if words else f' of {all_}'}")
    return f"({', '.join(words)}; the others have another shape or are new)" if words else ""


def _movement(figures: CommitFigures, moved: Movement) -> list[str]:
    parts = [
        f"{word} {text}"
        for word, text in (
            ("update size", shown(moved.update, ratio)), ("cosine", shown(moved.cosine, cosine)),
            ("drift", shown(moved.drift, ratio)),
        )
        if text
    ]  # fmt: skip
    lines = ["  ".join(parts)] if parts else []
    share = _share(figures, moved)
    lines += [share] if parts and share else []
    largest = moved.largest
    second = []
    if largest is not None and len(moved.groups) > 1 and moved.update.comparable:
        second.append(f"most: {escape(largest.name)} ({ratio(largest.relative)})")
    turn = shown(moved.turn, lambda value: f"{_signed(value)}{turn_word(value)}")
    if turn:
        second.append(f"against the update before: cosine {turn}")
    return lines + (["  ".join(second)] if second else [])


def turn_word(value: float) -> str:
    """What the cosine of two successive updates means; "" where it means little."""
    if value >= _TURNED:
        return " (goes on)"
    return " (turns back)" if value <= -_TURNED else ""


def _strange(figures: CommitFigures) -> list[str]:
    moved = figures.movement
    if moved is None:
        return []
    lines = [
        f"{'' if kind in BETTER else '! '}{WORDS[kind]} in {plural(count, 'tensor')}" for kind, count in moved.events
    ]
    if moved.nonfinite:
        lines.append(f"! {plural(moved.nonfinite, 'NaN or infinite value')} in this version")
    return lines


def sparkline(values: Sequence[float | None], width: int = 0) -> str:
    """One bar a value, the largest the highest; a dot where there is none.

    Args:
        values: oldest first.
        width: bars at most; of more values each bar is the largest of several. 0 = one for each.

    >>> sparkline([0.0, 1.0, None, 2.0]), sparkline([0.0, 1.0, None, None, 2.0, 3.0], 3)
    ('▁▄·█', '▃·█')
    """
    drawn = drawn_together(values, width)
    scale = scale_of(drawn)
    return "".join("·" if v is None else _BARS[min(7, int(scale.height(v) * 7))] for v in drawn)


def drawn_together(values: Sequence[float | None], width: int) -> list[float | None]:
    """At most ``width`` values: the largest of each run of neighbours; None where a run has none."""
    each = -(-len(values) // width) if width else 1
    runs = [values[at : at + each] for at in range(0, len(values), each)]
    return [max((value for value in run if value is not None), default=None) for run in runs]


def _trend(log: ModelLog, width: int) -> list[str]:
    """Updates and drift over the commits shown, oldest first, in lines of at most ``width`` characters (0 = any)."""
    moves = [entry.figures.movement if entry.figures is not None else None for entry in reversed(log.entries)]
    lines: list[str] = []
    most = 1
    for word, values in (
        ("update", [m.update.value if m is not None else None for m in moves]),
        ("drift", [m.drift.value if m is not None else None for m in moves]),
    ):
        known = [value for value in values if value is not None]
        if len(known) < _FEWEST_FOR_LINE:
            continue
        how = " (logarithmic)" if scale_of(values).logarithmic else ""
        tail = f"  {ratio(min(known))} .. {ratio(max(known))}{how}"
        bars = max(_FEWEST_BARS, width - 8 - len(tail)) if width else 0
        most = max(most, -(-len(values) // bars)) if bars else 1
        lines.append(f"{word:6}  {sparkline(values, bars)}{tail}")
    if lines:
        each = f"; a bar is the largest of {most:,} commits" if most > 1 else ""
        lines.append(f"        (from the oldest to the newest commit shown{each}{course(moves)})")
    return lines


def course(moves: Sequence[Movement | None]) -> str:
    """What the successive updates say together: settling, oscillating."""
    turns = [m.turn.value for m in moves if m is not None and m.turn.value is not None]
    sizes = [m.update.value for m in moves if m is not None and m.update.value is not None]
    words = []
    if len(turns) >= _FEWEST_FOR_LINE and sum(turn < -_TURNED for turn in turns) > len(turns) / 2:
        words.append("updates oscillate")
    if (
        len(sizes) > _FEWEST_FOR_LINE
        and sizes[-1] < sizes[0] / 2
        and all(later <= earlier * 1.1 for earlier, later in pairwise(sizes))
    ):
        words.append("updates shrink steadily")
    return f"; {', '.join(words)}" if words else ""


def _signed(cosine: float) -> str:
    """With its sign, which means nothing of a cosine that is 0 as far as is shown."""
    return "0.00" if abs(cosine) < 0.005 else f"{cosine:+.2f}"
