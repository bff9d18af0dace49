"""Whether two sides are equal is decided once: true, false, or not known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from diffai import api
from diffai.comparison.models import compare_models
from diffai.comparison.result import CompareOptions, DirectoryDiff, ModelDiff
from diffai.models.inputs import open_input
from diffai.views.report import report

DAMAGED = b"\x80\x02damaged"


def write(path: Path, content: bytes | float | None) -> None:
    path.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        save_file({"w": np.full(4, content, "f4")}, path)


def models(top: Path, old: bytes | float | None, new: bytes | float | None, **options: object) -> ModelDiff:
    write(top / "a/m.safetensors", old)
    write(top / "b/m.safetensors", new)
    sides = [open_input(top / side / "m.safetensors") for side in ("a", "b")]
    return compare_models(*sides, CompareOptions(**options))  # type: ignore[arg-type]


def folders(top: Path, old: bytes | float | None, new: bytes | float | None) -> DirectoryDiff:
    for side, content in (("a", old), ("b", new)):
        (top / side).mkdir(exist_ok=True)
        write(top / side / "m.safetensors", content)
    return api.compare_trees(top / "a", top / "b")


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        (1.0, 1.0, True),
        (1.0, 2.0, False),
        (DAMAGED, DAMAGED, True),
        (DAMAGED, DAMAGED + b"!", None),
        (DAMAGED, DAMAGED[:-1] + b"!", None),
        (1.0, DAMAGED, None),
    ],
)
def test_of_files_alone_and_in_directories(
    tmp_path: Path, old: bytes | float, new: bytes | float, equal: bool | None
) -> None:
    diff = models(tmp_path, old, new)
    assert diff.equal is equal
    assert diff.differs is (equal is not True)
    assert diff.unread is (equal is None)
    both = folders(tmp_path, old, new)
    assert (both.equal, both.differs, both.unread) == (equal, equal is not True, equal is None)
    for result in (diff, both):
        made = json.loads(json.dumps(report(result)))
        assert made["equal"] is equal
        assert equal is not None or made["not_compared"]


def test_headers_alone_do_not_tell(tmp_path: Path) -> None:
    diff = models(tmp_path, 1.0, 2.0, shape_only=True)
    assert (diff.equal, diff.differs, diff.unread) == (None, False, False)
    diff = models(tmp_path, 1.0, 2.0, max_bytes=1)
    assert (diff.equal, diff.unread) == (None, True)
    assert models(tmp_path, 1.0, 1.5, epsilon=1.0).equal is True


def test_a_file_that_is_no_model_counts_by_its_bytes(tmp_path: Path) -> None:
    assert folders(tmp_path, 1.0, 1.0).equal is True
    (tmp_path / "a/config.json").write_text('{"layers": 2}')
    (tmp_path / "b/config.json").write_text('{"layers": 3}')
    diff = folders(tmp_path, 1.0, 1.0)
    assert (diff.equal, diff.differs, diff.unread) == (False, True, False)


def test_a_file_that_came_and_cannot_be_read_is_a_difference_and_trouble(tmp_path: Path) -> None:
    write(tmp_path / "a/same.safetensors", 1.0)
    write(tmp_path / "b/same.safetensors", 1.0)
    diff = folders(tmp_path, None, DAMAGED)
    assert (diff.equal, diff.unread, diff.unreadable) == (False, True, 1)
