"""The page on how it works names every room, in the order of the floors, and nothing that is not there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-it-works.md").read_text("utf-8")
PACKAGES = {path.parent.relative_to(ROOT / "diffai").as_posix() for path in (ROOT / "diffai").glob("*/**/__init__.py")}


def test_every_package_is_named() -> None:
    rooms = {name for name in PACKAGES if not name.startswith("formats/")}  # a format's package is named by its row
    named = set(re.findall(r"`([a-z_/]+)/`", PAGE))
    assert rooms <= named, rooms - named
    assert named <= PACKAGES, named - PACKAGES


def test_every_module_that_is_named_exists() -> None:
    named = {name for name in re.findall(r"`([a-z_/]+\.py)`", PAGE) if (name.partition("/")[0]) != "docs"}
    assert "formats/table.py" in named
    assert [name for name in named if not (ROOT / "diffai" / name).exists()] == []


def test_data_flows_as_the_contract_has_it() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = [name.removeprefix("diffai.") for name in reversed(contracts[0]["layers"])]
    line = next(line for line in PAGE.splitlines() if "->" in line)
    floors = [re.findall(r"[a-z]+", floor)[0] for floor in line.split("->")]
    assert len(floors) == 9 and sorted(floors, key=layers.index) == floors
