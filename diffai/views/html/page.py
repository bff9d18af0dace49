"""A comparison, or the gate's report, as one HTML page that needs nothing else.

It opens with what the table of the terminal says, made of the same blocks; then a map of the network and a tree of all
tensors, which the page's own script makes out of the embedded figures (:mod:`diffai.views.html.rows`). Without script
there are the head and the first rows. Its policy lets no script run but that one, and nothing load.
"""

from __future__ import annotations

import json
from urllib.parse import quote

from diffai.analyses.change_kind import change_kind
from diffai.analyses.look_first import look_first
from diffai.analyses.update import update_size
from diffai.comparison.result import DirectoryDiff, FileChange, ModelDiff
from diffai.frozen import frozen
from diffai.model import Absent
from diffai.views import values
from diffai.views.blocks import Tone, View
from diffai.views.charts import charts, counted
from diffai.views.directories import summary_view
from diffai.views.findings import asked, details
from diffai.views.html.document import document
from diffai.views.html.present import Links, inert, present
from diffai.views.html.rows import COLUMNS as DATA_COLUMNS
from diffai.views.html.rows import LONGEST_NAME, SCHEMA, Packed, Packer, embedded
from diffai.views.html.static import by_magnitude, tensor_table
from diffai.views.overview import overview
from diffai.views.style import escape, plural
from diffai.views.text import document_view
from diffai.views.values import Json

_MOST_SECTIONS = 100
_FEW = 20


@frozen
class PageOptions:
    """What the page shows: ``verbose`` all that its head would count only; ``charts`` drawings of the change."""

    verbose: bool = False
    charts: bool = False


@frozen
class Part:
    """One model of the page.

    Attributes:
        path: what it is called; "" for the only one.
        diff: its comparison; None where there is none.
        word: what became of it: ``changed``, ``refused``.
        tone: of that word.
        lines: what else is to be read of it, before its comparison.
    """

    path: str
    diff: ModelDiff | None = None
    word: str = ""
    tone: Tone = "plain"
    lines: tuple[str, ...] = ()


def comparison_page(diff: ModelDiff | DirectoryDiff, options: PageOptions = PageOptions()) -> str:
    """The page of a comparison of two models or of two directories."""
    if isinstance(diff, ModelDiff):
        return page(_title(diff.old.label, diff.new.label), (Part("", diff),), (), options)
    parts = tuple(_file(file) for file in diff.files)
    notes = summary_view(diff)
    if diff.documents:
        from diffai.views.documents import DocumentLook, documents_view

        notes = (*documents_view(diff.documents, DocumentLook(options.verbose), table=True), *notes)
    return page(_title(diff.old, diff.new), parts, notes, options)


def _title(old: str, new: str) -> str:
    return f"{old} → {new}" if old != new else new


def _file(file: FileChange) -> Part:
    if file.status == "unreadable" and file.diff is None:
        return Part(file.path, None, "not compared", "problem", (escape(file.reason),))
    if file.status in ("added", "removed"):
        return Part(file.path, file.diff, file.status, "added" if file.status == "added" else "removed")
    assert file.diff is not None
    if not file.diff.comparable:
        return Part(file.path, file.diff, "not compared", "problem")
    if file.diff.differs:
        return Part(file.path, file.diff, "changed", "changed")
    return Part(file.path, file.diff, "equal", "faint")


def page(title: str, parts: tuple[Part, ...], notes: View, options: PageOptions) -> str:
    """The whole document of models under a title, with what concerns all of them."""
    packer = Packer()
    packed = [packer.model(part.diff, counted(part.diff)) if part.diff is not None else None for part in parts]
    links = [_links(part, place) for place, part in enumerate(parts)]
    body = [f"<h1>{inert(title, 0)}</h1>", *present(notes)]
    if len(parts) == 1 and not parts[0].path:
        body += section(parts[0], links[0], options)
    else:
        body += _overview(parts)
        body += _sections(parts, links, options)
    tensors = sum(len(one.rows) for one in packed if one is not None)
    if tensors:
        body += tensor_table([part.diff for part in parts], links, named=len(parts) > 1)
        body += [f'<p class="soft">{inert(line)}</p>' for line in _left_out(packed)]
    data = {
        "schema": SCHEMA,
        "columns": DATA_COLUMNS,
        "by_magnitude": by_magnitude([part.diff for part in parts]),
        "statuses": list(packer.statuses),
        "specs": [json.loads(spec) for spec in packer.specs],
        "models": [_model(part, one) for part, one in zip(parts, packed, strict=True)],
    }
    return document(title, body, embedded(data))


def section(part: Part, links: Links, options: PageOptions) -> list[str]:
    """What is to be read of one model: its lines, then the blocks of its comparison."""
    lines = [f'<p class="problem">{inert(line)}</p>' for line in part.lines]
    diff = part.diff
    if diff is None:
        return lines
    grounds = [] if options.verbose else _grounds(diff)
    if not diff.comparable or not diff.differs:
        view = document_view(diff, verbose=options.verbose)
        return [*lines, '<div class="box">', *present(view), "</div>", *grounds]
    view = document_view(diff, verbose=options.verbose)
    lines += ['<div class="head">', *present(view, links), "</div>", *grounds]
    if options.charts:
        lines += present(charts(diff))
    return lines


def _grounds(diff: ModelDiff) -> list[str]:
    """What the findings that were asked for rest on, closed."""
    lines = []
    for found in asked(diff):
        view = details(found, indent=1)
        if view:
            lines += [f'<details class="m"><summary>{inert(found.name)}: what it rests on</summary>', *present(view),
                      "</details>"]  # fmt: skip
    return lines


def address(place: int, name: str) -> str:
    """Where a row stands: of the model at this place, the tensor or module of this name."""
    return "#t=" + quote(f"{place}:{escape(name, longest=LONGEST_NAME)}", safe="")


def _links(part: Part, place: int) -> dict[str, str]:
    """Addresses of what the head names: what to look at, and single tensors of a small model."""
    diff = part.diff
    if diff is None or not diff.comparable:
        return {}
    names = [look.name for look in look_first(diff)]
    if len(diff.changes) <= _FEW:
        names += [change.name for change in diff.changes]
    return {name: address(place, name) for name in names}


def _overview(parts: tuple[Part, ...]) -> list[str]:
    """One row a model, as in the table of a pull request."""
    rows = []
    for place, part in enumerate(parts):
        name = inert(part.path)
        link = f'<a class="n" href="#m{place}">{name}</a>' if place < _MOST_SECTIONS else name
        cells = [f'<td><span class="{part.tone}">{inert(part.word)}</span>']
        if part.diff is not None and part.word not in ("added", "removed", "equal"):
            found = overview(part.diff)
            words = (found.structure, found.parameters, found.update)
            cells += [f'<td class="r">{inert(word)}' for word in words]
            cells += [f'<td class="w">{inert(found.kind)}<td class="w">{inert(found.look, 300)}']
        rows.append(f'<tr><td class="f n">{link}{"".join(cells)}')
    titles = (("model", ""), ("", ""), ("structure", "r"), ("parameters", "r"), ("update size", "r"),
              ("kind of change", ""), ("look at", ""))  # fmt: skip
    heads = "".join(f'<th scope="col"{" class=r" if side else ""}>{title}' for title, side in titles)
    return [f'<div class="wide"><table class="b"><thead><tr>{heads}</thead><tbody>{"".join(rows)}</table></div>']


def _sections(parts: tuple[Part, ...], links: list[dict[str, str]], options: PageOptions) -> list[str]:
    """One that opens a model; those with something to read of few models are open."""
    lines = []
    for place, part in enumerate(parts[:_MOST_SECTIONS]):
        opened = " open" if part.word not in ("equal",) and len(parts) <= 3 else ""
        lines.append(f'<details class="m" id="m{place}"{opened}><summary class="n">{inert(part.path)}</summary>')
        lines += [*section(part, links[place], options), "</details>"]
    if len(parts) > _MOST_SECTIONS:
        lines.append(f'<p class="soft">{plural(len(parts) - _MOST_SECTIONS, "more model")} in the list only</p>')
    return lines


def _left_out(packed: list[Packed | None]) -> list[str]:
    rows = sum(one.left_out[0] for one in packed if one is not None)
    bare = sum(one.left_out[1] for one in packed if one is not None)
    why = "left out to keep this page small: --format json has all"
    lines = [f"{plural(rows, 'tensor')} that moved least {why}"] if rows else []
    return [*lines, f"statistics of {plural(bare, 'tensor')} that moved least {why}"] if bare else lines


def _model(part: Part, packed: Packed | None) -> Json:
    diff = part.diff
    if diff is None or packed is None:
        return {"path": escape(part.path), "status": part.word, "rows": []}
    size, kind = update_size(diff), change_kind(diff)
    return {
        "path": escape(part.path),
        "status": part.word,
        "old": escape(diff.old.label),
        "new": escape(diff.new.label),
        "equal": diff.equal,
        "kind": escape(kind.phrase, longest=600) if kind is not None and diff.differs else None,
        "update_size": values.finite(size.relative_l2),
        "update_parameters": [size.parameters, size.parameters_new],
        "cosine": values.finite(size.cosine),
        "update_l2": values.finite(packed.update),
        "look_first": [
            {"name": escape(look.name, longest=LONGEST_NAME), "severity": look.severity, "text": escape(look.text)}
            for look in look_first(diff)
        ],
        "one_sided": isinstance(diff.old.state, Absent) or isinstance(diff.new.state, Absent),
        "rows": packed.rows,
        "notes": packed.notes,
        "histograms": packed.histograms,
        "left_out": packed.left_out[0],
    }
