"""A model's history for people: one block a commit, newest first, and a line that shows where it goes."""

from __future__ import annotations

from diffai.analyses.nonfinite import BETTER, WORDS
from diffai.history.entries import LogEntry, ModelLog
from diffai.history.figures import CommitFigures, Movement
from diffai.history.log_records import shown
from diffai.history.series import course_chart, turn_word
from diffai.history.version import Version
from diffai.views.blocks import Block, Gap, View, Word, indented, line, said
from diffai.views.lines import cosine
from diffai.views.state import describe_state
from diffai.views.style import change_percent, escape, percent, plural, ratio, shape, size
from diffai.views.text import TextOptions, comparison_view

_MOST = 0.9  # of the parameters: figures over fewer say so
_ALIKE = "by the names and shapes of its tensors"
_MOST_METRICS = 3


def entries_view(log: ModelLog, options: TextOptions, *, detail: bool = False) -> View:
    """All that is to be said of one model's history; ``detail``: below each commit what changed."""
    blocks: list[Block] = []
    for entry in log.entries:
        blocks += [*entry_view(entry, options, detail=detail), Gap()]
    return (*blocks, course_chart(log), *notes_view(log))


def notes_view(log: ModelLog) -> View:
    """What was not looked at, left out, or came before."""
    notes = []
    if log.level == "header":
        notes.append("only headers were read: whether values changed was not looked at")
    if log.level == "digest":
        notes.append("only digests were compared: by how much values changed was not looked at")
    if log.left_out:
        notes.append(f"{plural(log.left_out, 'commit')} of {log.versions} changed nothing of what was asked for")
    if log.earlier_path:
        why = "" if log.earlier_exactly else f", {_ALIKE}"
        notes.append(f"renamed from {escape(log.earlier_path)}{why}: --follow goes on there")
    return tuple(said(f"({note})", "…") for note in notes)


def entry_view(entry: LogEntry, options: TextOptions, *, detail: bool) -> View:
    """The block of one commit; what changed in detail is a table on a screen, else text."""
    commit = entry.commit
    rest = f" {commit.day} {escape(commit.author)}: {escape(commit.subject, longest=200)}"
    blocks: list[Block] = [line(Word(commit.short, "changed"), rest)]
    blocks += [said(text, text[0] if text[0] in "+-~>!" else "", indent=2) for text in _body(entry, options.verbose)]
    if detail and entry.diff is not None and entry.kind in ("changed", "removed"):
        blocks += indented(comparison_view(entry.diff, options), 3)
    return tuple(blocks)


def _body(entry: LogEntry, verbose: bool) -> list[str]:
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
        return lines + _recorded(figures) + _strange(figures)
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
    lines += _recorded(figures) + _strange(figures)
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


def _recorded(figures: CommitFigures) -> list[str]:
    """What a version records of its training: the first metrics, learning rate and epoch."""
    parts = [f"{escape(name)} {value:.4g}" for name, value in figures.metrics[:_MOST_METRICS]]
    parts += [f"lr {figures.learning_rate:.3g}"] if figures.learning_rate is not None else []
    parts += [f"epoch {figures.epoch:g}"] if figures.epoch is not None else []
    return [f"recorded: {'  '.join(parts)}"] if parts else []


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


def _signed(cosine: float) -> str:
    """With its sign, which means nothing of a cosine that is 0 as far as is shown."""
    return "0.00" if abs(cosine) < 0.005 else f"{cosine:+.2f}"
