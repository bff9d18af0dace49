"""A comparison of two documents as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Sequence

from diffai.comparison.documents.result import DocumentDiff
from diffai.finding import Finding
from diffai.views.blocks import Labelled, Line, Table, View, Word
from diffai.views.documents import DocumentLook, document_view, findings_blocks
from diffai.views.html.document import document
from diffai.views.html.present import inert, present
from diffai.views.html.rows import embedded
from diffai.views.markdown import code, plain

_MOST = 200


def document_markdown(diff: DocumentDiff, findings: Sequence[Finding] = (), *, verbose: bool = False) -> list[str]:
    """The whole document as lines."""
    title = f"## {code(diff.old.label)} → {code(diff.new.label)}"
    return [title, "", *blocks_markdown(_view(diff, findings, verbose=verbose))]


def document_page(diff: DocumentDiff, findings: Sequence[Finding] = (), *, verbose: bool = False) -> str:
    """The whole page."""
    title = f"{diff.old.label} → {diff.new.label}" if diff.old.label != diff.new.label else diff.new.label
    body = [f"<h1>{inert(title, 0)}</h1>", '<div class="head">']
    body += [*present(_view(diff, findings, verbose=verbose)), "</div>"]
    return document(title, body, embedded({"schema": "", "columns": [], "statuses": [], "specs": [], "models": []}))


def blocks_markdown(view: View) -> list[str]:
    """Blocks as Markdown; values stand in code spans."""
    lines: list[str] = []
    for block in view:
        if isinstance(block, Line):
            lines += [plain("".join(word.text for word in block.words)), ""]
        elif isinstance(block, Labelled):
            lines += [f"**{plain(block.label)}**", ""]
            for name, *rest in block.rows:
                lines.append(" ".join(["-", code(name.text), *(plain(word.text) for word in rest)]))
            lines.append("")
        elif isinstance(block, Table):
            lines.append("|" + "".join(f" {plain(column.title)} |" for column in block.columns))
            lines.append("|" + "---|" * len(block.columns))
            for row in block.rows:
                cells = (cell.text if isinstance(cell, Word) else "" for cell in row)
                lines.append("|" + "".join(f" {code(text, cell=True) if text else ''} |" for text in cells))
            lines.append("")
    return lines


def _view(diff: DocumentDiff, findings: Sequence[Finding], *, verbose: bool) -> View:
    look = DocumentLook(verbose=verbose, most=_MOST)
    return (*document_view(diff, look), *findings_blocks(findings))
