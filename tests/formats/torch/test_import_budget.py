"""Opening headers loads nothing heavy; nothing here ever loads pickle."""

from __future__ import annotations

import subprocess
import sys

import pytest
from torch_files import DATA

CODE = """
import sys
from diffai.formats import torch as reader
from diffai.formats.base import Limits
from diffai.sources.local import LocalFile
checkpoint = reader.open_checkpoint(LocalFile(sys.argv[1]), Limits())
assert checkpoint.tensors
heavy = ("numpy", "torch", "click", "pickle", "zipfile", "tempfile", "tarfile")
print(*[name for name in heavy if name in sys.modules])
"""


@pytest.mark.parametrize("file", ["zip.pt", "legacy.pt", "lightning.ckpt", "numpy5.pkl", "script.pt", "views.pt"])
def test_header_path_loads_no_heavy_module(file: str) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, str(DATA / file)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
