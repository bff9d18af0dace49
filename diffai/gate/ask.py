"""Ask a person at the terminal. A hook has no terminal on its standard input, so the controlling one is opened."""

from __future__ import annotations

import os

QUESTION = "Continue with commit? (y/N) "


def ask_to_continue(lines: str = "", question: str = QUESTION) -> bool | None:
    """True for yes, False for anything else; None where nobody can be asked. Never waits for somebody who is not there.

    Args:
        lines: shown before the question: what the answer is about, since a hook's output may be held back.
        question: ends with a space.
    """
    if os.environ.get("CI") or os.environ.get("TERM") == "dumb":
        return None
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # no controlling terminal: a graphical client, a service, CI
        return None
    try:
        if os.tcgetpgrp(terminal) != os.getpgrp():  # in the background, reading would stop the whole process
            return None
        os.write(terminal, (lines + question).encode("utf-8", "backslashreplace"))
        answer = b""
        while not answer.endswith(b"\n") and len(answer) < 100:
            part = os.read(terminal, 100)
            if not part:  # the terminal went away, or ^D
                break
            answer += part
        return answer.strip().lower() in (b"y", b"yes")
    except OSError:
        return None
    finally:
        os.close(terminal)
