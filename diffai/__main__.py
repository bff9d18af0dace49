"""The program's entry. What git calls once per file starts without the command line's libraries."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the program and exit."""
    gc.set_threshold(50_000, 50, 50)  # many small immutable objects, few cycles: looking for them costs a fifth
    argv = sys.argv[1:]
    word = argv[0] if argv else ""
    if word == "git-driver":
        from diffai.git import driver

        raise SystemExit(driver.main(argv[1:]))
    if word == "textconv":
        from diffai.git import textconv

        raise SystemExit(textconv.main(argv[1:]))
    if word == "gate":  # most commits change no model, and that is known before anything else is loaded
        from diffai.gate import quick

        status = quick.main(argv[1:])
        if status is not None:
            raise SystemExit(status)
    from diffai.cli.main import main as run

    raise SystemExit(run(argv))


if __name__ == "__main__":
    main()
