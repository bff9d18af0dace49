"""The program's entry. What git calls once per file starts without the command line's libraries."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program and exit."""
    argv = sys.argv[1:]
    if argv and argv[0] == "git-driver":
        from diffai.git.driver import main as run
    elif argv and argv[0] == "textconv":
        from diffai.git.textconv import main as run
    else:
        from diffai.cli.main import main as run
    raise SystemExit(run(argv if argv[:1] not in (["git-driver"], ["textconv"]) else argv[1:]))


if __name__ == "__main__":
    main()
