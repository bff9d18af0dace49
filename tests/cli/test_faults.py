"""Closed streams, ^C at the wrong moment, too few files, too little memory: a state or one line, never a traceback."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gitrepo import Repo, isolate
from program import DIFFAI
from safetensors.numpy import save

ZEROS = "0" * 40
DRIVER = ("git-driver", "m.safetensors", "m.safetensors", ZEROS, "100644", "n.safetensors", ZEROS, "100644")
COMMANDS = (
    ("m.safetensors", "n.safetensors"),
    ("HEAD~1", "HEAD", "--"),
    ("show", "m.safetensors"),
    ("check", "m.safetensors"),
    ("log", "--", "m.safetensors"),
    ("blame", "--", "m.safetensors"),
    ("gate", "--base", "HEAD~1"),
    ("ci", "--base", "HEAD~1"),
    ("doctor",),
    ("install", "--dry-run"),
    ("cache", "info"),
    ("completion", "bash"),
    ("--version",),
    ("help",),
    DRIVER,
    ("textconv", "m.safetensors"),
)


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("home"))
        repo = Repo.init(tmp_path_factory.mktemp("faults") / "repository")
        for step in (1, 2):
            model = save({"a.weight": np.full(8, step, "f4")})
            repo.commit({"m.safetensors": model, ".diffai.toml": '[gate]\nstructure = "warn"\n'})
        repo.write({"n.safetensors": save({"a.weight": np.zeros(8, "f4")})})
        for side in ("x", "y"):
            names = {f"l.{i}.w": f"model-{i + 1:05d}-of-00040.safetensors" for i in range(40)}
            index = json.dumps({"metadata": {}, "weight_map": names})
            repo.write({f"{side}/model.safetensors.index.json": index})
            for number, name in enumerate(names.values()):
                repo.write({f"{side}/{name}": save({f"l.{number}.w": np.full(4, number + (side == "y"), "f4")})})
        return repo.top


def run(top: Path, *words: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(DIFFAI), *words], cwd=top, capture_output=True, text=True, check=False, timeout=60, **more,  # type: ignore
    )  # fmt: skip


def closed(top: Path, words: tuple[str, ...], streams: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'exec "$0" "$@" {streams}', str(DIFFAI), *words]
    return subprocess.run(command, cwd=top, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_closed_stream_changes_neither_the_exit_code_nor_what_the_others_get(top: Path, words: tuple[str, ...]) -> None:
    usual = run(top, *words)
    assert "Traceback" not in usual.stderr
    no_output = closed(top, words, ">&-")
    assert (no_output.returncode, no_output.stdout, no_output.stderr) == (usual.returncode, "", usual.stderr)
    no_errors = closed(top, words, "2>&-")
    assert (no_errors.returncode, no_errors.stdout, no_errors.stderr) == (usual.returncode, usual.stdout, "")
    assert closed(top, words, "<&- >&- 2>&-").returncode == usual.returncode


def test_a_model_that_a_closed_stream_gave_its_number_to_is_not_written_to(top: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    before = bad.read_bytes()
    assert closed(top, ("show", str(bad)), ">&- 2>&-").returncode == 2
    assert bad.read_bytes() == before


def test_gate_with_closed_streams_is_no_broken_rule(top: Path) -> None:
    for streams in (">&-", "2>&-", ">&- 2>&-"):
        assert closed(top, ("gate", "--base", "HEAD~1"), streams).returncode == 0


# Imports a module of that name as ^C comes, in the program as it is started.
_INTERRUPTED = """
import os, signal, sys
module = sys.argv.pop(1)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
from diffai.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("click", ("show", "m.safetensors")),
        ("diffai.cli.main", ("show", "m.safetensors")),
        ("diffai.cli.show", ("show", "m.safetensors")),
        ("diffai.cli.diff", ("m.safetensors", "n.safetensors")),
        ("diffai.comparison.models", ("m.safetensors", "n.safetensors")),
        ("numpy", ("m.safetensors", "n.safetensors")),
        ("numpy.linalg", ("m.safetensors", "n.safetensors")),
        ("diffai.views.text", ("m.safetensors", "n.safetensors")),
        ("diffai.gate.quick", ("gate", "--base", "HEAD~1")),
        ("diffai.git.doctor", ("doctor",)),
    ],
)
def test_an_interrupt_while_modules_are_loaded_is_one_line(top: Path, module: str, words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, module, *words], cwd=top, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr.lstrip("\n")) == (130, "diffai: interrupted\n")


@pytest.mark.parametrize("module", ["diffai.git.driver", "diffai.git.environment"])
def test_an_interrupt_while_the_driver_starts_says_nothing_but_that(top: Path, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, module, *DRIVER], cwd=top, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr.lstrip("\n")) == (130, "diffai: interrupted\n")


def test_a_program_told_to_ignore_interrupts_does(top: Path) -> None:
    code = _INTERRUPTED.replace("signal.default_int_handler", "signal.SIG_IGN")
    done = subprocess.run(
        [sys.executable, "-c", code, "click", "--version"], cwd=top, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.startswith("diffai ")


LIMITS = {"16 files": (resource.RLIMIT_NOFILE, 16), "64 files": (resource.RLIMIT_NOFILE, 64),
          "300 MB": (resource.RLIMIT_AS, 300_000_000), "60 MB": (resource.RLIMIT_AS, 60_000_000)}  # fmt: skip


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(
    "words",
    [("x", "y"), ("show", "x"), ("check", "x"), ("gate", "--base", "HEAD~1"), ("log", "--", "m.safetensors"), DRIVER,
     ("textconv", "m.safetensors"), ("doctor",)],
    ids=lambda words: words[0],
)  # fmt: skip
def test_little_room_is_a_state(top: Path, words: tuple[str, ...], limit: str) -> None:
    kind, number = LIMITS[limit]
    environment = {**os.environ, "DIFFAI_GATE": ""}
    done = run(top, *words, preexec_fn=lambda: resource.setrlimit(kind, (number, number)), env=environment)
    said = done.stdout + done.stderr
    assert "Traceback" not in said and "this is a bug" not in said
    allowed = (0,) if words[0] in ("git-driver", "textconv") else (0, 1, 2) if words == ("doctor",) else (0, 2)
    if "OpenBLAS error: Memory allocation" in said:  # numpy's own library ends the process: nobody can answer then
        return
    assert done.returncode in allowed, said
    if done.returncode == 2:
        assert done.stderr.startswith("diffai: ") or "! " in said
    if words == ("x", "y") and limit == "16 files":
        assert "too many open files" in said


def test_a_signal_between_start_and_end_is_never_a_traceback_of_ours(top: Path) -> None:
    """^C at many moments; what Python itself prints before it has run a line of ours is not in our hands."""
    for step in range(12):
        with subprocess.Popen(
            [str(DIFFAI), "show", "m.safetensors"], cwd=top, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:  # fmt: skip
            try:
                process.wait(0.02 + step * 0.03)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert os.path.join("diffai", "cli") not in errors and "this is a bug" not in errors
