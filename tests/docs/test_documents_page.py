"""What docs/documents.md shows is what the program prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from program import diffai

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "documents.md").read_text("utf-8")
FILES = dict(re.findall(r"```\w+ ([\w.]+)\n(.*?)```", PAGE, re.DOTALL))
CALLS = [call for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for call in block.split("$ ")[1:]]


def test_the_page_has_examples() -> None:
    assert (len(FILES), len(CALLS)) == (6, 4)


@pytest.mark.parametrize("call", CALLS, ids=[call.partition("\n")[0] for call in CALLS])
def test_examples_print_what_the_page_shows(call: str, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    command, _, output = call.partition("\n")
    result = diffai(*command.split()[1:], cwd=tmp_path)
    assert (result.stdout, result.stderr) == (output, "")


def test_the_example_of_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(example, {})
    assert "Modified ('learning_rate',) 0.001 0.0005" in capsys.readouterr().out
