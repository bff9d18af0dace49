"""A comparison as Markdown."""

from __future__ import annotations

import re

import numpy as np
import pytest
from gating import diffai, model

from diffai import api
from diffai.policy.verdicts import GateReport, Verdict
from diffai.views.gate_markdown import limited
from diffai.views.markdown import code, plain, render_markdown

Arrays = dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]


def text(old: Arrays, new: Arrays) -> str:
    return "\n".join(render_markdown(api.compare(old, new)))


def zeros(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.zeros(shape, "f4")


def test_a_document_for_a_review() -> None:
    got = text({"a": zeros(2), "b": zeros(3)}, {"a": zeros(2) + 1, "b": zeros(4), "c": zeros(1)})
    assert "F32 · 3 tensors · 7 params (+40.0%)" in got
    assert "**STRUCTURE**  +1 \\~1" in got
    assert "| \\~ | `b` | `[3] -> [4]` |" in got and "| + | `c` | `[1]` |" in got
    assert "| `a` | 2 | from 0 |" in got  # no ratio: it was zero


def test_equal_models() -> None:
    assert "No differences found" in text({"a": zeros(2)}, {"a": zeros(2)})


def test_nan_is_loud() -> None:
    assert "- `a` NaN or Inf appeared: 0 -> 2 of 2 values" in text({"a": zeros(2)}, {"a": zeros(2) * np.float32(np.nan)})


def test_many_tensors_fold_and_unfold() -> None:
    old = {f"layers.{n}.w": zeros(2) for n in range(300)}
    got = text(old, {name: value + 1 for name, value in old.items()})
    assert "| `(all)` | 300/300 |" in got
    assert got.count("<details>") == got.count("</details>") == 1
    assert "<summary>300 changed tensors</summary>" in got and "… and 100 more rows" in got


@pytest.mark.parametrize("name", ["a|b", "`", "``x`", "<b>", "@you", "a\nb", "", " ", "[x](y)", "\u202eevil", "*b*"])
def test_names_stay_in_their_cell(name: str) -> None:
    got = text({name: zeros(2)}, {name: zeros(3)})
    rows = [line for line in got.splitlines() if line.startswith("| \\~ |")]
    assert len(rows) == 1
    assert len(re.split(r"(?<!\\)\|", rows[0])) == 5
    bare = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", rows[0])
    assert "<" not in bare and "@" not in bare and "*" not in bare


def test_code_and_plain() -> None:
    assert code("a`b") == "``a`b``" and code("`a") == "`` `a ``"
    assert plain("*a* <b> @c") == "\\*a\\* \\<b\\> @\u200bc"


def test_by_hand_and_for_directories(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    for side, classes in (("a", 4), ("b", 5)):
        (folder / side).mkdir()
        (folder / side / "m.safetensors").write_bytes(model(classes))
    done = diffai("a/m.safetensors", "b/m.safetensors", "--format", "markdown", cwd=folder)
    assert done.returncode == 0 and done.stdout.startswith("## `a/m.safetensors` → `b/m.safetensors`\n")
    both = diffai("a", "b", "--format", "markdown", cwd=folder)
    assert "| `m.safetensors` | \\~2 | +10.7% | 0 | resized" in both.stdout, both.stdout
    assert diffai("show", "a/m.safetensors", "--format", "markdown", cwd=folder).returncode == 2


def test_thousands_of_models_are_written_in_one_pass() -> None:
    import time

    from diffai.views.gate_text import gate_lines

    arrays = {f"layer.{n}.weight": np.ones(4, "f4") for n in range(9)}
    diff = api.compare(arrays, {name: values * 2 for name, values in arrays.items()})
    report = GateReport("a", "b", verdicts=tuple(Verdict(f"m{n}.pt", "changed", diff=diff) for n in range(3000)))
    before = time.process_time()
    assert "3,000 changed models keep the policy" in gate_lines(report)[0]
    assert len(limited(report, 900_000, title="x").encode()) <= 900_000
    assert time.process_time() - before < 4
