"""The program's entry. What git calls once per file starts without the command line's libraries, and ends at once."""

from __future__ import annotations

import gc
import os
import sys

from diffai.startup import exit_on_interrupt, open_standard_streams, raise_on_interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_TIDYING = frozenset(("dvc", "fsspec", "torch", "matplotlib"))
"""Libraries that may have registered something to be done at the end of the program."""


def main() -> None:
    """Run the program and exit."""
    exit_on_interrupt()
    open_standard_streams()
    gc.set_threshold(50_000, 50, 50)  # many small immutable objects, few cycles: looking for them costs a fifth
    # The threads that OpenBLAS starts when numpy is loaded cost a quarter of loading it, and nothing here uses them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    argv = sys.argv[1:]
    word = argv[0] if argv else ""
    if word in ("git-driver", "textconv"):
        _leave_numpys_docs()
    if word == "git-driver":
        from diffai.git import driver

        raise_on_interrupt()
        _end(driver.main(argv[1:]))
    if word == "textconv":
        from diffai.git import textconv

        raise_on_interrupt()
        _end(textconv.main(argv[1:]))
    if word == "gate":  # most commits change no model, and that is known before anything else is loaded
        from diffai.gate import quick

        status = quick.main(argv[1:])
        if status is not None:
            _end(status)
    try:
        from diffai.cli.main import main as run

        status = run(argv)
    except KeyboardInterrupt:  # again, while the first ^C was answered
        sys.stderr.write("diffai: interrupted\n")
        status = 130
    _end(status)


def _leave_numpys_docs() -> None:
    """Let numpy start without the texts of its help: writing them takes a tenth of loading it, once a file.

    They are modules that only add docstrings, and numpy is used to being without (``python -OO``, its own documentation
    builds put others in their place). Where a version of numpy calls them otherwise, nothing changes.
    """
    for core in ("numpy._core", "numpy.core"):
        for name in (f"{core}._add_newdocs", f"{core}._add_newdocs_scalars"):
            sys.modules.setdefault(name, type(sys)(name))


def _end(status: int) -> NoReturn:
    """Exit without taking the interpreter apart, which takes a tenth of the time of loading numpy."""
    exit_on_interrupt()
    if not _TIDYING.isdisjoint(sys.modules):
        raise SystemExit(status)
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):  # what cannot be written any more is Python's to answer
        raise SystemExit(status) from None
    os._exit(status)


if __name__ == "__main__":
    main()
