"""Which line of which attributes file decides the diff driver of a path.

``git check-attr`` tells the value, not its origin. So the same rules are laid out once more in a scratch
folder, where each line that speaks of ``diff`` sets its own number instead, and git is asked for that: its
own matching and precedence answer.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Sequence

from diffai.errors import DiffaiError
from diffai.frozen import frozen
from diffai.git import edits
from diffai.git.call import ask
from diffai.git.marks import lines_of
from diffai.git.scopes import Repository

_PATTERN = re.compile(rb'[ \t]*("(?:[^"\\]|\\.)*"|[^ \t\r\n"][^ \t\r\n]*)[ \t]+(.*)', re.DOTALL)
_MACRO = re.compile(rb"[ \t]*\[attr\]([^ \t\r\n]+)[ \t]+(.*)", re.DOTALL)
_LONGEST_LINE = 2048
_LONGEST_FILE = 100 * 1024 * 1024  # git's own limit


@frozen
class Rule:
    """A line of an attributes file. ``file`` is absolute, or ``:path`` for a file that is only in the index."""

    file: str
    number: int
    text: str


@frozen
class Sources:
    """The attributes files outside the work tree, "" where there is none.

    ``unused`` is the user's default file where ``core.attributesFile`` names another.
    """

    system: str
    user: str
    unused: str = ""


def find_sources(cwd: str) -> Sources:
    """The system's and the user's attributes files as git uses them in this repository."""
    user = ask("config", "--type=path", "--get", "core.attributesFile", cwd=cwd)
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.environ.get("HOME", ""), ".config")
    default = os.path.join(base, "git", "attributes") if os.path.isabs(base) else ""
    path = user.line if user.status == 0 else default
    if path and not os.path.isabs(path):
        path = os.path.join(cwd, path)
    system = ""
    if os.environ.get("GIT_ATTR_NOSYSTEM", "0").lower() in ("", "0", "false", "no", "off"):
        from diffai.git.scopes import locate

        try:
            system = locate("system").attributes
        except DiffaiError:
            system = ""
    return Sources(system, path, default if path != default else "")


def find_rules(paths: Sequence[str], repository: Repository, sources: Sources) -> dict[str, Rule]:
    """The deciding line for each path; a path that no line speaks of is left out.

    Args:
        paths: relative to the top of the work tree (or of the tree, in a bare repository).
        repository: the repository.
        sources: as :func:`find_sources` gave them.

    """
    if not paths:
        return {}
    files = [*_outer(sources), *_inner(paths, repository)]
    files.append(("info", repository.attributes, _content(repository.attributes)))
    macros = _macros(content for _, _, content in files)
    rules: list[Rule] = []
    with tempfile.TemporaryDirectory(prefix="diffai-") as scratch:
        if ask("init", "-q", "--template=", scratch, outside=True).status != 0:
            return {}
        outer = b""
        for place, name, content in files:
            numbered = _numbered(content, name, macros, rules)
            if place == "outer":
                outer += numbered
                continue
            target = os.path.join(scratch, ".git/info/attributes" if place == "info" else place)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(numbered)
        with open(os.path.join(scratch, ".git", "outer"), "wb") as file:
            file.write(outer)
        ignore_case = ask("config", "--type=bool", "--get", "core.ignoreCase", cwd=repository.common).line or "false"
        return _ask_scratch(scratch, paths, rules, ignore_case)


def _ask_scratch(scratch: str, paths: Sequence[str], rules: Sequence[Rule], ignore_case: str) -> dict[str, Rule]:
    options = ("-c", f"core.attributesFile={scratch}/.git/outer", "-c", f"core.ignoreCase={ignore_case}")
    stdin = b"".join(os.fsencode(path) + b"\0" for path in paths)
    answer = ask(
        *options, "check-attr", "-z", "--stdin", "diffai-rule",
        cwd=scratch, outside=True, stdin=stdin, GIT_ATTR_NOSYSTEM="1",
    )  # fmt: skip
    fields = answer.output.split(b"\0")
    found: dict[str, Rule] = {}
    for start in range(0, len(fields) - 2, 3):
        if fields[start + 2].isdigit():
            found[os.fsdecode(fields[start])] = rules[int(fields[start + 2])]
    return found


def _outer(sources: Sources) -> Iterable[tuple[str, str, bytes]]:
    for path in (sources.system, sources.user):
        if path:
            yield "outer", path, _content(path)


def _inner(paths: Sequence[str], repository: Repository) -> Iterable[tuple[str, str, bytes]]:
    """The ``.gitattributes`` above the paths; where the work tree has none, git reads the index's."""
    if not repository.top:
        return
    folders = {""}
    for path in paths:
        folder = os.path.dirname(path)
        while folder and folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
    for folder in sorted(folders):
        place = os.path.join(folder, ".gitattributes")
        full = os.path.join(repository.top, place)
        if os.path.lexists(full):
            if not os.path.islink(full):
                yield place, full, _content(full)
            continue
        answer = ask("cat-file", "blob", f":{place}", cwd=repository.top)
        if answer.status == 0:
            yield place, f":{place}", answer.output


def _content(path: str) -> bytes:
    try:
        content = edits.read(path) or b""
    except DiffaiError:
        return b""
    return content if len(content) <= _LONGEST_FILE else b""


def _macros(contents: Iterable[bytes]) -> frozenset[bytes]:
    """Names that, set on a line, speak of ``diff``."""
    names = {b"binary"}
    for content in contents:
        for line in lines_of(content):
            match = _MACRO.match(line)
            if match and _speaks_of_diff(match[2], frozenset(names)):
                names.add(match[1])
    return frozenset(names)


def _speaks_of_diff(words: bytes, macros: frozenset[bytes]) -> bool:
    return any(word.lstrip(b"-!").partition(b"=")[0] == b"diff" or word in macros for word in words.split())


def _numbered(content: bytes, file: str, macros: frozenset[bytes], rules: list[Rule]) -> bytes:
    """The lines that speak of ``diff``, each setting the index of its rule instead."""
    out: list[bytes] = []
    for number, line in enumerate(lines_of(content.removeprefix(b"\xef\xbb\xbf")), start=1):
        match = _PATTERN.match(line)
        if match is None or line.lstrip().startswith((b"#", b"[attr]")) or len(line) > _LONGEST_LINE:
            continue
        if _speaks_of_diff(match[2], macros):
            out.append(match[1] + b" diffai-rule=%d\n" % len(rules))
            rules.append(Rule(file, number, line.strip().decode("utf-8", "replace")))
    return b"".join(out)
