"""Run every transcript of guide-history.md in one repository, in the order of the page, and write what was printed.

    python docs/history_transcripts.py            # after a change of what log, blame or check print
    python docs/history_transcripts.py --check    # what the tests run

The commands see a repository ``project`` with eight commits of one classifier.
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

PAGE = Path(__file__).with_name("guide-history.md")
_BLOCK = re.compile(r"(<!-- transcript: history -->\n```console\n)(.*?)(```)", re.DOTALL)
Weights = dict[str, np.ndarray]


def moved(weights: Weights, seed: int, step: float, only: str = "") -> Weights:
    """One step of a pretended training: noise, element by element, so that every machine computes the same."""
    rng = np.random.default_rng(seed)
    noise = {name: np.float32(step) * rng.standard_normal(weights[name].shape, np.float32)
             for name in weights if name.startswith(only)}  # fmt: skip
    return {name: value + noise[name] if name in noise else value for name, value in weights.items()}


def versions() -> list[tuple[str, str, Weights]]:
    """(author, subject, weights), oldest first."""
    rng = np.random.default_rng(0)
    w: Weights = {f"backbone.{i}.weight": rng.standard_normal((64, 64), np.float32) for i in range(3)}
    w |= {"head.weight": rng.standard_normal((10, 64), np.float32), "head.bias": np.zeros(10, np.float32)}
    story = [("Ada", "Train one epoch", w)]
    w = moved(w, 1, 0.3)
    story.append(("Ada", "Train on to epoch 2", w))
    w = moved(w, 2, 0.1)
    story.append(("Ada", "Train on to epoch 3", w))
    w = moved(w, 3, 0.05, "head")
    story.append(("Grace", "Fine-tune the head", w))
    wide = np.concatenate([w["head.weight"], np.zeros((2, 64), np.float32)])
    w = w | {"head.weight": wide, "head.bias": np.zeros(12, np.float32)}
    story.append(("Grace", "Two more classes", w))
    good, w = w, moved(w, 5, 2.0)
    w["head.bias"][3] = np.nan
    story.append(("Ada", "Try a larger learning rate", w))
    w = moved(good, 6, 0.05)
    story.append(("Ada", "Back to a smaller learning rate", w))
    story.append(("Grace", "Train the head to the end", moved(w, 7, 0.02, "head")))
    return story


def prepare(folder: Path) -> dict[str, str]:
    """The repository, and the environment in which the commands run."""
    project, home = folder / "project", folder / "home"
    (project / "models").mkdir(parents=True)
    home.mkdir()
    path = os.pathsep.join([sysconfig.get_path("scripts"), "/usr/local/bin", "/usr/bin", "/bin"])
    environment = {
        "PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1", "TZ": "UTC",
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
    }  # fmt: skip
    subprocess.run(["git", "init", "-q", "-b", "main"], cwd=project, env=environment, check=True)
    for day, (author, subject, weights) in enumerate(versions(), start=1):
        save_file(weights, project / "models" / "classifier.safetensors")
        who = {}
        for role in ("AUTHOR", "COMMITTER"):
            who |= {f"GIT_{role}_NAME": author, f"GIT_{role}_EMAIL": f"{author.lower()}@example.com",
                    f"GIT_{role}_DATE": f"2025-03-{day:02d}T12:00:00Z"}  # fmt: skip
        for words in (["add", "."], ["commit", "-q", "-m", subject]):
            subprocess.run(["git", *words], cwd=project, env=environment | who, check=True)
    subprocess.run(["git", "tag", "v1.0", "HEAD~5"], cwd=project, env=environment, check=True)
    return environment


def run(page: str, folder: Path) -> str:
    """The page with every transcript's output replaced by what its commands print now."""
    environment = prepare(folder)

    def block(match: re.Match[str]) -> str:
        out = []
        for part in re.split(r"^\$ ", match[2], flags=re.MULTILINE)[1:]:
            command = part.split("\n")[0]
            done = shell(command, folder, environment)
            text = done.stdout.replace(str(folder / "project"), "/srv/project")
            text = re.sub(r"'?/\S*/bin/(diffai|python\S*)'?", r"\1", text)
            out.append(f"$ {command}\n{text}")
        return match[1] + "".join(out) + match[3]

    return _BLOCK.sub(block, page)


if __name__ == "__main__":
    raise SystemExit(write_or_check(PAGE, run))
