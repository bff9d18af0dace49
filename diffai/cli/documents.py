"""Documents of a comparison: Markdown and the page, on stdout or in a file."""

from __future__ import annotations

import os

from diffai.comparison.result import DirectoryDiff, ModelDiff
from diffai.errors import DiffaiError, UsageError
from diffai.frozen import frozen

_LONGEST_TEMPLATE = 1_000_000
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


def from_template(diff: ModelDiff | DirectoryDiff, path: str) -> str:
    """A comparison by a template: a file, or the name of one that comes with the program.

    Raises:
        UsageError: there is none, it is too long, or it is wrong.
    """
    from diffai.views.template import SHIPPED, render_template, shipped

    text = None if os.path.lexists(path) else shipped(path)
    if text is None:
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read(_LONGEST_TEMPLATE + 1)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is not UTF-8"
            raise UsageError(f"--template {path}: {why} (shipped: {', '.join(SHIPPED)})") from error
        if len(text) > _LONGEST_TEMPLATE:
            raise UsageError(f"--template {path}: longer than {_LONGEST_TEMPLATE:,} characters")
    return render_template(diff, os.path.basename(path), text)


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
