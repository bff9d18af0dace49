"""Log what changed between two models to a Weights & Biases run.

    python wandb_log_changes.py OLD NEW [--step N] [--project NAME]

Works offline (``WANDB_MODE=offline``; ``wandb sync`` uploads later). ``WANDB_RUN_ID`` continues a run. Needs diffai
and wandb.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

try:
    import wandb
except ModuleNotFoundError as error:
    sys.exit(f"wandb_log_changes.py: {error.name} is not installed: pip install wandb")


def diffai(*words: str) -> str:
    """What diffai prints; ends this script with its message where it fails."""
    done = subprocess.run(["diffai", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        unread = json.loads(done.stdout)["not_compared"] if not done.stderr else ()
        sys.exit(done.stderr.strip() or "\n".join(f"not compared: {one['what']}: {one['reason']}" for one in unread))
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--step", type=int, default=None, help="training step or epoch of NEW")
    parser.add_argument("--project", default=None)
    given = parser.parse_args()
    report = json.loads(diffai(given.old, given.new, "--format", "json"))
    comparison = report["comparison"]
    figures = {
        "diffai/param_diff": report["param_diff"],
        "diffai/structure_changes": comparison["structure_changes"],
        "diffai/changed_tensors": comparison["tensors_changed"],
        "diffai/update_size": comparison["update_size"],
        "diffai/update_cosine": comparison["update_cosine"],
    }
    rows = [
        [tensor["name"], " ".join(tensor["status"]), (tensor["delta"] or {}).get("relative_l2")]
        for tensor in report["tensors"]
    ]
    with wandb.init(project=given.project) as run:
        # What is not known (null) is left out: a tracker would draw it as a number.
        run.log({name: value for name, value in figures.items() if value is not None}, step=given.step, commit=False)
        table = wandb.Table(columns=["tensor", "status", "relative L2"], data=rows)
        run.log({"diffai/tensors": table}, step=given.step)


if __name__ == "__main__":
    main()
