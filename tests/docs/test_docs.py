"""Docs cannot rot: the reference is the program's own, links lead somewhere, transcripts are what prints."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from program import diffai

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "analyses").glob("*.md")])
_SPEC = importlib.util.spec_from_file_location("demo_transcripts", ROOT / "docs" / "demo_transcripts.py")
assert _SPEC is not None and _SPEC.loader is not None
DEMO = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(DEMO)
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


def transcripts() -> list[tuple[str, bool, str, str]]:
    """(page, whether on a terminal, command, what it prints) of every checked transcript."""
    return [
        (page.name, bool(found[2]), command, output)
        for page in PAGES
        for found in DEMO.BLOCK.finditer(page.read_text("utf-8"))
        for command, output in DEMO.commands(found[3])
    ]


def shape_of(text: str) -> str:
    """Text without its figures, which another processor may round otherwise."""
    return _NUMBER.sub("#", text)


@pytest.mark.parametrize(
    ("page", "terminal", "command", "output"), transcripts(), ids=lambda value: str(value)[:40].replace("/", "_")
)
def test_transcripts_are_what_prints(demo: Path, page: str, terminal: bool, command: str, output: str) -> None:
    done = DEMO.printed(command, demo, terminal=terminal)
    assert done.stderr == ""
    assert shape_of(done.stdout) == shape_of(output), done.stdout


def test_there_are_transcripts() -> None:
    assert len(transcripts()) >= 7
