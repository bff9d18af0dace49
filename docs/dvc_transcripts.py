"""Run every transcript of guide-dvc.md in one repository with real DVC, in the order of the page.

    python docs/dvc_transcripts.py            # after a change of what is printed for models in DVC
    python docs/dvc_transcripts.py --check    # what the tests run

The commands see a DVC repository ``project``; ``train SEED FILE`` writes a model. What stands between transcripts as
``<!-- run: COMMAND -->`` is run as well, and not shown.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from transcripts import shell, write_or_check

PAGE = Path(__file__).with_name("guide-dvc.md")
_BLOCK = re.compile(r"<!-- run: (.*?) -->|(<!-- transcript: dvc -->\n```console\n)(.*?)(```)", re.DOTALL)

TRAIN = """#!{python}
import sys
import numpy as np
from safetensors.numpy import save_file
rng, seed = np.random.default_rng(7), int(sys.argv[1])
shapes = {{"encoder.weight": (64, 32), "encoder.bias": (64,), "head.weight": (10, 64), "head.bias": (10,)}}
weights = {{name: rng.standard_normal(shape).astype("f4") / 16 for name, shape in shapes.items()}}
step = np.random.default_rng(seed)
for name in ("head.weight", "head.bias") if seed else ():
    weights[name] += np.float32(0.002 * seed) * step.standard_normal(shapes[name]).astype("f4")
save_file(weights, sys.argv[2])
"""


def prepare(folder: Path) -> dict[str, str]:
    """The repository, the program that trains, and the environment in which the commands run."""
    project, home, programs = folder / "project", folder / "home", folder / "programs"
    for made in (project, home, programs):
        made.mkdir()
    (programs / "train").write_text(TRAIN.format(python=sys.executable))
    (programs / "train").chmod(0o755)
    path = os.pathsep.join([sysconfig.get_path("scripts"), str(programs), "/usr/local/bin", "/usr/bin", "/bin"])
    environment = {
        "PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1", "TZ": "UTC", "CI": "1",
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"), "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com", "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_DATE": "2025-03-01T12:00:00Z", "GIT_COMMITTER_DATE": "2025-03-01T12:00:00Z",
        **{f"DVC_{name}_DIR": str(home / name.lower()) for name in ("SYSTEM_CONFIG", "GLOBAL_CONFIG", "SITE_CACHE")},
    }  # fmt: skip
    for command in ("git init -q -b main", "dvc init -q", "git commit -qm 'dvc init'"):
        subprocess.run(command, shell=True, cwd=project, env=environment, check=True)
    return environment


def run(page: str, folder: Path) -> str:
    """The page with every transcript's output replaced by what its commands print now."""
    environment = prepare(folder)

    def printed(command: str, *, check: bool = False) -> str:
        done = shell(command, folder, environment)
        if check and done.returncode:
            raise SystemExit(f"{command}: exit code {done.returncode}: {done.stdout}")
        return done.stdout.replace(str(folder / "project"), "/srv/project")

    def block(match: re.Match[str]) -> str:
        if match[1]:
            printed(match[1], check=True)
            return match[0]
        commands = re.findall(r"^\$ (.*)$", match[3], flags=re.MULTILINE)
        return match[2] + "".join(f"$ {command}\n{printed(command)}" for command in commands) + match[4]

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    raise SystemExit(write_or_check(PAGE, run))
