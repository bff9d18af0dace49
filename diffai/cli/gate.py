"""``diffai gate``: refuse what the policy forbids, before it is committed, pushed or merged."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from diffai.cli.options import screen_for, settings_for, wants_color, write, write_lines
from diffai.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from diffai.gate.judgement import Request
    from diffai.policy.verdicts import GateReport

FORMATS = ("text", "json", "markdown", "github")

_EPILOG = """\b
Examples:
  diffai gate                                  what is staged, against HEAD
  diffai gate --base origin/main               what a branch did since it left main
  diffai gate --old a.pt --new b.safetensors   two models by hand
  diffai gate --explain models/head.pt         the policy of a file, and where each value comes from
  diffai gate approve models/head.pt --why '12 classes'
  diffai gate approve --list

\b
Exit codes: 0 pass; 1 a rule is broken; 2 could not judge, or the policy is wrong.
DIFFAI_GATE=off switches it off, and it says so. In hooks: diffai install --hook pre-commit"""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("words", nargs=-1, metavar="[PATHS]... | approve PATHS...")
@click.option("--base", default=None, metavar="REV", help="Judge what HEAD did since it left REV, by REV's policy.")
@click.option("--head", default="", metavar="REV", help="... what REV did, in place of HEAD.")
@click.option("--old", default="", metavar="OLD", help="With --new: judge two models that are named by hand.")
@click.option("--new", default="", metavar="NEW", help="A path, or REV:path.")
@click.option("--format", "format_", default="text", metavar="|".join(FORMATS), help="What to write.")
@click.option("--explain", is_flag=True, help="Print the policy of each path, and where each value comes from.")
@click.option("--config", "config_file", default="", metavar="FILE", help="The policy, in place of the repository's.")
@click.option(
    "--on-missing", default="", metavar="warn|fail", help="A model that is not here: warn (hooks) or fail (CI)."
)
@click.option("--fetch", is_flag=True, help="Bring missing objects first (git lfs, git annex, dvc); no others.")
@click.option("--why", default="", metavar="TEXT", help="With approve: the reason, for those who review it.")
@click.option("--list", "list_", is_flag=True, help="With approve: all approvals, and which are used up or stale.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing when everything passes.")
@click.option("-v", "--verbose", is_flag=True, help="Name the models that pass, too.")
@click.option("--no-color", is_flag=True, help="No colour, even on a terminal.")
@click.option("--threads", type=click.IntRange(min=0), default=0, metavar="N", help="Threads; 0: as many as help.")
@click.option("--hook", type=click.Choice(["pre-commit", "pre-push"]), hidden=True, default=None)
@click.option("--remote", default="", hidden=True)
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **given: Any) -> int:
    """Judge model changes by the policy in .diffai.toml ([gate]).

    Without a policy: no architecture change, no NaN or Inf, no unsafe pickle. The index is compared with HEAD, which
    is what is about to be committed; PATHS limit that to files and folders.
    """
    from diffai.gate.quick import OFF, is_off

    after: tuple[str, ...] = getattr(ctx.obj, "after", ())
    if given["base"] == "":  # a variable that is not set; the index, which is empty in CI, must not be judged instead
        raise UsageError("--base is empty: name a revision")
    given["base"] = given["base"] or ""
    if words[:1] == ("approve",):
        return _approve((*words[1:], *after), given)
    for name in ("why", "list_"):
        if given[name]:
            raise UsageError(f"--{name.rstrip('_')} goes with: diffai gate approve")
    if is_off():
        click.echo(OFF, err=True)
        return EXIT_OK
    return _explain((*words, *after), given) if given["explain"] else _judge((*words, *after), given)


def request_of(paths: tuple[str, ...], given: dict[str, Any]) -> Request:
    """The request that options mean.

    Raises:
        UsageError: options that exclude each other, or an unknown word.
    """
    from diffai.formats.base import limits_of
    from diffai.gate.judgement import Request
    from diffai.gate.ranges import Words

    if given.get("head") and not given["base"]:
        raise UsageError("--head goes with --base: diffai gate --base REV --head REV")
    missing = given.get("on_missing") or ""
    if missing not in ("", "warn", "fail"):
        raise UsageError(f"--on-missing {missing}: expected warn or fail")
    settings = settings_for({}, None)
    return Request(
        Words(given["base"], given.get("head") or "", given.get("hook") or "", given.get("remote") or ""),
        paths, missing, given.get("config_file") or "", given.get("threads") or settings.threads,
        limits=limits_of(settings), remote=settings.remote, fetch=bool(given.get("fetch")),
    )  # fmt: skip


def _judge(paths: tuple[str, ...], given: dict[str, Any]) -> int:
    from dataclasses import replace

    from diffai.cli.progress import ProgressBar
    from diffai.gate.by_hand import run_by_hand
    from diffai.gate.check import run_gate

    if given["format_"] not in FORMATS:
        raise UsageError(f"--format {given['format_']}: expected one of {', '.join(FORMATS)}")
    request = request_of(paths, given)
    with ProgressBar("judging") as progress:
        request = replace(request, progress=progress)
        if given["old"] or given["new"]:
            if not (given["old"] and given["new"]) or paths or given["base"]:
                raise UsageError("--old OLD --new NEW go together, and with neither PATHS nor --base")
            report = run_by_hand(given["old"], given["new"], request)
        else:
            report = run_gate(request)
    if given["format_"] == "text":
        report = _asked(report)
    if report.exit_code or not given["quiet"] or report.count("warn"):
        write_report(report, given["format_"], given)
    return report.exit_code


def _asked(report: GateReport) -> GateReport:
    """Where the policy says so, a person at the terminal decides on what was refused."""
    if not report.ask or report.exit_code != 1:
        return report
    from dataclasses import replace

    from diffai.gate.ask import ask_to_continue
    from diffai.views.gate_text import gate_lines

    answer = ask_to_continue("\n".join(gate_lines(report)) + "\n\n")
    return report if answer is None else replace(report, asked="yes" if answer else "no")


def write_report(report: GateReport, format_: str, given: dict[str, Any]) -> None:
    """Write the report to stdout in one of the formats."""
    if format_ == "json":
        from diffai.views.gate_records import gate_record
        from diffai.views.values import dump

        write(dump(gate_record(report), "json"))
    elif format_ == "markdown":
        from diffai.views.gate_markdown import gate_markdown

        write_lines(gate_markdown(report))
    elif format_ == "github":
        from diffai.views.gate_github import annotation_lines
        from diffai.views.gate_text import headline

        write_lines([*annotation_lines(report), *([f"diffai gate: {headline(report)}"] if report.verdicts else [])])
    else:
        from diffai.views.gate_text import gate_lines

        color = wants_color(settings_for({}, None), given["no_color"])
        screen = screen_for("table" if sys.stdout.isatty() else "text", color=color)
        lines = gate_lines(report, color=color, verbose=given["verbose"], screen=screen)
        if not lines and given["verbose"]:
            lines = [f"diffai gate: no model changed ({report.old} -> {report.new})"]
        write_lines(lines)


def _explain(paths: tuple[str, ...], given: dict[str, Any]) -> int:
    from diffai.gate.explain import explain_lines

    write_lines(explain_lines(request_of(paths, given)))
    return EXIT_OK


def _approve(paths: tuple[str, ...], given: dict[str, Any]) -> int:
    from diffai.gate.approve import approve, list_lines

    request = request_of(paths, given)
    if given["list_"]:
        write_lines(list_lines(request))
        return EXIT_OK
    if not paths:
        raise UsageError("name the models to approve: diffai gate approve PATH --why TEXT")
    if not given["why"].strip():
        raise UsageError("say why, for those who review it: diffai gate approve PATH --why TEXT")
    write_lines(approve(request, given["why"].strip()))
    sys.stdout.flush()
    return EXIT_OK
