"""Documents of a comparison: Markdown and the page, on stdout or in a file."""

from __future__ import annotations

import os

from diffai.comparison.result import DirectoryDiff, ModelDiff
from diffai.errors import DiffaiError, UsageError
from diffai.frozen import frozen

_KINDS: dict[str, str] = {".md": "markdown", ".html": "html"}


@frozen
class DocumentOptions:
    """What a document shows: ``verbose`` all that it would count only, ``charts`` drawings of the change."""

    verbose: bool = False
    charts: bool = False


def kind_of_file(path: str) -> str:
    """What is written into a file of this name.

    Raises:
        UsageError: the name has another suffix; no model has one of these, so that none can be overwritten.
    """
    kind = _KINDS.get(os.path.splitext(path)[1].lower())
    if kind is None:
        raise UsageError(f"--report-file {path}: expected a name in .md or .html")
    if os.path.isdir(path):
        raise UsageError(f"--report-file {path}: is a directory")
    return kind


def document(diff: ModelDiff | DirectoryDiff, kind: str, options: DocumentOptions) -> str:
    """The whole text of a comparison as ``markdown`` or ``html``."""
    if kind == "markdown":
        from diffai.views.markdown import render_markdown

        return "".join(f"{line}\n" for line in render_markdown(diff))
    from diffai.views.html.page import PageOptions, comparison_page

    return comparison_page(diff, PageOptions(options.verbose, options.charts))


def write_document(path: str, text: str) -> None:
    """Write it; an older document of that name is replaced.

    Raises:
        DiffaiError: it cannot be written.
    """
    try:
        with open(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise DiffaiError(f"cannot write {path}: {error.strerror}") from error
