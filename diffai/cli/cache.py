"""``diffai cache``: what is remembered of this repository's models."""

from __future__ import annotations

import click

from diffai.errors import EXIT_OK, DiffaiError


@click.command("cache")
@click.argument("action", type=click.Choice(["info", "clear"]))
def command(action: str) -> int:
    """Show where the summary cache of this repository is and how large, or clear it.

    The cache lies in the git directory, is shared by all work trees, and holds figures of models by their content:
    deleting it loses nothing but time. `git config diffai.cacheSize 512m` sets its limit (default 256m); 0 turns it
    off.
    """
    from diffai.cache.places import open_store
    from diffai.cli.options import settings_for
    from diffai.repository.place import find_repository
    from diffai.views.style import escape, plural, size

    place = find_repository()
    if place is None:
        raise DiffaiError("not in a git repository, so there is no cache")
    limit = settings_for({}, None).cache_size
    store = open_store(place, limit)
    if action == "clear":
        try:
            removed = store.clear()
        except OSError as error:
            raise DiffaiError(f"{store.folder}: {(error.strerror or str(error)).lower()}") from error
        click.echo(
            f"{removed:,} {'entry' if removed == 1 else 'entries'} removed" if removed else "the cache was empty"
        )
        return EXIT_OK
    usage = store.usage()
    entries = usage.sides + usage.pairs
    click.echo(f"{escape(store.folder, longest=0)}")
    click.echo(f"  {entries:,} {'entry' if entries == 1 else 'entries'}: {plural(usage.sides, 'version')}, "
               f"{plural(usage.pairs, 'comparison')}")  # fmt: skip
    click.echo(f"  {size(usage.bytes)} of at most {size(limit)}" if limit else
               f"  {size(usage.bytes)}; switched off (git config diffai.cacheSize 0)")  # fmt: skip
    return EXIT_OK
