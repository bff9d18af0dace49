from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import diffai
from diffai import api
from diffai.history import python


def test_the_examples_in_the_docstrings_hold() -> None:
    for module in (api, diffai, python):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0


def test_the_examples_of_the_guide_hold() -> None:
    guide = Path(__file__).resolve().parent.parent / "docs/guide-python.md"
    result = doctest.testfile(str(guide), module_relative=False)
    assert result.attempted > 15
    assert result.failed == 0


def test_importing_the_package_loads_no_numpy() -> None:
    script = "import sys, diffai; print(sorted({'numpy', 'click', 'torch', 'rich', 'yaml', 'git'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_everything_that_is_promised_is_there() -> None:
    for name in diffai.__all__:
        assert getattr(diffai, name) is not None
    for name in api.__all__:
        assert getattr(api, name) is not None
