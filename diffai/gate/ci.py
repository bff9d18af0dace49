"""What a CI run leaves behind: a summary, a comment, annotations, output values, JSON, a code-quality report."""

from __future__ import annotations

import json
import os

from diffai.errors import DiffaiError, UsageError
from diffai.frozen import frozen
from diffai.policy.verdicts import GateReport
from diffai.views.gate_markdown import limited
from diffai.views.gate_records import code_quality, gate_record

#: GitHub drops a whole step summary above 1 MiB; what other commands of the step wrote counts, too.
MOST_SUMMARY = 900_000
#: GitHub refuses a comment above 65,536 characters; nobody reads one of that length.
MOST_COMMENT = 60_000
_MOST_OF_FEW, _FEW, _MOST_EACH = 20_000, 20, 1_000
MARKER = "<!-- diffai-ci -->"
_TITLE = "Model changes"


@frozen
class Files:
    """Where to write what; "" = not at all.

    Attributes:
        summary: Markdown, appended (``$GITHUB_STEP_SUMMARY``).
        comment: Markdown, replaced; begins with ``MARKER``, by which a script finds its earlier comment.
        outputs: ``name=value`` lines, appended (``$GITHUB_OUTPUT``).
        json: the whole report, replaced.
        code_quality: GitLab's format, replaced.
        html: one page with verdicts and comparisons, replaced.
    """

    summary: str = ""
    comment: str = ""
    outputs: str = ""
    json: str = ""
    code_quality: str = ""
    html: str = ""


def write_files(report: GateReport, files: Files) -> None:
    """Write every file that is asked for.

    Raises:
        DiffaiError: one cannot be written.
    """
    if files.summary:
        room = MOST_SUMMARY - _size(files.summary)
        if room > 1000:
            _write(files.summary, limited(report, min(room, _most(report)), title=_TITLE) + "\n", append=True)
    if files.comment:
        text = limited(report, min(MOST_COMMENT, _most(report)), title=_TITLE, marker=MARKER)
        _write(files.comment, text)
    if files.outputs:
        text = "".join(f"{name}={value}\n" for name, value in output_values(report).items())
        _write(files.outputs, text, append=True)
    if files.json:
        _write(files.json, _json(gate_record(report)))
    if files.code_quality:
        _write(files.code_quality, _json(code_quality(report)))
    if files.html:
        from diffai.views.html.gate import gate_page

        _write(files.html, gate_page(report))


def _most(report: GateReport) -> int:
    """Bytes of Markdown that somebody still reads: 20 kB for up to 20 models, 1 kB for each one more."""
    return _MOST_OF_FEW + _MOST_EACH * max(0, len(report.verdicts) - _FEW)


def output_values(report: GateReport) -> dict[str, str | int]:
    """Few values for later steps; integers and fixed words only, so that nothing in a model can add a line."""
    record = gate_record(report)
    counts = record["counts"]
    diffs = [verdict.diff for verdict in report.verdicts if verdict.diff is not None]
    return {
        "result": str(record["result"]).replace(" ", "-"),
        "models": counts["models"],
        "refused": counts["refused"],
        "warned": counts["warned"],
        "approved": counts["approved"],
        "not-judged": counts["not_judged"],
        "structure-changes": sum(diff.structure_changes for diff in diffs),
        "param-diff": sum(diff.new.parameters - diff.old.parameters for diff in diffs),
    }


def _json(data: object) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _write(path: str, text: str, *, append: bool = False) -> None:
    if os.path.isdir(path):
        raise UsageError(f"{path}: is a directory")
    try:
        with open(path, "a" if append else "w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise DiffaiError(f"cannot write {path}: {error.strerror}") from error
