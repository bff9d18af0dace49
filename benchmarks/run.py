"""Measure every promise of speed and memory, print them as a Markdown table.

All figures of a row come from one run on one machine, taken in turn, so that what else the machine does
falls on both sides of a ratio. Usage: python benchmarks/run.py [--size 1g] [--only NAME] [--json FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version

from analyses import analyses
from dvc import dvc
from formats import formats
from gate import gate
from history import history, many_versions, revisions_again
from measure import DIFFAI, MeasurementError, Row, parse_size
from memory import memory
from startup import git_diff, many_tensors, remembered, start
from trees import trees
from values import full_values, identical, one_of_many, quantized

Promise = Callable[[str, int, int, bool], Iterator[Row]]
PROMISES: dict[str, Promise] = {
    "start": start,
    "remembered": remembered,
    "git_diff": git_diff,
    "many_tensors": many_tensors,
    "gate": gate,
    "dvc": dvc,
    "identical": identical,
    "values": full_values,
    "one_of_many": one_of_many,
    "quantized": quantized,
    "formats": formats,
    "analyses": analyses,
    "memory": memory,
    "history": history,
    "trees": trees,
    "many_versions": many_versions,
    "revisions_again": revisions_again,
}


def main() -> int:
    arguments = _arguments()
    for program in ("cmp", "git"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is needed and not installed")
    if not os.path.exists(DIFFAI):
        sys.exit(f"no diffai beside {sys.executable}: pip install . first")
    directory = arguments.directory or tempfile.mkdtemp(prefix="diffai-benchmark-")
    os.makedirs(directory, exist_ok=True)
    rows: list[Row] = []
    try:
        print(f"{_machine()}, {arguments.runs} runs each, medians\n", flush=True)
        print("| promise | figure | measured | |\n|---|---|---|---|", flush=True)
        for name in arguments.only or PROMISES:
            for row in _guarded(name, arguments, directory):
                rows.append(row)
                print(f"| {row.promise} | {row.figure} | {row.measured} | {_mark(row)} |", flush=True)
    finally:
        if not arguments.keep and not arguments.directory:
            shutil.rmtree(directory, ignore_errors=True)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as stream:
            table = [dataclasses.asdict(row) for row in rows]
            json.dump({"machine": _machine(), "size": arguments.size, "rows": table}, stream, indent=1)
    return 1 if any(row.ok is False for row in rows) else 0


def _guarded(name: str, arguments: argparse.Namespace, directory: str) -> Iterator[Row]:
    """The rows of one promise; what fails is a row too, and the others are still measured."""
    try:
        yield from PROMISES[name](directory, arguments.size, arguments.runs, arguments.keep)
    except (MeasurementError, OSError) as error:
        yield Row(name, "-", f"failed: {error}".replace("|", "/").replace("\n", " "), False)


def _mark(row: Row) -> str:
    return {True: "ok", False: "**missed**", None: ""}[row.ok]


def _machine() -> str:
    ours = subprocess.run([DIFFAI, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    programs = [f"Python {platform.python_version()}", ours.strip(), f"numpy {version('numpy')}"]
    return ", ".join((f"{os.cpu_count()} cores", f"{platform.system()} {platform.machine()}", *programs))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=parse_size, default=10**9, help="of the large files (default 1g; 100m is quick)")
    parser.add_argument("--runs", type=int, default=5, help="measured runs of each command (default 5)")
    parser.add_argument("--only", action="append", choices=PROMISES, help="measure this one; repeatable")
    parser.add_argument("--directory", help="where models are written; those already there are reused")
    parser.add_argument("--keep", action="store_true", help="do not delete the models")
    parser.add_argument("--json", metavar="FILE", help="write all numbers there as well")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
