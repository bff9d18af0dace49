"""Validate files without comparing: structure, unsafe pickles, and NaN/Inf in the values."""

from __future__ import annotations

from diffai.errors import DiffaiError, FormatError, UnsupportedFormatError
from diffai.formats.base import Limits, problem_of
from diffai.frozen import frozen
from diffai.model import Checkpoint, NotAModel, Problem, State
from diffai.models.inputs import open_input
from diffai.sources.directory import Directory


@frozen
class CheckResult:
    """What is wrong with one file.

    ``state`` is set when it is no model at all, or is not here; then nothing was checked. ``valued`` tells whether
    the values were looked at for NaN and infinities. ``safety`` is the verdict on pickles ("" = it has none):
    ``safe``, ``builds classes`` or ``unsafe``.
    """

    label: str
    format: str = ""
    size: int = -1
    tensors: int = 0
    problems: tuple[Problem, ...] = ()
    state: State | None = None
    valued: bool = False
    safety: str = ""

    @property
    def errors(self) -> int:
        """Problems of severity error."""
        return sum(problem.severity == "error" for problem in self.problems)


def check_file(
    word: str, limits: Limits, *, input_format: str = "", values: bool = True, threads: int = 0,
    allow_globals: frozenset[str] = frozenset(),
) -> CheckResult:  # fmt: skip
    """All problems of one file.

    Structure is checked without opening; values are looked at only when the structure is sound.

    Names in ``allow_globals`` may be imported and constructed; see :func:`diffai.formats.safety.with_allowed`.

    Raises:
        SourceError: it does not exist or cannot be read.

    """
    from diffai.formats.registry import check
    from diffai.formats.safety import unsafe, with_allowed
    from diffai.snapshots.resolve import open_source

    source = open_source(word)
    if isinstance(source, State):
        return CheckResult(word, state=source)
    try:
        problems = with_allowed(check(source, limits, input_format), allow_globals)
    except UnsupportedFormatError as error:
        return CheckResult(word, state=NotAModel(error.reason))
    except FormatError as error:
        problem = problem_of(error)
        return CheckResult(word, error.format, source.size, problems=(problem,))
    finally:
        if not isinstance(source, Directory):
            source.close()
    size = source.size
    side = open_input(word, limits, input_format)
    if side.checkpoint is None:
        if not problems and side.state is not None:
            return CheckResult(word, size=size, state=side.state)
        return CheckResult(word, size=size, problems=problems)
    checkpoint = side.checkpoint
    found = list(problems)
    safety = checkpoint.safety
    if safety == "unsafe" and not unsafe(problems):
        safety = "builds classes"
    try:
        if values:
            found += _nonfinite(checkpoint, threads)
        return CheckResult(
            word, checkpoint.format, size, len(checkpoint.tensors), tuple(found), valued=values, safety=safety
        )
    except DiffaiError as error:
        found.append(Problem("", "error", str(error)))
        return CheckResult(word, checkpoint.format, size, len(checkpoint.tensors), tuple(found), safety=safety)
    finally:
        checkpoint.close()


def _nonfinite(checkpoint: Checkpoint, threads: int) -> list[Problem]:
    from diffai.tensors.engine import summarise

    specs = [spec for spec in checkpoint.tensors.values() if not spec.alias_of]
    problems = []
    for spec, summary in zip(
        specs, summarise(checkpoint, specs, statistics=True, digest=False, threads=threads), strict=True
    ):
        s = summary.statistics
        if s is None:
            continue
        for code, label, count in (("VAL01", "NaN", s.nan_count), ("VAL02", "Inf", s.pos_inf_count + s.neg_inf_count)):
            if count:
                text = f"{count:,} of {s.element_count:,} values are {label}"
                problems.append(Problem(code, "error", text, spec.name, spec.offset))
    return problems
