"""``diffai OLD NEW``: the comparison by hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from diffai.analyses.run import with_analyses
from diffai.cli.analyses import (
    GroupedCommand,
    Request,
    analysis_flags,
    asked_for,
    exit_code,
    exit_code_of,
    findings_of,
    format_of,
    request_of,
)
from diffai.cli.documents import PICTURES, DocumentOptions, document, from_template, kind_of_file, write_report
from diffai.cli.options import (
    DOCUMENTS,
    limits_for,
    output_options,
    resolve_output,
    screen_for,
    settings_for,
    value_options,
    wants_color,
    write,
    write_lines,
)
from diffai.comparison.result import CompareOptions, DirectoryDiff, ModelDiff
from diffai.comparison.selection import require_selection
from diffai.config import Settings
from diffai.errors import EXIT_DIFFERENT, EXIT_OK, EXIT_TROUBLE, UsageError
from diffai.frozen import replace
from diffai.model import State
from diffai.sources.directory import UnresolvedError

_EPILOG = """\b
Examples:
  diffai old.safetensors new.safetensors
  diffai model.pt model.safetensors            any two formats compare by tensor name
  diffai HEAD~1:model.safetensors model.safetensors
  diffai HEAD~3 HEAD -- model.safetensors      two revisions; one revision = against the work tree
  diffai --staged                              what would be committed; also: diffai --staged -- PATH
  diffai v1.0..HEAD                            every model that differs between two revisions
  diffai runs/a runs/b --include '*.safetensors'
  diffai old.yaml new.yaml                     documents: JSON, YAML, TOML, INI, XML, CSV, logs
  diffai a.pt b.pt --format markdown > changes.md
  diffai a.pt b.pt --format html > change.html   one page: tree, map, table
  diffai a.pt b.pt --output json | jq '.[] | select(.TensorShapeChanged)'

\b
Exit codes: 0 done; 1 different (with --exit-code or -q), or a finding of --fail-on; 2 a side is unreadable,
missing or not pulled, or an analysis of --fail-on could not be computed.
Symbols: ~ changed, + added, - removed, > renamed, ! problem, = unchanged."""


@click.command(
    cls=GroupedCommand,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.argument("words", nargs=-1, metavar="OLD NEW")
@click.option("--stat", is_flag=True, help="One line a model: kind, structure, parameters, update size, look at.")
@click.option("--stats", is_flag=True, help="Tensor lines only.")
@click.option("--show-structure", is_flag=True, help="The summary and structure; with -q, answers for structure alone.")
@click.option("--tensor-details", is_flag=True, help="One line a tensor, unchanged ones too; never folded.")
@click.option("--diff-only", is_flag=True, help="No tensors that did not change.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; exit 1 when different.")
@click.option("--exit-code", is_flag=True, help="Exit 1 when different.")
@click.option("--staged", "--cached", is_flag=True, help="Compare HEAD (or REV) with what is staged to be committed.")
@click.option("-r", "--recursive", is_flag=True, help="Accepted; directories are always compared recursively.")
@click.option("--include", multiple=True, metavar="GLOB", help="Directories: only files that match (repeatable).")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Directories: not files that match (repeatable).")
@click.option("--filter", "filter_", default="", metavar="REGEX", help="Only tensors whose name matches.")
@click.option("--path", default="", metavar="PREFIX", help="Only tensors below this dotted prefix.")
@click.option("--ignore-keys-regex", multiple=True, metavar="REGEX", help="Leave out tensors and keys that match.")
@click.option("--array-id-key", default="", metavar="KEY",
              help="Documents: list elements and table rows belong together by their value of KEY.")
@click.option("--map", "name_map", metavar="FILE", help="Names that belong together: lines OLD -> NEW.")
@click.option("--sort-by-change-magnitude", is_flag=True, help="Largest relative L2 first.")
@click.option("--shape-only", is_flag=True, help="Read headers only; values are not compared (and it says so).")
@click.option("--fetch", is_flag=True, help="Download what is missing first, by git lfs, git annex, dvc or git.")
@click.option("--stream", is_flag=True, help="Accepted; values are always streamed in blocks.")
@value_options
@output_options
@analysis_flags
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **given: Any) -> int:
    """Compare two models, or two directories of models, tensor by tensor.

    OLD and NEW are files, directories, a shard index, or REV:path. With -- they are revisions and paths follow.
    """
    from diffai.cli.main import Words

    split = ctx.obj if isinstance(ctx.obj, Words) else Words()
    settings = settings_for(_options(given), given["config_file"])
    kind, encoding, input_format = resolve_output(
        given["output"], format_of(given), given["input_format"], settings.format, documents=True
    )
    if given["template"]:
        kind = "template"
    file_kind = _report_file(kind, given)
    sizes = bool(file_kind or given["stat"]) or kind not in ("text", "changes")
    machine = bool(file_kind) or kind not in ("text", "table")
    compare_options = _compare_options(settings, given, machine=machine, sizes=sizes)
    if given["show_structure"] and given["quiet"]:  # of structure alone
        compare_options = replace(compare_options, shape_only=True, statistics="none")
    request = request_of(given)
    documents = _documents(words, split, given, input_format)
    if documents is not None:
        from diffai.cli.document_diff import compare_two, show

        compared, found = compare_two(documents, compare_options, settings, given, input_format)
        return exit_code_of(show(compared, found, kind, encoding, settings, given), request, found)
    if given["base"] and not request.names:
        if _meant_instead(words):  # a mistyped command that has this option
            raise click.NoSuchOption("--base", ctx=ctx)
        raise UsageError("--base: names a third model for an analysis, and none was asked for")

    def compare(options: CompareOptions) -> ModelDiff | DirectoryDiff:
        return _compare(words, split, settings, options, given, input_format)

    if given["fetch"]:
        from diffai.stores.fetching import fetch_missing

        headers = replace(compare_options, shape_only=True, statistics="none")
        fetch_missing(lambda: _states(compare, headers))
    with asked_for(request, settings, limits_for(settings), base=given["base"], automatic=machine) as asked:
        diff = compare(with_analyses(compare_options, asked) if asked is not None else compare_options)
    require_selection(diff)
    if file_kind:
        write_report(diff, given["report_file"], file_kind, _document_options(given))
    if not given["quiet"]:
        _write(diff, kind, encoding, settings, given)
        return exit_code(_exit_code(diff, asked=given["exit_code"]), request, diff)
    return _quietly(diff, request, given)


def _quietly(diff: ModelDiff | DirectoryDiff, request: Request, given: dict[str, Any]) -> int:
    """The exit code, and nothing printed but what committed settings and caps did."""
    if diff.hidden:  # said even then: what a clone hides is never silent
        from diffai.views.state import hidden_text

        click.echo(hidden_text(diff.hidden), err=True)
    notes = [f"! {found.name}: {note}" for found in findings_of(diff) if found.asked for note in found.notes]
    for note in dict.fromkeys(notes):
        click.echo(note, err=True)
    if given["show_structure"]:
        return exit_code(_exit_code_of_structure(diff), request, diff)
    return exit_code(_exit_code(diff, asked=given["exit_code"] or not request.fail_on), request, diff)


def _documents(words: tuple[str, ...], split: Any, given: dict[str, Any], input_format: str) -> Any:
    """The two documents that the words name, opened; None where they name models or anything else."""
    from diffai.models.names import is_model_name

    revisions, paths = _revisions_and_paths(words, split, staged=given["staged"])
    by_revision = bool(split.split or given["staged"] or revisions)
    named = paths if by_revision else words
    if not named or (any(map(is_model_name, named)) and not input_format):
        return None
    from diffai.cli.document_diff import open_documents

    return open_documents(
        revisions if by_revision else words, paths, revisions=by_revision, staged=given["staged"],
        input_format=input_format,
    )  # fmt: skip


def _report_file(kind: str, given: dict[str, Any]) -> str:
    """The kind of the file that is to be written beside the output; "" for none.

    Raises:
        UsageError: its name has no such suffix, or there is no page for the charts.
    """
    file_kind = kind_of_file(given["report_file"]) if given["report_file"] else ""
    if given["include_charts"] and {kind, file_kind}.isdisjoint(("html", *PICTURES)):
        raise UsageError("--include-charts: charts stand in the page: --format html, or --report-file FILE.html")
    return file_kind


def _document_options(given: dict[str, Any]) -> DocumentOptions:
    return DocumentOptions(given["verbose"], given["include_charts"])


def _options(given: dict[str, Any]) -> dict[str, object]:
    """What the command line says of settings; None and False mean that it says nothing."""
    names = ("epsilon", "rtol", "threads", "include", "exclude")
    flags = ("show_structure", "tensor_details", "shape_only")
    return {name: given[name] for name in names} | {name: given[name] or None for name in flags}


def _compare_options(settings: Settings, given: dict[str, Any], *, machine: bool, sizes: bool) -> CompareOptions:
    details = machine or given["verbose"] or settings.tensor_details or given["stats"]
    return CompareOptions(
        epsilon=settings.epsilon,
        rtol=settings.rtol,
        shape_only=settings.shape_only,
        filter=given["filter_"],
        path=given["path"],
        ignore=given["ignore_keys_regex"],
        ignore_globs=settings.ignore,
        ignore_origin=settings.origin("ignore"),
        committed=settings.committed_tolerances,
        statistics="none" if given["quiet"] and not machine else "all" if details else "few",
        few_limit=max(settings.fold_above, 1),
        update_size=given["verbose"] or sizes,
        threads=settings.threads,
        max_bytes=settings.max_bytes,
        cache_size=settings.cache_size,
        name_map=_name_map(given["name_map"]),
        by_magnitude=given["sort_by_change_magnitude"],
    )


def _name_map(path: str | None) -> tuple[tuple[str, str], ...]:
    if path is None:
        return ()
    from diffai.comparison.name_map import read_name_map

    return read_name_map(path)


def _states(
    compare: Callable[[CompareOptions], ModelDiff | DirectoryDiff], options: CompareOptions
) -> list[State | None]:
    """The states of what a comparison looks at."""
    try:
        diff = compare(options)
    except UnresolvedError as error:  # the list of files of a whole directory
        return [error.state]
    diffs = [diff] if isinstance(diff, ModelDiff) else [file.diff for file in diff.files if file.diff is not None]
    return [side.state for each in diffs for side in (each.old, each.new)]


def _compare(
    words: tuple[str, ...], split: Any, settings: Settings, options: CompareOptions, given: dict[str, Any],
    input_format: str,
) -> ModelDiff | DirectoryDiff:
    from diffai.cli.progress import ProgressBar
    from diffai.comparison.request import compare_revisions, compare_words

    staged, documents = given["staged"], None
    if settings.include or split.after:  # what is chosen and no format reads may be a document
        from diffai.cli.document_diff import document_options

        documents = document_options(options, settings, given)
    with ProgressBar("comparing") as progress:
        revisions, paths = _revisions_and_paths(words, split, staged=staged)
        if split.split or staged or revisions:
            return compare_revisions(
                revisions, paths, options, limits_for(settings), progress,
                include=settings.include, exclude=settings.exclude, staged=staged, documents=documents,
            )  # fmt: skip
        sentence = _meant_instead(words)
        if sentence:
            raise UsageError(sentence)
        if len(words) != 2:
            raise UsageError(_wrong_count(words))
        return compare_words(
            *words, options, limits_for(settings), progress,
            include=settings.include, exclude=settings.exclude, input_format=input_format, documents=documents,
        )  # fmt: skip


def _meant_instead(words: tuple[str, ...]) -> str:
    """What to type in place of words that name nothing; looked for only then."""
    if all(os.path.lexists(word) or ":" in word for word in words):
        return ""
    from diffai.cli.main import COMMANDS
    from diffai.cli.misread import meant_instead

    return meant_instead(words, COMMANDS)


def _revisions_and_paths(
    words: tuple[str, ...], split: Any, *, staged: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stands before and behind ``--``; without it, files of ``--staged``, or one word ``A..B``."""
    if split.split:
        return words, split.after
    if staged:
        return (), words
    a_range = len(words) == 1 and ".." in words[0] and not os.path.lexists(words[0])
    return (words, ()) if a_range and not words[0].startswith(("../", "./", "/")) else ((), ())


def _wrong_count(words: tuple[str, ...]) -> str:
    if len(words) == 1:
        return (
            f"only one model given ({words[0]}): diffai OLD NEW compares two, diffai show {words[0]} shows one, "
            f"diffai HEAD -- {words[0]} compares it with its committed version"
        )
    return f"{len(words)} words given, expected two: diffai OLD NEW (revisions stand before --, paths after it)"


def _write(
    diff: ModelDiff | DirectoryDiff, kind: str, encoding: str, settings: Settings, given: dict[str, Any]
) -> None:
    if kind == "changes":
        from diffai.views.records import change_list, uncompared_note
        from diffai.views.values import dump

        note = uncompared_note(diff)
        if note:
            click.echo(f"diffai: {note}", err=True)
        flags = request_of(given).flags
        write(dump(change_list(diff, findings=flags), encoding))
        return
    if kind == "report":
        from diffai.views.report import report
        from diffai.views.values import dump

        automatic = settings.analyses_auto
        write(dump(report(diff, automatic=automatic), encoding))
        return
    if kind == "template":
        write(from_template(diff, given["template"]))
        return
    if kind in DOCUMENTS:
        write(document(diff, kind, _document_options(given)))
        return
    color = wants_color(settings, given["no_color"])
    lines = _stat(diff, kind, color=color) if given["stat"] else _people(diff, kind, settings, given, color=color)
    from diffai.cli.pager import paged

    with paged():
        write_lines(lines)


def _stat(diff: ModelDiff | DirectoryDiff, kind: str, *, color: bool) -> list[str]:
    """One line a model that differs, and of directories the counts."""
    from diffai.views.blocks import View, said
    from diffai.views.directories import summary_view
    from diffai.views.findings import finding_lines
    from diffai.views.overview import differing, stat_line, stat_table
    from diffai.views.terminal import present, present_plain

    counts: View = ()
    if isinstance(diff, ModelDiff):
        rows = [(diff.new.label or diff.old.label or "model", diff)]
    else:
        rows, counts = differing(diff.files), summary_view(diff)
    several = not isinstance(diff, ModelDiff)
    found = tuple(said(f"{sign} {f'{name}: ' if several else ''}{text.removeprefix(sign).lstrip()}", sign)
                  for name, each in rows for sign, text in finding_lines(each))  # fmt: skip
    screen = screen_for(kind, color=color)
    if screen is None:
        return present_plain((*(said(stat_line(*row)) for row in rows), *found, *counts), color=color)
    return present((*([stat_table(rows)] if rows else []), *found, *counts), screen)


def _people(
    diff: ModelDiff | DirectoryDiff, kind: str, settings: Settings, given: dict[str, Any], *, color: bool
) -> list[str]:
    from diffai.views.directories import render_directory
    from diffai.views.text import TextOptions, render_text

    options = TextOptions(
        color=color,
        verbose=given["verbose"],
        diff_only=given["diff_only"],
        show_structure=settings.show_structure,
        stats=given["stats"],
        tensor_details=settings.tensor_details,
        fold_above=settings.fold_above,
        max_lines=settings.max_tensor_display,
        threshold=settings.threshold if settings.filter_small_changes else 0.0,
        screen=screen_for(kind, color=color),
    )
    return render_text(diff, options) if isinstance(diff, ModelDiff) else render_directory(diff, options)


def _exit_code(diff: ModelDiff | DirectoryDiff, *, asked: bool) -> int:
    """2 beats 1 beats 0: a side that could not be read, or, when asked, values that a limit kept from being read."""
    models = [diff] if isinstance(diff, ModelDiff) else [file.diff for file in diff.files if file.unread]
    broken = isinstance(diff, DirectoryDiff) and any(one.status == "unreadable" for one in diff.documents)
    if diff.unread and (asked or broken or any(model is None or not model.comparable for model in models)):
        return EXIT_TROUBLE
    return EXIT_DIFFERENT if asked and diff.differs else EXIT_OK


def _exit_code_of_structure(diff: ModelDiff | DirectoryDiff) -> int:
    """What ``--quiet --show-structure`` asks: whether another architecture stands there, not other values."""
    from diffai.analyses.structure import structure_differs

    differs = structure_differs(diff)
    return EXIT_TROUBLE if differs is None else EXIT_DIFFERENT if differs else EXIT_OK
