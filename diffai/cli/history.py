"""What ``diffai log`` and ``diffai blame`` share: words and options as one request, and how answers are written."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from diffai.cache.places import open_store
from diffai.cache.store import Store
from diffai.cli.options import (
    limits_for,
    people_kind,
    screen_for,
    settings_for,
    wants_color,
    write,
    write_lines,
)
from diffai.cli.pager import paged
from diffai.cli.progress import CountBar
from diffai.config import Settings
from diffai.errors import DiffaiError, SourceError, UsageError
from diffai.frozen import frozen
from diffai.history.entries import Level, LogOptions, ModelLog
from diffai.history.log import log_model
from diffai.history.model_path import ModelPath, all_models, model_path
from diffai.history.walk import Range
from diffai.repository.runner import Repository

if TYPE_CHECKING:
    from diffai.views.screen import Screen

_MOST_NAMED = 3  # models in a hint


@frozen
class Request:
    """What was asked, with everything found out that is needed to answer."""

    repository: Repository
    models: tuple[ModelPath, ...]
    options: LogOptions
    store: Store
    color: bool
    settings: Settings


def history_request(ctx: click.Context, words: tuple[str, ...], given: dict[str, Any]) -> Request:
    """Options and words of ``diffai log`` as a request.

    Raises:
        UsageError: the words make no sense together.
        SourceError: no repository, no such revision.
    """
    revisions, paths = split_words(ctx, words, wanted=not given["all_models"])
    settings = settings_for({"threads": given["threads"]}, given["config_file"])
    level: Level = given["level"] or ("header" if given["only_structure"] else "values")
    chosen = Range(
        revisions, given["every_ref"], given["first_parent"], given["since"], given["until"], given["author"]
    )
    options = LogOptions(
        chosen, level, given["tensor"], given["compare_to"], given["only_structure"], given["follow"],
        given["detail"], given["limit"] or 0, settings.threads, limits_for(settings),
    )  # fmt: skip
    repository = Repository()
    if given["all_models"]:
        models = tuple(all_models(repository, chosen))
        if not models:
            raise UsageError("no model file in this revision")
    else:
        models = tuple(model_path(repository, path, chosen) for path in paths)
    if given["fetch"]:
        from diffai.history.fetch import fetch_models

        fetch_models(repository, models, options)
    limit = 0 if given["no_cache"] else settings.cache_size
    return Request(
        repository, models, options, open_store(repository.place(), limit),
        wants_color(settings, given["no_color"]), settings,
    )  # fmt: skip


def split_words(ctx: click.Context, words: tuple[str, ...], *, wanted: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Revisions and paths: what stands before and behind ``--``; without it existing files are paths.

    Raises:
        UsageError: there is no path although one is wanted.
    """
    from diffai.cli.main import Words

    split = ctx.obj if isinstance(ctx.obj, Words) else Words()
    revisions, paths = words, split.after
    if not split.split:
        import os

        place = next((at for at, word in enumerate(words) if os.path.lexists(word)), len(words))
        revisions, paths = words[:place], words[place:]
    if wanted and not paths:
        what = f"no such file: {words[-1]} (paths stand behind --)" if words else "no path given"
        raise UsageError(f"{what}; the model is named behind --: diffai {ctx.info_name} -- {_some_models() or 'PATH'}")
    return revisions, paths


def _some_models() -> str:
    """The models of HEAD, for a hint; "" where there are none or many."""
    import shlex

    try:
        models = all_models(Repository(), Range())
    except DiffaiError:
        return ""
    return " or ".join(shlex.quote(model.path) for model in models) if len(models) <= _MOST_NAMED else ""


def print_logs(request: Request, format_: str | None, plot: str, *, stat: bool, verbose: bool) -> None:
    """The histories of all models asked for, in one format."""
    logs: list[ModelLog] = []
    many = len(request.models) > 1
    kind = format_ or people_kind(request.settings.format)
    width = shutil.get_terminal_size().columns  # before a pager takes the terminal over
    screen = screen_for(kind, color=request.color)
    with ExitStack() as pager:
        for model in request.models:
            try:
                with CountBar(f"reading {model.path}") as progress:
                    log = log_model(request.repository, model, request.options, request.store, progress)
            except DiffaiError as error:
                if not many:
                    raise
                click.echo(f"diffai: {error}", err=True)
                continue
            if not logs:
                pager.enter_context(paged())  # when there is something to show, so that it never covers the progress
            logs.append(log)
            if kind in ("text", "table"):
                from diffai.views.style import escape, paint

                heading = [paint(escape(log.path), "#", request.color), ""] if many else []
                lines = _for_people(log, request, screen, width, stat=stat, verbose=verbose)
                write_lines([*([""] if len(logs) > 1 else []), *heading, *lines])
        if kind not in ("text", "table"):
            write(_written(logs, kind))
    if plot:
        from diffai.history.plot import plot_log

        plot_log(logs[0], plot)


def _for_people(
    log: ModelLog, request: Request, screen: Screen | None, width: int, *, stat: bool, verbose: bool
) -> list[str]:
    """A row a commit on a screen, and where asked for; entries where more is to be said of each."""
    from diffai.views.terminal import present, present_plain
    from diffai.views.text import TextOptions

    detail = request.options.detail
    if stat or (screen is not None and not detail and not verbose):
        from diffai.history.log_table import log_view

        view = log_view(log)
    else:
        from diffai.history.log_text import entries_view

        view = entries_view(log, TextOptions(request.color, verbose, screen=screen), detail=detail)
    lines = present(view, screen) if screen is not None else present_plain(view, color=request.color, width=width)
    while lines and not lines[-1]:  # below the last commit, where there is nothing to draw
        lines.pop()
    return lines


def _written(logs: list[ModelLog], format_: str) -> str:
    from diffai.history import log_records

    if format_ == "json":
        return log_records.as_json(logs)
    if format_ == "csv":
        return log_records.as_csv(logs)
    if format_ == "markdown":
        return _markdown(logs)
    from diffai.history.log_page import log_page

    return log_page(logs)


def _markdown(logs: list[ModelLog]) -> str:
    """One table a model."""
    from diffai.history.log_table import log_view
    from diffai.views.markdown import code, present_markdown

    lines = [line for log in logs for line in (f"### {code(log.path)}", "", *present_markdown(log_view(log)))]
    return "".join(f"{line}\n" for line in lines)


def print_first_bad(request: Request, check: str, format_: str | None) -> int:
    """Where a check holds for the first time."""
    from diffai.history.first_bad import find_first_bad, first_bad_json, first_bad_view, parse_check
    from diffai.views.text import TextOptions, presented

    kind = format_ or people_kind(request.settings.format)
    options = TextOptions(request.color, screen=screen_for(kind, color=request.color))
    wanted = parse_check(check)
    for model in request.models:
        with CountBar(f"reading {model.path}") as progress:
            found = find_first_bad(request.repository, model, request.options, request.store, wanted, progress)
        if format_ == "json":
            write(first_bad_json(found))
        else:
            write_lines(presented(first_bad_view(found, options), options))
    return 0


def print_blame(rev: str, paths: tuple[str, ...], given: dict[str, Any]) -> None:
    """Where the tensors of one model come from; ``paths`` are the model and globs of tensor names.

    Raises:
        SourceError: no repository, no such revision, or it does not have the model.
    """
    from diffai.comparison.summary import NotOpenedError
    from diffai.history.blame import blame_model
    from diffai.history.blame_text import blame_report, blame_view
    from diffai.views.terminal import present, present_plain

    settings = settings_for({"threads": given["threads"]}, given["config_file"])
    repository = Repository()
    chosen = Range((rev,) if rev else ())
    model = model_path(repository, paths[0], chosen)
    if given["fetch"]:
        from diffai.history.fetch import fetch_models

        fetch_models(repository, (model,), LogOptions(chosen, follow=True, limits=limits_for(settings)))
    store = open_store(repository.place(), 0 if given["no_cache"] else settings.cache_size)
    color = wants_color(settings, given["no_color"])
    kind = given["format_"] or people_kind(settings.format)
    screen = screen_for(kind, color=color)
    with CountBar(f"blaming {model.path}") as progress:
        try:
            blame = blame_model(
                repository, model, rev, store, globs=paths[1:], limits=limits_for(settings),
                first_parent=given["first_parent"], threads=settings.threads, progress=progress,
            )  # fmt: skip
        except NotOpenedError as error:
            from diffai.views.state import describe_state

            raise SourceError(f"{error.label}: {describe_state(error.state)}") from error
    with paged():
        if kind == "json":
            from diffai.views.values import dump

            write(dump(blame_report([blame]), "json"))
        else:
            view = blame_view(blame, depth=given["depth"] or 0)
            write_lines(present(view, screen) if screen is not None else present_plain(view, color=color))
