"""Run the transcripts of the demo in README.md and docs/*.md and write down what they print.

A block below ``<!-- transcript: demo -->`` shows pipes and files, one below ``<!-- transcript: demo terminal -->`` what
people see on a terminal of 80 columns. ``python docs/demo_transcripts.py`` accepts what is printed now.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
BLOCK = re.compile(r"(<!-- transcript: demo( terminal)? -->\n```console\n)(.*?)(```)", re.DOTALL)
DIFFAI = Path(sysconfig.get_path("scripts")) / "diffai"


def commands(block: str) -> list[tuple[str, str]]:
    """(command, what it prints) of a block."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def printed(command: str, demo: Path, *, terminal: bool) -> subprocess.CompletedProcess[str]:
    """Run a command in the demo's repository."""
    environment = {**os.environ, "PATH": f"{DIFFAI.parent}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    environment |= {"COLUMNS": "80", "LC_ALL": "C.UTF-8", "GIT_PAGER_IN_USE": "1"} if terminal else {"COLUMNS": "200"}
    return subprocess.run(
        ["bash", "-c", command], cwd=demo, env=environment, capture_output=True, text=True, check=False
    )


def main() -> None:
    """Write all pages anew."""
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(folder) / "diffai-demo"
        subprocess.run([str(DIFFAI), "demo", str(demo)], check=True, capture_output=True)

        def block(found: re.Match[str]) -> str:
            rows = [(c, printed(c, demo, terminal=bool(found[2])).stdout) for c, _ in commands(found[3])]
            return found[1] + "".join(f"$ {command}\n{output}" for command, output in rows) + found[4]

        for page in PAGES:
            before = page.read_text("utf-8")
            after = BLOCK.sub(block, before)
            if after != before:
                page.write_text(after, "utf-8")


if __name__ == "__main__":
    main()
