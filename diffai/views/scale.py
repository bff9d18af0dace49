"""The axis of a row of figures, and the row as one line of signs."""

from __future__ import annotations

import math

from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDE = 1000.0  # times the middle value: beside a larger one, all others would lie on the ground
LEVELS = "▁▂▃▄▅▆▇█"
ASCII_LEVELS = ".:-=+*#@"


@frozen
class Scale:
    """An axis from ``low`` to ``high``; logarithmic where few values would leave no room for the others."""

    low: float
    high: float
    logarithmic: bool

    def height(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        if not math.isfinite(value):
            return 1.0
        if not self.logarithmic:
            return value / self.high if self.high > 0 else 0.0
        return max(0.0, math.log(value / self.low) / math.log(self.high / self.low)) if value > 0 else 0.0

    def value(self, height: float) -> float:
        """What lies at a height."""
        return self.low * (self.high / self.low) ** height if self.logarithmic else self.high * height


def scale_of(values: Sequence[float | None]) -> Scale:
    """The axis for some values, of which those that are not finite are not drawn."""
    known = sorted(value for value in values if value is not None and math.isfinite(value) and value > 0)
    if not known:
        return Scale(0.0, 0.0, False)
    wide = known[-1] > _WIDE * known[len(known) // 2]
    return Scale(known[0], known[-1], wide)


def sparkline(values: Sequence[float | None], width: int = 0, levels: str = LEVELS) -> str:
    """One bar a value, the largest the highest; a dot where there is none.

    Args:
        values: oldest first.
        width: bars at most; of more values each bar is the largest of several. 0 = one for each.
        levels: eight signs, the lowest first.

    >>> sparkline([0.0, 1.0, None, 2.0]), sparkline([0.0, 1.0, None, None, 2.0, 3.0], 3)
    ('▁▄·█', '▃·█')
    """
    drawn = drawn_together(values, width)
    scale = scale_of(drawn)
    gap = "·" if levels == LEVELS else " "
    return "".join(gap if v is None else levels[min(7, int(scale.height(v) * 7))] for v in drawn)


def drawn_together(values: Sequence[float | None], width: int) -> list[float | None]:
    """At most ``width`` values: the largest of each run of neighbours; None where a run has none."""
    each = -(-len(values) // width) if width else 1
    runs = [values[at : at + each] for at in range(0, len(values), each)]
    return [max((value for value in run if value is not None), default=None) for run in runs]
