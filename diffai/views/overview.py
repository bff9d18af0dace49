"""A model's comparison in one row: what ``--stat``, the table of a pull request and annotations say of each model."""

from __future__ import annotations

import re

from diffai.analyses.change_kind import change_kind
from diffai.analyses.look_first import look_first
from diffai.analyses.structure import structure
from diffai.analyses.training import training_state
from diffai.analyses.update import UpdateSize, update_size
from diffai.comparison.result import FileChange, ModelDiff
from diffai.frozen import frozen
from diffai.model import Absent, NotRead
from diffai.views.blocks import Bar, Cell, Column, Table, Tone, Word
from diffai.views.state import describe_state
from diffai.views.style import change_percent, escape, short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_COLUMNS = (
    Column("model", shrinks=True, literal=True), Column("structure", rank=2), Column("params", "right"),
    Column("update", "right"), Column("1e-4 … 1", rank=3), Column("kind"), Column("look at", rank=1, sentence=True),
)  # fmt: skip
NOT_COMPARABLE = "n/c"
"""In place of a figure that would be of less than half of a version's parameters."""
_LONGEST_KIND, _LONGEST_LOOK = 40, 48


@frozen
class Overview:
    """One model in a row; texts are raw.

    Attributes:
        structure: ``=``, or ``+2 -1 ~3 >1``, with ``training state dropped`` and the like behind it.
        parameters: ``=``, ``+3.0%``; the number where there is one side only.
        update: the update size, in words where there is none; ``size``: as a number.
        kind: of the change, in words.
        look: the first thing to look at; "" = nothing stands out.
        tone: of the whole row: ``problem`` where something is wrong.
    """

    structure: str
    parameters: str
    update: str
    size: float | None
    kind: str
    look: str = ""
    tone: Tone = "plain"


def overview(diff: ModelDiff) -> Overview:
    """The row of a comparison."""
    old, new = diff.old, diff.new
    for side, gone in ((old, new), (new, old)):
        if isinstance(side.state, Absent) and gone.state is None:
            came = side is old
            return Overview("", f"{gone.parameters:,}", "", None, "added" if came else "removed",
                            tone="added" if came else "removed")  # fmt: skip
    states = [side.state for side in (old, new) if side.state is not None]
    if states:
        kind = "the same bytes, not readable" if diff.equal else f"not compared: {describe_state(states[0])}"
        if isinstance(old.state, NotRead) and isinstance(new.state, NotRead) and not diff.equal:
            kind += f" -> {new.state.fingerprint}"
        return Overview("", "", "", None, kind, tone="plain" if diff.equal else "problem")
    found, kinds, looks = update_size(diff), change_kind(diff), look_first(diff)
    parameters = "=" if old.parameters == new.parameters else (
        change_percent(old.parameters, new.parameters).removesuffix(" change")
    )  # fmt: skip
    unread = diff.totals.uncompared > 0
    phrase = kinds.phrase if kinds is not None else ""
    worse = (kinds is not None and "diverged" in kinds.kinds) or any(look.severity == "critical" for look in looks)
    if unread and not diff.differs:
        phrase = "alike in names, shapes and dtypes"
    return Overview(
        _structure(diff), parameters, "values not read" if unread else _update(found, diff),
        found.relative_l2 if found.comparable else None, phrase,
        f"{looks[0].name}: {looks[0].text}" if looks else "", "problem" if worse else "plain",
    )  # fmt: skip


def _update(found: UpdateSize, diff: ModelDiff) -> str:
    if found.relative_l2 is not None:
        return short(found.relative_l2) if found.comparable else NOT_COMPARABLE
    return "0" if not diff.totals.changed else "n/a"


def _structure(diff: ModelDiff) -> str:
    found, training = structure(diff), training_state(diff)
    counts = ((found.added, "+"), (found.removed, "-"), (found.reshaped, "~"), (found.renamed, ">"))
    parts = [f"{sign}{count:,}" for count, sign in counts if count]
    parts += [f"{found.classes:,} class{'' if found.classes == 1 else 'es'}"] if found.classes else []
    parts += ["graph"] if found.graph else []
    text = " ".join(parts) or "="
    if training is not None and training.kind != "changed":
        text += f", training state {training.kind}"
    return text


def stat_table(rows: Iterable[tuple[str, ModelDiff]], *, hidden: str = "") -> Table:
    """``--stat``: a row a model; what is wrong first marked, by a sign and its tone."""
    shown = [_row(name, overview(diff)) for name, diff in rows]
    used = [n for n in range(len(_COLUMNS)) if any(row[n] not in (Word(""), Bar(None)) for row in shown)]
    columns = tuple(_COLUMNS[n] for n in used)
    return Table(columns, tuple(tuple(row[n] for n in used) for row in shown), hidden, indent=0)


def _row(name: str, found: Overview) -> tuple[Cell, ...]:
    return (
        Word(f"! {name}" if found.tone == "problem" else name, found.tone if found.tone != "plain" else "strong"),
        Word(found.structure), Word(found.parameters), Word(found.update, "changed" if found.size else "plain"),
        Bar(found.size), Word(brief(found.kind, _LONGEST_KIND), found.tone), Word(brief(found.look, _LONGEST_LOOK)),
    )  # fmt: skip


def brief(text: str, most: int) -> str:
    """The text without its brackets where it is long; cut where it is longer still."""
    if len(text) <= most:
        return text
    head = re.sub(r" \([^()]*\)", "", text)
    return head if len(head) <= most else head[: most - 1] + "…"


def stat_line(name: str, diff: ModelDiff) -> str:
    """The same as one line of plain text: ``model.pt: training step, update size 0.183, look at fc: …``."""
    return f"{escape(name)}: {escape(described(overview(diff)), longest=500)}"


def described(found: Overview) -> str:
    """A row as a sentence without the name."""
    parts = [found.kind]
    if found.structure not in ("", "="):
        parts.append(f"structure {found.structure}")
    if found.parameters not in ("", "="):
        word = "parameter" if found.parameters == "1" else "parameters"
        parts.append(f"{word} {found.parameters}" if found.structure else f"{found.parameters} {word}")
    if found.update not in ("", "0"):
        known = found.size is not None or found.update == NOT_COMPARABLE
        parts.append(f"update size {found.update}" if known else found.update)
    if found.look:
        parts.append(f"look at {found.look}")
    return ", ".join(part for part in parts if part)


def differing(files: Iterable[FileChange]) -> list[tuple[str, ModelDiff]]:
    """The files of a comparison of directories that a row is about."""
    return [
        (file.path, file.diff)
        for file in files
        if file.diff is not None and (file.diff.differs or file.diff.unread or file.status != "compared")
    ]
