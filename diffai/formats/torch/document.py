"""What one torch file says once its pickles were run, before names are given to its tensors."""

from __future__ import annotations

from typing import Literal

from diffai.errors import FormatError
from diffai.formats.torch.objects import shown
from diffai.formats.torch.unpickler import GlobalUse, Machine
from diffai.model import Problem

MAX_GLOBALS = 1000
MAX_LISTED = 40
_VERBS = {"import": "names", "construct": "calls", "walk": "reaches through"}


class Document:
    """The object graph of a file, the constants of TorchScript, and what was odd."""

    def __init__(self, kind: str) -> None:
        self.format = kind
        self.value: object = None
        self.constants: object = ()
        self.metadata: dict[str, str] = {}
        self.asides: dict[str, str] = {}
        self.dict_attributes: list[object] = []
        self.problems: list[Problem] = []
        self.siblings: tuple[str, ...] = ()
        self.has_estimators = False
        self._unsafe: set[tuple[str, str]] = set()
        self._classes: dict[str, GlobalUse] = {}

    def note_globals(self, machine: Machine) -> None:
        """One problem for each distinct unsafe global, the first MAX_GLOBALS of a file; one for all known classes."""
        self.dict_attributes += machine.dict_attributes
        for (module, name), use in machine.uses.items():
            full = f"{module}.{name}"
            self.has_estimators |= module.startswith(("sklearn.", "xgboost.", "lightgbm."))
            if use.verdict == "class":
                self._classes.setdefault(full, use)
            elif use.verdict == "unsafe" and (full, use.use) not in self._unsafe:
                self._unsafe.add((full, use.use))
                self._note_unsafe(full, use)
        if self._classes:
            found = _classes(self._classes)
            self.problems[:] = [problem for problem in self.problems if problem.code != found.code]
            self.problems.append(found)

    def _note_unsafe(self, full: str, use: GlobalUse) -> None:
        if len(self._unsafe) <= MAX_GLOBALS:
            text = f"pickle {_VERBS[use.use]} {shown(full)} (not run)"
            self.problems.append(Problem("PT20", "error", text, "", use.offset, full, use.use))
        elif len(self._unsafe) == MAX_GLOBALS + 1:
            text = f"pickle names more than {MAX_GLOBALS:,} globals; the others are not listed"
            self.problems.append(Problem("PT20", "error", text, use="walk"))

    @property
    def unsafe(self) -> bool:
        """Whether anything unsafe was named."""
        return bool(self._unsafe)

    @property
    def safety(self) -> Literal["safe", "builds classes", "unsafe"]:
        """The verdict on all pickles of the file; see :mod:`diffai.formats.torch.danger`."""
        return "unsafe" if self.unsafe else "builds classes" if self._classes else "safe"

    @staticmethod
    def note_danger(error: FormatError, machine: Machine) -> None:
        """Say in the error what dangerous calls were met before it."""
        names = [f"{shown(m)}.{shown(n)}" for (m, n), use in machine.uses.items() if use.verdict == "unsafe"]
        if names:
            error.reason += f"; before that the pickle names {', '.join(names[:5])} (not run)"
            error.args = (error.reason,)


def _classes(uses: dict[str, GlobalUse]) -> Problem:
    names = [shown(name) for name in list(uses)[:MAX_LISTED]]
    more = f", and {len(uses) - MAX_LISTED} more" if len(uses) > MAX_LISTED else ""
    what = "a class of a known library" if len(uses) == 1 else f"{len(uses)} classes of known libraries"
    return Problem("PT21", "warning", f"pickle builds {what} (inert here): {', '.join(names)}{more}", "",
                   min(use.offset for use in uses.values()))  # fmt: skip
