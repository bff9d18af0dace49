"""What one torch file says once its pickles were run, before names are given to its tensors."""

from __future__ import annotations

from diffai.errors import FormatError
from diffai.formats.torch.objects import shown
from diffai.formats.torch.unpickler import Machine
from diffai.model import Problem


class Document:
    """The object graph of a file, the constants of TorchScript, and what was odd."""

    def __init__(self, kind: str) -> None:
        self.format = kind
        self.value: object = None
        self.constants: object = ()
        self.metadata: dict[str, str] = {}
        self.problems: list[Problem] = []
        self.dangerous = False

    def note_globals(self, machine: Machine) -> None:
        """One problem for each distinct global outside the allow-list."""
        for (module, name), use in machine.uses.items():
            what = f"{shown(module)}.{shown(name)}"
            verb = "calls" if use.called else "names"
            if use.verdict == "dangerous":
                self.dangerous = True
                problem = Problem("PT20", "error", f"pickle {verb} {what} (not run)", offset=use.offset)
            else:
                problem = Problem("PT21", "warning", f"pickle {verb} {what}, which is custom code (inert here)",
                                  offset=use.offset)  # fmt: skip
            if problem not in self.problems:
                self.problems.append(problem)

    @staticmethod
    def note_danger(error: FormatError, machine: Machine) -> None:
        """Say in the error what dangerous calls were met before it."""
        names = [f"{shown(m)}.{shown(n)}" for (m, n), use in machine.uses.items() if use.verdict == "dangerous"]
        if names:
            error.reason += f"; before that the pickle names {', '.join(names[:5])} (not run)"
            error.args = (error.reason,)
