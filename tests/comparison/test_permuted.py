"""Tensors that are others with their axes in another order: proved by their elements, never by shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffai import compare
from diffai.views.lines import tensor_line

Array = np.ndarray[Any, Any]


def some(*shape: int, seed: int = 0, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex128, np.int8])
def test_a_kernel_of_another_layout_is_paired_and_told(dtype: Any) -> None:
    kernel = (some(3, 3, 4, 8) * 50).astype(dtype)
    diff = compare({"conv/kernel": kernel}, {"c1.w": np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))})
    (change,) = diff.tensors
    assert change.evidence == "permuted" and change.axes == (3, 2, 0, 1)
    line = tensor_line(change)
    assert line.startswith("> conv/kernel -> c1.w") and "equal after permuting axes (3,2,0,1)" in line


def test_one_element_that_differs_is_another_tensor() -> None:
    kernel = some(3, 4)
    other = kernel.T.copy()
    other[0, 0] += 1
    diff = compare({"a": kernel}, {"b": other})
    assert [change.status for change in diff.tensors] == [("removed",), ("added",)]


def test_elements_in_another_order_within_are_another_tensor() -> None:
    kernel = some(3, 4)
    other = kernel.T.copy()
    other[0, 0], other[1, 1] = other[1, 1].copy(), other[0, 0].copy()
    diff = compare({"a": kernel}, {"b": other})
    assert {change.status for change in diff.tensors} == {("removed",), ("added",)}, "the sums agree, the elements do not"


def test_constants_and_equal_shapes_prove_nothing() -> None:
    diff = compare({"a": np.zeros((3, 4), "f4")}, {"b": np.zeros((4, 3), "f4")})
    assert {change.status for change in diff.tensors} == {("removed",), ("added",)}


def test_several_kernels_of_one_shape_find_each_other() -> None:
    kernels = [some(4, 6, seed=seed) for seed in range(5)]
    old = {f"x{n}": kernel for n, kernel in enumerate(kernels)}
    new = {f"q{4 - n}z": kernel.T.copy() for n, kernel in enumerate(kernels)}
    diff = compare(old, new)
    assert {(c.old.name, c.new.name) for c in diff.tensors if c.old and c.new} == {(f"x{n}", f"q{4 - n}z") for n in range(5)}


def test_a_tensor_of_the_same_name_says_so_too() -> None:
    kernel = some(3, 4)
    (change,) = compare({"w": kernel}, {"w": kernel.T.copy()}).tensors
    assert change.status == ("reshaped",) and change.axes == (1, 0)


def test_a_map_pairs_names_before_anything_else(tmp_path: Path) -> None:
    from diffai.comparison.name_map import read_name_map
    from diffai.comparison.result import CompareOptions

    (tmp_path / "names").write_text("# layers\nenc.*.w -> blocks.*.weight\nhead -> out\n\nnothing -> here\n")
    rules = read_name_map(str(tmp_path / "names"))
    old = {"enc.0.w": some(4), "enc.1.w": some(4, seed=1), "head": some(3), "out": some(3, seed=5)}
    new = {"blocks.0.weight": some(4, seed=8), "blocks.1.weight": some(4, seed=1), "out": some(3, seed=9)}
    diff = compare(old, new, CompareOptions(name_map=rules))
    pairs = {(c.old.name, c.new.name): c for c in diff.tensors if c.old and c.new}
    assert set(pairs) == {("enc.0.w", "blocks.0.weight"), ("enc.1.w", "blocks.1.weight"), ("head", "out")}
    assert all(change.evidence == "map" for change in pairs.values())
    assert [change.name for change in diff.tensors if change.status == ("removed",)] == ["out"]
    assert [left.reason for left in diff.left_out] == ["gave no pair: nothing -> here"]


@pytest.mark.parametrize(("text", "said"), [("a b", "line 1 is not"), ("ok -> ok\na.* -> b", "line 2 needs"), ("-> x", "line 1")])
def test_a_line_that_is_no_rule_is_named(tmp_path: Path, text: str, said: str) -> None:
    from diffai.comparison.name_map import read_name_map
    from diffai.errors import UsageError

    (tmp_path / "names").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_name_map(str(tmp_path / "names"))


def test_the_program_takes_a_map(tmp_path: Path) -> None:
    import json
    import subprocess
    import sys

    import jsonschema
    from safetensors.numpy import save_file

    import diffai.views as views

    save_file({"a.x": some(4), "k": some(3, 4)}, tmp_path / "a.safetensors")
    save_file({"b.y": some(4, seed=3), "m": some(3, 4).T.copy()}, tmp_path / "b.safetensors")
    (tmp_path / "names").write_text("a.* -> b.*\na.x -> b.y\n")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "diffai", "a.safetensors", "b.safetensors", *words]
        return subprocess.run(argv, cwd=tmp_path, check=False, capture_output=True, text=True)

    text = run("--map", "names").stdout
    assert "> a.x -> b.y (by --map): " in text and "rule of --map gave no pair: a.* -> b.*" in text
    report = json.loads(run("--map", "names", "--format", "json").stdout)
    jsonschema.validate(report, json.loads(Path(views.__path__[0], "report.schema.json").read_text()))
    (kernel,) = [record for record in report["tensors"] if record["name"] == "m"]
    assert kernel["permuted_axes"] == [1, 0] and kernel["rename_evidence"] == "permuted"
    assert "no such file" in run("--map", "absent").stderr and run("--map", "absent").returncode == 2
