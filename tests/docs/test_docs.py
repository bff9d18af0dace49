"""Docs cannot rot: the reference is the program's own, links lead somewhere, transcripts are what prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from program import DIFFAI, diffai

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
_TRANSCRIPT = re.compile(r"<!-- transcript: demo -->\n```console\n(.*?)```", re.DOTALL)
_NUMBER = re.compile(r"\b[0-9a-f]{7}\b|[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?")


def test_the_reference_is_generated() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_no_machine_and_no_origin(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not re.search(r"/(work|root|home)/\w|file:///", text)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "diffai-demo"
    done = diffai("demo", folder)
    assert done.returncode == 0, done.stderr
    return folder


def transcripts() -> list[tuple[str, str, str]]:
    """(page, command, what it prints) of every checked transcript."""
    found = []
    for page in PAGES:
        for block in _TRANSCRIPT.findall(page.read_text("utf-8")):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                found.append((page.name, command, output))
    return found


def shape_of(text: str) -> str:
    """Text without its figures, which another processor may round otherwise."""
    return _NUMBER.sub("#", text)


@pytest.mark.parametrize(
    ("page", "command", "output"), transcripts(), ids=lambda value: str(value)[:40].replace("/", "_")
)
def test_transcripts_are_what_prints(demo: Path, page: str, command: str, output: str) -> None:
    environment = {
        **os.environ,
        "PATH": f"{DIFFAI.parent}{os.pathsep}{os.environ['PATH']}",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    done = subprocess.run(
        ["bash", "-c", command], cwd=demo, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert shape_of(done.stdout) == shape_of(output), done.stdout


def test_there_are_transcripts() -> None:
    assert len(transcripts()) >= 7
