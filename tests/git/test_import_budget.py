"""What git's calls load: each module that is not loaded is time that nobody waits, twenty times in one ``git diff``."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from dvcrepo import DvcRepo, md5
from gitrepo import Repo
from program import DIFFAI
from safetensors.numpy import save

ONE = save({"a.weight": np.arange(8, dtype="f4")})
TWO = save({"a.weight": np.arange(8, dtype="f4") + 1})

# What no call loads, whatever it does, unless numpy does.
HEAVY = {
    "yaml", "torch", "click", "rich", "dvc", "safetensors", "ml_dtypes", "subprocess", "tempfile", "shutil",
    "concurrent.futures", "hashlib", "difflib", "tomllib", "numpy.typing", "email", "urllib", "logging",
}  # fmt: skip
# What a call without arithmetic does not load either.
NUMPYS = {"numpy", "typing", "dataclasses", "inspect", "ast", "pickle", "ctypes", "platform", "datetime", "threading"}


def loaded(repo: Repo, module: str, *arguments: str) -> tuple[str, set[str]]:
    """What a call printed, and the modules it loaded."""
    return run(repo, f"from diffai.git import {module}; {module}.main(sys.argv[1:])", *arguments)


def run(repo: Repo, statement: str, *arguments: str) -> tuple[str, set[str]]:
    code = f"import sys\n{statement}\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, *arguments],  # -S: what hooks of the environment load is not ours
        cwd=repo.top,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, set(done.stderr.split())


def sides(old: str, new: str, path: str) -> tuple[str, ...]:
    return path, old, "1" * 40, "100644", new, "2" * 40, "100644"


@pytest.fixture
def files(repo: Repo) -> Repo:
    repo.write({"x": ONE, "y": TWO})
    return repo


def own(modules: set[str]) -> int:
    """How many modules of ours; the limits leave room for two or three more, and one more is worth a thought."""
    return sum(name.partition(".")[0] == "diffai" for name in modules)


def test_a_comparison_loads_numpy_and_little_else(files: Repo) -> None:
    text, modules = loaded(files, "driver", *sides("x", "y", "m.safetensors"))
    assert "a.weight" in text
    assert "numpy" in modules and modules.isdisjoint(HEAVY - run(files, "import numpy")[1])
    assert not any(name.startswith("diffai.formats.torch") for name in modules)
    assert own(modules) <= 82


def test_a_comparison_seen_before_is_only_printed(files: Repo) -> None:
    first, _ = loaded(files, "driver", *sides("x", "y", "m.safetensors"))
    text, modules = loaded(files, "driver", *sides("x", "y", "m.safetensors"))
    assert text == first
    assert modules.isdisjoint(HEAVY | NUMPYS)
    assert not any(name.startswith(("diffai.tensors", "diffai.formats.")) for name in modules - {"diffai.formats.base"})
    assert own(modules) <= 35


def test_a_text_seen_before_is_only_printed(files: Repo) -> None:
    first, modules = loaded(files, "textconv", "y")
    assert "numpy" in modules and modules.isdisjoint(HEAVY - run(files, "import numpy")[1])
    text, modules = loaded(files, "textconv", "y")
    assert text == first and "a.weight" in text
    assert modules.isdisjoint(HEAVY | NUMPYS)


@pytest.mark.parametrize("verb", ["driver", "textconv"])
def test_a_call_seen_before_is_looked_up_by_its_bytes_alone(files: Repo, verb: str) -> None:
    """Nothing is parsed and nothing decoded: no settings, no JSON, no pointers, no formats."""
    files.write({"large": save({"a": np.arange(20_000, dtype="f4")})})  # more than any pointer has
    call = ("large",) if verb == "textconv" else sides("large", "large", "m.safetensors")
    first, _ = loaded(files, verb, *call)
    text, modules = loaded(files, verb, *call)
    assert text == first
    assert modules.isdisjoint(HEAVY | NUMPYS | {"json"})
    assert own(modules) <= (22 if verb == "textconv" else 28)


@pytest.mark.parametrize("verb", ["driver", "textconv"])
def test_a_call_seen_before_loads_no_regular_expressions(files: Repo, verb: str) -> None:
    """They are a quarter of the start that is left, and pip's console script, which loads them, is not run either."""
    arguments = sides("p", "q", "model.safetensors") if verb == "driver" else ("q",)
    for name, step in (("p", 0), ("q", 1)):
        (files.top / name).write_bytes(save({"a.weight": np.arange(20_000, dtype="f4") + step}))
    loaded(files, verb, *arguments)
    _, modules = loaded(files, verb, *arguments)
    assert modules.isdisjoint({"re", "enum", "numpy"})


@pytest.mark.parametrize("pulled", [True, False])
def test_a_pointer_to_no_model_needs_neither_pyyaml_nor_numpy(files: Repo, pulled: bool) -> None:
    dvc, pointers = DvcRepo(files), []
    for name, content in (("p", b"1"), ("q", b"2")):
        address = dvc.object(content) if pulled else md5(content)
        dvc.write(name, f"outs:\n- md5: {address}\n  size: 1\n  hash: md5\n  path: data.csv\n")
        pointers.append(name)
    text, modules = loaded(files, "driver", *sides(*pointers, "data.csv.dvc"))
    assert "(1 output changed, no model)" in text
    unneeded = HEAVY | NUMPYS | {"json", "zlib", "xxhash"}
    if not pulled:  # git is asked whether it keeps the file, by way of subprocess
        unneeded -= {"subprocess", "threading"}
    assert modules.isdisjoint(unneeded), modules & unneeded
    assert own(modules) <= 54


def test_headers_alone_need_no_numpy(files: Repo) -> None:
    files.git("config", "diffai.shapeOnly", "true")
    text, modules = loaded(files, "driver", *sides("x", "y", "m.safetensors"))
    assert "values were not" in text or "diff --git" in text
    assert modules.isdisjoint(HEAVY | (NUMPYS - {"typing"}))


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads as Linux shows them")
@pytest.mark.parametrize("asked", ["", "3"])
def test_numpy_starts_no_threads_unless_the_user_says_so(files: Repo, asked: str) -> None:
    code = (
        "import os, sys\n"
        "def ended(status):\n"
        "    sys.stderr.write(f\"{len(os.listdir('/proc/self/task'))} {os.environ['OPENBLAS_NUM_THREADS']}\")\n"
        "    sys.exit(status)\n"
        "os._exit = ended\n"
        "from diffai.__main__ import main\n"
        "main()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    if asked:
        environment["OPENBLAS_NUM_THREADS"] = asked
    command = [sys.executable, "-c", code, "git-driver", *sides("x", "y", "m.safetensors")]
    done = subprocess.run(command, cwd=files.top, env=environment, capture_output=True, text=True, check=True)
    assert "a.weight" in done.stdout
    threads, setting = done.stderr.split()
    assert setting == (asked or "1")
    if not asked:
        assert threads == "1"


@pytest.mark.parametrize("word", ["git-driver", "textconv"])
def test_numpy_is_loaded_without_its_help(files: Repo, word: str) -> None:
    call = ("x",) if word == "textconv" else sides("x", "y", "m.safetensors")
    done = subprocess.run(
        [DIFFAI, word, *call], cwd=files.top, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "a.weight" in done.stdout
    assert "numpy" in modules and not [name for name in modules if "_add_newdocs" in name]
