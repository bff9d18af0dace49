"""Option groups that several commands share, and how they become settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from diffai.config import Settings, load_settings, read_git_config
from diffai.config.keys import FORMAT_ALIASES
from diffai.errors import UsageError
from diffai.formats.base import Limits, limits_of

if TYPE_CHECKING:
    from diffai.views.screen import Screen

F = TypeVar("F", bound=Callable[..., Any])

MACHINE_FORMATS = ("json", "yaml")
DOCUMENTS = ("markdown", "html")


def output_options(function: F) -> F:
    """``--output`` and ``--format`` (one of them), ``--no-color``, ``--config``, ``-v``."""
    for option in reversed(
        (
            click.option(
                "--output", metavar="json|yaml", help="Write the change list: one record a change, [] = equal."
            ),
            click.option(
                "-f", "--format", "format_", metavar="text|table|json|yaml|...",
                help="Write text, or the whole report as one object; also markdown and html of a comparison.",
            ),
            click.option("--no-color", is_flag=True, help="No colour, even on a terminal."),
            click.option("--config", "config_file", metavar="FILE", help="Read this file instead of .diffai.toml."),
            click.option("-v", "--verbose", is_flag=True, help="More figures on each line; details of what is equal."),
        )
    ):
        function = option(function)
    return function


def value_options(function: F) -> F:
    """Tolerances and reading."""
    for option in reversed(
        (
            click.option(
                "--epsilon",
                type=click.FloatRange(min=0),
                metavar="FLOAT",
                help="Elements within this distance are equal.",
            ),
            click.option("--rtol", type=click.FloatRange(min=0), metavar="FLOAT", help="... plus this times |old|."),
            click.option(
                "--threads", type=click.IntRange(min=0), metavar="N", help="Worker threads (0 = as many as help)."
            ),
            click.option(
                "--input-format",
                metavar="FORMAT",
                default="",
                help="Read as this format, whatever the content looks like.",
            ),
        )
    ):
        function = option(function)
    return function


def resolve_output(
    output: str | None, format_: str | None, input_format: str, settings_format: str, *, documents: bool = False
) -> tuple[str, str, str]:
    """(kind, encoding, input format): kind is ``text``, ``table``, ``changes`` or ``report``, encoding json or yaml.

    Where nobody says otherwise it is a table on a terminal, and text in pipes and files.

    With ``documents`` the command can write these too, and each is a kind of its own.

    Raises:
        UsageError: a word is unknown, or both options were given.

    """
    from diffai.formats.registry import input_formats

    known = ("text", "table", *(DOCUMENTS if documents else ()), *MACHINE_FORMATS)
    if output and format_:
        raise UsageError(
            "--format and --output exclude each other: --output writes the change list, --format the report"
        )
    if output:
        if output not in MACHINE_FORMATS:
            raise UsageError(f"--output {output}: expected json or yaml (for text leave it out)")
        return "changes", output, input_format
    if format_ is None:  # what a file says is for every command, also for one that cannot write it
        word = settings_format if settings_format in known else people_kind(settings_format)
    else:
        word = FORMAT_ALIASES.get(format_, format_)
    if word in MACHINE_FORMATS:
        return "report", word, input_format
    if word in known:
        return word, "", input_format
    aliases = {"pytorch": "torch"}
    if aliases.get(word, word) in input_formats():  # older recipes: --format names the input
        return "text", "", aliases.get(word, word)
    from diffai.comparison.documents.table import kind_called

    if documents and kind_called(word) is not None:
        return "text", "", word
    import difflib

    near = difflib.get_close_matches(word, [*known, *input_formats()], 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    if word in DOCUMENTS:
        raise UsageError(f"--format {word}: is not written by this command (known: {', '.join(known)})")
    raise UsageError(
        f"--format {word}: not known{hint} (known: {', '.join(known)}; input formats: {', '.join(input_formats())})"
    )


def people_kind(settings_format: str) -> str:
    """``table`` on a terminal and ``text`` elsewhere, unless settings name one of both."""
    if settings_format in ("text", "table"):
        return settings_format
    return "table" if settings_format == "auto" and sys.stdout.isatty() else "text"


def settings_for(options: dict[str, object], config_file: str | None) -> Settings:
    """Settings of the current folder under the given options (None = not given)."""
    cwd = os.getcwd()
    git_config, root = read_git_config(cwd)
    settings = load_settings(cwd, root=root, git_config=git_config, options=options, file=config_file)
    if settings.analyses:
        from diffai.analyses.options import analysis_options

        analysis_options(settings)  # a wrong name or key is an error whatever is run
    return settings


def limits_for(settings: Settings) -> Limits:
    """Reading limits by hand: torch may be the fallback."""
    return limits_of(settings, allow_torch=True)


def wants_color(settings: Settings, no_color: bool) -> bool:
    """Colour on a terminal, unless NO_COLOR, --no-color, TERM=dumb or the settings say otherwise."""
    if no_color or settings.color == "never":
        return False
    if settings.color == "always":
        return True
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty()


def screen_for(kind: str, *, color: bool) -> Screen | None:
    """The screen that a table is shown on; None for any other kind of output."""
    if kind != "table":
        return None
    from diffai.views.screen import screen_of

    return screen_of(os.environ, color=color)


def write(text: str) -> None:
    """Text to stdout as UTF-8, whatever the locale; a closed pipe is the caller's BrokenPipeError."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def write_lines(lines: list[str]) -> None:
    """Lines to stdout."""
    write("".join(f"{line}\n" for line in lines))
