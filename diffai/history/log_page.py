"""A history as one HTML page that needs nothing else: the drawing, a row a commit, and below what each of them did."""

from __future__ import annotations

from collections.abc import Sequence

from diffai.frozen import replace
from diffai.history.entries import LogEntry, ModelLog
from diffai.history.log_records import log_report
from diffai.history.log_table import log_view
from diffai.history.log_text import entry_view, notes_view
from diffai.history.series import chart_of
from diffai.views.blocks import Line, View
from diffai.views.html.document import document
from diffai.views.html.present import Links, inert, present
from diffai.views.html.rows import embedded
from diffai.views.screen import Screen
from diffai.views.style import plural
from diffai.views.text import TextOptions

_MOST_ENTRIES = 1000


def log_page(logs: Sequence[ModelLog]) -> str:
    """The page of one or several models; no script runs, nothing is loaded from elsewhere."""
    title = logs[0].path if len(logs) == 1 else plural(len(logs), "model")
    body = [f"<h1>{inert(title, 0)}: history</h1>"]
    for place, log in enumerate(logs):
        body += [f"<h2>{inert(log.path, 0)}</h2>"] if len(logs) > 1 else []
        body += _model(log, place)
    reports = [log_report(log, details=False) for log in logs]
    data = embedded(reports[0] if len(reports) == 1 else reports)
    return document(f"{title}: history", body, data, script=False)


def _model(log: ModelLog, place: int) -> list[str]:
    days = [entry.commit.day for entry in log.entries if entry.commit.day]
    reach = f", {days[-1]} to {days[0]}" if len(days) > 1 else ""
    lines = [f'<p class="soft">{plural(len(log.entries), "commit")} shown of {log.versions:,}{inert(reach)}.</p>']
    if log.level == "values" and log.entries:
        lines += present((replace(chart_of(log), title="Updates, drift and norms"),))
    shown = log.entries[:_MOST_ENTRIES]
    links: Links = {entry.commit.short: f"#c{place}-{entry.commit.short}" for entry in shown}
    lines += present(log_view(log), links)
    lines += [line for entry in shown for line in _entry(entry, place)]
    if len(log.entries) > len(shown):
        lines.append(f'<p class="soft">{plural(len(log.entries) - len(shown), "more commit")} in the list only</p>')
    return [*lines, *present(notes_view(log))]


def _entry(entry: LogEntry, place: int) -> list[str]:
    """What a commit did, folded away; a comparison in full where it was asked for."""
    head, *rest = entry_view(entry, TextOptions(verbose=True, screen=Screen()), detail=True)
    assert isinstance(head, Line)
    said: View = tuple(rest)
    mark = f'<details class="m" id="c{place}-{entry.commit.short}"><summary>'
    return [mark + "".join(inert(word.text) for word in head.words) + "</summary>", *present(said), "</details>"]
