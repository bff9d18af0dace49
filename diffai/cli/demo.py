"""``diffai demo``: a repository to try everything on."""

from __future__ import annotations

import os
import sys
from typing import Any

import click


@click.command("demo", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folders", metavar="[DIR]", nargs=-1)
@click.pass_obj
def command(words: Any, folders: tuple[str, ...]) -> int:
    r"""Make a small git repository with a real training history, and show git diff on it.

    A classifier of digits is trained with numpy in a few seconds: epochs, a fine-tune with frozen layers, an added
    layer, a cast to BF16, a rename, each a commit. DIR (default ./diffai-demo) must be empty or not exist; delete it
    when you are done. Your git configuration is neither used for it nor changed.

    \b
    Example:
      diffai demo /tmp/demo
    """
    from diffai.cli.main import Words
    from diffai.demo.repository import create
    from diffai.demo.tour import next_steps, run
    from diffai.errors import UsageError
    from diffai.git.command import find_program

    folders += words.after if isinstance(words, Words) else ()
    if len(folders) > 1:
        raise UsageError("one folder at most: diffai demo [DIR]")
    directory = folders[0] if folders else os.path.join(os.curdir, "diffai-demo")

    def say(line: str) -> None:
        click.echo(line)
        sys.stdout.flush()  # before a program that writes to the same place

    say(f"Training a classifier of digits and committing each step to {directory}")
    program = find_program()
    create(directory, program, lambda line: say("  " + line))
    run(directory, program, say)
    next_steps(directory, say)
    return 0
