"""What is unsafe to load, as data: which problems say so, and what a person may permit by exact names."""

from __future__ import annotations

from diffai.model import Problem

UNSAFE = "PT20"
BUILDS = "PT21"


def unsafe(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """The problems of a file that say that loading it runs, or may run, code of its own choice."""
    return tuple(problem for problem in problems if problem.code == UNSAFE)


def with_allowed(problems: tuple[Problem, ...], allow: frozenset[str]) -> tuple[Problem, ...]:
    """The problems, where those that ``allow`` permits are warnings.

    ``allow`` holds exact names (``mypkg.model.Net``). It permits import and construction of that name: never an
    attribute walk, a call of what a call made, or state that is set on a class, function or module.
    """
    return tuple(
        Problem(BUILDS, "warning", f"{problem.message}; permitted by name", problem.tensor, problem.offset,
                problem.name, problem.use)
        if problem.code == UNSAFE and problem.name in allow and problem.use in ("import", "construct") else problem
        for problem in problems
    )  # fmt: skip
