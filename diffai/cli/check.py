"""``diffai check``: validate files without comparing."""

from __future__ import annotations

from typing import Any

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
from diffai.errors import EXIT_DIFFERENT, EXIT_OK, EXIT_TROUBLE, DiffaiError, UsageError


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("--structure-only", is_flag=True, help="Do not read values: no NaN/Inf counts.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit code says it.")
@click.option("--staged", "--cached", is_flag=True, help="As they are staged to be committed.")
@click.option(
    "--bisect", is_flag=True, help="For git bisect run: 0 good, 1 bad, 125 cannot be judged (missing, no model)."
)
@click.option("--bad", default="", metavar="CHECK", help="What is bad: nonfinite, structure, update>X, changed:GLOB, "
              "FINDING[:SEVERITY].")  # fmt: skip
@click.option("--against", default="HEAD", metavar="REV", help="With --bad: the good version to compare with.")
@click.option("--allow-global", "allow_globals", multiple=True, metavar="NAME",
              help="A class that a pickle may import and construct, such as mypkg.model.Net. Repeatable.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=0), metavar="N", help="Worker threads (0 = as many as help).")
@click.option(
    "--input-format", metavar="FORMAT", default="", help="Read as this format, whatever the content looks like."
)
@output_options
@click.pass_context
def command(ctx: click.Context, /, files: tuple[str, ...], **given: Any) -> int:
    """Validate models without comparing: structure with numbered reasons and byte offsets, unsafe pickle globals
    (never run), NaN and Inf counts. Also: diffai --check FILE.

    \b
    Exit codes: 0 all sound; 1 a model is malformed, unsafe or holds NaN/Inf; 2 missing, not pulled, or no model.

    
    Examples:
      diffai check v1.0 -- model.pt
      git bisect run diffai check --bisect model.safetensors
      git bisect run diffai check --bisect --bad 'update>0.5' --against v1.0 model.safetensors
    """
    from diffai.cli.words import model_words
    from diffai.comparison.checking import CheckResult, check_file
    from diffai.models.behind import models_behind
    from diffai.views.check import check_report, check_text

    if given["bisect"] or given["bad"]:
        from diffai.cli.bisect import check_for_bisect

        return check_for_bisect(model_words(ctx, files, staged=given["staged"]), given)
    words = model_words(ctx, files, staged=given["staged"])
    if not words:
        raise UsageError("no file given: diffai check FILE...")
    settings = settings_for({"threads": given["threads"]}, given["config_file"])
    kind, encoding, input_format = resolve_output(
        given["output"], given["format_"], given["input_format"], settings.format
    )
    results: list[CheckResult] = []
    code = EXIT_OK
    for word in (behind for given_word in words for behind in models_behind(given_word)):
        try:
            result = check_file(
                word, limits_for(settings), input_format=input_format,
                values=not given["structure_only"], threads=settings.threads,
                allow_globals=frozenset(given["allow_globals"]),
            )  # fmt: skip
        except DiffaiError as error:
            click.echo(f"diffai: {error}", err=True)
            code = EXIT_TROUBLE
            continue
        results.append(result)
        if result.state is not None:
            code = EXIT_TROUBLE
        elif result.errors and code == EXIT_OK:
            code = EXIT_DIFFERENT
        if kind in ("text", "table") and not given["quiet"]:
            color = wants_color(settings, given["no_color"])
            write_lines(
                check_text(result, color=color, verbose=given["verbose"], screen=screen_for(kind, color=color))
            )
    if kind not in ("text", "table") and not given["quiet"]:
        from diffai.views.values import dump

        write(dump(check_report(results), encoding))
    return code
