"""Where each scope keeps its configuration and its attributes, found the way git finds them."""

from __future__ import annotations

import os
from typing import Literal

from diffai.errors import UsageError
from diffai.frozen import frozen
from diffai.git.call import GitError, ask, demand

Scope = Literal["local", "global", "system"]
SCOPES: tuple[Scope, ...] = ("local", "global", "system")


@frozen
class Place:
    """The files of one scope.

    Attributes:
        scope: which.
        config: the configuration file that ``git config --<scope>`` writes.
        attributes: the attributes file of the scope, outside any work tree.
        committed: ``.gitattributes`` at the top of the work tree; "" where there is no work tree.
        former: further attributes files that an earlier install may have used.

    """

    scope: Scope
    config: str
    attributes: str
    committed: str = ""
    former: tuple[str, ...] = ()


@frozen
class Repository:
    """The repository that git finds from the current folder.

    Attributes:
        common: the git folder shared by all worktrees, absolute.
        top: the top of the work tree, absolute; "" in a bare repository or inside the git folder.
        attributes: ``info/attributes``, absolute.

    """

    common: str
    top: str
    attributes: str


def find_repository(cwd: str | None = None) -> Repository | None:
    """The repository around ``cwd`` (or named by ``GIT_DIR``), None outside of any.

    Raises:
        GitError: there is one, but git refuses to use it (its owner, its format).

    """
    answer = ask("rev-parse", "--git-common-dir", cwd=cwd)
    if answer.status != 0:
        if "not a git repository" in answer.error and "GIT_DIR" not in os.environ:
            return None
        raise GitError(answer.error.splitlines()[0].removeprefix("fatal: "))
    here = os.path.abspath(cwd or os.curdir)
    common = os.path.realpath(os.path.join(here, answer.line))
    info = demand("rev-parse", "--git-path", "info/attributes", cwd=cwd).line
    top = ask("rev-parse", "--show-toplevel", cwd=cwd)
    return Repository(common, top.line if top.status == 0 else "", os.path.normpath(os.path.join(here, info)))


def locate(scope: Scope, cwd: str | None = None) -> Place:
    """The files of a scope.

    Raises:
        UsageError: local outside a repository, or the user's settings leave no file to write to.
        GitError: git refuses.

    """
    if scope == "local":
        repository = find_repository(cwd)
        if repository is None:
            raise UsageError(
                "not in a git repository: go to one, or register for all your repositories with: "
                "diffai install --global"
            )
        committed = os.path.join(repository.top, ".gitattributes") if repository.top else ""
        return Place(scope, os.path.join(repository.common, "config"), repository.attributes, committed)
    if scope == "global":
        attributes, default = _global_attributes()
        return Place(scope, _global_config(), attributes, former=() if attributes == default else (default,))
    config, attributes = _system_files()
    return Place(scope, config, attributes)


def _global_config() -> str:
    named = os.environ.get("GIT_CONFIG_GLOBAL")
    if named is not None:
        if not os.path.isabs(named) or named == os.devnull:
            raise UsageError(f"GIT_CONFIG_GLOBAL is {named!r}: there is no global configuration to write to")
        return named
    home = os.path.join(_home(), ".gitconfig")
    other = os.path.join(_xdg(), "git", "config")
    return other if not os.path.exists(home) and os.path.exists(other) else home


def _global_attributes() -> tuple[str, str]:
    """The user's attributes file, and where it is unless configured otherwise.

    Asked of the user's and the system's configuration only: the repository's own core.attributesFile has
    no say in what holds for all repositories.
    """
    default = os.path.join(_xdg(), "git", "attributes")
    for scope in ("--global", "--system"):
        answer = ask("config", scope, "--includes", "--type=path", "--get", "core.attributesFile", outside=True)
        if answer.status == 0:
            if not os.path.isabs(answer.line):
                raise UsageError(
                    f"core.attributesFile is {answer.line!r}, which depends on where git runs; make it an absolute path"
                )
            return answer.line, default
    return default, default


def _system_files() -> tuple[str, str]:
    named = os.environ.get("GIT_CONFIG_SYSTEM")
    attributes = ask("var", "GIT_ATTR_SYSTEM", outside=True)  # git >= 2.41
    # Before that git tells the place of its system configuration to nobody but an editor.
    edited = ask(
        "config", "--system", "--edit", outside=True, without=("GIT_CONFIG_SYSTEM",), GIT_EDITOR="printf '%s\\n'"
    )
    if edited.status != 0 or not os.path.isabs(edited.line):
        raise GitError("git does not tell where its system-wide configuration is")
    beside = os.path.join(os.path.dirname(edited.line), "gitattributes")
    return named or edited.line, attributes.line if attributes.status == 0 else beside


def _home() -> str:
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        raise UsageError("HOME is not set: there is no global configuration to write to")
    return home


def _xdg() -> str:
    return os.environ.get("XDG_CONFIG_HOME") or os.path.join(_home(), ".config")


def as_scope(name: str) -> Scope:
    """A scope by its name.

    Raises:
        UsageError: there is no such scope.

    """
    for scope in SCOPES:
        if scope == name:
            return scope
    raise UsageError(f"no scope {name!r}; there are: {', '.join(SCOPES)}")
