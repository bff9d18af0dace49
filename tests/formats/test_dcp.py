"""Distributed checkpoints that torch writes here, cut up in other ways by hand; pieces that overlap, lack or lead away."""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from diffai.comparison.models import Input, compare_models
from diffai.errors import DiffaiError, FormatError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.sources.local import LocalFile

Cut = tuple[tuple[int, ...], tuple[int, ...]]


def tensor(seed: int = 0) -> torch.Tensor:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))


def saved(folder: Path, state: dict[str, object]) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder / ".metadata"


def cut(folder: Path, whole: torch.Tensor, cuts: list[Cut], path: str = "__{}_0.distcp") -> Path:
    """The checkpoint of a tensor ``w`` in pieces, one file for every two."""
    folder.mkdir()
    stored, chunks, files = {}, [], dict[str, bytes]()
    for number, (corner, sizes) in enumerate(cuts):
        file, name = io.BytesIO(), path.format(number // 2)
        torch.save(whole[tuple(slice(a, a + n) for a, n in zip(corner, sizes, strict=True))].clone(), file)
        before = files.get(name, b"")
        files[name] = before + file.getvalue()
        chunks.append(ChunkStorageMetadata(torch.Size(corner), torch.Size(sizes)))
        stored[MetadataIndex("w", torch.Size(corner), number)] = _StorageInfo(name, len(before), len(file.getvalue()))
    described = TensorStorageMetadata(TensorProperties(whole.dtype), whole.size(), chunks)
    for name, content in files.items():
        with contextlib.suppress(OSError):
            (folder / name).write_bytes(content)
    (folder / ".metadata").write_bytes(pickle.dumps(Metadata({"w": described}, storage_data=stored)))
    return folder / ".metadata"


def opened(path: Path) -> Checkpoint:
    return registry.open_checkpoint(LocalFile(path), Limits())


def content(checkpoint: Checkpoint, name: str) -> bytes:
    data = bytearray(checkpoint.tensors[name].nbytes)
    checkpoint.read_into(checkpoint.tensors[name], 0, memoryview(data))
    return bytes(data)


def test_what_torch_saves_is_read_with_its_optimizer_apart(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 4)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    from torch.distributed.checkpoint.state_dict import get_state_dict

    weights, state = get_state_dict(model, optimizer)
    checkpoint = opened(saved(tmp_path / "c", {"model": weights, "optim": state, "step": 3, "note": "x"}))
    assert checkpoint.format == "dcp" and checkpoint.safety == "builds classes"
    for name, value in model.state_dict().items():
        assert content(checkpoint, f"model.{name}") == value.numpy().tobytes()
    assert {n: s.role for n, s in checkpoint.tensors.items() if "exp_avg" in n and "weight" in n} == {
        "optim.state.weight.exp_avg": "training", "optim.state.weight.exp_avg_sq": "training"}  # fmt: skip
    assert checkpoint.metadata["step"] == 3 and checkpoint.metadata["note"] == "x"
    assert checkpoint.training["optim.param_groups.0.lr"] == 0.001
    checkpoint.close()


CUTS: dict[str, list[Cut]] = {
    "rows": [((0, 0), (4, 5)), ((4, 0), (2, 5))],
    "rows, out of order": [((3, 0), (3, 5)), ((0, 0), (2, 5)), ((2, 0), (1, 5))],
    "columns": [((0, 0), (6, 2)), ((0, 2), (6, 3))],
    "a grid": [((0, 0), (3, 2)), ((0, 2), (3, 3)), ((3, 0), (3, 2)), ((3, 2), (3, 3))],
    "a pinwheel": [((0, 0), (2, 3)), ((0, 3), (4, 2)), ((4, 2), (2, 3)), ((2, 0), (4, 2)), ((2, 2), (2, 1))],
    "an empty piece": [((0, 0), (6, 5)), ((6, 0), (0, 5))],
}


@pytest.mark.parametrize("how", CUTS)
def test_how_a_tensor_is_cut_up_is_no_difference(tmp_path: Path, how: str) -> None:
    whole = opened(saved(tmp_path / "whole", {"w": tensor()}))
    pieces = opened(cut(tmp_path / "cut", tensor(), CUTS[how]))
    assert content(pieces, "w") == tensor().numpy().tobytes() == content(whole, "w")
    diff = compare_models(Input("a", whole), Input("b", pieces))
    assert not diff.changes and not diff.metadata


def test_one_changed_element_in_one_piece_is_one(tmp_path: Path) -> None:
    other = tensor()
    other[4, 1] += 1
    sides = [opened(cut(tmp_path / name, value, CUTS["a grid"])) for name, value in (("a", tensor()), ("b", other))]
    (change,) = compare_models(Input("a", sides[0]), Input("b", sides[1])).changes
    assert change.figures is not None and change.figures.delta is not None and change.figures.delta.changed_count == 1


LIES: dict[str, tuple[list[Cut], str, str]] = {
    "a part is left out": ([((0, 0), (3, 5))], "__{}.distcp", "DC03"),
    "overlap": ([((0, 0), (4, 5)), ((3, 0), (2, 5))], "__{}.distcp", "DC03"),
    "overlap with a gap": ([((0, 0), (3, 5)), ((1, 0), (3, 5))], "__{}.distcp", "DC03"),
    "out of the folder": ([((0, 0), (6, 5))], "../secret.distcp", "DC05"),
    "absolute": ([((0, 0), (6, 5))], "/etc/passwd", "DC05"),
}


@pytest.mark.parametrize("case", LIES)
def test_lies_are_refused_by_number(tmp_path: Path, case: str) -> None:
    cuts, path, code = LIES[case]
    metadata = cut(tmp_path / "c", tensor(), cuts, path)
    with pytest.raises(FormatError) as caught:
        opened(metadata)
    assert caught.value.code == code
    assert registry.check(LocalFile(metadata), Limits())[0].code == code


def test_a_missing_a_short_and_another_piece_are_refused(tmp_path: Path) -> None:
    metadata = cut(tmp_path / "c", tensor(), CUTS["a grid"])
    second = tmp_path / "c" / "__1_0.distcp"
    good = second.read_bytes()
    second.write_bytes(good[:-1])
    assert registry.check(LocalFile(metadata), Limits())[0].code == "DC04"
    second.unlink()
    assert registry.check(LocalFile(metadata), Limits())[0].code == "DC04"
    other = cut(tmp_path / "other", tensor().double(), CUTS["a grid"]).parent / "__1_0.distcp"
    second.write_bytes(other.read_bytes() + bytes(len(good)))
    assert [p.code for p in registry.check(LocalFile(metadata), Limits()) if p.severity == "error"] != []


def test_damaged_metadata_gives_our_errors_and_no_others(tmp_path: Path) -> None:
    metadata = cut(tmp_path / "c", tensor(), CUTS["a grid"])
    good, random_ = metadata.read_bytes(), random.Random(7)
    for _ in range(1000):
        data = bytearray(good)
        for _ in range(random_.randint(1, 4)):
            data[random_.randrange(60, len(data))] = random_.randrange(256)
        metadata.write_bytes(bytes(data))
        with contextlib.suppress(DiffaiError):
            checkpoint = registry.open_checkpoint(LocalFile(metadata), Limits(), "dcp")
            for spec in checkpoint.tensors.values():
                checkpoint.read_into(spec, 0, memoryview(bytearray(min(spec.nbytes, 1 << 16))))
            checkpoint.close()


def test_the_program_compares_two_folders_and_git_sees_a_changed_piece(tmp_path: Path) -> None:
    other = tensor()
    other[4, 1] += 1
    cut(tmp_path / "a", tensor(), CUTS["rows"])
    cut(tmp_path / "b", other, CUTS["a grid"])
    words = [sys.executable, "-m", "diffai", "a/.metadata", "b/.metadata"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and "~ w: mean=" in run.stdout and "3.3% of parameters" in run.stdout, run.stdout + run.stderr
    repo = tmp_path / "repo"
    shutil.copytree(tmp_path / "a", repo / "ck")

    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e@e", *words], cwd=repo, check=True, capture_output=True)

    for words_ in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "one")):
        git(*words_)
    shutil.rmtree(repo / "ck")
    cut(repo / "ck", other, CUTS["rows"])
    git("add", "-A")
    git("commit", "-qm", "two")
    run = subprocess.run([sys.executable, "-m", "diffai", "HEAD~1..HEAD"], cwd=repo, capture_output=True, text=True)
    assert "~ w: mean=" in run.stdout, run.stdout + run.stderr
