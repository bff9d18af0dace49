"""``diffai dvc``: what ``dvc diff`` shows plus tensors, the shell alias, and a comparison as a pipeline stage."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from diffai.errors import EXIT_OK, EXIT_TROUBLE, UsageError

_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class _Targets(click.Command):
    """Takes ``--targets a b c`` as dvc does: all words up to the next option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words: list[str] = []
        inside = False
        for word in args:
            if word == "--targets":
                inside = True
            elif inside and not word.startswith("-"):
                words += ["--targets", word]
            else:
                inside = False
                words.append(word)
        return super().parse_args(ctx, words)


@click.group("dvc", context_settings=_HELP)
@click.option("--cd", "folder", metavar="PATH", default="", help="Change to this folder first, as dvc --cd does.")
def command(folder: str) -> None:
    """Models kept in DVC: what dvc diff shows and what changed in their tensors, in pipelines too."""
    if folder:
        try:
            os.chdir(folder)
        except OSError as error:
            raise UsageError(f"--cd {folder}: {(error.strerror or str(error)).lower()}") from error


@command.command("diff", cls=_Targets, context_settings=_HELP)
@click.argument("a_rev", default="HEAD", metavar="[A_REV]")
@click.argument("b_rev", default="", metavar="[B_REV]")
@click.option("--targets", multiple=True, metavar="PATH...", help="Only these tracked files or folders.")
@click.option("--json", "as_json", is_flag=True, help="DVC's own JSON.")
@click.option("--md", "as_md", is_flag=True, help="DVC's own Markdown table, then a section for each model.")
@click.option("--show-hash", is_flag=True, help="Show hashes.")
@click.option("--hide-missing", is_flag=True, help="Leave out what is not in the cache.")
@click.option("--tensors", is_flag=True, help='With --json: add "diffai" (the change list) to each model.')
@click.option("--fetch-header", is_flag=True, help="Read headers of missing models from the DVC remote.")
@click.option("--no-color", is_flag=True, help="No colour, even on a terminal.")
@click.option("-v", "--verbose", is_flag=True, help="More figures on each line.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def diff(a_rev: str, b_rev: str, **given: Any) -> int:
    """What `dvc diff` prints, and under each model what changed in its tensors.

    A_REV is HEAD by default, B_REV the work tree (then dvc itself is asked, which hashes changed files). With two
    revisions dvc is not needed at all. A_REV - reads the output of `dvc diff --json --show-hash` from standard input.
    """
    from diffai.cli.options import people_kind, screen_for, settings_for, wants_color, write, write_lines
    from diffai.dvc import diff as dvc_diff
    from diffai.dvc.changes import read_json
    from diffai.dvc.revisions import changes_between
    from diffai.views.text import TextOptions

    settings = settings_for({}, None)
    if a_rev == "-":
        changes = read_json(sys.stdin.buffer.read().decode("utf-8", "surrogateescape"))
    else:
        changes = changes_between(a_rev, b_rev, given["targets"])
    if given["quiet"]:
        return EXIT_OK
    kind = "text" if given["as_md"] or given["as_json"] else people_kind(settings.format)
    options = _compare_options(settings, given, sizes=kind == "table")
    color = wants_color(settings, given["no_color"]) and not given["as_md"]
    text = TextOptions(
        color=color,
        screen=screen_for(kind, color=color),
        verbose=given["verbose"],
        fold_above=settings.fold_above,
        tensor_details=settings.tensor_details,
    )
    look = dvc_diff.Look(given["show_hash"], given["hide_missing"] or bool(b_rev), text)
    if given["as_json"]:
        write(dvc_diff.as_json(changes, options, look, tensors=given["tensors"]) + "\n")
        if not changes.hashed or changes.problems:
            for line in dvc_diff.notes(changes, False):
                click.echo(line, err=True)
        return EXIT_OK
    if given["as_md"]:
        write_lines(list(dvc_diff.as_markdown(changes, options, look)))
        return EXIT_OK
    for line in dvc_diff.render(changes, options, look):
        write(line + "\n")
    return EXIT_OK


def _compare_options(settings: Any, given: dict[str, Any], *, sizes: bool) -> Any:
    from diffai.cli.options import limits_for
    from diffai.comparison.result import CompareOptions
    from diffai.comparison.tracked import TrackedOptions
    from diffai.stores.dvc.items import HERE

    mode = "header" if given["fetch_header"] and settings.remote == "never" else settings.remote
    reach = HERE
    if mode != "never":
        from diffai.stores.dvc.remote import reach_of

        reach = reach_of(mode, settings.max_spool)
    compare = CompareOptions(
        epsilon=settings.epsilon,
        rtol=settings.rtol,
        ignore_globs=settings.ignore,
        ignore_origin=settings.origin("ignore"),
        shape_only=settings.shape_only,
        update_size=sizes,
        statistics="all" if given["verbose"] or given["tensors"] else "few",
        few_limit=max(settings.fold_above, 1),
        threads=settings.threads,
        max_bytes=settings.max_bytes,
    )
    return TrackedOptions(compare, limits_for(settings), reach)


@command.command("alias", context_settings=_HELP)
@click.argument("shell", default="", metavar="[bash|zsh|fish]")
def alias(shell: str) -> int:
    """Print a shell function that lets `dvc diff` itself show tensors.

    \b
    bash, zsh:  eval "$(diffai dvc alias)"                (in ~/.bashrc or ~/.zshrc; undo: unset -f dvc)
    fish:       diffai dvc alias fish | source            (undo: functions --erase dvc)

    Only interactive `dvc diff` changes; with --json, --md, -q or --help, and for every other command, the real dvc
    runs with its arguments untouched.
    """
    from diffai.cli.options import write
    from diffai.dvc.alias import alias_script
    from diffai.git.command import find_program

    write(alias_script(shell, find_program()))
    return EXIT_OK


@command.command("stage", context_settings=_HELP)
@click.argument("baseline")
@click.argument("model")
@click.option("--out", "folder", default="diffai", metavar="DIR", show_default=True, help="Where the files go.")
@click.option("--add", is_flag=True, help="Write this comparison as a stage into dvc.yaml instead of running it.")
@click.option("--name", default="modeldiff", metavar="NAME", show_default=True, help="With --add: name of the stage.")
@click.option("--file", "path", default="dvc.yaml", metavar="FILE", show_default=True, help="With --add: the file.")
@click.option("--epsilon", type=click.FloatRange(min=0), metavar="FLOAT", help="Distance that is equal.")
@click.option("--rtol", type=click.FloatRange(min=0), metavar="FLOAT", help="... plus this times |old|.")
def stage(baseline: str, model: str, folder: str, **given: Any) -> int:
    """Compare MODEL with BASELINE and write metrics.json, tensors.json, report.md and report.json for DVC.

    BASELINE is a file that DVC tracks as a dependency, such as an import of an earlier version; never a revision,
    because DVC would not notice when that moves.

    \b
    dvc import --rev v1 . model.safetensors -o baseline.safetensors
    diffai dvc stage --add baseline.safetensors model.safetensors
    dvc repro && dvc metrics diff && dvc plots diff
    """
    from diffai.dvc import stage as files

    if given["add"]:
        from diffai.dvc.pipeline import add_stage

        for word in (baseline, model):
            if not os.path.exists(word) and ":" in word:
                raise UsageError(
                    f"{word}: a stage depends on files, since DVC does not notice when a revision moves; "
                    f"import that version first: dvc import --rev REV . {model} -o baseline{os.path.splitext(model)[1]}"
                )
        tolerances = [word for name in ("epsilon", "rtol") if given[name] is not None
                      for word in (f"--{name}", repr(given[name]))]  # fmt: skip
        definition = files.stage_definition(given["name"], baseline, model, folder, tolerances)
        changed = add_stage(given["path"], definition)
        click.echo(
            f"{given['path']}: stage {given['name']} {'added' if changed else 'is there already'}; run: dvc repro"
            f" {given['name']}"
        )
        if not os.path.exists(baseline):
            click.echo(
                f"{baseline} is not here yet; import the version to compare with: "
                f"dvc import --rev REV . {model} -o {baseline}"
            )
        return EXIT_OK
    from diffai.cli.options import limits_for, settings_for
    from diffai.comparison.models import Input, compare_models
    from diffai.comparison.result import CompareOptions
    from diffai.models.inputs import open_input
    from diffai.views.state import describe_state
    from diffai.views.text import render_text

    settings = settings_for({"epsilon": given["epsilon"], "rtol": given["rtol"]}, None)
    sides: list[Input] = []
    try:
        for word in (baseline, model):
            side = open_input(word, limits_for(settings))
            sides.append(side)
            if side.state is not None:
                click.echo(f"diffai: {word}: {describe_state(side.state)}", err=True)
                return EXIT_TROUBLE
        options = CompareOptions(
            epsilon=settings.epsilon, rtol=settings.rtol, ignore_globs=settings.ignore,
            ignore_origin=settings.origin("ignore"), threads=settings.threads, update_size=True,
        )  # fmt: skip
        result = compare_models(sides[0], sides[1], options)
    finally:
        for side in sides:
            if side.checkpoint is not None:
                side.checkpoint.close()
    for line in render_text(result):
        click.echo(line)
    for path in files.write_stage(result, folder):
        click.echo(path)
    return EXIT_OK
