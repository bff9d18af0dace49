"""Documents of a comparison: Markdown and the page, on stdout or in a file."""

from __future__ import annotations

import os

from diffai.comparison.result import DirectoryDiff, ModelDiff
from diffai.errors import DiffaiError, UsageError
from diffai.frozen import frozen

_LONGEST_TEMPLATE = 1_000_000
_KINDS: dict[str, str] = {".md": "markdown", ".html": "html", ".svg": "svg", ".png": "png"}
PICTURES = ("svg", "png")


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
        raise UsageError(f"--report-file {path}: expected a name in .md, .html, .svg or .png")
    if os.path.isdir(path):
        raise UsageError(f"--report-file {path}: is a directory")
    if kind == "png":
        from diffai.views.png import require_png

        require_png(f"--report-file {path}")
    return kind


def write_report(diff: ModelDiff | DirectoryDiff, path: str, kind: str, options: DocumentOptions) -> None:
    """Write a comparison, or as a picture its drawings, into a file; an older one of that name is replaced.

    Raises:
        DiffaiError: it cannot be written, or there is nothing to draw.
    """
    if kind not in PICTURES:
        write_document(path, document(diff, kind, options))
        return
    from diffai.views.charts import charts

    diffs = [diff] if isinstance(diff, ModelDiff) else [file.diff for file in diff.files if file.diff is not None]
    blocks = [block for each in diffs for block in charts(each)]
    if not blocks:
        raise DiffaiError(f"--report-file {path}: there is nothing to draw: no values moved")
    if kind == "svg":
        from diffai.views.svg import document as pictures

        write_document(path, pictures(blocks))
        return
    from diffai.views.png import write_png

    try:
        write_png(blocks, path)
    except OSError as error:
        raise DiffaiError(f"cannot write {path}: {error.strerror}") from error


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
