"""``diffai uninstall``: take out of git's files what install wrote."""

from __future__ import annotations

import click

from diffai.cli.install import SCOPE_HELP


@click.command("uninstall")
@click.option("--local", "scope", flag_value="local", default="local", help=SCOPE_HELP["local"])
@click.option("--global", "scope", flag_value="global", help=SCOPE_HELP["global"])
@click.option("--system", "scope", flag_value="system", help=SCOPE_HELP["system"])
@click.option(
    "--commit-attributes", is_flag=True,
    help="Also remove a block in .gitattributes that came with a commit of somebody else.",
)  # fmt: skip
@click.option(
    "--hook", "hooks", multiple=True, type=click.Choice(["pre-commit", "pre-push"]),
    help="Remove only this hook of the gate; repeatable.",
)  # fmt: skip
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be changed, and change nothing.")
def command(scope: str, commit_attributes: bool, hooks: tuple[str, ...], dry_run: bool) -> int:
    """Undo `diffai install`: restore git's configuration, attributes and hooks byte for byte.

    Only the section and the marked block that install wrote are removed; whatever else was written to these
    files, before or after, stays.
    """
    from diffai.git.hook_report import uninstalled_lines
    from diffai.git.hook_scripts import HOOKS
    from diffai.git.hooks import as_hook_scope, uninstall_hooks
    from diffai.git.install import uninstall
    from diffai.git.report import uninstall_lines
    from diffai.git.scopes import as_scope

    changes = []
    if scope != "system":
        chosen = [hook for hook in HOOKS if hook in hooks or not hooks]
        changes = list(uninstall_hooks(chosen, scope=as_hook_scope(scope), dry_run=dry_run))
    if hooks:
        for line in uninstalled_lines(changes, hooks=True, dry_run=dry_run):
            click.echo(line)
        return 0
    report = uninstall(as_scope(scope), commit_attributes=commit_attributes, dry_run=dry_run)
    if report.changed or report.notes or not changes:
        for line in uninstall_lines(report, dry_run=dry_run):
            click.echo(line)
    for line in uninstalled_lines(changes, hooks=False, dry_run=dry_run):
        click.echo(line)
    return 0
