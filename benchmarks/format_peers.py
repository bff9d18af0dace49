"""diffai beside each format's own library: load both files, compare with numpy. Time, memory, and who was wrong.

Each library is installed by pip into a virtual environment of its own. Usage:
python benchmarks/format_peers.py [--size 200m] [--directory DIR] [--only NAME] [--page docs/formats.md]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from measure import DIFFAI, HERE, Command, MeasurementError, interleaved, make, megabytes, parse_size, peak, wall

_COMPARE = """
import sys
import numpy as np

old, new = load(sys.argv[1]), load(sys.argv[2])
same = old.keys() == new.keys()
for name in old.keys() & new.keys():
    a, b = old[name], new[name]
    if a.shape != b.shape or not np.array_equal(a, b):
        same = False
        if a.shape == b.shape:
            print(name, float(np.abs(np.asarray(b, float) - np.asarray(a, float)).max()))
print("same" if same else "differs")
"""


@dataclass(frozen=True, slots=True)
class Library:
    """A format's library as people use it: what is installed, the models that are timed, and how they are loaded."""

    packages: tuple[str, ...]
    weights: str
    suffix: str
    load: str


LIBRARIES = {
    "onnx": Library(("onnx",), "onnx_weights", ".onnx", (
        "import onnx\nfrom onnx import numpy_helper\n"
        "def load(path):\n return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}\n")),
    "gguf": Library(("gguf",), "gguf_weights", ".gguf", (
        "import gguf\nfrom gguf import quants\n"
        "def load(path):\n return {t.name: quants.dequantize(t.data, t.tensor_type) if t.tensor_type.name[0] == 'Q'"
        " else t.data for t in gguf.GGUFReader(path).tensors}\n")),
    "h5py": Library(("h5py",), "hdf5_weights", ".h5", (
        "import h5py\n"
        "def load(path):\n found = {}\n with h5py.File(path) as file:\n"
        "  file.visititems(lambda n, d: found.update({n: d[()]}) if isinstance(d, h5py.Dataset) else None)\n"
        " return found\n")),
    "joblib": Library(("joblib", "numpy"), "joblib_weights", ".joblib", (
        "import joblib, numpy\n"
        "def load(path):\n return {n: a for n, a in joblib.load(path).items() if isinstance(a, numpy.ndarray)}\n")),
}  # fmt: skip


def main() -> int:
    arguments = _arguments()
    directory = arguments.directory or tempfile.mkdtemp(prefix="diffai-format-peers-")
    os.makedirs(directory, exist_ok=True)
    lines: list[str] = []
    try:
        pythons = {name: _install(directory, name) for name in arguments.only or LIBRARIES}
        lines += _speed(directory, pythons, arguments.size, arguments.runs)
        lines += ["", *_correctness(directory, pythons)]
    finally:
        if not arguments.directory:
            shutil.rmtree(directory, ignore_errors=True)
    print("\n".join(lines))
    if arguments.page:
        _put(arguments.page, lines)
    return 0


def _install(directory: str, name: str) -> str:
    """The Python of the library's environment; "" where it cannot be installed."""
    environment = os.path.join(directory, "environments", name)
    python, done = os.path.join(environment, "bin", "python"), os.path.join(environment, "installed")
    if not os.path.exists(done):
        subprocess.run([sys.executable, "-m", "venv", environment], check=True)
        pip = [python, "-m", "pip", "install", "-q", *LIBRARIES[name].packages]
        if subprocess.run(pip, capture_output=True, check=False).returncode != 0:
            return ""
        open(done, "w").close()
    return python


def _peer(name: str, python: str, old: str, new: str) -> list[str]:
    return [python, "-c", LIBRARIES[name].load + _COMPARE, old, new]


def _speed(directory: str, pythons: dict[str, str], size: int, runs: int) -> list[str]:
    """Wall time and memory on F32 weights of ``size`` bytes, every tensor changed."""
    lines = [f"2 x {megabytes(size)} of F32 in 50 tensors, each changed; medians of {runs} runs taken in turn.", "",
             "| format | diffai | its library and numpy |", "|---|---|---|"]  # fmt: skip
    for name, python in pythons.items():
        try:
            paths = make(directory, LIBRARIES[name].weights, size=size)
            commands = {"diffai": Command([DIFFAI, paths["old"], paths["new"]], expect="Weight updates")}
            if python:
                commands[name] = Command(_peer(name, python, paths["old"], paths["new"]), expect="differs")
            samples = interleaved(commands, runs)
        except MeasurementError as error:
            lines.append(f"| {name} | not measured: {str(error)[:100]} | |".replace("\n", " "))
            continue
        cells = [f"{wall(samples[key]):.2f} s, {megabytes(peak(samples[key]))}" for key in commands]
        lines.append(f"| {name} | {' | '.join(cells) if python else cells[0] + ' | not installable'} |")
    return lines


def _correctness(directory: str, pythons: dict[str, str]) -> list[str]:
    """What both say of pairs whose answer is known; a wrong answer is bold."""
    cases = os.path.join(directory, "cases")
    shutil.rmtree(cases, ignore_errors=True)
    argv = [sys.executable, os.path.join(HERE, "format_cases.py"), cases]
    truth = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    lines = ["| format | case | truth | diffai | its library and numpy |", "|---|---|---|---|---|"]
    right = {"diffai": 0, "library": 0}
    for name, python in pythons.items():
        for number, (case, expected) in enumerate(truth[name].items()):
            sides = [os.path.join(cases, name, str(number), side + LIBRARIES[name].suffix) for side in ("old", "new")]
            marker = os.path.join(cases, "was-run")
            said = [_ours(sides, marker), _theirs(name, python, sides, marker) if python else "-"]
            right["diffai"] += said[0] == expected
            right["library"] += said[1] == expected
            cells = [word if word in (expected, "-") else f"**{word}**" for word in said]
            lines.append(f"| {name} | {case} | {expected} | {' | '.join(cells)} |")
    count = sum(len(truth[name]) for name in pythons)
    lines.append(f"| right, of {count} | | | {right['diffai']} | {right['library']} |")
    return lines


def _ours(sides: list[str], marker: str) -> str:
    result = subprocess.run([DIFFAI, *sides, "--format", "json"], capture_output=True, text=True, check=False)
    if _was_run(marker):
        return "runs it"
    try:
        report = json.loads(result.stdout)
    except ValueError:
        return "error"
    if report["equal"] is None:
        return "refuses"
    if any(problem["severity"] == "error" for side in ("old", "new") for problem in report[side]["problems"]):
        return "warns"
    return "same" if report["equal"] else "differs"


def _theirs(name: str, python: str, sides: list[str], marker: str) -> str:
    result = subprocess.run(_peer(name, python, *sides), capture_output=True, text=True, timeout=300, check=False)
    if _was_run(marker):
        return "runs it"
    return result.stdout.split()[-1] if result.returncode == 0 else "error"


def _was_run(marker: str) -> bool:
    """Whether loading ran what a pickle names; the trace is removed."""
    found = os.path.isdir(marker)
    if found:
        os.rmdir(marker)
    return found


def _put(page: str, lines: list[str]) -> None:
    """The tables between two marks of a page."""
    begin, end = "<!-- format peers -->", "<!-- end of format peers -->"
    with open(page, encoding="utf-8") as stream:
        before, _, rest = stream.read().partition(begin)
    after = rest.partition(end)[2]
    with open(page, "w", encoding="utf-8") as stream:
        stream.write(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=parse_size, default=2 * 10**8, help="of each file (default 200m)")
    parser.add_argument("--runs", type=int, default=3, help="measured runs of each program (default 3)")
    parser.add_argument("--directory", help="keep environments and models there and reuse them")
    parser.add_argument("--only", action="append", choices=LIBRARIES, help="this library; repeatable")
    parser.add_argument("--page", help="put the tables between the marks of this page, such as docs/formats.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
