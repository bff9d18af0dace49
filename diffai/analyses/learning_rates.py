"""Recorded learning rates of both sides, where their schedule stands, and the step that Adam really takes."""

from __future__ import annotations

from diffai.analyses.slots import FIRST_MOMENT, SECOND_MOMENT, slots
from diffai.analyses.training_run import NOT_RECORDED, Run, runs
from diffai.comparison.result import ModelDiff

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.analyses.context import Context
    from diffai.analyses.finding import Fields, Finding, Value

NAME = "learning_rate_analysis"
_POSITION = ("last_epoch", "_step_count", "T_cur", "num_bad_epochs")


def _betas(run: Run) -> tuple[float, float, float]:
    """beta1, beta2 and eps of Adam, by the first group that says them; torch's defaults else."""
    import ast

    for group in run.groups:
        try:
            first, second = ast.literal_eval(str(group.get("betas")))
            eps = group.get("eps", 1e-8)
            return float(first), float(second), float(eps) if isinstance(eps, int | float) else 1e-8
        except (ValueError, SyntaxError, TypeError):
            continue
    return 0.9, 0.999, 1e-8


def effective_step(diff: ModelDiff, context: Context, run: Run) -> tuple[Fields, ...]:
    """Adam's step of each parameter as its moments have it: mean of lr * m^ / (sqrt(v^) + eps) (Kingma, Ba 2015).

    Reads the moments again. Slots are mapped by order: an estimate.
    """
    rates = [rate for rate in run.learning_rates if rate is not None]
    if context.unread or context.new is None or not rates or run.step is None:
        return ()
    found = slots(diff, "new", list(context.new.tensors))
    second = {slot.number if not slot.named else slot.parameter: slot for slot in found.of(SECOND_MOMENT)}
    beta1, beta2, eps = _betas(run)
    rows: list[Fields] = []
    for slot in found.of(FIRST_MOMENT):
        other = second.get(slot.number if not slot.named else slot.parameter)
        if other is None or slot.change.new is None or other.change.new is None or run.step < 1:
            continue
        m, v = context.array("new", slot.change.new), context.array("new", other.change.new)
        if m is None or v is None or not m.size:
            continue
        hat_m, hat_v = m / (1 - beta1**run.step), v / (1 - beta2**run.step)
        step = rates[0] * float((abs(hat_m) / (hat_v.clip(0) ** 0.5 + eps)).mean())
        rows.append({"name": slot.parameter or slot.change.name, "effective_step": step})
    return tuple(rows)


def find(diff: ModelDiff, context: Context) -> Finding | None:
    """The learning rates as one finding; none where neither side records one, unless it was asked for."""
    from diffai.analyses.finding import Finding, nothing

    asked = context.asked
    old, new = runs(diff, context)
    before, after = old.learning_rates, new.learning_rates
    if not before and not after:
        why = "no learning rate is recorded on either side"
        return nothing(NAME, f"{NOT_RECORDED}: {why}") if asked else None
    rows: list[Fields] = []
    for number in range(max(len(before), len(after))):
        was = before[number] if number < len(before) else None
        now = after[number] if number < len(after) else None
        ratio = now / was if was and now is not None else None
        rows.append({"group": number, "old": was, "new": now, "ratio": ratio})
    steps = effective_step(diff, context, new) if asked else ()
    position: dict[str, Value] = {key: new.scheduler[key] for key in _POSITION if key in new.scheduler}
    fields: Fields = {
        "groups": tuple(rows), "optimizer": new.optimizer or old.optimizer or None, "scheduler": position,
        "epoch_old": old.epoch, "epoch_new": new.epoch, "step_old": old.step, "step_new": new.step,
        "effective_steps": steps,
    }  # fmt: skip
    text = "; ".join(f"group {row['group']}: {_shown(row['old'])} -> {_shown(row['new'])}" for row in rows[:4])
    text = text.removeprefix("group 0: ") if len(rows) == 1 else text
    text += f"; and {len(rows) - 4:,} more groups" if len(rows) > 4 else ""
    lacking = [f"no learning rate is recorded on the {side} side" for side, rate in (("old", before), ("new", after))
               if not rate]  # fmt: skip
    lacking += [f"{_named(name)}: {NOT_RECORDED}" for name, value in fields.items() if value is None]
    if asked and not steps:
        lacking.append("effective steps take Adam's moments, a learning rate and a step, and values that can be read")
    estimate = ["effective steps: slots are mapped to parameters by order and shape"] if steps else []
    return Finding(NAME, "info", "estimate" if steps else "fact", fields, (*lacking, *estimate), text)


def _named(field: str) -> str:
    """``step_old`` in words."""
    what, _, side = field.rpartition("_")
    return f"{what} of the {side} side" if what else field


def _shown(rate: object) -> str:
    return f"{rate:.4g}" if isinstance(rate, float) else NOT_RECORDED
