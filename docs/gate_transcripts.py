"""Run every transcript of guide-gate.md in one repository, in the order of the page, and write what was printed.

    python docs/gate_transcripts.py            # after a change of what the gate prints
    python docs/gate_transcripts.py --check    # what the tests run

The commands see a repository ``project`` with one committed classifier, and beside it a folder ``trained`` with models.
"""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from transcripts import shell, write_or_check

PAGE = Path(__file__).with_name("guide-gate.md")
_BLOCK = re.compile(r"(<!-- transcript: gate -->\n```console\n)(.*?)(```)", re.DOTALL)


def train(path: Path, classes: int = 10, *, step: float = 0.0, width: int = 32, rank: int = 0, **names: object) -> None:
    """A small classifier; ``step`` moves the head, ``backbone`` the backbone; ``nan`` breaks it."""
    rng = np.random.default_rng(0)
    tensors = {
        "backbone.0.weight": rng.standard_normal((64, width)).astype("f4") + np.float32(names.get("backbone", 0.0)),
        "backbone.1.weight": rng.standard_normal((width, 64)).astype("f4"),
        "head.weight": rng.standard_normal((64, 64)).astype("f4")[:classes] + np.float32(step),
        "head.bias": np.zeros(classes, "f4") + np.float32(step),
    }
    if rank:
        tensors["backbone.0.lora_A.weight"] = rng.standard_normal((rank, width)).astype("f4")
        tensors["backbone.0.lora_B.weight"] = np.zeros((64, rank), "f4")
    if names.get("nan"):
        tensors["head.bias"][3] = np.nan
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"license": "mit"})


def prepare(folder: Path) -> dict[str, str]:
    """The repository, the models, and the environment in which the commands run."""
    trained, project, home = folder / "trained", folder / "project", folder / "home"
    train(trained / "next-epoch.safetensors", step=0.01)
    train(trained / "12-classes.safetensors", 12)
    train(trained / "diverged.safetensors", nan=True)
    train(trained / "backbone-moved.safetensors", step=0.01, backbone=0.001)
    train(trained / "with-adapters.safetensors", rank=4)
    train(trained / "wide.safetensors", width=48)
    home.mkdir()
    path = os.pathsep.join([sysconfig.get_path("scripts"), "/usr/local/bin", "/usr/bin", "/bin"])
    environment = {
        "PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1", "TZ": "UTC",
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"), "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com",
        "GIT_AUTHOR_DATE": "2025-03-01T12:00:00Z", "GIT_COMMITTER_DATE": "2025-03-01T12:00:00Z",
    }  # fmt: skip
    train(project / "models" / "classifier.safetensors")
    for command in ("git init -q -b main", "git add .", "git commit -q -m 'First model'"):
        subprocess.run(command, shell=True, cwd=project, env=environment, check=True)
    return environment


def run(page: str, folder: Path) -> str:
    """The page with every transcript's output replaced by what its commands print now."""
    environment = prepare(folder)

    def block(match: re.Match[str]) -> str:
        out = []
        for part in re.split(r"^\$ ", match[2], flags=re.MULTILINE)[1:]:
            command = _command(part)
            done = shell(command, folder, environment)
            out.append(f"$ {command}\n{_neutral(done.stdout, folder)}")
        return match[1] + "".join(out) + match[3]

    return _BLOCK.sub(block, page)


def _command(part: str) -> str:
    """A command with its continued lines (those of a here-document, up to its end mark)."""
    lines = part.split("\n")
    mark = re.search(r"<<\s*'?(\w+)'?", lines[0])
    return "\n".join(lines[: lines.index(mark[1]) + 1]) if mark else lines[0]


def _neutral(text: str, folder: Path) -> str:
    """Output without what differs from machine to machine."""
    text = text.replace(str(folder / "project"), "/srv/project")
    return text.replace(sysconfig.get_path("scripts"), "/usr/local/bin")


if __name__ == "__main__":
    raise SystemExit(write_or_check(PAGE, run))
