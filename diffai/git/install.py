"""Registering diffai with git, and taking every byte of it out again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence

from diffai.errors import UsageError
from diffai.frozen import frozen
from diffai.git import attributes, config_section, edits
from diffai.git.abandoned import remove_abandoned
from diffai.git.call import ask
from diffai.git.command import driver_command, find_interpreter, find_program, is_ours, textconv_command
from diffai.git.edits import FileEdit
from diffai.git.marks import Notes
from diffai.git.scopes import Place, Scope, find_repository, locate
from diffai.git.survey import ModelFile, example_of, survey


@frozen
class Change:
    """What became of one file.

    Attributes:
        path: the file.
        done: ``written``, ``updated``, ``restored``, ``removed`` or ``unchanged``.
        about: what it says about diffai, for people.
        before, after: its content, None where there is no file.

    """

    path: str
    done: str
    about: str
    before: bytes | None
    after: bytes | None


@frozen
class Report:
    """What install or uninstall did, or would do.

    Attributes:
        scope: where.
        program: absolute path of what git runs now; "" after uninstall.
        changes: one for each file looked at.
        notes: sentences on what was left to the user.
        example: a model file of the repository to try it on, seen from the current folder; "" where there is none.

    """

    scope: Scope
    program: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    example: str = ""

    @property
    def changed(self) -> bool:
        """Whether any file differs from before."""
        return any(change.before != change.after for change in self.changes)


def install(
    scope: Scope = "local",
    *,
    commit_attributes: bool = False,
    include: Sequence[str] = (),
    dry_run: bool = False,
    cwd: str | None = None,
) -> Report:
    """Make git call diffai for model files.

    Args:
        scope: this repository, all of the user's, or all of the machine's.
        commit_attributes: write the globs to ``.gitattributes`` of the work tree, to be committed, instead of
            to the repository's private attributes (which win over a ``diff=lfs`` in ``.gitattributes``).
        include: globs in addition to the default ones; they are kept by later installs.
        dry_run: plan and check, write nothing.
        cwd: a folder of the repository; the current one by default.

    Raises:
        DiffaiError: nothing was written; the text says why.

    """
    place = locate(scope, cwd)
    program = find_program()
    target = _attributes_target(place, commit_attributes)
    if not dry_run:
        for path in (place.config, target):
            remove_abandoned(os.path.realpath(path))
    planned_attributes = _plan_attributes(target, include, in_tree=commit_attributes)
    wrote_tree = commit_attributes and attributes.find(planned_attributes.before) is None
    planned_config = _plan_config(place, program, wrote_tree=wrote_tree)
    if not dry_run:
        edits.apply([planned_config, planned_attributes])
    block = attributes.find(planned_attributes.after)
    globs = b" ".join(block.globs).decode("utf-8", "replace") if block else ""
    notes: list[str] = []
    if commit_attributes and planned_attributes.changes:
        notes.append("git add .gitattributes and commit it; it does no harm to those who have no diffai")
    repository = find_repository(cwd)
    files = survey(repository) if repository else ()
    if not dry_run:
        notes += _lost(files)
    example = example_of(files)
    if example and repository and repository.top:
        example = os.path.relpath(os.path.join(repository.top, example), os.path.realpath(cwd or os.curdir))
    changes = (
        _installed(planned_config, f"diff.diffai.* runs {program}", config_section.find),
        _installed(planned_attributes, f"{globs} diff=diffai", attributes.find),
    )
    return Report(scope, program, changes, tuple(notes), example)


def uninstall(
    scope: Scope = "local", *, commit_attributes: bool = False, dry_run: bool = False, cwd: str | None = None
) -> Report:
    """Take out of git's files what install wrote into them, and nothing else.

    Args:
        scope: as it was installed.
        commit_attributes: also remove a block from ``.gitattributes`` that was not written by this clone's
            install (but came with a commit of somebody else).
        dry_run: plan and check, write nothing.
        cwd: a folder of the repository; the current one by default.

    Raises:
        DiffaiError: nothing was changed; the text says why.

    """
    place = locate(scope, cwd)
    if not dry_run:
        for path in (place.config, place.attributes, *place.former):
            remove_abandoned(os.path.realpath(path))
    config = edits.read(place.config)
    section = config_section.find(config)
    planned = [_plan_config_removal(place.config, config)]
    planned += [_plan_attributes_removal(path) for path in (place.attributes, *place.former)]
    notes: list[str] = []
    if place.committed and not os.path.islink(place.committed):
        in_tree = _plan_attributes_removal(place.committed, in_tree=True)
        if commit_attributes or (section is not None and section.committed):
            planned.append(in_tree)
        elif in_tree.changes:
            notes.append(
                f"{place.committed} still names diffai, as committed by others, which does no harm; "
                "to remove it too: diffai uninstall --commit-attributes"
            )
    elif commit_attributes:
        raise UsageError("--commit-attributes needs a work tree with a .gitattributes that is no symbolic link")
    foreign = [
        key for key in ("command", "textconv")
        if planned[0].after is not None and _values(place.config, key)[1]
    ]  # fmt: skip
    notes += [f"{place.config} keeps diff.diffai.{key}, which diffai did not write" for key in foreign]
    if not dry_run:
        edits.apply(planned)
    return Report(scope, "", tuple(_uninstalled(edit) for edit in planned), tuple(notes))


def _lost(files: Sequence[ModelFile]) -> list[str]:
    """One sentence for each rule that keeps git from calling diffai."""
    lost: dict[tuple[str, str], list[str]] = {}
    for file in files:
        if not file.covered:
            where = f"{file.rule.file}:{file.rule.number}: {file.rule.text}" if file.rule else "no rule"
            lost.setdefault((file.driver, where), []).append(file.path)
    return [
        f"{paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}: "
        f"git does not call diffai (diff is {driver}; {where}); see: diffai doctor"
        for (driver, where), paths in lost.items()
    ]


# ---------------------------------------------------------------- planning


def _attributes_target(place: Place, commit_attributes: bool) -> str:
    if not commit_attributes:
        return place.attributes
    if place.scope != "local":
        raise UsageError(f"--commit-attributes is for a repository, and does not go with --{place.scope}")
    if not place.committed:
        raise UsageError("--commit-attributes needs a work tree, and this repository has none (or you are in its .git)")
    if os.path.islink(place.committed):
        raise UsageError(f"{place.committed} is a symbolic link, which git does not read attributes through")
    return place.committed


def _plan_attributes(path: str, include: Sequence[str], *, in_tree: bool) -> FileEdit:
    before = edits.read(path)
    folders = 0 if in_tree else edits.missing_folders(path)
    notes = Notes(created=before is None, folders=folders)
    after = attributes.insert(before, [*attributes.DEFAULT_GLOBS, *include], notes)
    return FileEdit(path, before, after, folders)


def _plan_config(place: Place, program: str, *, wrote_tree: bool) -> FileEdit:
    for key in ("command", "textconv"):
        for value in _values(place.config, key)[1]:
            raise UsageError(
                f"{place.config} already has diff.diffai.{key} = {value!r}, which diffai did not write; "
                f"remove it first: git config --file {shlex.quote(place.config)} --unset-all diff.diffai.{key}"
            )
    before = edits.read(place.config)
    folders = edits.missing_folders(place.config)
    interpreter = find_interpreter(program)
    flag = "" if place.scope == "local" else f"--{place.scope}"
    values = {
        "command": driver_command(program, interpreter=interpreter, scope_flag=flag),
        "textconv": textconv_command(program, interpreter=interpreter, scope_flag=flag),
        "xfuncname": config_section.XFUNCNAME,
    }
    notes = Notes(created=before is None, folders=folders, committed=wrote_tree)
    after = config_section.insert(before, values, notes)
    config_section.verify(before, after, values, path=place.config)
    return FileEdit(place.config, before, after, folders)


def _plan_config_removal(path: str, before: bytes | None) -> FileEdit:
    if before is None:
        return FileEdit(path, None, None)
    after = config_section.remove(before)
    if after == before:
        return FileEdit(path, before, before)
    config_section.verify(before, after, {}, path=path)
    return _removal(path, before, after, config_section.find(before))


def _plan_attributes_removal(path: str, *, in_tree: bool = False) -> FileEdit:
    before = edits.read(path)
    block = attributes.find(before)
    if before is None or block is None:
        return FileEdit(path, before, before)
    notes = Notes(created=block.notes.created) if in_tree else block.notes
    return _removal(path, before, attributes.remove(before), notes)


def _removal(path: str, before: bytes, after: bytes, notes: Notes | None) -> FileEdit:
    if notes is not None and notes.created and not after:
        return FileEdit(path, before, None, notes.folders)
    return FileEdit(path, before, after)


def _values(config: str, key: str) -> tuple[list[str], list[str]]:
    """The values of ``diff.diffai.<key>`` in one file: ours, and those of others."""
    answer = ask("config", "--file", config, "-z", "--get-all", f"diff.diffai.{key}", outside=True)
    found = [value.decode("utf-8", "replace") for value in answer.output.split(b"\0")[:-1]]
    return [value for value in found if is_ours(value)], [value for value in found if not is_ours(value)]


# ---------------------------------------------------------------- reporting


def _installed(edit: FileEdit, about: str, find: Callable[[bytes | None], object]) -> Change:
    done = "written" if find(edit.before) is None else "updated"
    return Change(edit.path, done if edit.changes else "unchanged", about, edit.before, edit.after)


def _uninstalled(edit: FileEdit) -> Change:
    if not edit.changes:
        done, about = "unchanged", "has nothing of diffai"
    elif edit.after is None:
        done, about = "removed", "was created by diffai install"
    else:
        done, about = "restored", "as it was without diffai"
    return Change(edit.path, done, about, edit.before, edit.after)
