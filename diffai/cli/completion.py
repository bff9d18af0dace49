"""``diffai completion``: the script that makes the shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the completion script of SHELL.

    \b
    bash:  diffai completion bash > ~/.local/share/bash-completion/completions/diffai
    zsh:   diffai completion zsh > ~/.zfunc/_diffai       (a folder of $fpath)
    fish:  diffai completion fish > ~/.config/fish/completions/diffai.fish
    """
    from diffai.cli.main import program

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(program, {}, "diffai", "_DIFFAI_COMPLETE").source())
    return 0
