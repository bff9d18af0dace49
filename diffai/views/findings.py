"""Findings of analyses that were asked for, as blocks and as lines: the same words on every output."""

from __future__ import annotations

from collections.abc import Mapping

from diffai.analyses.finding import brief
from diffai.comparison.result import ModelDiff
from diffai.finding import SEVERITIES
from diffai.frozen import replace
from diffai.views.blocks import (
    Block,
    Chart,
    Column,
    Curve,
    Drawing,
    Gap,
    Histogram,
    Labelled,
    Line,
    Table,
    View,
    Word,
    line,
)
from diffai.views.terminal import present_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffai.finding import Fields, Finding, Value
    from diffai.views.blocks import Tone

_MOST_ROWS = 12
_MOST_DRAWN = 60
_MOST_CELLS = 4
_MOST_COLUMNS = 10
_LONG = 40
_NAMES = ("name", "module", "layer")
"""Columns that hold names out of a file."""
_DEEPEST = 3


def asked(diff: ModelDiff) -> tuple[Finding, ...]:
    """The findings whose flag was given."""
    return tuple(found for found in diff.findings if found.asked)


def findings_view(diff: ModelDiff, *, verbose: bool = False) -> View:
    """The findings that were asked for, the gravest first, one row each; with ``verbose`` what each rests on."""
    findings = sorted(asked(diff), key=_rank)
    if not findings:
        return ()
    blocks: list[Block] = [Gap()]
    if not verbose:
        rows = tuple((Word(found.name, _tone(found)), Word(said(found), _faint(found))) for found in findings)
        blocks.append(Labelled("FINDINGS", rows, _worst(findings)))
    for found in findings:
        if verbose:
            blocks.append(line(Word(found.name, _tone(found)), Word(f"  {said(found)}"), indent=1, wraps=True))
        blocks += [Line((Word(f"! {found.name}: {note}", "problem"),), 1, wraps=True) for note in found.notes]
        if verbose:
            blocks += details(found, indent=2)
    return tuple(blocks)


def finding_lines(diff: ModelDiff, *, verbose: bool = False) -> list[tuple[str, str]]:
    """Sign and text of the plain lines: ``+ learning_progress: trend=improving, magnitude=0.0543``."""
    lines = []
    for found in asked(diff):
        sign = "!" if found.serious else "+"
        lines.append((sign, f"{sign} {found.name}: {said(found)}"))
        lines += [("!", f"  ! {note}") for note in found.notes]
        lines += [("", text) for text in present_plain(details(found, indent=2))] if verbose else []
    return lines


def said(found: Finding) -> str:
    """The finding's line, with the word that tells an estimate from a fact."""
    return f"{found.text} (estimate)" if found.basis == "estimate" and found.status == "found" else found.text


def details(found: Finding, indent: int = 0) -> View:
    """A finding's figures and what it rests on; long lists are cut and counted, matrices are left to JSON."""
    blocks = _fields(found.fields, indent, 0)
    return (*blocks, *(line(text, indent=indent, wraps=True) for text in found.evidence))


def _fields(fields: Fields, indent: int, depth: int) -> list[Block]:
    """Plain figures in one line, then what holds more, each under its name."""
    plain = {name: value for name, value in fields.items() if _is_plain(value)}
    blocks: list[Block] = [line(brief(plain), indent=indent, wraps=True)] if plain else []
    for name, value in fields.items():
        if isinstance(value, tuple):
            blocks += _rows(name, value, indent)
        elif isinstance(value, Mapping) and value:
            if all(map(_is_plain, value.values())):
                blocks.append(line(f"{name}: {_cut(value)}", indent=indent, wraps=True))
            elif depth < _DEEPEST:
                blocks += [line(f"{name}:", indent=indent), *_fields(value, indent + 1, depth + 1)]
    return blocks


def _cut(fields: Fields) -> str:
    """Figures in one line, so many of them."""
    shown = dict(list(fields.items())[:_MOST_ROWS])
    return brief(shown) + _more(len(fields))


def _rows(name: str, rows: tuple[Value, ...], indent: int) -> list[Block]:
    if not rows:
        return []
    if all(map(_is_plain, rows)):
        if any(isinstance(row, str) and len(row) > _LONG for row in rows):
            shown = [line(_word(row), indent=indent + 1, wraps=True) for row in rows[:_MOST_ROWS]]
            more = [line(_more(len(rows)).strip(), indent=indent + 1)] if len(rows) > _MOST_ROWS else []
            return [line(f"{name}:", indent=indent), *shown, *more]
        text = ", ".join(_word(row) for row in rows[:_MOST_ROWS])
        return [line(f"{name}: {text}{_more(len(rows))}", indent=indent, wraps=True)]
    mappings = [row for row in rows if isinstance(row, Mapping)]
    if len(mappings) == len(rows):
        drawn = [replace(block, indent=indent + 1) for block in _histograms(mappings[:_MOST_ROWS])]
        return [line(f"{name}:", indent=indent), _table(mappings, indent + 1), *drawn]
    return [line(f"{name}: {len(rows):,} rows (--format json has them)", indent=indent)]


def drawings(diff: ModelDiff) -> tuple[Drawing, ...]:
    """What findings have to draw: histograms, and the likeness of layers as a heat map."""
    blocks: list[Drawing] = []
    for found in diff.findings:
        for value in found.fields.values():
            if isinstance(value, tuple):
                blocks += _histograms([row for row in value if isinstance(row, Mapping)][:_MOST_DRAWN])
        blocks += _heat_map(found)
    return tuple(blocks)


def _histograms(rows: Sequence[Fields]) -> list[Histogram]:
    """Of the rows that hold edges and the counts between them, in two sides."""
    blocks = []
    for row in rows:
        edges, old, new = (_numbers(row.get(name)) for name in ("edges", "old", "new"))
        if len(edges) > 1 and {len(old), len(new)} <= {0, len(edges) - 1}:
            note = brief({name: row[name] for name in ("ks", "psi", "js") if name in row})
            counts = [tuple(int(count) for count in side) for side in (old, new)]
            blocks.append(Histogram(str(row.get("name", "")), edges, counts[0], counts[1], note))
    return blocks


def _heat_map(found: Finding) -> list[Drawing]:
    """A matrix of likenesses with the names of its rows and columns."""
    table, olds, news = (found.fields.get(name) for name in ("cka", "layers_old", "layers_new"))
    if not (isinstance(table, tuple) and isinstance(olds, tuple) and isinstance(news, tuple)):
        return []
    rows = tuple(
        Curve(str(name), tuple(value if isinstance(value, (int, float)) else None for value in row))
        for name, row in zip(olds, table, strict=True) if isinstance(row, tuple)
    )  # fmt: skip
    names = tuple(str(name) for name in news)
    title = "How alike layers are: old ones in rows, new ones in columns (linear CKA, 0 to 1)"
    return [Chart(title, ("",) * len(names), names, (), rows, shares=True)]


def _numbers(value: Value) -> tuple[float, ...]:
    if not isinstance(value, tuple):
        return ()
    return tuple(float(item) for item in value if isinstance(item, (int, float)))


def _table(rows: Sequence[Fields], indent: int) -> Table:
    """Rows of figures under their names; columns of long lists are left out."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row)
             if all(_fits(row.get(name)) for row in rows)][:_MOST_COLUMNS]  # fmt: skip
    numbers = {name for name in names if all(not isinstance(row.get(name), str) for row in rows)}
    first = next((name for name in names if name not in numbers), "")
    columns = tuple(
        Column(name.replace("_", " "), "right" if name in numbers else "left", 0 if name == first else number + 1,
               shrinks=name == first, literal=name in _NAMES)
        for number, name in enumerate(names)
    )  # fmt: skip
    cells = tuple(tuple(Word(_word(row.get(name))) for name in names) for row in rows[:_MOST_ROWS])
    hidden = f"{len(rows) - _MOST_ROWS:,} more rows: --format json has all" if len(rows) > _MOST_ROWS else ""
    return Table(columns, cells, hidden=hidden, indent=indent)


def _is_plain(value: Value) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _fits(value: Value) -> bool:
    """Whether a value can stand in a cell."""
    short = isinstance(value, tuple) and len(value) <= _MOST_CELLS and all(map(_is_plain, value))
    return short or _is_plain(value)


def _word(value: Value) -> str:
    """A value as it stands in a cell or a list."""
    if isinstance(value, tuple):
        return " ".join(_word(item) for item in value)
    return "" if value is None else brief({"": value})[1:]


def _more(count: int) -> str:
    return f" and {count - _MOST_ROWS:,} more (--format json has all)" if count > _MOST_ROWS else ""


def _rank(found: Finding) -> tuple[int, bool]:
    """The gravest first, and last what found nothing."""
    return -SEVERITIES.index(found.severity), found.status != "found"


def _faint(found: Finding) -> Tone:
    return "plain" if found.status == "found" else "faint"


def _tone(found: Finding) -> Tone:
    return "problem" if found.serious else "name"


def _worst(findings: Sequence[Finding]) -> Tone:
    return "problem" if any(found.serious for found in findings) else "strong"
