"""``diffai install``: register with git."""

from __future__ import annotations

import click

SCOPE_HELP = {
    "local": "This repository only (the default).",
    "global": "All repositories of this user.",
    "system": "All repositories on this machine.",
}


@click.command("install")
@click.option("--local", "scope", flag_value="local", default="local", help=SCOPE_HELP["local"])
@click.option("--global", "scope", flag_value="global", help=SCOPE_HELP["global"])
@click.option("--system", "scope", flag_value="system", help=SCOPE_HELP["system"])
@click.option(
    "--commit-attributes", is_flag=True,
    help="Write the globs to .gitattributes of the work tree, for you to commit, instead of to .git/info/attributes.",
)  # fmt: skip
@click.option(
    "--include", multiple=True, metavar="GLOB",
    help="A further glob of model files, in addition to the default ones; repeatable, or several at once.",
)  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be written, and write nothing.")
@click.argument("more", nargs=-1, metavar="")
def command(scope: str, commit_attributes: bool, include: tuple[str, ...], dry_run: bool, more: tuple[str, ...]) -> int:
    """Make `git diff`, `git log -p` and `git show` understand model files.

    Writes the section `[diff "diffai"]` to git's configuration and a marked block of `GLOB diff=diffai` lines to
    git's attributes: those of the repository are private to this clone and win over a `diff=lfs` in
    .gitattributes; `filter=lfs` stays as it is. Running it again changes nothing, or brings older settings up to
    date. `diffai uninstall` restores every byte.

    \b
    Globs: *.safetensors *.pt *.pth *.ckpt *.safetensors.index.json
           pytorch_model*.bin adapter_model.bin

    \b
    Example:
      diffai install --include '*.weights' --include 'models/*.bin'
    """
    from diffai.errors import UsageError
    from diffai.git.install import install
    from diffai.git.report import install_lines
    from diffai.git.scopes import as_scope

    if more and not include:
        raise UsageError(f"unexpected {more[0]!r}; a glob of model files is given as: --include {more[0]!r}")
    globs = (*include, *more)
    report = install(as_scope(scope), commit_attributes=commit_attributes, include=globs, dry_run=dry_run)
    for line in install_lines(report, dry_run=dry_run):
        click.echo(line)
    return 0
