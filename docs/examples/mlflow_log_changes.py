"""Log what changed between two models to an MLflow run.

    python mlflow_log_changes.py OLD NEW [--step N] [--path NAME]

OLD and NEW are whatever ``diffai`` compares: files, directories, ``REV:path``. The run is the one that
``MLFLOW_RUN_ID`` names, or a new one in the experiment that MLflow is configured for. Needs diffai and mlflow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

try:
    import mlflow
except ModuleNotFoundError as error:
    sys.exit(f"mlflow_log_changes.py: {error.name} is not installed: pip install mlflow")


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
    parser.add_argument("--step", type=int, default=0, help="training step or epoch of NEW")
    parser.add_argument("--path", default="model", help="first part of the metrics' names")
    given = parser.parse_args()
    report = json.loads(diffai(given.old, given.new, "--format", "json"))
    comparison = report["comparison"]
    figures = {
        "param_diff": report["param_diff"],
        "structure_changes": comparison["structure_changes"],
        "changed_tensors": comparison["tensors_changed"],
        "update_size": comparison["update_size"],
        "update_cosine": comparison["update_cosine"],
    }
    with mlflow.start_run():
        mlflow.log_metrics(
            # What is not known (null) is left out: a tracker would draw it as a number.
            {f"diffai/{given.path}/{name}": value for name, value in figures.items() if value is not None},
            step=given.step,
        )
        mlflow.log_dict(report, "diffai/report.json")
        # MLflow renders this tag as Markdown on the page of the run.
        mlflow.set_tag("mlflow.note.content", diffai(given.old, given.new, "--format", "markdown"))


if __name__ == "__main__":
    main()
