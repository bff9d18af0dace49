"""``diffai ci``: every model that changed between two revisions, for a CI run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from diffai.errors import EXIT_OK, DiffaiError, UsageError

if TYPE_CHECKING:
    from diffai.policy.verdicts import GateReport

_EPILOG = """\b
Examples:
  diffai ci --base origin/main --summary "$GITHUB_STEP_SUMMARY"
  diffai ci --base "$CI_MERGE_REQUEST_DIFF_BASE_SHA" --code-quality gl-code-quality-report.json

\b
Exit codes: 0 pass; 1 a rule is broken; 2 could not judge, or the policy is wrong. The files are written in any case.
On GitHub, annotations are printed and $GITHUB_OUTPUT gets: result, models, refused, warned, approved, not-judged,
structure-changes, param-diff."""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--base", default="", metavar="REV", help="Where the change began (default: what CI says).")
@click.option("--head", default="", metavar="REV", help="The change; HEAD by default.")
@click.option("--summary", default="", metavar="FILE", help="Append Markdown, under 1 MiB ($GITHUB_STEP_SUMMARY).")
@click.option("--comment", default="", metavar="FILE", help="Write Markdown for a comment; 20 kB for 20 models.")
@click.option("--json", "json_", default="", metavar="FILE", help="Write the whole report.")
@click.option("--html", default="", metavar="FILE", help="Write one page of all models, for a browser.")
@click.option("--code-quality", default="", metavar="FILE", help="Write GitLab's code-quality report.")
@click.option("--output", "outputs", default="", metavar="FILE", help="Append name=value lines, not to $GITHUB_OUTPUT.")
@click.option("--annotations/--no-annotations", default=None, help="Print ::error and ::warning; on GitHub by default.")
@click.option("--config", "config_file", default="", metavar="FILE", help="The policy, in place of the base's.")
@click.option("--on-missing", default="", metavar="warn|fail", help="A model that is not here: fail (default) or warn.")
@click.option("--fetch", is_flag=True, help="Bring missing objects first (git lfs, git annex, dvc); no others.")
@click.option("--threads", type=click.IntRange(min=0), default=0, metavar="N", help="Threads; 0: as many as help.")
@click.argument("paths", nargs=-1)
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[str, ...], **given: Any) -> int:
    """Judge and describe every model that changed since the head left the base.

    The policy is that of the base. PATHS limit it to files and folders.
    """
    from diffai.gate.quick import OFF, is_off

    if is_off():
        click.echo(OFF, err=True)
        return EXIT_OK
    return _run((*paths, *getattr(ctx.obj, "after", ())), given)


def _run(paths: tuple[str, ...], given: dict[str, Any]) -> int:
    from diffai.cli.options import write_lines
    from diffai.gate.ci import Files, write_files
    from diffai.policy.verdicts import GateReport
    from diffai.views.gate_github import annotation_lines
    from diffai.views.gate_text import gate_lines

    on_github = os.environ.get("GITHUB_ACTIONS") == "true"
    outputs = given["outputs"] or (os.environ.get("GITHUB_OUTPUT", "") if on_github else "")
    files = Files(given["summary"], given["comment"], outputs, given["json_"], given["code_quality"], given["html"])
    failed: Exception | None = None
    try:
        report = _report(paths, given)
    except Exception as error:  # whatever it is: what CI leaves behind must not look like an old, or no, answer
        failed = error
        what = str(error) if isinstance(error, DiffaiError) else f"{type(error).__name__} in diffai itself"
        report = GateReport(given["base"] or "?", given["head"] or "HEAD", failure=what)
    write_files(report, files)
    lines = gate_lines(report, verbose=True) if failed is None else []
    if not report.verdicts and not report.failure:
        lines.append(f"diffai ci: no model changed ({report.old} -> {report.new})")
    wanted = on_github if given["annotations"] is None else given["annotations"]
    write_lines([*lines, *(annotation_lines(report) if wanted else [])])
    if failed is not None:
        raise failed
    return report.exit_code


def _report(paths: tuple[str, ...], given: dict[str, Any]) -> GateReport:
    """Judge.

    Raises:
        DiffaiError: it cannot be judged at all.
    """
    from dataclasses import replace

    from diffai.cli.gate import request_of
    from diffai.cli.progress import ProgressBar
    from diffai.gate.bases import base_from_environment
    from diffai.gate.check import run_gate

    given["base"] = given["base"] or base_from_environment()
    if not given["base"]:
        raise UsageError("name where the change began: diffai ci --base origin/main")
    request = request_of(paths, given)
    with ProgressBar("judging") as progress:
        return run_gate(replace(request, progress=progress, full=True))
