"""Why git does, or does not, call diffai: everything that decides it, looked at and judged, as data."""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from diffai.errors import DiffaiError
from diffai.frozen import frozen
from diffai.git import attributes, edits
from diffai.git.attributes import DRIVER
from diffai.git.call import ask, demand
from diffai.git.command import find_program, is_current, is_ours, program_of
from diffai.git.leftovers import leftovers
from diffai.git.lfs_state import LfsFile, LfsSetup, read_files, read_setup
from diffai.git.not_applied import not_applied
from diffai.git.scopes import Repository, find_repository
from diffai.git.survey import ModelFile, survey
from diffai.git.winners import Rule, find_sources
from diffai.version import __version__

Level = Literal["ok", "note", "todo"]

_START_LIMIT = 30.0  # seconds that the configured program may take to print its version


@frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        level: ``ok``; ``note``, worth knowing; ``todo``, something has to be done.
        text: what was found, one sentence.
        command: what to run, "" where nothing is to be run.

    """

    level: Level
    text: str
    command: str = ""


@frozen
class Setting:
    """One effective value of ``diff.diffai.*``: the scope and file it comes from."""

    scope: str
    file: str
    key: str
    value: str


@frozen
class Group:
    """Model files with the same driver for the same reason, and what follows."""

    driver: str
    rule: Rule | None
    paths: tuple[str, ...]
    finding: Finding


@frozen
class Diagnosis:
    """All that doctor found.

    Attributes:
        versions: programs and their versions, in the order to print them.
        repository: the top of the work tree or the git folder; "" outside a repository.
        registration: configuration, attributes and the program that is configured.
        surroundings: other settings that bear on it.
        groups: the model files of the repository.
        lfs: git-LFS; empty where no model file uses it.

    """

    versions: tuple[str, ...]
    repository: str
    registration: tuple[Finding, ...]
    surroundings: tuple[Finding, ...]
    groups: tuple[Group, ...]
    lfs: tuple[Finding, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every finding, in the order they are printed."""
        return (
            *self.registration, *self.surroundings, *(group.finding for group in self.groups), *self.lfs
        )  # fmt: skip

    @property
    def exit_code(self) -> int:
        """0: nothing to do; 1: something has to be done."""
        return 1 if any(finding.level == "todo" for finding in self.findings) else 0


def diagnose(cwd: str | None = None) -> Diagnosis:
    """Look at everything; nothing is changed, nothing is downloaded.

    Args:
        cwd: a folder of the repository; the current one by default.

    Raises:
        DiffaiError: git is missing, or refuses to read the repository.

    """
    git = demand("version", cwd=cwd).line.removeprefix("git version ").split(" ")[0]
    repository = find_repository(cwd)
    base = (repository.top or repository.common) if repository else os.path.abspath(cwd or os.curdir)
    settings = read_settings(base)
    files = survey(repository) if repository else ()
    lfs_files = read_files(files, repository) if repository else {}
    setup = read_setup(base)
    versions = [f"diffai {__version__}", f"git {git}", setup.program, f"Python {platform.python_version()}"]
    groups = _groups(files, registered=any(setting.key == "command" for setting in settings))
    return Diagnosis(
        tuple(version for version in versions if version),
        base if repository else "",
        (
            *_registration(settings, repository), *_attribute_files(repository, base, _is_half(settings, files)),
            *(Finding("todo", text, command) for text, command in leftovers(cwd, in_repository=repository is not None)),
        ),
        (*_git_version(git), *_surroundings(settings, base)),
        groups,
        _lfs_findings(lfs_files, setup),
    )


def read_settings(cwd: str) -> tuple[Setting, ...]:
    """Every value of ``diff.diffai.*`` that git sees from here, lowest scope first."""
    answer = ask("config", "-z", "--show-scope", "--show-origin", "--get-regexp", r"^diff\.diffai\.", cwd=cwd)
    fields = [os.fsdecode(field) for field in answer.output.split(b"\0")[:-1]]
    found = []
    for scope, origin, entry in zip(fields[::3], fields[1::3], fields[2::3], strict=False):
        key, _, value = entry.partition("\n")
        file = origin.removeprefix("file:")
        file = os.path.normpath(os.path.join(cwd, file)) if origin.startswith("file:") else "command line"
        found.append(Setting(scope, file, key.rpartition(".")[2], value))
    return tuple(found)


# ---------------------------------------------------------------- registration


def _registration(settings: Sequence[Setting], repository: Repository | None) -> Iterable[Finding]:
    install = "diffai install" if repository else "diffai install --global"
    effective = {setting.key: setting for setting in settings}
    for key in ("command", "textconv"):
        setting = effective.get(key)
        if setting is None:
            yield Finding("todo", f"diff.diffai.{key} is not configured: git does not know diffai", install)
            continue
        what = f"diff.diffai.{key} from {setting.file} ({setting.scope})"
        if not is_ours(setting.value):
            yield Finding("note", f"{what} was written by hand: {setting.value}")
        elif program_of(setting.value) and not is_current(setting.value):
            yield Finding("todo", f"{what} was written by another version of diffai", _again(setting.scope, install))
        else:
            yield Finding("ok", what)
    ours = [setting.value for key, setting in effective.items() if key != "xfuncname" and is_ours(setting.value)]
    scope = next((setting.scope for setting in reversed(settings) if setting.key == "command"), "local")
    for program in dict.fromkeys(map(program_of, ours)):
        yield _program(program, _again(scope, install))


def _again(scope: str, install: str) -> str:
    """What registers diffai once more where it was registered."""
    return install if scope in ("local", "worktree", "command") else f"diffai install --{scope}"


def _program(program: str, again: str) -> Finding:
    """Whether the configured program is there and starts."""
    if not program:
        return Finding("todo", "the configured command was edited, and its program is not recognised", again)
    if not os.path.isfile(program) or not os.access(program, os.X_OK):
        return Finding("todo", f"the configured program {program} is gone; git diff shows binary files only", again)
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=_START_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or f"takes more than {_START_LIMIT:.0f} s"
        return Finding("todo", f"the configured program {program} does not start: {reason}", again)
    words = done.stdout.decode("utf-8", "replace").split()
    if done.returncode != 0 or words[:1] != ["diffai"]:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"exit {done.returncode}"]
        return Finding("todo", f"the configured program {program} does not work: {last[0]}", again)
    try:
        own = os.path.realpath(find_program())
    except DiffaiError:
        own = ""
    if own != os.path.realpath(program):
        return Finding("note", f"git runs {program} ({' '.join(words)}), and you are running another one: {own}", again)
    return Finding("ok", f"git runs {program}, which starts ({' '.join(words)})")


def _is_half(settings: Sequence[Setting], files: Sequence[ModelFile]) -> bool:
    """Whether git knows our driver and is told of no file to use it for."""
    ours = any(setting.key in ("command", "textconv") and is_ours(setting.value) for setting in settings)
    return ours and not any(file.covered for file in files)


def _attribute_files(repository: Repository | None, cwd: str, half: bool) -> Iterable[Finding]:
    """Where our block stands."""
    sources = find_sources(cwd)
    named = [("system", sources.system), ("global", sources.user)]
    if repository:
        if repository.top:
            named.append(("committed", os.path.join(repository.top, ".gitattributes")))
        named.append(("local", repository.attributes))
    seen = False
    for scope, path in named:
        try:
            block = attributes.find(edits.read(path)) if path else None
        except DiffaiError:
            continue
        if block is not None:
            seen = True
            globs = b" ".join(block.globs).decode("utf-8", "replace")
            yield Finding("ok", f"attributes in {path} ({scope}): {globs}")
        elif path == sources.user and sources.unused and attributes.find(edits.read(sources.unused)):
            install = "diffai install" if repository else "diffai install --global"
            text = f"core.attributesFile is {path} here, so git does not read {sources.unused}, which names diffai"
            yield Finding("todo", text, install)
    if not seen and (half or not repository):
        text = "no attributes file names diffai" + (": an install did not end" if half else "")
        yield Finding("todo", text, "diffai install" if repository else "diffai install --global")


# ---------------------------------------------------------------- surroundings


def _git_version(version: str) -> Iterable[Finding]:
    match = re.match(r"(\d+)\.(\d+)", version)
    number = (int(match[1]), int(match[2])) if match else (2, 30)
    if number < (2, 26):
        yield Finding("todo", f"git {version} does not tell where a setting comes from, so doctor cannot judge what is "
                      "registered; it needs 2.26")  # fmt: skip
    if number < (2, 30):
        yield Finding("note", f"git {version} can crash on unmerged files with any diff driver; 2.30 mended that")


def _surroundings(settings: Sequence[Setting], cwd: str) -> Iterable[Finding]:
    for setting in settings:
        if setting.value.lower() in ("false", "no", "off", "0", ""):
            continue
        unset = f"git config --file {shlex.quote(setting.file)} --unset-all diff.diffai.{setting.key}"
        if setting.key == "trustexitcode":
            yield Finding("todo", "diff.diffai.trustExitCode is set: git takes every file for equal, since the "
                          "driver always exits 0", unset)  # fmt: skip
        if setting.key == "cachetextconv":
            yield Finding("todo", "diff.diffai.cachetextconv is set: one run without LFS objects is remembered for "
                          "ever; diffai has a cache of its own", unset)  # fmt: skip
    external = os.environ.get("GIT_EXTERNAL_DIFF") or ask("config", "--get", "diff.external", cwd=cwd).line
    if external:
        yield Finding("note", f"diff.external is {external}: harmless, diffai goes first for its files")
    pager = os.environ.get("GIT_PAGER")
    if pager:
        yield Finding("note", f"GIT_PAGER is {pager}: it beats core.pager, and shows what diffai prints")
    if "R" not in os.environ.get("LESS", "R") and "less" in (pager or "less"):
        yield Finding("note", "LESS is set without R: less shows colours as codes", 'export LESS="$LESS -R"')
    if os.environ.get("GIT_LFS_SKIP_SMUDGE", "").lower() in ("1", "true", "yes", "on", "t"):
        yield Finding("note", "GIT_LFS_SKIP_SMUDGE is set: harmless, diffai follows pointers by itself")
    for todo, text, command in not_applied(cwd):
        yield Finding("todo" if todo else "note", text, command)
    yield from _other_packages()


def _other_packages() -> Iterable[Finding]:
    """Whether another installed package brings a module of our name."""
    from importlib.metadata import packages_distributions

    for name in sorted({*packages_distributions().get("diffai", ())} - {"diffai"}):
        yield Finding(
            "todo", f"the package {name} in this environment also installs a module 'diffai', and one hides the other",
            f"pip uninstall {name} && pip install --force-reinstall diffai",
        )  # fmt: skip


# ---------------------------------------------------------------- model files


def _groups(files: Sequence[ModelFile], *, registered: bool) -> tuple[Group, ...]:
    members: dict[tuple[str, Rule | None, str], list[ModelFile]] = defaultdict(list)
    for file in files:
        kind = "" if file.covered or file.rule else _glob_for(file.path)
        members[file.driver, file.rule, kind].append(file)
    ordered = sorted(members.items(), key=lambda item: item[0][0] == DRIVER)
    return tuple(
        Group(driver, rule, tuple(file.path for file in group), _judge(group[0], glob, registered=registered))
        for (driver, rule, glob), group in ordered
    )


def _judge(file: ModelFile, glob: str, *, registered: bool) -> Finding:
    if file.covered and registered:
        return Finding("ok", "git calls diffai")
    if file.covered:
        return Finding("todo", "attributes name diffai, but git does not know it yet", "diffai install")
    said = {
        "unspecified": "no attributes line covers it",
        "unset": "its diff is switched off (-diff or binary)",
        "set": "it is compared as plain text",
    }.get(file.driver, f"git calls the driver {file.driver!r}" if file.driver != "lfs" else
          "diff=lfs names a driver that does not exist, so git says only that binary files differ")  # fmt: skip
    if file.rule is None:
        return Finding("todo", said, f"diffai install{glob}")
    if file.rule.file.endswith("info/attributes"):
        return Finding("todo", f"{said}; remove that line, or move it above the block of diffai", "")
    return Finding(
        "todo", f"{said}; the attributes of this clone (.git/info/attributes) win over that line",
        f"diffai install{glob}",
    )  # fmt: skip


def _glob_for(path: str) -> str:
    """The option that covers a file which the default globs do not."""
    from fnmatch import fnmatchcase

    name = os.path.basename(path)
    if any(fnmatchcase(name, glob) for glob in attributes.DEFAULT_GLOBS):
        return ""
    stem, suffix = os.path.splitext(name)
    if suffix == ".tar":  # model.pth.tar
        suffix = os.path.splitext(stem)[1] + suffix
    return f" --include {shlex.quote('*' + suffix if suffix else '/' + path)}"


# ---------------------------------------------------------------- LFS


def _lfs_findings(files: dict[str, LfsFile], setup: LfsSetup) -> tuple[Finding, ...]:
    """What git-LFS will do to ``git diff`` before diffai is asked."""
    return tuple(_lfs(files, setup)) if files else ()


def _lfs(files: dict[str, LfsFile], setup: LfsSetup) -> Iterable[Finding]:
    if setup.filtered and not setup.program:
        yield Finding("todo", "filter.lfs is configured, but git-lfs is not installed: git diff may die")
    if not setup.filtered:
        yield Finding("note", "filter=lfs has no filter configured: git passes pointers, which diffai follows itself; "
                      "to check files out", "git lfs install --local")  # fmt: skip
    missing = {path: file for path, file in files.items() if file.object == "missing"}
    pointers = [path for path, file in files.items() if file.object == "here" and file.pointer_on_disk]
    present = sum(1 for file in files.values() if file.object == "here")
    if present:
        yield Finding("ok", f"{present} of {len(files)} LFS objects are in the local store")
    if pointers:
        yield Finding("note", f"pointers instead of models in the work tree: {_some(pointers)}", "git lfs checkout")
    if missing:
        size = sum(file.size for file in missing.values())
        yield Finding(
            "todo", f"LFS objects not downloaded, {size_text(size)}: {_some(list(missing))}", _pull(list(missing))
        )
        yield from _smudge(setup)


def _smudge(setup: LfsSetup) -> Iterable[Finding]:
    """What git does when it needs a missing object."""
    if not setup.filtered or not setup.program:
        return
    reachable = setup.remote and not setup.gone
    if reachable:
        yield Finding("note", "git diff and git log -p download such objects, or die where the server lacks them "
                      "(smudge filter lfs failed); GIT_LFS_SKIP_SMUDGE=1 keeps them from it")  # fmt: skip
    else:
        why = f"its remote {setup.gone} does not exist" if setup.gone else "there is no remote to get them from"
        yield Finding(
            "todo" if setup.required else "note",
            f"{why}: git diff and git log -p will "
            + ("die before diffai runs (smudge filter lfs failed); GIT_LFS_SKIP_SMUDGE=1 helps once, for good"
               if setup.required else "show pointers for them, as filter.lfs.required is false"),
            "git config filter.lfs.required false" if setup.required else "",
        )  # fmt: skip


def _pull(paths: Sequence[str]) -> str:
    include = ",".join(paths) if len(paths) <= 3 else "*"
    return f"git lfs pull --include {shlex.quote(include)}"


def _some(paths: Sequence[str]) -> str:
    rest = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + rest


def size_text(size: int) -> str:
    """Bytes for people: ``4.1 GB`` (decimal units, as git-lfs prints them)."""
    value = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{size} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{size} bytes"
