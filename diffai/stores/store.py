"""What a store is given, and what it gives back: bytes, the files of a directory, or the state they are in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffai.errors import SourceError
from diffai.frozen import frozen, replace
from diffai.model import FetchCommand, LfsPointer, NotPulled, State
from diffai.repository.place import GitPlace
from diffai.sources.base import Source
from diffai.sources.directory import Directory
from diffai.sources.local import LocalFile

Opened = Source | Directory | State

ReadText = Callable[[str], bytes | None]
"""The content of another file of the same tree, by its path from the top; None when there is none."""


@frozen
class PointerAt:
    """Where a pointer was met.

    Attributes:
        path: from the top of the repository.
        label: how the user names it.
        place: the repository whose stores are searched; None where there is none.
        sibling: opens the files beside it.
        data: its whole text.
        revision: the commit or tree that holds it, by any name that git takes; "" is the work tree, or not known.
        read: reads other files of that tree; None where they are not known.
        is_known: whether ``path`` is one, and not only the name of a copy that git made.

    """

    path: str
    label: str
    place: GitPlace | None
    sibling: Callable[[str], Source]
    data: bytes = b""
    revision: str = ""
    read: ReadText | None = None
    is_known: bool = True


class StoredObject(LocalFile):
    """A file of an object store that stands for a path.

    Args:
        path: the object's own file.
        identity: the content's own name, such as ``sha256:...``; "" where equal names need not mean equal bytes.
        label: how the user names what it stands for; ends in that file's name.
        sibling: opens the files beside what it stands for; None where there are none.

    """

    def __init__(
        self, path: str, identity: str, *, label: str, sibling: Callable[[str], Source] | None = None
    ) -> None:
        super().__init__(path, label=label)
        self._name = identity
        self._beside = sibling

    def lies_beside(self, sibling: Callable[[str], Source], *, always: bool = False) -> None:
        """What opens the files beside what this stands for, where nobody nearer to it does, or ``always``."""
        self._beside = sibling if always else self._beside or sibling

    @property
    def identity(self) -> str:
        """The content's own name, else that of the file as it is now."""
        return self._name or super().identity

    def sibling(self, name: str) -> LocalFile:
        """A file beside what this stands for."""
        if self._beside is None:
            raise SourceError(f"{self.label}: the file {name!r} beside it is not in the same pointer")
        return self._beside(name)  # type: ignore[return-value]


# ---------------------------------------------------------------- what would bring what is not here


def no_option(path: str) -> str:
    """A path that a program cannot take for one of its options: names come with the clone."""
    return f"./{path}" if path.startswith("-") else path


def merged(commands: Sequence[FetchCommand]) -> tuple[FetchCommand, ...]:
    """The commands, those that differ only in their targets as one; in the order given."""
    found: dict[FetchCommand, tuple[str, ...]] = {}
    for command in commands:
        key = replace(command, targets=())
        found[key] = tuple(dict.fromkeys((*found.get(key, ()), *command.targets)))
    return tuple(replace(command, targets=targets) for command, targets in found.items())


def joined_states(states: Sequence[LfsPointer | NotPulled], label: str) -> LfsPointer | NotPulled:
    """What is missing of one model in several files as one state, with what brings all of it.

    Args:
        states: of the files that are not here, at least one.
        label: how the user names the model.

    """
    if len(states) == 1:
        return states[0]
    size = sum(state.size for state in states) if all(state.size >= 0 for state in states) else -1
    commands = merged([command for state in states for command in state.fetch])
    return NotPulled(f"{len(states)} shards of {label}", size, commands)


def command_line(commands: Sequence[FetchCommand]) -> str:
    """What a person would type at the top of the work tree; "" where nothing is known to help."""
    import shlex

    lines = []
    for command in commands:
        variables = [f"{name}={shlex.quote(value)}" for name, value in command.environment]
        lines += [" ".join([*variables, shlex.join(words)]) for words in command.runs]
    return " && ".join(lines)
