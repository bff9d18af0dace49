"""What a change does to size and speed, in ratios: parameters, bytes, FLOPs, memory and time, new over old."""

from __future__ import annotations

from diffai.analyses.compute import costs, ratio
from diffai.analyses.finding import Finding, brief, times_text
from diffai.analyses.memory import weights_of
from diffai.comparison.result import ModelDiff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.finding import Severity

NAME = "performance_impact_estimate"


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The ratios, where one of them is not 1 or it was asked for."""
    if diff.old.state is not None or diff.new.state is not None:
        return None
    old = weights_of((change.old for change in diff.tensors if change.old is not None), context.old)
    new = weights_of((change.new for change in diff.tensors if change.new is not None), context.new)
    before, after = costs(diff, context)
    stored = ratio(old.bytes, new.bytes)
    flops, read = ratio(before.flops, after.flops), ratio(before.bytes_read, after.bytes_read)
    ratios = {
        "parameters": ratio(old.parameters, new.parameters), "bytes": stored, "flops": flops, "memory": stored,
        "time": read,
    }  # fmt: skip
    if not context.asked and all(value is None or value == 1 for value in ratios.values()):
        return None
    worst = max((value for value in ratios.values() if value is not None), default=1.0)
    evidence = [
        "bytes and memory: of weights as they are stored; FLOPs: as of inference_speed_estimate",
        "time: of one position at a time, which is bound by reading the weights once",
        *(f"not recorded: {what}" for what in dict.fromkeys((*before.missing, *after.missing))),
    ]
    if stored is None:
        evidence.append("stored bytes are not known of a packed kind, or there are none")
    text = brief({name: None if value is None else times_text(value) for name, value in ratios.items()})
    lacking = next(iter((*after.missing, *before.missing)), "")
    text += f" ({lacking})" if lacking else ""
    severity: Severity = "notice" if worst > context.number("notice") else "info"
    return Finding(NAME, severity, "estimate", ratios, tuple(evidence), text)
