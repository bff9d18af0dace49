"""``diffai log``: the history of a model."""

from __future__ import annotations

from typing import Any

import click

from diffai.errors import EXIT_OK, UsageError

_EPILOG = """\b
Examples:
  diffai log -- model.safetensors
  diffai log v1.0..HEAD -- model.safetensors          commits of a range
  diffai log -n 5 -p -- model.safetensors             every tensor, as in diffai OLD NEW
  diffai log --tensor '*.attn.*' -- model.safetensors commits that changed such a tensor
  diffai log --compare-to first -- model.safetensors  each version against the first one
  diffai log --first-bad nonfinite -- model.pt        the first commit with a NaN or an infinity
  diffai log --format csv -- model.safetensors > history.csv

\b
Figures, over all parameters that two versions have in the same shape; n/c where these are less than half:
  update size  L2(new - old) / L2(old), without buffers and training state
  cosine       of old and new weights as vectors
  drift        L2(new - first) / L2(first), first = the oldest version in the range
  against the update before   cosine of this update and the last: near 1 it goes on, near -1 it turns back"""


@click.command(
    "log", epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.argument("words", nargs=-1, metavar="[REV | A..B]... -- PATH")
@click.option("-p", "--detail", is_flag=True, help="Below each commit, all that changed, as diffai OLD NEW shows it.")
@click.option("-n", "--max-count", "limit", type=click.IntRange(min=1), metavar="N", help="At most N commits.")
@click.option("--tensor", default="", metavar="GLOB", help="Only tensors that match, and commits that changed one.")
@click.option("--compare-to", default="previous", metavar="previous|first|REV", help="What to compare with.")
@click.option("--level", type=click.Choice(["header", "digest", "values"]), help="How far to look: names and shapes; "
              "which tensors differ; by how much (the default).")  # fmt: skip
@click.option("--only-structure", is_flag=True, help="Only changes of names, shapes, dtypes (reads headers).")
@click.option("--first-parent", is_flag=True, help="Follow only the first parent of merges.")
@click.option("--follow", is_flag=True, help="Go on at the earlier path where the model was renamed, "
              "also when it was trained in the same commit.")  # fmt: skip
@click.option("--all", "every_ref", is_flag=True, help="All branches and tags.")
@click.option("--all-models", is_flag=True, help="Every model of the repository, one after the other.")
@click.option("--since", "--after", default="", metavar="DATE", help="Commits after a date, as git understands dates.")
@click.option("--until", "--before", default="", metavar="DATE", help="Commits before a date.")
@click.option("--author", default="", metavar="PATTERN", help="Commits whose author matches.")
@click.option("--format", "format_", type=click.Choice(["text", "table", "json", "csv", "markdown", "html"]),
              help="How to write it; on a terminal a table, else text.")  # fmt: skip
@click.option("--stat", is_flag=True, help="One line a commit, in pipes and files too.")
@click.option("--plot", default="", metavar="FILE.png|svg|html", help="Draw updates, drift and norms into a file.")
@click.option("--first-bad", default="", metavar="CHECK", help="The first commit at which CHECK holds: nonfinite, "
              "structure, drift>X, update>X, changed:GLOB, FINDING[:SEVERITY].")  # fmt: skip
@click.option("--fetch", is_flag=True, help="Download what is missing first, by git lfs, git annex, dvc or git.")
@click.option("--threads", type=click.IntRange(min=0), metavar="N", help="Worker threads (0 = as many as help).")
@click.option("--no-color", is_flag=True, help="No colour, even on a terminal.")
@click.option("--no-cache", is_flag=True, help="Compute everything again, remember nothing.")
@click.option("--config", "config_file", metavar="FILE", help="Read this file instead of .diffai.toml.")
@click.option("-v", "--verbose", is_flag=True, help="An entry a commit, with format, dtypes, parameters and size.")
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], **given: Any) -> int:
    """Say what each commit did to a model, newest first: a row a commit on a terminal, else an entry a commit.

    PATH is a file (in git, git-LFS, git-annex or DVC), a shard index, or a folder of shards; it need not exist any
    more. A version whose object is not here is an entry that says so; nothing is downloaded without --fetch.
    """
    from diffai.cli.history import history_request

    request = history_request(ctx, words, given)
    if given["first_bad"]:
        from diffai.cli.history import print_first_bad

        if given["format_"] not in (None, "text", "table", "json") or given["plot"]:
            raise UsageError("--first-bad answers with one commit: as --format text or json, without --plot")
        return print_first_bad(request, given["first_bad"], given["format_"])
    if given["plot"]:
        from diffai.history.plot import check_plot

        check_plot(given["plot"], request.options.level)
        if len(request.models) != 1:
            raise UsageError("--plot draws one model; name one PATH")
    from diffai.cli.history import print_logs

    print_logs(request, given["format_"], given["plot"], stat=given["stat"], verbose=given["verbose"])
    return EXIT_OK
