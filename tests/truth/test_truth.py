"""One table of truth: planted pairs x packagings x surfaces, each cell held to facts written down beside the pair.

A cell runs in this process; one pair of every surface runs as the installed program too. Cells that do not apply say why.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from gitrepo import Repo, isolate
from truth_formats import WRITERS
from truth_packagings import PACKAGINGS, packaging_of_trees
from truth_pairs import Pair, pairs, pairs_of_trees
from truth_surfaces import SURFACES, Facts, World, why_not

PAIRS = pairs()
TREES = "trees"
REPORTED = ("equal", "added", "removed", "renamed", "reshaped", "cast", "changed", "structure", "parameters")


@pytest.fixture(scope="module", params=[*PACKAGINGS, TREES])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All pairs in one packaging."""
    packaging = packaging_of_trees() if request.param == TREES else PACKAGINGS[request.param]
    if packaging.tool and shutil.which(packaging.tool) is None:
        pytest.skip(f"{packaging.tool} is not installed")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("home"))
        yield World(Repo.init(tmp_path_factory.mktemp("truth")), packaging, pairs_of_trees() if request.param == TREES else PAIRS)


@pytest.mark.parametrize("surface", SURFACES)
def test_what_a_surface_says_is_true(world: World, surface: str) -> None:
    reason = why_not(surface, world.packaging.name)
    if reason:
        pytest.skip(reason)
    wrong = {}
    for name, pair in world.pairs.items():
        said = SURFACES[surface](world, name)
        lies = list(lies_of(surface, said, pair, world))
        if lies:
            wrong[name] = lies
    assert not wrong


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_a_pair_that_cannot_be_kept_so_has_a_reason(packaging: str) -> None:
    kept = [name for name, pair in PAIRS.items() if not PACKAGINGS[packaging].why_not(pair)]
    assert {"equal", "element", "nan", "healed", "cast", "reshape", "frozen"} <= set(kept)


def test_the_installed_program_says_the_same(world: World) -> None:
    """One pair of every surface, through the console script; of formats, which git keeps all alike, of two surfaces."""
    surfaces = ("OLD NEW", "gate") if world.packaging.name in {*WRITERS, TREES} else tuple(SURFACES)
    world.subprocess, cached = True, world.cached
    world.cached = {}
    try:
        for surface in surfaces:
            if not why_not(surface, world.packaging.name) and surface not in ("API", "git diff", "textconv"):
                said = SURFACES[surface](world, "nan")
                assert not list(lies_of(surface, said, world.pairs["nan"], world)), surface
    finally:
        world.subprocess, world.cached = False, cached


# ---------------------------------------------------------------- the facts that each kind of surface speaks of


def lies_of(surface: str, said: Facts, pair: Pair, world: World) -> Iterator[str]:
    """What is not true of a pair."""
    for key in REPORTED:
        if key in said and said[key] != getattr(pair, key):
            yield f"{key}: says {said[key]}, true is {getattr(pair, key)}"
    for key, judge in JUDGES.items():
        if key in said:
            yield from judge(said[key], pair, world)


def _gate(entry: dict[str, Any] | None, pair: Pair, world: World) -> Iterator[str]:
    """Refused are changed structure and values that became non-finite, by the rules of their names."""
    broken = {
        rule
        for rule, holds in (
            ("structure.added", pair.added), ("structure.removed", pair.removed), ("structure.renamed", pair.renamed),
            ("structure.reshaped", pair.reshaped), ("forbid_nan", pair.appeared),
        )
        if holds
    }  # fmt: skip
    if entry is None:
        if broken:
            yield f"not judged at all, true is {broken}"
        return
    named = {v["rule"] for v in entry["violations"] if v["level"] == "forbid"}
    if named != broken:
        yield f"refused for {named}, true is {broken}"
    if (entry["outcome"] == "refused") != bool(broken):
        yield f"outcome {entry['outcome']}, broken is {broken}"


def _check(code: int, pair: Pair, world: World) -> Iterator[str]:
    if code != bool(pair.appeared):
        yield f"exit {code}"


def _text(text: str, pair: Pair, world: World) -> Iterator[str]:
    """The text of git diff: the loud line, the structure, and every tensor that differs."""
    resharded = world.packaging.name == "new-index"
    if ("appeared" in text) != bool(pair.appeared) and not resharded:
        yield f"non-finite values: {text}"
    if world.packaging.name in ("same-index", "new-index"):
        return  # git hands a driver one shard at a time; what is true of a shard is not of the model
    structural = pair.added or pair.removed or pair.renamed or pair.reshaped
    if ("Structure:" in text) != bool(structural):
        yield f"structure: {text}"
    if pair.equal:
        return
    names = pair.added | pair.removed | set(pair.renamed.values()) | pair.reshaped | pair.cast | pair.changed
    missing = [name for name in names if name not in text]
    if missing:
        yield f"does not name {missing}: {text}"


def _differs(differs: bool, pair: Pair, world: World) -> Iterator[str]:
    if differs != (not pair.equal) and not pair.training_changed and world.packaging.name != "new-index":
        yield f"differs: {differs}"


def _log(entry: dict[str, Any], pair: Pair, world: World) -> Iterator[str]:
    figures = entry["figures"]
    counts = {"added": pair.added, "removed": pair.removed, "renamed": pair.renamed, "reshaped": pair.reshaped}
    for key, true in counts.items():
        if figures[key] != len(true):
            yield f"{key}: {figures[key]}, true is {len(true)}"
    if figures["changed"] != len(pair.changed):
        yield f"changed: {figures['changed']}, true is {len(pair.changed)}"
    size = figures["update_size"]
    if pair.update is not None and (size is None or not math.isclose(size, pair.update, rel_tol=1e-6, abs_tol=1e-12)):
        yield f"update size {size}, true is {pair.update}"


def _first_bad(found: dict[str, Any], pair: Pair, world: World) -> Iterator[str]:
    """A tensor that was non-finite from the start is bad from the start."""
    first = found["first_bad"]
    subject = "new" if pair.appeared else "old" if pair.healed else None
    if (first["subject"] if first else None) != subject:
        yield f"first bad commit {first and first['subject']}, true is {subject}"


def _blame(found: dict[str, Any], pair: Pair, world: World) -> Iterator[str]:
    for tensor in found["tensors"]:
        if tensor.get("role", "weight") != "weight" or tensor["name"] not in pair.new:
            continue
        touched = tensor["name"] in pair.changed | pair.added | pair.reshaped
        if (tensor["values"]["subject"] == "new") != touched:
            yield f"{tensor['name']} is from {tensor['values']['subject']}"


def _dvc(row: dict[str, Any] | None, pair: Pair, world: World) -> Iterator[str]:
    if row is None:
        if not pair.equal:
            yield "not listed"
        return
    kinds = {next(iter(record)) for record in row.get("diffai") or []}
    true = {
        kind
        for kind, holds in (
            ("TensorAdded", pair.added), ("TensorRemoved", pair.removed), ("TensorRenamed", pair.renamed),
            ("TensorShapeChanged", pair.reshaped), ("TensorDtypeChanged", pair.cast),
            ("TensorStatsChanged", pair.changed),
        )
        if holds
    }  # fmt: skip
    if kinds != true:
        yield f"records {kinds}, true is {true}"


def _stage(metrics: dict[str, Any], pair: Pair, world: World) -> Iterator[str]:
    counts = {key: len(getattr(pair, key)) for key in ("added", "removed", "renamed", "reshaped", "cast", "changed")}
    said = {key: metrics["tensors"][key] for key in counts}
    if said != counts:
        yield f"tensors {said}, true is {counts}"
    if (metrics["tensors"]["not_finite"] > 0) != bool(pair.appeared):
        yield f"not_finite {metrics['tensors']['not_finite']}"
    if metrics["parameters"] != pair.parameters[1]:
        yield f"parameters {metrics['parameters']}"
    size = metrics["update_size"]
    if pair.update is not None and (size is None or not math.isclose(size, pair.update, rel_tol=1e-6, abs_tol=1e-12)):
        yield f"update size {size}, true is {pair.update}"


JUDGES = {
    "gate": _gate, "check": _check, "text": _text, "differs": _differs, "log": _log, "first_bad": _first_bad,
    "blame": _blame, "dvc": _dvc, "stage": _stage,
}  # fmt: skip
