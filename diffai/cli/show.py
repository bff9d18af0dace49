"""``diffai show``: one checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from diffai.cli.options import (
    limits_for,
    output_options,
    resolve_output,
    screen_for,
    settings_for,
    wants_color,
    write,
    write_lines,
)
from diffai.errors import EXIT_OK, DiffaiError

if TYPE_CHECKING:
    from diffai.comparison.summary import ModelSummary
    from diffai.views.screen import Screen


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("--shape-only", is_flag=True, help="Read headers only: names, dtypes and shapes.")
@click.option("--staged", "--cached", is_flag=True, help="As it is staged to be committed.")
@click.option("--tensors", is_flag=True, help="List every tensor (on a terminal a large model is shown by modules).")
@click.option("--digests", is_flag=True, help="Add each tensor's xxh3-128.")
@click.option("--filter", "filter_", default="", metavar="REGEX", help="Only tensors whose name matches.")
@click.option("--threads", type=click.IntRange(min=0), metavar="N", help="Worker threads (0 = as many as help).")
@click.option(
    "--input-format", metavar="FORMAT", default="", help="Read as this format, whatever the content looks like."
)
@output_options
@click.pass_context
def command(ctx: click.Context, /, files: tuple[str, ...], **given: Any) -> int:
    """Show one model: format, tensors, dtypes, shapes, statistics, metadata, training state.

    FILE is a file, a directory of shards, a shard index, or REV:path. With -- revisions stand before it and paths
    behind it: diffai show v1.0 -- model.pt.

    \b
    Examples:
      diffai show model.safetensors
      diffai show HEAD~1:model.pt --shape-only
      diffai show model.pt --format json | jq '.tensors[] | select(.nan_count > 0)'
    """
    from diffai.cli.words import model_words
    from diffai.comparison.summary import NotOpenedError, show_model
    from diffai.errors import UsageError
    from diffai.models.behind import models_behind
    from diffai.views.show import show_report
    from diffai.views.state import describe_state
    from diffai.views.style import escape

    words = model_words(ctx, files, staged=given["staged"])
    if not words:
        raise UsageError("no file given: diffai show FILE")
    settings = settings_for(
        {"threads": given["threads"], "shape_only": given["shape_only"] or None}, given["config_file"]
    )
    kind, encoding, input_format = resolve_output(
        given["output"], given["format_"], given["input_format"], settings.format
    )
    code, lines = EXIT_OK, []
    color = wants_color(settings, given["no_color"])
    screen = screen_for(kind, color=color)
    for position, word in enumerate(behind for given_word in words for behind in models_behind(given_word)):
        try:
            model = show_model(
                word, limits_for(settings), input_format=input_format, pattern=given["filter_"],
                statistics=not settings.shape_only, digests=given["digests"], threads=settings.threads,
            )  # fmt: skip
        except NotOpenedError as error:
            click.echo(f"diffai: {escape(error.label)}: {describe_state(error.state)}", err=True)
            code = error.exit_code
            continue
        except DiffaiError as error:
            click.echo(f"diffai: {escape(str(error), longest=2000)}", err=True)
            code = error.exit_code
            continue
        if kind in ("text", "table"):
            lines += [""] if position else []
            lines += _lines(model, screen, given, color=color)
            if screen is None:
                write_lines(lines)
                lines = []
        else:
            from diffai.views.values import dump

            write(dump(show_report(model), encoding))
    from diffai.cli.pager import paged

    with paged():
        write_lines(lines)
    return code


def _lines(model: ModelSummary, screen: Screen | None, given: dict[str, Any], *, color: bool) -> list[str]:
    """For people: by modules on a screen, every tensor in pipes and files."""
    from diffai.views.show import show_view
    from diffai.views.terminal import present, present_plain

    listed = screen is None or given["tensors"] or given["digests"] or bool(given["filter_"])
    view = show_view(model, tensors=listed, verbose=given["verbose"])
    return present(view, screen) if screen is not None else present_plain(view, color=color)
