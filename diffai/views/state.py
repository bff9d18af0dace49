"""States in words: why a side has no checkpoint, and what to do about it."""

from __future__ import annotations

from diffai.model import (
    Absent,
    DvcPointer,
    LfsPointer,
    NotAModel,
    NotPulled,
    NotRead,
    State,
    TooLarge,
    Unreadable,
)
from diffai.stores.store import command_line
from diffai.views.style import escape, plural, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from diffai.comparison.result import LeftOut, ModelDiff, Side
    from diffai.views.blocks import Block


def describe_state(state: State) -> str:
    """One sentence without a full stop; names the command that helps where there is one."""
    match state:
        case Absent():
            return "does not exist"
        case LfsPointer(oid, count):
            return f"LFS object not downloaded ({size(count)}, sha256:{oid[:12]}){bring_hint(state)}"
        case DvcPointer():
            return "DVC pointer with several outputs; name one of them (REV:path works for each)"
        case NotPulled(what, count):
            known = f" ({size(count)})" if count >= 0 else ""
            return f"{escape(what)} is not here{known}{bring_hint(state)}"
        case Unreadable():
            return describe_unreadable(state)
        case NotRead():
            return escape(state.said, longest=500)
        case NotAModel(kind):
            return escape(kind, longest=500)
        case TooLarge(limit, key):
            return f"over the limit: {escape(limit)} (lift it with {escape(key)})"
    raise AssertionError(state)


def bring_hint(state: LfsPointer | NotPulled) -> str:
    """``; bring it with: git lfs fetch ...``, to be typed at the top of the work tree; "" where nothing is known."""
    line = command_line(state.fetch)
    return f"; bring it with: {escape(line, longest=2000)}" if line else ""


def describe_unreadable(state: Unreadable) -> str:
    """``unreadable safetensors: REASON at offset 8 (tensor 'x', ST07)``; the bare reason of an unknown format."""
    if not state.format and not state.code:
        return escape(state.reason, longest=500)
    kind = f" {state.format}" if state.format else ""
    details = [f"tensor {escape(state.tensor)!r}"] if state.tensor else []
    if state.code:
        details.append(state.code)
    where = f" at offset {state.offset}" if state.offset >= 0 else ""
    return f"unreadable{kind}: {escape(state.reason, longest=500)}{where}" + (
        f" ({', '.join(details)})" if details else ""
    )


def describe_side(side: Side) -> str:
    """``safetensors, F32, 15 tensors, 309,633 parameters, 1.2 MB``."""
    parts = [side.format, dtypes_text(side), plural(side.tensors, "tensor"), plural(side.parameters, "parameter")]
    if side.size >= 0:
        parts.append(size(side.size))
    return ", ".join(part for part in parts if part)


def dtypes_text(side: Side) -> str:
    """``BF16``, ``F32/I64`` (most elements first), at most three and a count."""
    names = [escape(name) for name, _ in side.dtypes]
    return "/".join(names[:3]) + (f" and {plural(len(names) - 3, 'more dtype')}" if len(names) > 3 else "")


def states_view(diff: ModelDiff) -> Iterator[Block]:
    """Both sides of a comparison of which one has no checkpoint, or neither."""
    from diffai.views.blocks import said

    for which, side in (("old", diff.old), ("new", diff.new)):
        if side.state is None:
            yield said(f"{which}: {describe_side(side)}", indent=1)
        elif isinstance(side.state, Absent):
            yield said(f"{which}: {describe_state(side.state)}", indent=1)
        else:
            yield said(f"! {which}: {_labelled(side, side.state)}", "!")
    if diff.equal:
        yield said("No differences found (the same bytes, though not readable)")
    else:
        yield said("! not compared" if diff.equal is None else "! not compared: their bytes differ", "!")


def _labelled(side: Side, state: State) -> str:
    label = f"{escape(side.label)}: " if side.label else ""
    return label + describe_state(state)


def problems_view(diff: ModelDiff, *, verbose: bool) -> Iterator[Block]:
    """What is unsafe in a file: loud for errors; inert custom classes only with --verbose."""
    from diffai.views.blocks import said

    seen = set()
    for which, side in (("old", diff.old), ("new", diff.new)):
        for problem in side.problems:
            if problem.severity != "error" and not verbose:
                continue
            text = f"{problem.message} ({problem.code}"
            text += f", offset {problem.offset})" if problem.offset >= 0 else ")"
            both = problem in diff.old.problems and problem in diff.new.problems
            line = f"! {'both sides' if both else which}: {escape(text, longest=500)}"
            if line not in seen:
                seen.add(line)
                yield said(line, "!")


def hidden_lines(hidden: Sequence[LeftOut]) -> list[Block]:
    """What settings of the clone hide: counted, with value and file, before anything else is said."""
    from diffai.views.blocks import said

    text = hidden_text(hidden)
    return [said(text, "!")] if text else []


def hidden_text(hidden: Sequence[LeftOut]) -> str:
    """The same as a sentence; "" where nothing is hidden."""
    from diffai.views.lines import left_text

    counted = [left_text(left) for left in hidden]
    return f"! hidden by settings of the repository: {escape('; '.join(counted), longest=1000)}" if counted else ""
