"""The two commands that git is configured to run, each a shell function that keeps git alive.

Any non-zero exit of a diff driver or a converter ends the whole ``git diff`` or ``git log -p``. So the
configured value is no bare program: when the program is gone or crashes, the function says so in one line,
prints what is known without it, and returns 0. While diffai works it costs nothing but shell builtins.

The text is POSIX sh on one line. git runs it as ``sh -c '<value> "$@"' '<value>' ARGUMENTS``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from functools import lru_cache

from diffai.errors import UsageError

DRIVER_FUNCTION = "diffai_driver"
TEXTCONV_FUNCTION = "diffai_textconv"

ISOLATED = "-E -P"
"""Options of Python: no variables, and no folder of the script before its own. (-I would lose user installations.)"""

_ENTRY = b"from diffai.__main__ import main"
"""What pip's console script says, after it has loaded regular expressions to look at its own name."""

PYTHON = "from diffai.__main__ import main; main()"
"""What a console script does, without the rest of it: half as much again as bare Python's start. Modules of the clone's
folder stay out, because of -P.
"""

_EXEC = "'" * 3 + "exec'"
_START_LIMIT = 30.0  # seconds

# Statuses 130 and 141 are ^C and SIGPIPE (the user quit the pager): nobody is left to read a reason.
# 126 and 127 are the shell's own: no permission, no such program, or an interpreter (a venv) that is gone.
_RUN = (
    'if [ -x "$p" ]; then %(start)s %(verb)s "$@"; s=$?; else s=127; fi; '
    "case $s in 0|130|141) return 0 ;; esac; trap '' PIPE; "
    'case $s in 126|127) w="diffai is missing ($p): install it again and run: diffai install;'
    ' or forget it: %(forget)s" ;; '
    "*) printf '\\n' 2>/dev/null; w=\"diffai failed (exit $s): $p\" ;; esac; "
)

# What git itself prints for a binary file, plus sizes. Control characters in a path must not reach a terminal.
_DRIVER_FALLBACK = (
    "{ q() { printf %s \"${1#/}\" | LC_ALL=C tr '\\001-\\037\\177' '?'; }; "
    'z() { if [ -f "$1" ]; then echo "$(($(wc -c <"$1"))) bytes"; else echo nothing; fi; }; '
    "case $# in 7|9) "
    'a="a/$(q "$1")"; b="b/$(q "${8:-$1}")"; o=$3; n=$6; m=; '
    'printf \'diff --git %s %s\\n\' "$a" "$b"; '
    'case "$2 $5" in '
    '"/dev/null /dev/null") a=$2; b=$5 ;; '
    "/dev/null\\ *) a=$2; printf 'new file mode %s\\n' \"$7\" ;; "
    "*\\ /dev/null) b=$5; printf 'deleted file mode %s\\n' \"$4\" ;; "
    '*) if [ "$4" = "$7" ]; then m=" $7"; else printf \'old mode %s\\nnew mode %s\\n\' "$4" "$7"; fi ;; '
    "esac; "
    '[ "$o" = . ] && o=0000000; [ "$n" = . ] && n=0000000; '
    "if [ $# = 9 ]; then printf '%s\\n' \"${9%?}\"; "
    'else printf \'index %.7s..%.7s%s\\n\' "$o" "$n" "$m"; fi; '
    'printf \'Binary files %s and %s differ (%s, %s)\\n\' "$a" "$b" "$(z "$2")" "$(z "$5")" ;; '
    '*) printf \'* Unmerged path %s\\n\' "$(q "$1")" ;; esac; '
    "printf '%s\\n' \"$w\"; } 2>/dev/null; return 0; "
)

# The hash makes the two sides differ exactly when their bytes do; equal text would hide the file.
_TEXTCONV_FALLBACK = (
    "{ printf '%s\\n' \"$w\"; "
    'if h=$(git hash-object --no-filters -- "$1"); then echo "git blob $h"; '
    'else echo "cksum $(cksum <"$1")"; fi; } 2>/dev/null; return 0; '
)


def driver_command(program: str, *, interpreter: str = "", scope_flag: str = "") -> str:
    """The value of ``diff.diffai.command``.

    Args:
        program: absolute path of the ``diffai`` console script; any character but NUL and newline.
        interpreter: absolute path of the Python whose diffai it is, which is started itself, shut off from
            ``PYTHONPATH`` and the like, which may lead into a clone; "" = the script is run as it is.
        scope_flag: ``--global `` or the like, named in the advice on how to unregister without diffai.

    """
    return _function(DRIVER_FUNCTION, (program, interpreter), "git-driver", scope_flag, _DRIVER_FALLBACK)


def textconv_command(program: str, *, interpreter: str = "", scope_flag: str = "") -> str:
    """The value of ``diff.diffai.textconv``; arguments as :func:`driver_command`."""
    return _function(TEXTCONV_FUNCTION, (program, interpreter), "textconv", scope_flag, _TEXTCONV_FALLBACK)


def _function(name: str, program: tuple[str, str], verb: str, scope_flag: str, fallback: str) -> str:
    forget = f"git config {scope_flag} --remove-section diff.diffai".replace("  ", " ")
    script, interpreter = program
    start = f"{quote(interpreter)} {ISOLATED} -c {quote(PYTHON)}" if interpreter else '"$p"'
    run = _RUN % {"start": start, "verb": verb, "forget": forget}
    return f"{name}() {{ p={quote(script)}; {run}{fallback}}}; {name}"


def find_interpreter(program: str) -> str:
    """The Python of pip's console script, if diffai works when it is started without ``PYTHONPATH`` and the like.

    "" where the script is none of Python's or does more, or is found only by way of such a variable.
    """
    try:
        with open(program, "rb") as file:
            head = file.read(4096)
    except OSError:
        return ""
    if _ENTRY not in head:
        return ""
    first, second = (os.fsdecode(line).strip() for line in head.split(b"\n", 2)[:2])
    interpreter = first.removeprefix("#!").strip() if first.startswith("#!") else ""
    if interpreter == "/bin/sh" and second.startswith(_EXEC):  # a path that is too long, or has blanks
        try:
            interpreter = shlex.split(second.removeprefix(_EXEC))[0]
        except (ValueError, IndexError):
            return ""
    named = os.path.isabs(interpreter) and os.path.basename(interpreter).startswith("python")
    if not named or any(ord(character) < 32 or character == "\x7f" for character in interpreter):
        return ""
    return interpreter if _starts(interpreter, os.stat(program).st_mtime_ns) else ""


@lru_cache
def _starts(interpreter: str, _changed: int) -> bool:
    """Whether diffai says its version when it is started like that."""
    try:
        done = subprocess.run(
            [interpreter, *ISOLATED.split(), "-c", PYTHON, "--version"], stdin=subprocess.DEVNULL,
            capture_output=True, timeout=_START_LIMIT, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.startswith(b"diffai ")


def quote(text: str) -> str:
    """``text`` as one single-quoted word of POSIX sh."""
    return "'" + text.replace("'", "'\\''") + "'"


def is_ours(value: str) -> bool:
    """Whether a configured value was written by some version of diffai."""
    return value.startswith((f"{DRIVER_FUNCTION}() {{", f"{TEXTCONV_FUNCTION}() {{"))


def program_of(value: str) -> str:
    """The program that a value written by diffai runs; "" when the value is not ours or was edited."""
    if not is_ours(value):
        return ""
    try:
        words = shlex.split(value)
    except ValueError:
        return ""
    return next((word[2:].removesuffix(";") for word in words[:4] if word.startswith("p=/")), "")


def is_current(value: str) -> bool:
    """Whether a value written by diffai is what this version would write for its program."""
    program = program_of(value)
    interpreter = find_interpreter(program) if program else ""
    make = driver_command if value.startswith(DRIVER_FUNCTION) else textconv_command
    flags = ("", *(f"--{scope}" for scope in ("worktree", "global", "system")))
    return value in [make(program, interpreter=interpreter, scope_flag=flag) for flag in flags]


def find_program() -> str:
    """Absolute path of the ``diffai`` console script of the running installation.

    Raises:
        UsageError: there is none, or its path cannot be written into a git configuration.

    """
    for candidate in _candidates():
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            if any(ord(character) < 32 or character == "\x7f" for character in candidate):
                raise UsageError(f"{candidate!r} holds a control character, which git cannot run from its config")
            return candidate
    raise UsageError(
        "the diffai program was not found next to this Python nor on PATH; install it with: pip install diffai"
    )


def _candidates() -> Iterator[str]:
    # The Python itself is not resolved: in a virtual environment it is a link to one elsewhere.
    yield os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "diffai")
    yield os.path.join(sysconfig.get_path("scripts"), "diffai")
    if os.path.basename(sys.argv[0]) == "diffai" and os.path.isabs(sys.argv[0]):
        yield os.path.realpath(sys.argv[0])
    for folder in os.get_exec_path():
        if os.path.isabs(folder):  # "." on PATH would let a clone choose the program
            yield os.path.join(folder, "diffai")
