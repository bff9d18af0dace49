"""Compare diffai with its peers: speed and memory on one pair, and 24 planted cases.

Each peer is installed by pip into a virtual environment of its own; one that cannot be had is said to be
not installable. Usage: python benchmarks/peers.py [--size 400m] [--directory DIR] [--only NAME]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from measure import DIFFAI, HERE, Command, MeasurementError, interleaved, make, megabytes, parse_size, peak, wall


@dataclass(frozen=True, slots=True)
class Peer:
    """A program, how it is installed and called, and how its output says "same" or "differs"."""

    packages: tuple[str, ...]
    argv: Callable[[str, str, str], list[str]]  # (bin directory of its environment, old file, new file)
    verdict: Callable[[str], str]
    compares: str


# It imports as ``diffai`` too: -I below keeps the checkout in which this may run out of its way.
_DIFFAI_PYTHON = "import sys, diffai; print(len(diffai.diff_paths(sys.argv[1], sys.argv[2])))"


def _of_diffai(text: str) -> str:
    return "differs" if json.loads(text) else "same"


def _of_sft(text: str) -> str:
    report = json.loads(text)
    structure = any(report[key] for key in ("added", "removed", "shape_changed", "dtype_changed"))
    statuses = {entry["status"] for entry in report.get("value_diffs", {}).values()}
    return "differs" if structure or statuses - {"equal"} else "same"


def _of_weightscope(text: str) -> str:
    return "same" if "classification: `identical`" in text else "differs"


def _of_diffai_python(text: str) -> str:
    return "same" if text.split()[-1] == "0" else "differs"


# torch is pinned where a peer asks for any: the newest brings several gigabytes that nothing here uses.
PEERS: dict[str, Peer] = {
    "diffai": Peer(
        (),
        lambda _bin, old, new: [DIFFAI, old, new, "--output", "json"],
        _of_diffai,
        "changed count, max/mean abs, rms, L2, cosine, statistics",
    ),
    "sft-cli": Peer(
        ("sft-cli",),
        lambda programs, old, new: [os.path.join(programs, "sft"), "diff", "--delta", "--json", old, new],
        _of_sft,
        "max/mean abs, L2, cosine",
    ),
    "weightscope": Peer(
        ("torch==2.13.0", "weightscope"),
        lambda programs, old, new: [os.path.join(programs, "weightscope"), "diff", _directory(old), _directory(new)],
        _of_weightscope,
        "changed count, max, mean",
    ),
    "diffai-python": Peer(
        ("diffai-python",),
        lambda programs, old, new: [os.path.join(programs, "python"), "-I", "-c", _DIFFAI_PYTHON, old, new],
        _of_diffai_python,
        "mean/std/min/max of each side",
    ),
}


def _directory(path: str) -> str:
    return path if os.path.isdir(path) else os.path.dirname(path)


def main() -> int:
    arguments = _arguments()
    directory = arguments.directory or tempfile.mkdtemp(prefix="diffai-peers-")
    os.makedirs(directory, exist_ok=True)
    try:
        bins = {name: _install(directory, name) for name in arguments.only or PEERS}
        _speed(directory, bins, arguments.size, arguments.runs)
        _correctness(directory, bins)
    finally:
        if not arguments.directory:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


def _install(directory: str, name: str) -> str:
    """The bin directory of the peer's environment; "" where it cannot be installed."""
    peer = PEERS[name]
    environment = os.path.join(directory, "environments", name)
    done = os.path.join(environment, "installed")
    if peer.packages and not os.path.exists(done):
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        pip = [os.path.join(environment, "bin", "python"), "-m", "pip", "install", "-q", *peer.packages]
        if subprocess.run(pip, capture_output=True, check=False).returncode != 0:
            return ""
        open(done, "w").close()
    return os.path.join(environment, "bin")


def _speed(directory: str, bins: Mapping[str, str], size: int, runs: int) -> None:
    """Wall time and memory on a pair of ``size`` bytes, F32, every tensor changed."""
    made = make(directory, "pair", dtype="F32", size=size)
    paths = {}
    for side in ("old", "new"):  # in directories of their own, for the peers that take only directories
        paths[side] = os.path.join(directory, f"big-{size}", side, "model.safetensors")
        os.makedirs(os.path.dirname(paths[side]), exist_ok=True)
        if not os.path.exists(paths[side]):
            os.link(made[side], paths[side])
    print(f"2 x {megabytes(size)}, F32, every tensor changed; medians of {runs} runs taken in turn\n")
    print("| program | wall | x `cmp` | peak memory | what it compares |\n|---|---|---|---|---|", flush=True)
    commands = {"cmp": Command(["cmp", made["old"], made["copy"]])}
    failures: dict[str, str] = {}
    for name, programs in bins.items():
        command = Command(PEERS[name].argv(programs, paths["old"], paths["new"]), env=OFFLINE)
        failure = _trouble(command) if programs else "not installable"
        if failure:
            failures[name] = failure
        else:
            commands[name] = command
    samples = interleaved(commands, runs)
    for name in bins:
        if name in failures:
            print(f"| {name} | {failures[name]} | | | |")
            continue
        seconds, ratio = wall(samples[name]), wall(samples[name]) / wall(samples["cmp"])
        memory = megabytes(peak(samples[name]))
        print(f"| {name} | {seconds:.2f} s | {ratio:.1f} | {memory} | {PEERS[name].compares} |")
    print(flush=True)


OFFLINE = {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}


def _trouble(command: Command) -> str:
    try:
        interleaved({"once": command}, 0)
    except (MeasurementError, OSError) as error:
        return "failed: " + str(error).replace("|", "/").replace("\n", " ")[-120:]
    return ""


def _correctness(directory: str, bins: Mapping[str, str]) -> None:
    """What each program says of pairs whose answer is known; a wrong answer is bold."""
    cases = os.path.join(directory, "planted")
    argv = [sys.executable, os.path.join(HERE, "planted.py"), cases]
    truth = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    print("| case | truth | " + " | ".join(bins) + " |")
    print("|---|---|" + "---|" * len(bins), flush=True)
    right = dict.fromkeys(bins, 0)
    for case, expected in truth.items():
        cells = []
        for name, programs in bins.items():
            said = _said(name, programs, os.path.join(cases, case.replace('`', ''))) if programs else "-"
            sound = said == expected or (expected == "either" and said in ("same", "differs"))
            right[name] += sound
            cells.append(said if sound or said == "-" else f"**{said}**")
        print(f"| {case} | {expected} | " + " | ".join(cells) + " |", flush=True)
    print(f"| right, of {len(truth)} | | " + " | ".join(str(count) for count in right.values()) + " |")


def _said(name: str, programs: str, case: str) -> str:
    sides = []
    for side in ("old", "new"):
        path = os.path.join(case, side, "model.safetensors")
        sides.append(path if os.path.exists(path) else os.path.dirname(path))
    argv = PEERS[name].argv(programs, *sides)
    env = {**os.environ, **OFFLINE}
    result = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=300, check=False)
    if result.returncode != 0:
        return "error"
    try:
        return PEERS[name].verdict(result.stdout)
    except (ValueError, KeyError, IndexError):
        return "unreadable output"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=parse_size, default=4 * 10**8, help="of each file (default 400m)")
    parser.add_argument("--runs", type=int, default=3, help="measured runs of each program (default 3)")
    parser.add_argument("--directory", help="keep environments and models there and reuse them")
    parser.add_argument("--only", action="append", choices=PEERS, help="this program; repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
