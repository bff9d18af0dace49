"""``diffai blame``: which commit each tensor comes from."""

from __future__ import annotations

from typing import Any

import click

from diffai.errors import EXIT_OK, UsageError

_EPILOG = """\b
Examples:
  diffai blame -- model.safetensors
  diffai blame v1.0 -- model.safetensors 'encoder.*'      some tensors, as of v1.0
  diffai blame --depth 3 -- model.safetensors             modules: model.layers.12, ...
  diffai blame --format json -- model.pt | jq '.tensors[] | select(.values.author == "Ada")'"""


@click.command(
    "blame", epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.argument("words", nargs=-1, metavar="[REV] -- PATH [GLOB]...")
@click.option("--depth", type=click.IntRange(min=1), default=None, metavar="N",
              help="One line a module of N name parts, and commit.")  # fmt: skip
@click.option("--first-parent", is_flag=True, help="See merges from their first parent only.")
@click.option("--format", "format_", type=click.Choice(["text", "table", "json"]),
              help="How to write it; on a terminal a table, else text.")  # fmt: skip
@click.option("--fetch", is_flag=True, help="Download what is missing first, by git lfs, git annex, dvc or git.")
@click.option("--threads", type=click.IntRange(min=0), metavar="N", help="Worker threads (0 = as many as help).")
@click.option("--no-color", is_flag=True, help="No colour, even on a terminal.")
@click.option("--no-cache", is_flag=True, help="Compute everything again, remember nothing.")
@click.option("--config", "config_file", metavar="FILE", help="Read this file instead of .diffai.toml.")
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **given: Any) -> int:
    """Say which commit each tensor comes from.

    A line names the commit that last changed the tensor's values; in brackets, where they are older, the commit that
    last changed its shape or dtype and the one that introduced it. Renamed tensors and renamed files are followed by
    content. Without REV the work tree is looked at, and what is not committed says whether it is staged.
    """
    from diffai.cli.history import print_blame, split_words

    revisions, paths = split_words(ctx, words, wanted=True)
    if len(revisions) > 1 or (revisions and ".." in revisions[0]):
        raise UsageError(f"blame takes one revision, not {' '.join(revisions)}: diffai blame [REV] -- PATH [GLOB]...")
    print_blame(revisions[0] if revisions else "", paths, given)
    return EXIT_OK
