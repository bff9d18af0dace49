"""How findings are put into words: one form for figures in every analysis."""

from __future__ import annotations

from diffai.finding import SEVERITIES, Basis, Fields, Finding, Severity, Status, Value

__all__ = [
    "NOT_RECORDED", "SEVERITIES", "Basis", "Fields", "Finding", "Severity", "Status", "Value",
    "brief", "counted", "not_computed", "nothing", "share_text", "times_text",
]  # fmt: skip

NOT_RECORDED = "not recorded"
"""What stands in a text for a figure that the inputs do not hold."""


def brief(fields: Fields) -> str:
    """Figures as one line, ``trend=improving, magnitude=0.0543``; None is ``not recorded``, lists are counted."""
    return ", ".join(f"{name}={_word(value)}" for name, value in fields.items())


def _word(value: Value) -> str:
    if value is None:
        return NOT_RECORDED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, str):
        return value
    return f"{len(value):,}"


_ROUNDING = 1e-12
"""By how much shares that were added up may miss 1."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 matrix``, ``2 matrices``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def times_text(ratio: float) -> str:
    """A ratio without an exponent: ``0.5x``, ``28,400x``, ``0.0000352x``."""
    if not 1e-4 <= abs(ratio) < 1000:
        from decimal import Decimal

        return f"{Decimal(f'{ratio:.3g}'):,f}x"
    return f"{ratio:.3g}x"


def share_text(share: float) -> str:
    """A share in percent that rounds no part to all or to nothing: ``98%``, ``over 99.9%``, ``0.4%``."""
    if not share or abs(share - 1) < _ROUNDING:
        return f"{share:.0%}"
    for digits in (0, 1):
        text = f"{share:.{digits}%}"
        if 0 < float(text[:-1]) < 100 and (digits or share >= 0.095):
            return text
    return "over 99.9%" if share > 0.5 else "under 0.1%"


def nothing(name: str, text: str = "nothing to say of this pair", evidence: tuple[str, ...] = ()) -> Finding:
    """The finding of an analysis that was asked for and looked, and has nothing to say."""
    return Finding(name, "info", "fact", {}, evidence, text, status="nothing")


def not_computed(name: str, reason: str, evidence: tuple[str, ...] = ()) -> Finding:
    """The finding of an analysis that was asked for and could not look."""
    return Finding(name, "notice", "fact", {}, evidence, f"not computed: {reason}", status="not computed")
