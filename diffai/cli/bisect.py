"""``diffai check --bisect``: the exit codes that ``git bisect run`` understands."""

from __future__ import annotations

from typing import Any

import click

from diffai.cli.options import limits_for, settings_for
from diffai.errors import EXIT_DIFFERENT, EXIT_OK, DiffaiError, UsageError

GOOD, BAD, SKIP, ABORT = EXIT_OK, EXIT_DIFFERENT, 125, 128
"""git-bisect(1): 125 = this commit cannot be judged; above 127 = end the bisection."""


def check_for_bisect(words: list[str], given: dict[str, Any]) -> int:
    """Judge models: bad when one is malformed, unsafe, or what ``--bad`` says; skipped when one cannot be judged.

    A mistake in the command itself ends the bisection, instead of making every commit bad.
    """
    try:
        return _judge(words, given)
    except UsageError as error:
        click.echo(f"diffai: {error}", err=True)
        return ABORT
    except DiffaiError as error:
        _say(given, f"cannot be judged: {error}")
        return SKIP
    except Exception as error:  # a defect of ours must not become a bad commit of somebody's
        click.echo(f"diffai: unexpected {type(error).__name__}: {error}; this commit is skipped", err=True)
        return SKIP


def _judge(words: list[str], given: dict[str, Any]) -> int:
    from diffai.comparison.checking import check_file
    from diffai.history.first_bad import Against, parse_check
    from diffai.repository.runner import Repository

    if not words:
        raise UsageError("no file given: diffai check --bisect FILE...")
    settings = settings_for({"threads": given["threads"]}, given["config_file"])
    limits = limits_for(settings)
    check = parse_check(given["bad"]) if given["bad"] else None
    against = None
    if check is not None:
        against = Against(check, Repository(), given["against"], limits, settings.threads)
        against.verify()
    worst = GOOD
    for word in words:
        if against is not None:
            bad, why = against.judge(word)
        else:
            result = check_file(word, limits, values=not given["structure_only"], threads=settings.threads)
            if result.state is not None:
                from diffai.views.state import describe_state

                _say(given, f"{word} cannot be judged: {describe_state(result.state)}")
                return SKIP
            bad = result.errors > 0
            why = next((p.message for p in result.problems if p.severity == "error"), "sound")
        _say(given, f"{word} is {'bad' if bad else 'good'}: {why}")
        worst = max(worst, BAD if bad else GOOD)
    return worst


def _say(given: dict[str, Any], text: str) -> None:
    if not given["quiet"]:
        from diffai.views.style import escape

        click.echo(f"diffai: {escape(text, longest=1000)}")
