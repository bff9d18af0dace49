"""The flags of analyses, made of their table; what they run, and what they make of the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from diffai.analyses.run import Asked
from diffai.analyses.table import ANALYSES, EXPERIMENT, GROUPS, row_of
from diffai.comparison.result import DirectoryDiff, ModelDiff
from diffai.config import Settings
from diffai.errors import EXIT_DIFFERENT, EXIT_OK, EXIT_TROUBLE, DiffaiError, UsageError
from diffai.finding import SEVERITIES, Finding, Severity
from diffai.formats.base import Limits
from diffai.frozen import frozen, replace

F = TypeVar("F", bound=Callable[..., Any])


_DRAWN = frozenset(("show_distribution", "similarity_matrix"))
"""Analyses whose findings ``--include-charts`` draws."""


class GroupedOption(click.Option):
    """An option that stands under a heading of its own in the help."""

    def __init__(self, *words: Any, group: str, **rest: Any) -> None:
        super().__init__(*words, **rest)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose help lists grouped options under their headings, behind all others."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, then a section a group."""
        plain: list[tuple[str, str]] = []
        grouped: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                (grouped[parameter.group] if isinstance(parameter, GroupedOption) else plain).append(record)
        with formatter.section("Options"):
            formatter.write_dl(plain)
        for group, records in grouped.items():
            if records:
                with formatter.section(f"Analyses: {group}"):
                    formatter.write_dl(records)


def _report_option(*words: str, **rest: Any) -> Callable[[F], F]:
    return click.option(*words, cls=GroupedOption, group=EXPERIMENT, **rest)


_REPORTS = (
    _report_option("--generate-report", is_flag=True, help="The whole report, with every analysis that reads no tensor "
                   "again; Markdown, unless --format says otherwise."),
    _report_option("--report-file", default="", metavar="FILE", help="Also write the whole report: FILE.html or "
                   "FILE.md; FILE.svg or FILE.png: its charts."),
    _report_option("--markdown-output", is_flag=True, help="The same as --format markdown."),
    _report_option("--template", default="", metavar="FILE", help="Write by a Jinja template: FILE, brief.md or "
                   "table.html."),
    _report_option("--include-charts", is_flag=True, help="Draw the change per layer, and what --show-distribution and "
                   "--similarity-matrix say, which it asks for; --format html, or --report-file."),
)  # fmt: skip


def format_of(given: dict[str, Any]) -> str | None:
    """The output that the flags of reports ask for; what ``--format`` says where they do not.

    Raises:
        UsageError: two of them ask for different outputs.
    """
    named = [option for option, value in (("--format", given["format_"]), ("--output", given["output"])) if value]
    for option in ("template", "markdown_output"):
        if given[option] and named:
            raise UsageError(f"--{option.replace('_', '-')} takes the place of --format and --output")
    if given["template"] and given["markdown_output"]:
        raise UsageError("--template and --markdown-output exclude each other")
    if given["markdown_output"] or (given["generate_report"] and not named):
        return "markdown"
    found: str | None = given["format_"]
    return found


def analysis_flags(function: F) -> F:
    """One flag an analysis, those of reports, ``--base`` and ``--fail-on``."""
    for option in reversed(_REPORTS):
        function = option(function)
    for row in reversed([row for row in ANALYSES if row.option]):
        text = f"{row.help[:-1]} (reads tensors again)." if row.second_pass else row.help
        option = click.option(
            row.option, _parameter(row.name), is_flag=True, help=text, cls=GroupedOption, group=row.group
        )
        function = option(function)
    for option in reversed((
        click.option("--base", default="", metavar="FILE", help="A third model, for analyses that can use one: what "
                     "an adapter belongs to, what both sides were made of."),
        click.option("--fail-on", multiple=True, metavar="FINDING[:SEVERITY]", help="Run this analysis, and exit 1 "
                     "when it finds something of this severity or above (info, notice, warning, critical; warning by "
                     "default; repeatable)."),
    )):  # fmt: skip
        function = option(function)
    return function


def _parameter(name: str) -> str:
    return f"analysis_{name}"


@frozen
class FailOn:
    """One ``--fail-on``: the name of an analysis, and the least severity that fails."""

    name: str
    severity: Severity

    def is_met(self, found: Finding) -> bool:
        """Whether a finding makes the command fail."""
        reached = SEVERITIES.index(found.severity) >= SEVERITIES.index(self.severity)
        return found.name == self.name and found.status == "found" and reached


@frozen
class Request:
    """What the command line says of analyses: the flags given and what is to fail on."""

    flags: frozenset[str]
    fail_on: tuple[FailOn, ...]

    @property
    def names(self) -> frozenset[str]:
        """Of the analyses that run because of it."""
        return self.flags | {each.name for each in self.fail_on}


def request_of(given: dict[str, Any]) -> Request:
    """What was asked for.

    Raises:
        UsageError: ``--fail-on`` names no analysis or no severity.
    """
    every = given["generate_report"]
    drawn = _DRAWN if given["include_charts"] else frozenset()
    flags = frozenset(row.name for row in ANALYSES
                      if given.get(_parameter(row.name)) or (every and row.help and not row.second_pass))  # fmt: skip
    return Request(flags | drawn, tuple(_fail_on(word) for word in given["fail_on"]))


def _fail_on(word: str) -> FailOn:
    name, colon, severity = word.partition(":")
    for known in SEVERITIES:
        if known == (severity if colon else "warning"):
            try:
                return FailOn(row_of(name).name, known)
            except UsageError as error:
                raise UsageError(f"--fail-on {word}: {error}") from error
    raise UsageError(f"--fail-on {word}: there is no severity {severity!r}; there are {', '.join(SEVERITIES)}")


@contextmanager
def asked_for(
    request: Request, settings: Settings, limits: Limits, *, base: str, automatic: bool
) -> Iterator[Asked | None]:
    """What is to be run while the checkpoints of a comparison are open; the third model is closed behind it.

    Raises:
        DiffaiError: the third model cannot be opened.
    """
    from diffai.analyses.options import analysis_options
    from diffai.cli.progress import ProgressBar

    if not (request.names or automatic):
        yield None
        return
    asked = Asked(
        request.names, automatic and settings.analyses_auto, analysis_options(settings), None, settings.threads,
        settings.cache_size, lambda name: ProgressBar(name.replace("_", " ")),
    )  # fmt: skip
    if not base:
        yield asked
        return
    from diffai.models.inputs import open_input

    side = open_input(base, limits)
    if side.checkpoint is None:
        from diffai.views.state import describe_state

        assert side.state is not None
        raise DiffaiError(f"--base {base}: {describe_state(side.state)}")
    try:
        yield replace(asked, base=side)
    finally:
        side.checkpoint.close()


def findings_of(diff: ModelDiff | DirectoryDiff) -> list[Finding]:
    """The findings of all models of a comparison."""
    diffs = [diff] if isinstance(diff, ModelDiff) else [file.diff for file in diff.files if file.diff is not None]
    return [found for each in diffs for found in each.findings]


def exit_code(code: int, request: Request, diff: ModelDiff | DirectoryDiff) -> int:
    """The exit code of a comparison with what ``--fail-on`` makes of it: 2 beats 1 beats 0.

    An analysis that could not be computed has not passed: 2.
    """
    return exit_code_of(code, request, findings_of(diff) if request.fail_on else [])


def exit_code_of(code: int, request: Request, found: Sequence[Finding]) -> int:
    """The same of findings."""
    if code == EXIT_TROUBLE or not request.fail_on:
        return code
    names = {each.name for each in request.fail_on}
    if any(each.name in names and each.status == "not computed" for each in found):
        return EXIT_TROUBLE
    failed = any(each.is_met(finding) for each in request.fail_on for finding in found)
    return EXIT_DIFFERENT if failed else max(code, EXIT_OK)
