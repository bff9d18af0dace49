"""What changed in the structure of a model: its tensors, its classes, its graph. Training state is no part of it."""

from __future__ import annotations

from diffai.comparison.result import DirectoryDiff, ModelDiff
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.analyses.finding import Finding
    from diffai.comparison.result import FileChange

NAME = "structure"


@frozen
class Structure:
    """Counts: of the model's tensors, then of classes and of entries of the graph that differ."""

    added: int = 0
    removed: int = 0
    renamed: int = 0
    reshaped: int = 0
    classes: int = 0
    graph: int = 0

    @property
    def any(self) -> bool:
        """Whether anything changed."""
        return bool(self.added or self.removed or self.renamed or self.reshaped or self.classes or self.graph)

    @property
    def text(self) -> str:
        """``2 added, 1 reshaped``; "" for no change."""
        words = [
            f"{count:,} {word}"
            for count, word in (
                (self.added, "added"), (self.removed, "removed"),
                (self.renamed, "renamed"), (self.reshaped, "reshaped"),
            )
            if count
        ]  # fmt: skip
        if self.classes:
            words.append(f"{self.classes:,} class{'' if self.classes == 1 else 'es'} changed")
        if self.graph:
            words.append(f"{self.graph:,} {'entry' if self.graph == 1 else 'entries'} of the graph changed")
        return ", ".join(words)


def structure(diff: ModelDiff) -> Structure:
    """The structural changes of a comparison."""
    t = diff.totals
    return Structure(t.added, t.removed, t.renamed, t.reshaped, len(diff.classes), len(diff.graph))


def structure_differs(diff: ModelDiff | DirectoryDiff) -> bool | None:
    """Whether the structure of any model differs, whatever its values, metadata and training state; headers suffice.

    None where a model could not be read. A model on one side only is a difference.
    """
    if isinstance(diff, ModelDiff):
        return structure(diff).any if diff.comparable else (False if diff.equal else None)
    answers = [_file_differs(file) for file in diff.files]
    return None if None in answers else any(answers)


def _file_differs(file: FileChange) -> bool | None:
    if file.diff is None or file.unread:
        return None
    return file.status in ("added", "removed") or structure_differs(file.diff)


def find(diff: ModelDiff, _context: Context) -> Finding | None:
    """The same as a finding; none where the structure is the same or a side is no model."""
    from diffai.analyses.finding import Finding

    found = structure(diff)
    if not found.any or diff.old.state is not None or diff.new.state is not None:
        return None
    fields = {
        "added": found.added, "removed": found.removed, "renamed": found.renamed, "reshaped": found.reshaped,
        "classes": found.classes, "graph": found.graph,
    }  # fmt: skip
    return Finding(NAME, "notice", "fact", fields, (), found.text)
