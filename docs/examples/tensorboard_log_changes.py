"""Write what changed between two models to TensorBoard's event files.

    python tensorboard_log_changes.py OLD NEW --logdir runs/a [--step N]

Needs diffai and tensorboard, neither torch nor TensorFlow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

try:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
except ModuleNotFoundError as error:
    sys.exit(f"tensorboard_log_changes.py: {error.name} is not installed: pip install tensorboard")


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
    parser.add_argument("--logdir", required=True)
    parser.add_argument("--step", type=int, default=0, help="training step or epoch of NEW")
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
    # What is not known (null) is left out: a tracker would draw it as a number.
    values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items() if value is not None]
    writer = EventFileWriter(given.logdir)
    writer.add_event(Event(wall_time=time.time(), step=given.step, summary=Summary(value=values)))
    writer.close()


if __name__ == "__main__":
    main()
