"""``diffai OLD NEW`` where both are documents: JSON, YAML, tables, logs. What is no option of theirs is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from diffai.cli.analyses import request_of
from diffai.cli.documents import kind_of_file, write_document
from diffai.cli.options import limits_for, screen_for, wants_color, write, write_lines
from diffai.comparison.documents.result import DocumentDiff, DocumentOptions
from diffai.comparison.result import CompareOptions
from diffai.config import Settings
from diffai.errors import EXIT_DIFFERENT, EXIT_OK, UsageError
from diffai.finding import Finding
from diffai.sources.base import Source

_OF_MODELS = {
    "shape_only": "--shape-only", "name_map": "--map", "base": "--base", "template": "--template",
    "sort_by_change_magnitude": "--sort-by-change-magnitude", "include_charts": "--include-charts",
    "show_structure": "--show-structure", "tensor_details": "--tensor-details",
}  # fmt: skip
ANALYSES = frozenset(("metric_comparison", "show_distribution"))
"""The analyses that documents have, too."""


def open_documents(
    words: Sequence[str], paths: Sequence[str], *, revisions: bool, staged: bool, input_format: str
) -> tuple[Source, Source] | None:
    """The two documents that a command line names; None where it names anything else.

    Args:
        words: what stands before ``--``: files, or revisions.
        paths: what stands behind it.
        revisions: whether the words are revisions.
        staged: ``--staged``.
        input_format: what both are, whatever they look like.
    """
    from diffai.comparison.documents import words as documents

    if not revisions:
        return documents.two_documents(words[0], words[1], input_format) if len(words) == 2 else None
    if len(paths) != 1:
        return None
    from diffai.comparison.request import moments

    old, new, (path,) = moments(words, paths, staged=staged)
    return documents.documents_at(old, new, path, input_format)


def compare_two(
    sources: tuple[Source, Source], options: CompareOptions, settings: Settings, given: dict[str, Any],
    input_format: str = "",
) -> tuple[DocumentDiff, tuple[Finding, ...]]:  # fmt: skip
    """Compare them, and answer what else was asked.

    Args:
        sources: both files; they are closed.
        options: as for models.
        settings: for the limits.
        given: the options of the command line.
        input_format: what both are; "" = what they look like.

    Raises:
        UsageError: an option is one of models.
        SourceError: a document cannot be read.
    """
    from diffai.comparison.documents.compare import compare_documents

    asked = request_of(given).names
    refused = [option for name, option in _OF_MODELS.items() if given[name]]
    refused += [f"--{name.replace('_', '-')}" for name in sorted(asked - ANALYSES)]
    if refused:
        names = " and ".join(dict.fromkeys(source.label for source in sources))
        for source in sources:
            source.close()
        are = "is a document" if sources[0].label == sources[1].label else "are documents"
        raise UsageError(f"{refused[0]}: is an option of models, and {names} {are}")
    diff = compare_documents(*sources, document_options(options, settings, given), input_format)
    if "metric_comparison" not in asked:
        return diff, ()
    from diffai.analyses.result_files import metric_comparison

    return diff, (metric_comparison(diff),)


def document_options(options: CompareOptions, settings: Settings, given: dict[str, Any]) -> DocumentOptions:
    """How documents are compared, by the command line and the settings."""
    asked = request_of(given).names
    return DocumentOptions(
        options, given["array_id_key"], "show_distribution" in asked, "metric_comparison" in asked, limits_for(settings)
    )


def show(
    diff: DocumentDiff, findings: tuple[Finding, ...], kind: str, encoding: str, settings: Settings,
    given: dict[str, Any],
) -> int:  # fmt: skip
    """Write a comparison as it was asked for; the exit code."""
    from diffai.views.documents import DocumentLook
    from diffai.views.lines import left_text

    verbose = given["verbose"]
    if given["report_file"]:
        text = _page(diff, findings, kind_of_file(given["report_file"]), verbose=verbose)
        write_document(given["report_file"], text)
    if given["quiet"]:
        for left in diff.hidden:
            click.echo(f"! {left_text(left)}", err=True)
    elif kind in ("changes", "report"):
        write(_machine(diff, findings, kind, encoding))
    elif kind in ("markdown", "html"):
        write(_page(diff, findings, kind, verbose=verbose))
    else:
        look = DocumentLook(verbose, given["stats"], settings.max_tensor_display or settings.fold_above)
        color = wants_color(settings, given["no_color"])
        from diffai.cli.pager import paged

        with paged():
            write_lines(_people(diff, findings, look, kind, stat=given["stat"], color=color))
    asked = given["exit_code"] or given["quiet"]
    return EXIT_DIFFERENT if asked and diff.differs else EXIT_OK


def _machine(diff: DocumentDiff, findings: tuple[Finding, ...], kind: str, encoding: str) -> str:
    from diffai.views import values
    from diffai.views.document_records import document_changes, document_report

    if kind == "report":
        return values.dump({**document_report(diff), "findings": [values.finding(f) for f in findings]}, encoding)
    from diffai.analyses.row import record_of

    records = document_changes(diff)
    return values.dump([*records, *({record_of(f.name): [values.finding(f)]} for f in findings)], encoding)


def _page(diff: DocumentDiff, findings: tuple[Finding, ...], kind: str, *, verbose: bool) -> str:
    from diffai.views.document_pages import document_markdown, document_page

    if kind == "markdown":
        return "".join(f"{line}\n" for line in document_markdown(diff, findings, verbose=verbose))
    return document_page(diff, findings, verbose=verbose)


def _people(
    diff: DocumentDiff, findings: tuple[Finding, ...], look: Any, kind: str, *, stat: bool, color: bool
) -> list[str]:
    from diffai.views.documents import document_text, document_view, findings_blocks, stat_line
    from diffai.views.style import escape
    from diffai.views.terminal import present, present_plain

    if stat:
        return [escape(stat_line(diff), longest=0)]
    screen = screen_for(kind, color=color)
    if screen is not None:
        return present((*document_view(diff, look), *findings_blocks(findings)), screen)
    return present_plain((*document_text(diff, look), *findings_blocks(findings)), color=color)
