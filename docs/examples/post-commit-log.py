#!/usr/bin/env python3
"""A git hook of your own: write down how many changes each commit makes to each model.

Copy it to .git/hooks/post-commit and make it executable. It appends lines ``commit <TAB> file <TAB> changes`` to
.git/model-changes.log, where ``changes`` is the length of diffai's change list: 0 means that nothing differs.
"""

import json
import subprocess
from pathlib import Path


def git(*words: str) -> str:
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()


MODELS = ("*.safetensors", "*.pt", "*.pth")

parents = git("rev-list", "--parents", "-n", "1", "HEAD").split()[1:]
if parents:
    names = git("diff", "--name-only", "--diff-filter=M", "-z", "HEAD~1", "HEAD", "--", *MODELS)
    with Path(git("rev-parse", "--git-path", "model-changes.log")).open("a", encoding="utf-8") as log:
        for name in filter(None, names.split("\0")):
            done = subprocess.run(
                ["diffai", f"HEAD~1:{name}", f"HEAD:{name}", "--output", "json"], capture_output=True, text=True
            )
            records = json.loads(done.stdout or "[]")
            unread = [record["FileUnreadable"][1] for record in records if "FileUnreadable" in record]
            reason = "; ".join(unread) or done.stderr.strip()
            changes = f"not compared: {reason}" if done.returncode else len(records)
            log.write(f"{git('rev-parse', 'HEAD')}\t{name}\t{changes}\n")
