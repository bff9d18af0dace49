"""A history as one HTML page that needs nothing else: the drawing and a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape as escape_html

from diffai.history.entries import LogEntry, ModelLog
from diffai.history.log_records import figure_cells
from diffai.history.log_text import entry_lines
from diffai.history.plot_svg import svg
from diffai.history.series import series_of
from diffai.views.style import escape, plural, size

_STYLE = """body{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#24292f}
svg{max-width:100%;height:auto;border:1px solid #d8dee4;border-radius:6px}
table{border-collapse:collapse;width:100%;margin:1rem 0}th,td{padding:.3rem .6rem;border-bottom:1px solid #d8dee4;
text-align:left;vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}code{color:#0550ae}
pre{margin:0;font-size:12px;white-space:pre-wrap}details summary{cursor:pointer}"""


def as_html(logs: Sequence[ModelLog]) -> str:
    """The page of one or several models; no script, nothing loaded from elsewhere."""
    title = logs[0].path if len(logs) == 1 else plural(len(logs), "model")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}: history</title><style>{_STYLE}</style></head><body>",
    ]
    for log in logs:
        parts.append(f"<h1>{_text(log.path)}</h1>")
        parts.append(f"<p>{plural(len(log.entries), 'commit')} shown of {log.versions:,}.</p>")
        if log.level == "values" and log.entries:
            parts.append(svg(series_of(log)))
        parts += ["<table><thead><tr>"]
        parts += [f"<th>{word}</th>" for word in ("commit", "date", "author", "what")]
        parts += [f"<th>{word}</th>" for word in ("update size", "cosine", "drift", "size")]
        parts += ["</tr></thead><tbody>", *(_row(entry) for entry in log.entries), "</tbody></table>"]
    return "\n".join([*parts, "</body></html>\n"])


def _row(entry: LogEntry) -> str:
    commit, figures = entry.commit, entry.figures
    moved = figures.movement if figures is not None else None
    block = "\n".join(line.strip() for line in entry_lines(entry, color=False, detail=True, verbose=True)[1:])
    cells = [
        f"<td><code>{commit.short}</code></td><td>{_text(commit.day)}</td><td>{_text(commit.author)}</td>",
        f"<td><details><summary>{_text(commit.subject)}</summary><pre>{escape_html(block)}</pre></details></td>",
        *(f'<td class="n">{cell}</td>' for cell in (figure_cells(moved) if moved else ("", "", ""))),
        f'<td class="n">{size(figures.size) if figures is not None and figures.size >= 0 else ""}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _text(text: str) -> str:
    return escape_html(escape(text))
