"""Names of one storage and copies are groups; what was tied or untied is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

import diffai
from diffai.finding import Finding

RNG = np.random.default_rng(9)
A, B = RNG.normal(size=(20, 8)).astype("f4"), RNG.normal(size=(20, 8)).astype("f4")


def found(old: Any, new: Any) -> Finding:
    (finding,) = diffai.compare(old, new, analyses=["tied_weights"]).findings
    return finding


def test_a_copy_that_came_or_went() -> None:
    apart, alike = {"embed.weight": A, "head.weight": B}, {"embed.weight": A, "head.weight": A.copy()}
    tied, untied = found(apart, alike), found(alike, apart)
    assert tied.fields["tied"] == untied.fields["untied"] == (("embed.weight", "head.weight"),)
    assert tied.text == "newly tied: embed.weight = head.weight"
    assert untied.text == "untied: embed.weight = head.weight"
    assert tied.severity == untied.severity == "notice"


def test_one_storage_of_torch_and_its_copy_in_safetensors_are_one_group(tmp_path: Path) -> None:
    weight = torch.from_numpy(A.copy())
    torch.save({"embed.weight": weight, "head.weight": weight}, tmp_path / "m.pt")
    save_file({"embed.weight": A, "head.weight": A.copy()}, tmp_path / "m.safetensors")
    finding = found(tmp_path / "m.pt", tmp_path / "m.safetensors")
    assert (finding.fields["tied"], finding.fields["untied"], finding.severity) == ((), (), "info")
    assert finding.fields["old"] == ({"names": ("embed.weight", "head.weight"), "stored_once": True},)
    assert finding.fields["new"] == ({"names": ("embed.weight", "head.weight"), "stored_once": False},)


def test_renamed_groups_are_the_same() -> None:
    old = {"embed.weight": A, "head.weight": A.copy(), "l.weight": B}
    new = {f"model.{name}": array for name, array in old.items()}
    finding = found(old, new)
    assert (finding.fields["tied"], finding.fields["untied"]) == ((), ())
    assert "tied on both sides" in finding.text


def test_equal_beginnings_constants_and_small_tensors_are_no_ties() -> None:
    long = RNG.normal(size=(64, 64)).astype("f4")
    other = long.copy()
    other[-1, -1] += 1
    side = {"a": long, "b": other, "zeros.0": np.zeros((9, 9)), "zeros.1": np.zeros((9, 9)), "s.0": A[:2], "s.1": A[:2].copy()}
    assert found(side, side).status == "nothing"


def test_what_the_configuration_says_is_recorded(tmp_path: Path) -> None:
    paths = []
    for name, tied in (("old", True), ("new", False)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"tie_word_embeddings": tied}))
        paths.append(tmp_path / name / "model.safetensors")
        save_file({"embed.weight": A, "head.weight": A if tied else B}, paths[-1])
    finding = found(*paths)
    assert (finding.fields["tie_word_embeddings_old"], finding.fields["tie_word_embeddings_new"]) == (True, False)
    assert finding.evidence == ()
