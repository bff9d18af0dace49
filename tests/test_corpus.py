"""The known facts of real models with real histories."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffai import api


def steps(corpus: Path, model: str) -> list[Path]:
    return [next(folder.iterdir()) for folder in sorted((corpus / "histories" / model).iterdir())]


@pytest.mark.parametrize(
    ("model", "tensors", "parameters"), [("lpips-alex", 5, 1152), ("lpips-vgg", 5, 1472), ("lpips-squeeze", 7, 2240)]
)
def test_lpips_keeps_its_names_and_changes_every_tensor(
    corpus: Path, model: str, tensors: int, parameters: int
) -> None:
    old, new = steps(corpus, model)
    diff = api.compare(old, new)
    assert diff.old.format == "torch legacy"
    assert (diff.new.tensors, diff.new.parameters) == (tensors, parameters)
    assert {c.status for c in diff.tensors} == {("changed",)}
    assert diff.structure_changes == 0


def test_metapredict_is_retrained_widened_and_deepened(corpus: Path) -> None:
    files = steps(corpus, "metapredict")
    opened = [api.open_checkpoint(file) for file in files]
    assert [c.format for c in opened] == ["torch legacy", "torch legacy", "torch zip", "torch zip"]
    assert [len(c.tensors) for c in opened] == [10, 10, 10, 18]
    assert [sum(s.elements for s in c.tensors.values() if s.is_parameter) for c in opened] == [1091, 1091, 6761, 16681]
    retrained = api.compare(files[0], files[1])
    assert {c.status for c in retrained.tensors} == {("changed",)}
    wider = api.compare(files[1], files[2])
    assert wider.totals.reshaped > 0
    assert (wider.totals.added, wider.totals.removed) == (0, 0)
    deeper = api.compare(files[2], files[3])
    assert deeper.totals.added == 8


def test_singles(corpus: Path) -> None:
    silero = api.open_checkpoint(next((corpus / "singles" / "safetensors").glob("silero*.safetensors")))
    assert (len(silero.tensors), sum(s.elements for s in silero.tensors.values())) == (15, 309_633)
    pnet = api.open_checkpoint(corpus / "singles" / "pt" / "facenet_pnet.pt")
    assert (len(pnet.tensors), sum(s.elements for s in pnet.tensors.values() if s.is_parameter)) == (13, 6632)


@pytest.mark.parametrize(("path", "kind", "tensors"), [
    ("gguf/ggml-vocab-bert-bge.gguf", "gguf", 0), ("onnx/nmp.onnx", "onnx", 102),
])  # fmt: skip
def test_single_models_of_other_formats(corpus: Path, path: str, kind: str, tensors: int) -> None:
    found = api.open_checkpoint(corpus / "singles" / path)
    assert (found.format, len(found.tensors)) == (kind, tensors)
