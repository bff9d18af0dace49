"""How words become a command: splitting at ``--``, the default command, one handler for every error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from diffai.errors import EXIT_INTERRUPTED, EXIT_TROUBLE, DiffaiError
from diffai.frozen import frozen
from diffai.startup import raise_on_interrupt

# Every command is diffai.cli.<module>:command, imported when it is called.
COMMANDS: dict[str, tuple[str, str]] = {
    "diff": ("diff", "Compare two models (the default command: diffai OLD NEW)."),
    "show": ("show", "Show one model: tensors, dtypes, shapes, statistics."),
    "check": ("check", "Validate without comparing: structure, unsafe pickles, NaN/Inf."),
    "log": ("log", "Say what each commit did to a model."),
    "blame": ("blame", "Say which commit each tensor comes from."),
    "gate": ("gate", "Refuse model changes that the policy forbids; for pre-commit, pre-push and CI."),
    "ci": ("ci", "Judge and describe every model that changed between two revisions, for CI."),
    "cache": ("cache", "Show or clear what is remembered of this repository's models."),
    "dvc": ("dvc", "Models kept in DVC: dvc diff with tensors, the shell alias, pipeline stages."),
    "install": ("install", "Register diffai in git, so that git diff and git log -p show tensors."),
    "uninstall": ("uninstall", "Undo install, byte for byte."),
    "doctor": ("doctor", "Explain which diff driver wins for each model file, and what to do."),
    "demo": ("demo", "Make a throw-away repository with a real training history to try everything on."),
    "completion": ("completion", "Print the shell completion script for bash, zsh or fish."),
}


@frozen
class Words:
    """What stood behind the first ``--``; ``split`` tells whether there was one."""

    after: tuple[str, ...] = ()
    split: bool = False


class _Program(click.Group):
    """A group whose commands are imported when called, and whose default command is ``diff``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"diffai.cli.{COMMANDS[cmd_name][0]}").command
        raise_on_interrupt()
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--check" in args and args[:1] != ["check"] and not any(word in COMMANDS for word in args[:1]):
            args = ["check", *(word for word in args if word != "--check")]
        elif args[:1] == ["help"]:
            args = [*args[1:2], "--help"]
        elif not args or (args[0] not in COMMANDS and args[0] not in ("--help", "-h", "--version")):
            args = ["diff", *args] if args or _words(ctx).split else ["--help"]
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing every command for its first help line."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage("diffai", "OLD NEW [OPTIONS]")
        formatter.write_usage("diffai", "REV [REV] [OPTIONS] -- PATH...")
        formatter.write_usage("diffai", "COMMAND [OPTIONS] [ARGS]")


def _words(ctx: click.Context) -> Words:
    return ctx.obj if isinstance(ctx.obj, Words) else Words()


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from diffai.version import __version__

        click.echo(f"diffai {__version__}")
        ctx.exit()


@click.command(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Options of the comparison: diffai diff --help.  Try it: diffai demo.  "
    "Set up git: diffai install, then git diff.",
)
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Print the version."
)
def program() -> None:
    """Compare machine-learning model files tensor by tensor, by hand and inside git.

    OLD and NEW are files, directories, or REV:path in a git repository (HEAD~1:model.safetensors); with -- they are
    revisions, and paths follow: diffai HEAD~3 HEAD -- model.safetensors.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Every expected error is one line on stderr."""
    args = list(sys.argv[1:] if argv is None else argv)
    words = Words()
    if "--" in args:
        position = args.index("--")
        words = Words(tuple(args[position + 1 :]), split=True)
        args = args[:position]
    try:
        result: Any = program.main(args=args, prog_name="diffai", standalone_mode=False, obj=words)
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()
        return code
    except DiffaiError as error:
        return _fail(_sentence(error), error.exit_code)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.NoSuchOption as error:
        from diffai.cli.misread import nearest_option

        return _fail(nearest_option(error, args, COMMANDS), EXIT_TROUBLE)
    except click.ClickException as error:
        error.show()
        return EXIT_TROUBLE
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        _silence_stdout()
        return 0
    except OSError as error:  # standard output on a full disk, a temporary folder that is gone
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{(error.strerror or str(error)).lower()}", EXIT_TROUBLE)
    except MemoryError:
        return _fail("out of memory", EXIT_TROUBLE)
    except ImportError as error:  # a library of ours that is not whole, or for which there is no memory
        return _fail("interrupted", EXIT_INTERRUPTED) if _interrupted(error) else _not_loaded(error)
    except Exception as error:  # the one place where an unexpected error ends: versions and traceback for an issue
        return _fail("interrupted", EXIT_INTERRUPTED) if _interrupted(error) else _unexpected()


def _sentence(error: DiffaiError) -> str:
    """What an error says; of a model that is there but could not be opened, why."""
    from diffai.comparison.summary import NotOpenedError

    if not isinstance(error, NotOpenedError):
        return str(error)
    from diffai.views.state import describe_state

    return f"{error.label}: {describe_state(error.state)}"


def _fail(message: str, code: int) -> int:
    from diffai.views.style import escape

    try:
        sys.stdout.flush()
        print(f"diffai: {escape(message, longest=2000)}", file=sys.stderr)
    except OSError:
        _silence_stdout()
    return code


def _interrupted(error: BaseException | None) -> bool:
    """Whether ^C is behind an error: what comes while a class is made, Python itself turns into a RuntimeError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _not_loaded(error: ImportError) -> int:
    """What could not be loaded and why: the first of the chain knows, the later ones explain at length."""
    first: BaseException = error
    while (before := first.__cause__ or first.__context__) is not None:
        first = before
    reason = (str(first).strip() or type(first).__name__).splitlines()[0]
    return _fail(f"cannot load {error.name or 'a library'}: {reason}", EXIT_TROUBLE)


def _unexpected() -> int:
    import platform
    import traceback

    from diffai.version import __version__

    traceback.print_exc()
    print(
        f"diffai {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        "diffai: this is a bug; please report it with the lines above.",
        file=sys.stderr,
    )
    return EXIT_TROUBLE


def _silence_stdout() -> None:
    """The reader went away: nothing more can be written, not even by the interpreter at exit."""
    import os

    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
