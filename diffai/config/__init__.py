"""Settings: where each value may come from, and the one frozen object that the rest of the program reads.

A value is taken from the first that has it: an option, the user's git config (``diffai.<key>``),
``.diffai.toml``, ``[tool.diffai]`` of pyproject.toml, the default. The two files travel with a clone and
are not trusted: they can say what is shown, never lift a limit that protects the machine.

This package stands on the git driver's path, which starts once a file: it loads no third-party module, and
tomllib, subprocess and difflib only where they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from diffai.config.keys import (
    COLORS,
    FORMATS,
    KEYS,
    Color,
    Format,
    Found,
    Key,
    NotApplied,
    Settings,
    checked,
    parse_size,
)
from diffai.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.config.quick_git import Question

__all__ = [
    "COLORS", "FILE_NAME", "FORMATS", "KEYS", "Color", "Format", "Key", "Settings",
    "ask_git", "git_entries", "load_settings", "own_entries", "parse_size", "read_git_config", "repository_root",
]  # fmt: skip

FILE_NAME = ".diffai.toml"


def load_settings(
    cwd: str,
    *,
    root: str | None,
    git_config: Mapping[str, Sequence[str]] | None = None,
    options: Mapping[str, object] | None = None,
    file: str | None = None,
    by_git: bool = False,
) -> Settings:
    """The settings that hold in ``cwd``, each knowing where it comes from. Calls no program.

    Args:
        cwd: where the search for configuration files starts.
        root: top of the repository, where it ends; None outside a repository, where only folders of the
            user are searched.
        git_config: as :func:`read_git_config` gives it: lower-case names without ``diffai.`` -> values.
        options: values by field name; None and () mean that the option was not given.
        file: a configuration file named by the user, read in place of both searched ones.
        by_git: git runs this, and nobody chose to: a committed ``epsilon`` does not count, unless the user's
            ``diffai.trustRepository`` is true.

    Raises:
        UsageError: a key is unknown or a value makes no sense; the text names file, line and key.

    """
    found: Found = {}
    of_clone: Found = {}
    if file is not None:
        from diffai.config.files import read_named

        found.update(read_named(file))
    else:
        of_clone = _from_files(cwd, root)
        found.update(of_clone)
    found.update(_from_git(git_config or {}))
    found.update(_from_options(options or {}))
    committed = frozenset(name for name, value in of_clone.items() if found[name] is value)
    ignored = _distrusted(found, committed) if by_git else ()
    values = {name: value for name, (value, _) in found.items()}
    origins = {key.field: "default" for key in KEYS}
    origins.update((name, origin) for name, (_, origin) in found.items())
    if ignored:
        committed -= {"epsilon"}
    return Settings(**values, origins=origins, committed=committed, not_applied=ignored)  # type: ignore[arg-type]


def _distrusted(found: Found, committed: frozenset[str]) -> tuple[NotApplied, ...]:
    """Take out of the settings what a clone may not decide when git calls; what was taken."""
    if "epsilon" not in committed or found.get("trust_repository", (False, ""))[0]:
        return ()
    value, origin = found.pop("epsilon")
    return (NotApplied("compare.epsilon", f"{value:g}", origin),) if value else ()


def repository_root(cwd: str) -> str | None:
    """The nearest folder from ``cwd`` upwards that holds ``.git``, or None. Asks no program."""
    for folder in _upwards(os.path.abspath(cwd)):
        if os.path.lexists(os.path.join(folder, ".git")):
            return folder
    return None


def read_git_config(cwd: str) -> tuple[Mapping[str, Sequence[str]], str | None]:
    """What the user's git config says under ``diffai.``, by lower-case name, and the repository's root.

    One call of ``git config``; nothing at all is an empty mapping, and so is a machine without git.

    Raises:
        UsageError: git cannot read its own configuration; the text is git's.

    """
    return own_entries(git_entries(ask_git(cwd, r"^diffai\."))), repository_root(cwd)


def own_entries(entries: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """The entries under ``diffai.``, by lower-case name without that prefix."""
    return {name[len("diffai.") :]: values for name, values in entries.items() if name.startswith("diffai.")}


def ask_git(cwd: str, pattern: str) -> Question | None:
    """Have git look for config entries whose name matches ``pattern``; None on a machine without git."""
    from diffai.config.quick_git import Question

    try:
        return Question(["config", "-z", "--get-regexp", pattern], cwd)
    except OSError:
        return None


def git_entries(asked: Question | None) -> dict[str, list[str]]:
    """All git config entries that :func:`ask_git` asked for, by name as git prints it.

    A key without "=" is ``true``; an empty value is false (git-config(1), "boolean").

    Raises:
        UsageError: git cannot read its own configuration; the text is git's.

    """
    if asked is None:
        return {}
    status, output = asked.answer()
    if status not in (0, 1):  # 1: no such key
        raise UsageError(f"git config: {_complaint(asked) or f'exit code {status}'}")
    values: dict[str, list[str]] = {}
    for entry in output.decode("utf-8", "surrogateescape").split("\0"):
        name, newline, value = entry.partition("\n")
        if name:
            values.setdefault(name, []).append(value if newline else "true")
    return values


def _complaint(asked: Question) -> str:
    """The last line that git says to a question it refuses."""
    import subprocess

    command = ["git", "-C", asked.cwd, *asked.arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1] if said else ""


def _upwards(folder: str) -> Iterator[str]:
    while True:
        yield folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return
        folder = parent


def _searched(cwd: str, root: str | None) -> Iterator[str]:
    """Folders in which configuration is looked for, nearest first.

    Outside a repository a folder that others can write ends the search: whoever puts a file into /tmp
    must not decide what is shown to everybody who works below it.
    """
    start = os.path.abspath(cwd)
    top = os.path.abspath(root) if root is not None else None
    for folder in _upwards(start):
        if top is None and folder != start and not _is_ours(folder):
            return
        yield folder
        if folder == top:
            return


def _is_ours(folder: str) -> bool:
    if not hasattr(os, "geteuid"):
        return True
    status = os.stat(folder)
    return status.st_uid == os.geteuid() and not status.st_mode & 0o002


def _from_files(cwd: str, root: str | None) -> Found:
    """The nearest .diffai.toml over the nearest pyproject.toml that speaks of us."""
    own: Found | None = None
    shared: Found | None = None
    for folder in _searched(cwd, root):
        path = os.path.join(folder, FILE_NAME)
        if own is None and os.path.lexists(path):
            from diffai.config.files import read_own

            own = read_own(path, root)
        path = os.path.join(folder, "pyproject.toml")
        if shared is None and os.path.isfile(path):
            from diffai.config.files import read_pyproject

            shared = read_pyproject(path, root)
    return (shared or {}) | (own or {})


def _from_git(config: Mapping[str, Sequence[str]]) -> Found:
    found: Found = {}
    for key in KEYS:
        values = config.get(key.git.lower(), ()) if key.git else ()
        if values:
            origin = f"git config diffai.{key.git}"
            value: object = tuple(values) if key.kind == "globs" else _parsed(key.kind, values[-1])
            found[key.field] = (checked(key, value, origin), origin)
    return found


def _parsed(kind: str, text: str) -> object:
    """The value that a line of git config stands for; the text itself where it is no such value."""
    if kind in ("bool", "color"):
        truth = {"true": True, "yes": True, "on": True, "1": True}
        truth.update({"false": False, "no": False, "off": False, "0": False, "": False})
        return truth.get(text.lower(), text)
    try:
        if kind == "number":
            return float(text)
        if kind == "count":
            return parse_size(text)
    except ValueError:
        pass
    return text


def _from_options(options: Mapping[str, object]) -> Found:
    known = {key.field: key for key in KEYS}
    found: Found = {}
    for name, value in options.items():
        if value is not None and value != ():
            origin = "option --" + name.replace("_", "-")
            found[name] = (checked(known[name], value, origin), origin)
    return found
