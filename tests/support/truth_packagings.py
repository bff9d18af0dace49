"""The ways in which people keep a model; every planted pair is kept in each, all pairs in one repository."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dvcrepo import DvcRepo, md5
from gitrepo import Repo
from safetensors.numpy import save
from truth_formats import WRITERS, trees
from truth_pairs import Arrays, Pair

INDEX = "model.safetensors.index.json"


def _torch(tensors: Arrays, training: Arrays) -> bytes:
    import torch

    state = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
    document: object = state
    if training:
        moments = {int(key): {"exp_avg": torch.from_numpy(array.copy())} for key, array in training.items()}
        document = {"model": state, "optimizer": {"state": moments, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}}
    buffer = io.BytesIO()
    torch.save(document, buffer)
    return buffer.getvalue()


def _shards(tensors: Arrays, count: int) -> dict[str, bytes]:
    names = sorted(tensors)
    files, index = {}, {}
    for number in range(count):
        shard = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = names[number::count]
        files[shard] = save({name: tensors[name] for name in part})
        index.update(dict.fromkeys(part, shard))
    files[INDEX] = json.dumps({"metadata": {}, "weight_map": dict(sorted(index.items()))}).encode()
    return files


@dataclass(frozen=True)
class Packaging:
    """One way to keep a model.

    Attributes:
        files: the files of a version below the pair's folder: (pair, whether the new side) -> content by name.
        named: what people name of it, below the pair's folder.
        listed: what git lists of it.
        prepare: sets up the repository.
        keep: puts a version into work tree and index: (repository, folder, files).
        why_not: a reason why a pair cannot be kept so, "" = it can.
    """

    name: str
    files: Callable[[Pair, bool], dict[str, bytes]]
    named: str
    listed: str
    prepare: Callable[[Repo], None]
    keep: Callable[[Repo, str, dict[str, bytes]], None]
    why_not: Callable[[Pair], str] = lambda pair: ""
    tool: str = ""


def _side(pair: Pair, new: bool) -> Arrays:
    return pair.new if new else pair.old


def _single(pair: Pair, new: bool) -> dict[str, bytes]:
    return {"model.safetensors": save(_side(pair, new))}


def _pt(pair: Pair, new: bool) -> dict[str, bytes]:
    return {"model.pt": _torch(_side(pair, new), pair.new_training if new else pair.old_training)}


def _hub(pair: Pair, new: bool) -> dict[str, bytes]:
    return {**_single(pair, new), "config.json": b'{"model_type": "tiny"}'}


def _weights_only(pair: Pair) -> str:
    return "safetensors holds no optimizer" if pair.old_training else ""


def _one_index(pair: Pair) -> str:
    return _weights_only(pair) or ("" if pair.same_names else "other names need another index")


def _git(repo: Repo) -> None:
    repo.git("commit", "-q", "--allow-empty", "-m", "start")


def _lfs(repo: Repo) -> None:
    repo.lfs_track("*.safetensors")


def _annex(repo: Repo) -> None:
    repo.git("annex", "init", "-q", "truth")
    _git(repo)


def _dvc(repo: Repo) -> None:
    DvcRepo(repo)
    repo.write({".gitignore": "model.safetensors\n/*/data/\n"})
    repo.git("add", ".gitignore")
    repo.git("commit", "-q", "-m", "dvc")


def _write(repo: Repo, folder: str, files: dict[str, bytes]) -> None:
    top = repo.top / folder
    if top.exists():
        shutil.rmtree(top)
    repo.write({f"{folder}/{name}": data for name, data in files.items()})


def _add(repo: Repo, folder: str, files: dict[str, bytes]) -> None:
    _write(repo, folder, files)
    repo.git("add", "-A", "--", folder)


def _annex_add(repo: Repo, folder: str, files: dict[str, bytes]) -> None:
    _write(repo, folder, files)
    repo.git("-c", "annex.addunlocked=true", "annex", "add", "-q", folder)  # git shows no driver a symbolic link


def _dvc_file(repo: Repo, folder: str, files: dict[str, bytes]) -> None:
    DvcRepo(repo).add(f"{folder}/model.safetensors", files["model.safetensors"])


def _dvc_folder(repo: Repo, folder: str, files: dict[str, bytes]) -> None:
    DvcRepo(repo).add_directory(f"{folder}/data", files)
    _on_disk(repo.top / folder / "data", files)


def _on_disk(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _dvc_lock(repo: Repo, folder: str, files: dict[str, bytes]) -> None:
    dvc, data = DvcRepo(repo), files["model.safetensors"]
    dvc.object(data)
    _on_disk(repo.top / folder, files)
    outs = {"model.safetensors": (md5(data), len(data))}
    yaml = "stages:\n  train:\n    cmd: python train.py\n    outs:\n    - model.safetensors\n"
    dvc.lock({"train": outs}, folder=folder, yaml=yaml)


def packaging_of_trees() -> Packaging:
    """Boosted trees, which hold no tensors but their own; git's attributes say that the file is a model."""

    def prepare(repo: Repo) -> None:
        repo.write({".gitattributes": "model.json diff=diffai\n"})
        repo.git("add", "-A")
        _git(repo)

    return Packaging("trees", lambda p, new: trees(_side(p, new)), "model.json", "model.json", prepare, _add)


def _of_format(name: str) -> Packaging:
    """A packaging of one format, kept in git."""
    write = WRITERS[name]
    file = next(iter(write({"a.weight": np.zeros(2, "f4")})))
    return Packaging(name, lambda pair, new: write(_side(pair, new)), file, file, _git, _add, _weights_only)


ST = "model.safetensors"
PACKAGINGS = {
    packaging.name: packaging
    for packaging in (
        Packaging("safetensors", _single, ST, ST, _git, _add, _weights_only),
        Packaging("torch", _pt, "model.pt", "model.pt", _git, _add),
        Packaging("same-index", lambda p, new: _shards(_side(p, new), 2), INDEX, INDEX, _git, _add, _one_index),
        Packaging("new-index", lambda p, new: _shards(_side(p, new), 2 + new), INDEX, INDEX, _git, _add, _weights_only),
        Packaging("folder", _hub, "", ST, _git, _add, _weights_only),
        Packaging("lfs", _single, ST, ST, _lfs, _add, _weights_only, "git-lfs"),
        Packaging("annex", _single, ST, ST, _annex, _annex_add, _weights_only, "git-annex"),
        Packaging("dvc", _single, ST, f"{ST}.dvc", _dvc, _dvc_file, _weights_only),
        Packaging("dvc-folder", _hub, f"data/{ST}", "data.dvc", _dvc, _dvc_folder, _weights_only),
        Packaging("dvc-lock", _single, ST, "dvc.lock", _dvc, _dvc_lock, _weights_only),
        *map(_of_format, WRITERS),
    )
}
