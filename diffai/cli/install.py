"""``diffai install``: register with git."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import click

from diffai.git.attributes import DEFAULT_GLOBS

SCOPE_HELP = {
    "local": "This repository only (the default).",
    "global": "All repositories of this user.",
    "system": "All repositories on this machine.",
}


def _with_globs(function: Callable[..., int]) -> Callable[..., int]:
    """Put the default globs into the help text."""
    lines = textwrap.wrap(" ".join(DEFAULT_GLOBS), 70, break_on_hyphens=False)
    function.__doc__ = (function.__doc__ or "").replace("{globs}", "\n           ".join(lines))
    return function


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
@click.option(
    "--hook", "hooks", multiple=True, type=click.Choice(["pre-commit", "pre-push"]),
    help="Install the gate as this hook of git, and nothing else; repeatable.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="With --hook: block when diffai is gone, in place of only saying so.")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be written, and write nothing.")
@click.argument("more", nargs=-1, metavar="")
@_with_globs
def command(
    scope: str,
    commit_attributes: bool,
    include: tuple[str, ...],
    hooks: tuple[str, ...],
    strict: bool,
    dry_run: bool,
    more: tuple[str, ...],
) -> int:
    """Make `git diff`, `git log -p` and `git show` understand model files.

    Writes the section `[diff "diffai"]` to git's configuration and a marked block of `GLOB diff=diffai` lines to
    git's attributes: those of the repository are private to this clone and win over a `diff=lfs` in
    .gitattributes; `filter=lfs` stays as it is. Running it again changes nothing, or brings older settings up to
    date. `diffai uninstall` restores every byte.

    \b
    Globs: {globs}

    \b
    Example:
      diffai install --include '*.weights' --include 'models/*.bin'
      diffai install --hook pre-commit
    """
    from diffai.errors import UsageError
    from diffai.git.install import install
    from diffai.git.report import install_lines
    from diffai.git.scopes import as_scope

    if more and not include:
        raise UsageError(f"unexpected {more[0]!r}; a glob of model files is given as: --include {more[0]!r}")
    if strict and not hooks:
        raise UsageError("--strict goes with --hook")
    if hooks:
        if commit_attributes or include:
            raise UsageError("--hook installs the gate alone: give --commit-attributes and --include without it")
        return _install_hooks(scope, hooks, strict=strict, dry_run=dry_run)
    globs = (*include, *more)
    report = install(as_scope(scope), commit_attributes=commit_attributes, include=globs, dry_run=dry_run)
    for line in install_lines(report, dry_run=dry_run):
        click.echo(line)
    return 0


def _install_hooks(scope: str, hooks: tuple[str, ...], *, strict: bool, dry_run: bool) -> int:
    from diffai.git.hook_report import installed_lines
    from diffai.git.hook_scripts import HOOKS
    from diffai.git.hooks import as_hook_scope, install_hook

    where = as_hook_scope(scope)
    changes = [install_hook(hook, strict=strict, scope=where, dry_run=dry_run) for hook in HOOKS if hook in hooks]
    for line in installed_lines(changes, dry_run=dry_run):
        click.echo(line)
    return 0
