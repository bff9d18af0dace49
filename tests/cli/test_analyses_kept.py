"""Every analysis says the same of a pair however its models are kept: files, commits, git-LFS, DVC, shards."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from dvcrepo import DvcRepo
from gitrepo import Repo
from model_pairs import CONFIGURATION, PAIRS
from program import diffai
from safetensors.numpy import save

from diffai.analyses.table import ANALYSES

FLAGS = [row.option for row in ANALYSES if row.help]
SIDES = [save(arrays) for arrays in PAIRS["LoRA merged"]]
BESIDE = json.dumps(CONFIGURATION)


def said(*words: str, cwd: Path) -> dict[str, str]:
    """The lines of all analyses, by name; of the size on disk nothing, which packaging changes."""
    done = diffai(*words, "--format", "json", *FLAGS, cwd=cwd)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    if report["kind"] == "directory":
        (file,) = report["files"]
        report = file["report"]
    return {found["name"]: found["text"] for found in report["findings"] if found["name"] != "size_reduction"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("plain")
    for name, data in zip("ab", SIDES, strict=True):
        (folder / name).mkdir()
        (folder / name / "m.safetensors").write_bytes(data)
        (folder / name / "config.json").write_text(BESIDE)
    return said("a/m.safetensors", "b/m.safetensors", cwd=folder)


def test_files_have_something_to_say(plain: dict[str, str]) -> None:
    assert {row.name for row in ANALYSES if row.help} - {"size_reduction"} <= plain.keys()
    assert not [text for text in plain.values() if text.startswith("not computed")]


def test_directories(plain: dict[str, str], tmp_path: Path) -> None:
    for name, data in zip("ab", SIDES, strict=True):
        (tmp_path / name / "m").mkdir(parents=True)
        (tmp_path / name / "m" / "m.safetensors").write_bytes(data)
        (tmp_path / name / "m" / "config.json").write_text(BESIDE)
    assert said("a", "b", cwd=tmp_path) == plain


def test_commits(plain: dict[str, str], repo: Repo) -> None:
    for data in SIDES:
        repo.commit({"m/m.safetensors": data, "m/config.json": BESIDE})
    assert said("HEAD~1..HEAD", cwd=repo.top) == plain
    assert said("HEAD~1:m/m.safetensors", "m/m.safetensors", cwd=repo.top) == plain


def test_git_lfs(plain: dict[str, str], repo: Repo) -> None:
    subprocess.run(["git", "lfs", "install", "--local"], cwd=repo.top, check=True, capture_output=True)
    repo.lfs_track("*.safetensors")
    for data in SIDES:
        repo.commit({"m/m.safetensors": data, "m/config.json": BESIDE})
    assert "git-lfs" in repo.git("show", "HEAD:m/m.safetensors")
    assert said("HEAD~1..HEAD", cwd=repo.top) == plain


def test_dvc(plain: dict[str, str], repo: Repo) -> None:
    dvc = DvcRepo(repo)
    for data in SIDES:
        pointer = f"outs:\n- md5: {dvc.object(data)}\n  size: {len(data)}\n  hash: md5\n  path: m.safetensors\n"
        repo.commit({"m/m.safetensors.dvc": pointer, "m/config.json": BESIDE})
    assert said("HEAD~1..HEAD", cwd=repo.top) == plain


def test_shards(plain: dict[str, str], tmp_path: Path) -> None:
    for name, arrays in zip("ab", PAIRS["LoRA merged"], strict=True):
        (tmp_path / name).mkdir()
        names = sorted(arrays)
        weight_map = {}
        for number, part in enumerate((names[::2], names[1::2]), 1):
            shard = f"m-{number:05}-of-00002.safetensors"
            (tmp_path / name / shard).write_bytes(save({tensor: arrays[tensor] for tensor in part}))
            weight_map |= dict.fromkeys(part, shard)
        (tmp_path / name / "m.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        (tmp_path / name / "config.json").write_text(BESIDE)
    assert said("a", "b", cwd=tmp_path) == plain


def test_a_pointer_whose_object_is_not_here_is_said(repo: Repo, tmp_path: Path) -> None:
    subprocess.run(["git", "lfs", "install", "--local"], cwd=repo.top, check=True, capture_output=True)
    repo.lfs_track("*.safetensors")
    for data in SIDES:
        repo.commit({"m.safetensors": data})
    clone = repo.clone_without_lfs_objects(tmp_path / "clone")
    done = diffai("HEAD~1", "HEAD", "--low-rank", "--fail-on", "low_rank", "--", "m.safetensors", cwd=clone.top)
    assert done.returncode == 2 and "+ low_rank: not computed: a side could not be read" in done.stdout


HOSTILE = (
    "model.layers.0.\x1b[31mevil\n+ fake: line.q_proj.weight", "<script>alert(1)</script>.weight", "", ".", "..weight",
    "@someone `x` | y.weight", "model.embed_tokens\u202e.weight", "layers.99999999999999999999.w", "experts.0.w1.weight",
    "x" * 3000 + ".weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.00.self_attn.q_proj.weight",
)  # fmt: skip


@pytest.mark.parametrize("output", ["text -v", "table -v", "markdown", "html", "json"])
def test_hostile_names_are_inert_in_every_finding(tmp_path: Path, output: str) -> None:
    rng = np.random.default_rng(0)
    old = {name: rng.normal(size=(8, 8)).astype("f4") for name in HOSTILE}
    (tmp_path / "a.safetensors").write_bytes(save(old))
    (tmp_path / "b.safetensors").write_bytes(save({name: array * np.float32(1.01) for name, array in old.items()}))
    done = diffai("a.safetensors", "b.safetensors", *FLAGS, "--format", *output.split(), cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    text = done.stdout
    assert "\x1b" not in text and not re.search(r"^\s*\+ fake", text, re.MULTILINE)
    if output == "json":
        json.loads(text)
        return
    assert "\u202e" not in text
    if output == "html":
        assert "<script>alert" not in text
    if output == "markdown":
        outside = re.sub(r"(`+).*?\1", "", text)
        assert not re.search(r"(?<!\\)<script|@someone", outside)
