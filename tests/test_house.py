"""The house keeps its order: no modules import each other in a circle, and no floor knows a higher one."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "diffai").rglob("*.py")
}
# One reader whose parts call each other: a pickle names a constructor that reads a pickle.
RECURSION = {frozenset(("diffai.formats.torch.constructors", "diffai.formats.torch.legacy"))}


def imports(module: str) -> set[str]:
    """Our modules that one imports, at its top or inside a function, but not for types alone."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for_types = {
        id(inside)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inside in ast.walk(node)
    }
    found = set[str]()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "diffai":  # the version; what the API loads it loads lazily
            found |= {f"diffai.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {
                name if (name := f"{node.module}.{alias.name}") in MODULES else node.module for alias in node.names
            }
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & MODULES.keys()) - {module}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules each of which reaches all others."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen, todo = set[str](), [*graph[start]]
        while todo:
            module = todo.pop()
            if module not in seen:
                seen.add(module)
                todo += graph[module]
        reached[start] = seen
    rings = {frozenset(other for other in reached[m] if m in reached[other]) for m in graph if m in reached[m]}
    return [set(ring) for ring in rings]


def test_no_modules_import_each_other_in_a_circle() -> None:
    found = [ring for ring in circles({module: imports(module) for module in MODULES}) if ring not in RECURSION]
    assert not found, "\n".join(", ".join(sorted(ring)) for ring in found)


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def test_no_floor_imports_a_higher_one() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    found = str(program) if program.exists() else shutil.which("lint-imports")
    if found is None:
        pytest.skip("import-linter is not installed (part of the extra dev)")
    done = subprocess.run([found, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
