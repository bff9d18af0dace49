"""Small models and commits for the tests of the gate."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors_writer
import torch_files
from gitrepo import Repo
from program import DIFFAI, diffai

__all__ = ["DIFFAI", "EVIL", "diffai", "gate", "gate_json", "model", "staged"]

#: A torch file that runs a command when it is loaded.
EVIL = torch_files.zipped({"data.pkl": b"cposix\nsystem\n(S'id'\ntR.", "version": b"3\n"})


def model(
    classes: int = 4,
    *,
    scale: float = 1.0,
    nan: bool = False,
    dtype: str = "F32",
    extra: tuple[str, ...] = (),
    metadata: Mapping[str, str] | None = None,
    backbone: float = 1.0,
) -> bytes:
    """A classifier: a backbone of 16 values, a head of ``classes`` x 2, and a bias.

    Args:
        classes: rows of the head.
        scale: factor of the head's values.
        nan: put a NaN into the head.
        dtype: F32, or F16 for the head.
        extra: names of further tensors (adapters) of 4 values.
        metadata: string metadata.
        backbone: factor of the backbone's values.
    """
    head = [scale * (i + 1) / 8 for i in range(2 * classes)]
    if nan:
        head[0] = float("nan")
    code = {"F32": "f", "F16": "e"}[dtype]
    tensors = {
        "backbone.weight": ("F32", (4, 4), struct.pack("<16f", *(backbone * (i + 1) for i in range(16)))),
        "head.weight": (dtype, (classes, 2), struct.pack(f"<{2 * classes}{code}", *head)),
        "head.bias": ("F32", (classes,), struct.pack(f"<{classes}f", *([0.5] * classes))),
    }
    tensors |= {name: ("F32", (2, 2), struct.pack("<4f", 1, 2, 3, 4)) for name in extra}
    return safetensors_writer.build(tensors, metadata)


def staged(repo: Repo, files: Mapping[str, bytes | str]) -> None:
    """Write and add, without committing."""
    repo.write(files)
    repo.git("add", "--", *files)


def gate(repo: Repo, *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Any:
    """``diffai gate`` in the repository."""
    return diffai("gate", *arguments, cwd=cwd or repo.top, env=env)


def gate_json(repo: Repo, *arguments: str, env: Mapping[str, str] | None = None) -> Any:
    """The gate's report as an object."""
    done = gate(repo, *arguments, "--format", "json", env=env)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)
