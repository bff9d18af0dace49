"""What the program puts in order before it loads anything: closed standard streams, and ^C while it starts."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import FrameType
    from typing import NoReturn
else:
    import _signal  # signal itself loads enum, which what git calls does without


def open_standard_streams() -> None:
    """Give each standard stream that was closed (``>&-``) the null device.

    Else the next file that is opened gets its number, and what is written to a standard stream goes into that file.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number: those below are open
            os.set_inheritable(opened, True)
        if getattr(sys, name) is None:
            mode = "w" if descriptor else "r"
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115


def exit_on_interrupt() -> None:
    """From now on ^C ends the program at once, with one line: nothing is there yet, or any more, to be tidied up.

    An exception would come out of the middle of an import, where it shows as a traceback or is turned into another.
    """
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _leave)


def raise_on_interrupt() -> None:
    """From now on ^C is a ``KeyboardInterrupt``, as Python has it: work has begun, and tidies up after itself."""
    if _signal.getsignal(_signal.SIGINT) is _leave:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    try:
        os.write(2, b"diffai: interrupted\n")
    finally:
        os._exit(130)
