"""``diffai doctor``: explain which diff driver wins for each model file."""

from __future__ import annotations

import os
import sys

import click


@click.command("doctor")
@click.option("-v", "--verbose", is_flag=True, help="List every model file, not only a few of each kind.")
def command(verbose: bool) -> int:
    """Explain what git does with each model file of the repository, and what to do about it.

    Shows whether and where diffai is registered, whether the configured program starts, which attributes line
    decides for each tracked model file, and which git-LFS objects are missing. Changes and downloads nothing.

    Exit codes: 0 nothing to do, 1 something has to be done, 2 git is missing or cannot read the repository.
    """
    from diffai.cli.options import screen_for
    from diffai.git.doctor import diagnose
    from diffai.git.doctor_text import doctor_lines

    diagnosis = diagnose()
    on_terminal = sys.stdout.isatty()
    color = on_terminal and not os.environ.get("NO_COLOR")
    screen = screen_for("table" if on_terminal else "text", color=color)
    for line in doctor_lines(diagnosis, verbose=verbose, color=color, screen=screen):
        click.echo(line)
    return diagnosis.exit_code
