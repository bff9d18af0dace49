"""A comparison of two documents as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Sequence

from diffai.comparison.documents.result import DocumentDiff
from diffai.finding import Finding
from diffai.views.blocks import View
from diffai.views.documents import DocumentLook, document_view, findings_blocks
from diffai.views.html.document import document
from diffai.views.html.present import inert, present
from diffai.views.html.rows import embedded
from diffai.views.markdown import code, present_markdown

_MOST = 200


def document_markdown(diff: DocumentDiff, findings: Sequence[Finding] = (), *, verbose: bool = False) -> list[str]:
    """The whole document as lines."""
    title = f"## {code(diff.old.label)} → {code(diff.new.label)}"
    return [title, "", *present_markdown(_view(diff, findings, verbose=verbose))]


def document_page(diff: DocumentDiff, findings: Sequence[Finding] = (), *, verbose: bool = False) -> str:
    """The whole page."""
    title = f"{diff.old.label} → {diff.new.label}" if diff.old.label != diff.new.label else diff.new.label
    body = [f"<h1>{inert(title, 0)}</h1>", '<div class="head">']
    body += [*present(_view(diff, findings, verbose=verbose)), "</div>"]
    return document(title, body, embedded({"schema": "", "columns": [], "statuses": [], "specs": [], "models": []}))


def _view(diff: DocumentDiff, findings: Sequence[Finding], *, verbose: bool) -> View:
    look = DocumentLook(verbose=verbose, most=_MOST)
    return (*document_view(diff, look), *findings_blocks(findings))
