"""How names, numbers and sizes look, and which colour a line has. Nothing here knows a model diff."""

from __future__ import annotations

import math

from diffai.model import Statistics

_RESET = "\x1b[m"
_COLOURS = {
    "~": "\x1b[33m", "+": "\x1b[32m", "-": "\x1b[31m", ">": "\x1b[36m", "!": "\x1b[1;31m",
    "=": "\x1b[2m", "…": "\x1b[2m", "#": "\x1b[1m",
}  # fmt: skip
_LONGEST_NAME = 200


def paint(line: str, kind: str, color: bool) -> str:
    """The line in the colour of its symbol; each line is reset by itself, as ``less -R`` wants it."""
    code = _COLOURS.get(kind, "") if color else ""
    return f"{code}{line}{_RESET}" if code else line


def escape(text: str, *, longest: int = _LONGEST_NAME) -> str:
    """Text with control, format and surrogate characters escaped, so that a name cannot forge a line.

    What a CI's log would take for a command (GitHub: ``::`` at the start, ``##[`` anywhere;
    Azure: ``##vso[``; TeamCity: ``##teamcity[``) is escaped, too.

    Backslash stays as it is unless something had to be escaped. Text longer than ``longest`` characters is cut
    in the middle and its length is said; 0 = never cut.
    """
    if longest and len(text) > longest:
        half = longest // 2 - 10
        text_cut = f"{text[:half]}…{text[-half:]}"
        return f"{escape(text_cut, longest=0)} ({len(text):,} characters)"
    if not (text.isascii() and text.isprintable()) and not all(_harmless(c) for c in text):
        text = "".join(c if _harmless(c) and c != "\\" else _escaped(c) for c in text)
    return _disarmed(text) if "::" in text or "##" in text else text


def _disarmed(text: str) -> str:
    blanks = len(text) - len(text.lstrip())
    if text.startswith("::", blanks):
        text = f"{text[:blanks]}\\x3a{text[blanks + 1 :]}"
    for word in ("[", "vso[", "teamcity["):
        text = text.replace(f"##{word}", f"#\\x23{word}")
    return text


def _harmless(c: str) -> bool:
    return c.isprintable() or (c == "\u3000")


def _escaped(c: str) -> str:
    code = ord(c)
    if c == "\\":
        return "\\\\"
    if c in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[c]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def number(value: float | int | None, digits: int = 4) -> str:
    """A figure for people: four decimals in the everyday range, four significant digits outside it."""
    if value is None:
        return "n/a"
    if isinstance(value, int):
        return str(value)
    if value == 0:
        return f"{0.0:.{digits}f}"
    size = abs(value)
    if 10.0 ** (1 - digits) <= size < 1e6:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}g}"


_SUMMED_IN_ROWS = frozenset(("F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"))
_EXACT_UP_TO = 8192


def known_mean(statistics: Statistics, dtype: str) -> float | None:
    """A mean without the digits that rounding made up: where values cancel out, it is 0 as far as is known.

    Blocks of the floats that float32 holds are summed in rows of float32, which leaves an error of up to 2**-24 of the
    root mean square; tensors too small for blocks, and all others, are summed in float64.
    """
    mean, std = statistics.mean, statistics.std
    if not mean or std is None or dtype not in _SUMMED_IN_ROWS or statistics.element_count <= _EXACT_UP_TO:
        return mean
    exponent = math.frexp(math.hypot(mean, std))[1] - 24
    return math.ldexp(round(math.ldexp(mean, -exponent)), exponent)


def transition(old: float | int | None, new: float | int | None) -> str:
    """``old->new`` in one manner, with up to six significant digits where four do not tell them apart.

    Both texts are equal when the figures differ by less; the caller then says how much the values moved.
    """
    if isinstance(old, float) and isinstance(new, float):
        small = min(abs(old) or 1.0, abs(new) or 1.0)
        a, b = (f"{old:.4g}", f"{new:.4g}") if small < 1e-3 else (number(old), number(new))
        if a == b and old != new and f"{old:.6g}" != f"{new:.6g}":
            a, b = f"{old:.6g}", f"{new:.6g}"
    else:
        a, b = number(old), number(new)
    return f"{a}->{b}"


def visibly_moved(text: str) -> bool:
    """Whether a transition shows two different figures."""
    before, _, after = text.partition("->")
    return before != after


def ratio(value: float | None) -> str:
    """A relative figure such as relative L2: two to four significant digits."""
    if value is None:
        return "n/a"
    if math.isinf(value):
        return "inf"
    if value == 0:
        return "0"
    return f"{value:.4f}" if 0.1 <= value < 1e4 else f"{value:.2g}"


def short(value: float | None) -> str:
    """Three significant digits."""
    if value is None:
        return "n/a"
    if math.isinf(value):
        return "from 0"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1000:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}"
    return f"{value:.2e}"


def share_text(share: float) -> str:
    """A share in percent; "" for none."""
    if not share:
        return ""
    if share < 0.001:
        return "<.1%"
    return f"{100 * share:.1f}%" if share < 0.1 else f"{100 * share:.0f}%"


def percent(part: int, whole: int) -> str:
    """A share that never rounds a part to 0 % or to 100 %."""
    if whole == 0 or part == 0:
        return "0%"
    if part == whole:
        return "100%"
    share = 100.0 * part / whole
    text = f"{share:.1f}"
    if text == "0.0":
        return f"{share:.1g}%"
    if text == "100.0":
        return ">99.9%"
    return f"{text}%"


def change_percent(old: int, new: int) -> str:
    """``+2.4% change`` from old to new; ``0% change`` only when equal."""
    if old == new:
        return "0% change"
    if old == 0:
        return "new"
    share = 100.0 * (new - old) / old
    text = f"{share:+.1f}"
    if text == "-100.0" and new:  # something is left: with as many digits as show it
        text = next((long for n in range(2, 12) if (long := f"{share:+.{n}f}").strip("-0.") != "1"), "over -99.9")
    return f"{share:+.1g}% change" if text in ("+0.0", "-0.0") else f"{text}% change"


def size(count: int) -> str:
    """Bytes for people, decimal units as disks and downloads have them: ``4.1 GB``."""
    if count < 0:
        return "unknown size"
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if value < 1000 or unit == "PB":
            return f"{int(value)} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def shape(dims: tuple[int, ...]) -> str:
    """``[10, 512]``."""
    return f"[{', '.join(map(str, dims))}]"


def plural(count: int, noun: str) -> str:
    """``1 tensor``, ``2 tensors``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
