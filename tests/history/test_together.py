"""A walk reads each version once, however many figures need it, and copies only what cannot be read forward."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors_writer as writer
from gitrepo import Repo
from model_history import commit, expected, history, shown, start, trained

from diffai.cache.store import Store
from diffai.history import together
from diffai.history.entries import LogEntry, LogOptions, ModelLog
from diffai.history.log import log_model
from diffai.history.log_records import entry_record
from diffai.history.model_path import ModelPath
from diffai.repository import blobs as git_source
from diffai.repository import objects
from diffai.repository.runner import Repository
from diffai.sources import spool as spool_source

FIGURES = ("update_size", "cosine", "drift", "update_cosine", "norm")


class Watched:
    """What was read from git and what was copied, seen from within the real calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: Counter[str] = Counter()
        self.sizes: dict[str, int] = {}
        self.copies: list[str] = []
        streams, copy = git_source.BlobStream, spool_source.spool_stream
        watched = self

        class Stream(streams):  # type: ignore[misc, valid-type]
            def __init__(self, git: Any, size: int, label: str) -> None:
                super().__init__(git, size, label)
                self.oid = git.oid
                watched.sizes[self.oid] = size

            def readinto(self, buffer: Any) -> int:
                got = super().readinto(buffer)
                watched.read[self.oid] += got
                return got

        take = objects.ObjectReader.take

        def taken(reader: Any, oid: str, label: str) -> Any:
            facts, git = take(reader, oid, label)
            git.oid = facts.oid
            return facts, git

        def copied(stream: Any, size: int, limit: int, label: str) -> int:
            watched.copies.append(label)
            return copy(stream, size, limit, label)

        monkeypatch.setattr(objects.ObjectReader, "take", taken)
        monkeypatch.setattr(git_source, "BlobStream", Stream)
        monkeypatch.setattr(git_source, "spool_stream", copied)
        monkeypatch.setattr(spool_source, "spool_stream", copied)


@pytest.fixture
def watched(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.chdir(repo.top)
    monkeypatch.setattr(objects, "SMALL", -1)  # else all of these are read whole
    return Watched(monkeypatch)


def walk(repo: Repo, *, until: Callable[[LogEntry], bool] | None = None, **options: Any) -> ModelLog:
    """``log_model`` in this process, without cache."""
    return log_model(
        Repository(str(repo.top)), ModelPath("model.safetensors"), LogOptions(**options), Store("", 0), until=until
    )


def wide(repo: Repo, steps: int, width: int = 192) -> list[tuple[str, dict[str, np.ndarray]]]:
    """A history of versions of some 600 kB, which git can stream; the work tree then holds something else."""
    weights, runs = start(width=width), []
    for step in range(steps):
        weights = trained(weights, step) if step else weights
        runs.append((commit(repo, weights, f"step {step}", day=step + 1), weights))
    (repo.top / "model.safetensors").unlink()
    return runs


def check(found: ModelLog, rows: list[dict[str, float]]) -> None:
    for entry, row in zip(reversed(found.entries), rows, strict=True):
        figures = entry_record(entry)["figures"]
        for name in FIGURES:
            wanted = pytest.approx(row[name], rel=1e-7, abs=3e-8) if name in row else None
            assert figures[name] == wanted, (entry.commit.subject, name)


def test_each_blob_is_read_once_and_none_is_copied(repo: Repo, watched: Watched) -> None:
    run = wide(repo, 9)
    check(walk(repo), expected([shown(repo, name) for name, _ in run]))
    assert watched.copies == []
    assert len(watched.read) == 9
    for oid, count in watched.read.items():
        assert watched.sizes[oid] <= count <= watched.sizes[oid] + 2 * 65536, "its header, and then all of it once"


def test_small_versions_take_one_git_for_all(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo.top)
    run = wide(repo, 9)
    started: list[objects.CatFile] = []
    begin = objects.CatFile.__init__

    def counted(self: objects.CatFile, repository: Repository) -> None:
        started.append(self)
        begin(self, repository)

    monkeypatch.setattr(objects.CatFile, "__init__", counted)
    check(walk(repo), expected([shown(repo, name) for name, _ in run]))
    assert len(started) <= 1


@pytest.mark.parametrize("pack", ["loose", "packed", "deltas"])
def test_however_git_keeps_them(repo: Repo, watched: Watched, pack: str) -> None:
    runs = frozen_run(repo, 6)
    (repo.top / "model.safetensors").unlink()
    if pack != "loose":
        window = "0" if pack == "packed" else "10"
        repo.git("repack", "-a", "-d", "-f", "-q", f"--window={window}")
    kinds = repo.git("cat-file", "--batch-all-objects", "--batch-check=%(objectsize) %(deltabase)").splitlines()
    assert any(not line.endswith(" " + "0" * 40) for line in kinds if int(line.split()[0]) > 1e5) == (pack == "deltas")
    check(walk(repo), expected(runs))
    assert bool(watched.copies) == (pack == "deltas")


def frozen_run(repo: Repo, steps: int) -> list[dict[str, np.ndarray]]:
    """Fine-tuning of the head alone: what does not change is told as such."""
    weights, runs = start(width=128), []
    for step in range(steps):
        weights = trained(weights, step, "head") if step else weights
        commit(repo, weights, f"step {step}", day=step + 1)
        runs.append(weights)
    return runs


def test_frozen_layers(repo: Repo, watched: Watched) -> None:
    runs = frozen_run(repo, 5)
    repo.git("repack", "-a", "-d", "-q", "--window=0")
    found = walk(repo)
    assert watched.copies == []
    check(found, expected(runs))
    changed = [entry.figures.changed for entry in reversed(found.entries) if entry.figures is not None]
    assert changed == [0, 2, 2, 2, 2]


def test_detail_is_that_of_a_comparison_by_itself(
    repo: Repo, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide(repo, 4, width=64)
    at_once = walk(repo, detail=True)
    assert watched.copies == []
    monkeypatch.setattr(together, "_MOST_OPEN", 0)
    monkeypatch.setattr(together.Together, "_gather", lambda self, needs: [])
    by_itself = walk(repo, detail=True)
    for one, other in zip(at_once.entries, by_itself.entries, strict=True):
        assert one.figures is not None and other.figures is not None
        assert one.diff is not None and other.diff is not None
        assert one.diff.totals.modified == other.diff.totals.modified
        for a, b in zip(one.diff.tensors, other.diff.tensors, strict=True):
            assert (a.name, a.status, a.old, a.new) == (b.name, b.status, b.old, b.new)
            if a.figures is not None and a.figures.delta is not None:
                assert b.figures is not None and b.figures.delta is not None
                assert a.figures.delta.changed_count == b.figures.delta.changed_count
                assert a.figures.delta.l2 == pytest.approx(b.figures.delta.l2, rel=1e-6)
                assert a.figures.old_statistics is not None and b.figures.old_statistics is not None
                assert a.figures.old_statistics.mean == pytest.approx(b.figures.old_statistics.mean, rel=1e-6, abs=1e-9)


def test_structure_changes_in_the_middle(repo: Repo, watched: Watched) -> None:
    weights = start()
    versions = [weights]
    versions.append(trained(versions[-1], 1))
    versions.append({**trained(versions[-1], 2), "adapter.weight": np.ones((4, 4), "f4")})  # added
    versions.append(trained(versions[-1], 3))
    versions.append({n: v for n, v in trained(versions[-1], 4).items() if not n.startswith("layers.1")})  # removed
    versions.append({n: v.astype("f2") if n == "head.weight" else v for n, v in versions[-1].items()})  # cast
    versions.append(
        {n: np.zeros((5, 8), "f2") if n == "head.weight" else v for n, v in versions[-1].items()}
    )  # reshaped
    versions.append({n.replace("layers.0", "blocks.0"): v for n, v in versions[-1].items()})  # renamed
    versions.append({n: (v + 0.5).astype(v.dtype) for n, v in versions[-1].items()})
    for number, version in enumerate(versions):
        commit(repo, version, f"step {number}", day=number + 1)
    (repo.top / "model.safetensors").unlink()
    found = list(reversed(walk(repo).entries))
    figures = [entry.figures for entry in found]
    assert [(f.added, f.removed, f.cast, f.reshaped, f.renamed) for f in figures if f is not None] == [
        (7, 0, 0, 0, 0), (0, 0, 0, 0, 0), (1, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 2, 0, 0, 0), (0, 0, 1, 0, 0),
        (0, 0, 0, 1, 0), (0, 0, 0, 0, 2), (0, 0, 0, 0, 0),
    ]  # fmt: skip
    # A cast moves a tensor to another place in the file, and a renaming needs digests before it can be compared.
    copied = {label.partition(":")[0].rstrip("^") for label in watched.copies}
    assert copied and copied.isdisjoint(entry.commit.hash[:10] for entry in found[1:3])
    last = figures[-1]
    assert last is not None and last.movement is not None and last.movement.drift is not None
    names = {n.replace("blocks.0", "layers.0"): v.astype("f8") for n, v in versions[-1].items()}
    both = [n for n, v in names.items() if n in weights and weights[n].shape == v.shape and "running" not in n]
    drift = sum(float(((names[n] - weights[n].astype("f8")) ** 2).sum()) for n in both)
    base = sum(float((weights[n].astype("f8") ** 2).sum()) for n in both)
    assert last.movement.drift.value == pytest.approx((drift / base) ** 0.5, rel=1e-7)


def test_tensors_in_another_order_are_told_all_the_same(repo: Repo, watched: Watched) -> None:
    rng = np.random.default_rng(0)
    names = ["a", "b", "c"]
    versions = []
    for number in range(4):
        values = {n: rng.standard_normal(20_000).astype("f4") for n in names}
        versions.append(values)
        order = names if number != 2 else names[::-1]
        content = writer.build({n: ("F32", values[n].shape, values[n].tobytes()) for n in order})
        repo.commit({"model.safetensors": content}, f"step {number}")
    (repo.top / "model.safetensors").unlink()
    check(walk(repo), expected(versions))
    assert watched.copies


def test_more_versions_than_are_open_at_once(repo: Repo, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "_MOST_OPEN", 6)
    run = wide(repo, 14, width=96)
    check(walk(repo), expected([weights for _, weights in run]))
    assert watched.copies == []
    total = sum(watched.sizes.values())
    assert sum(watched.read.values()) < 2.2 * total  # the first and the last two are read again for every further six


def test_a_walk_that_ends_early_does_not_read_everything(repo: Repo, watched: Watched) -> None:
    wide(repo, 14, width=96)
    walk(repo, until=lambda entry: entry.commit.subject == "step 1")
    assert sum(1 for oid, size in watched.sizes.items() if watched.read[oid] > 0.9 * size) <= 6


def test_progress_moves_while_the_values_are_read(repo: Repo, watched: Watched) -> None:
    wide(repo, 8)
    seen: list[int] = []
    log_model(
        Repository(str(repo.top)), ModelPath("model.safetensors"), LogOptions(), Store("", 0),
        lambda done, total: seen.append(done),
    )  # fmt: skip
    assert seen[-1] == 8 and len({*seen}) >= 3


def test_the_same_bytes_again_and_a_deletion_between(repo: Repo, watched: Watched) -> None:
    run = history(repo, 3)
    repo.git("rm", "-q", "model.safetensors")
    repo.git("commit", "-q", "-m", "gone")
    commit(repo, run[1][1], "step 1", day=9)
    commit(repo, run[0][1], "back", day=10)
    found = list(reversed(walk(repo).entries))
    assert [entry.kind for entry in found] == ["added", "changed", "changed", "removed", "added", "changed"]
    last = found[-1].figures
    assert last is not None and last.movement is not None
    assert last.movement.update.value == pytest.approx(expected([run[1][1], run[0][1]])[1]["update_size"], rel=1e-9)
    assert watched.copies == []


def test_a_shard_index_is_read_in_lockstep_too(repo: Repo, watched: Watched) -> None:
    weights, versions = start(width=64), []
    for step in range(4):
        weights = trained(weights, step) if step else weights
        versions.append(weights)
        names = sorted(weights)
        files: dict[str, bytes | str] = {}
        where = {}
        for number, part in enumerate((names[:3], names[3:]), 1):
            file = f"model-{number:05}-of-00002.safetensors"
            files[file] = writer.build({n: ("F32", weights[n].shape, weights[n].tobytes()) for n in part})
            where |= dict.fromkeys(part, file)
        files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": where})
        repo.commit(files, f"step {step}")
    for file in Path(repo.top).glob("model-*"):
        file.unlink()
    check(walk(repo), expected(versions))
    assert watched.copies == []


def test_a_new_tensor_under_the_name_of_a_renamed_one_has_no_past(repo: Repo, watched: Watched) -> None:
    rng = np.random.default_rng(0)
    one, two = (rng.standard_normal(64).astype("f4") for _ in range(2))
    kept = rng.standard_normal(64).astype("f4")
    commit(repo, {"b": one, "kept": kept}, "step 0")
    commit(repo, {"a": one, "kept": kept}, "renamed", day=2)
    commit(repo, {"a": one, "b": two, "kept": kept}, "another b", day=3)
    commit(repo, {"a": one, "b": two, "kept": kept + np.float32(1)}, "step 3", day=4)
    for entry in walk(repo).entries[1:3]:
        assert entry.figures is not None and entry.figures.movement is not None
        assert entry.figures.movement.drift.value == 0, entry.commit.subject
    last = walk(repo).entries[0].figures
    assert last is not None and last.movement is not None
    wanted = (64 / sum(float((v.astype("f8") ** 2).sum()) for v in (one, kept))) ** 0.5
    assert last.movement.drift.value == pytest.approx(wanted, rel=1e-6)


# ---------------------------------------------------------------- the newest versions only


def test_the_newest_versions_are_told_without_reading_those_between_them_and_the_first(
    repo: Repo, watched: Watched
) -> None:
    wide(repo, 12)
    whole = walk(repo)
    watched.read.clear()
    newest = walk(repo, limit=3)
    assert [entry_record(entry) for entry in newest.entries] == [entry_record(entry) for entry in whole.entries[:3]]
    assert newest.versions == 12
    # The three, what the oldest of them is compared with, the one before that and its own base, and the first.
    assert len(watched.read) <= 7


def test_the_newest_versions_are_told_alike_when_tensors_were_renamed_on_the_way(repo: Repo) -> None:
    weights = start()
    for step in range(8):
        weights = {(f"model.{name}" if step == 3 else name): value for name, value in trained(weights, step).items()}
        commit(repo, weights, f"step {step}", day=step + 1)
    for limit in (1, 2, 5):
        found = walk(repo, limit=limit)
        assert [entry_record(e) for e in found.entries] == [entry_record(e) for e in walk(repo).entries[:limit]]
        assert found.versions == 8


@pytest.mark.parametrize("dull", ["the same values again", "unreadable"])
def test_the_newest_versions_are_told_alike_behind_versions_that_say_nothing(repo: Repo, dull: str) -> None:
    weights = start()
    for step in range(9):
        if step in (5, 6):
            again = safetensors_again(weights, step) if dull.startswith("the same") else b"\x10" + bytes(40)
            repo.commit({"model.safetensors": again})
            continue
        weights = trained(weights, step)
        commit(repo, weights, f"step {step}", day=step + 1)
    for limit in (1, 2, 3, 4):
        found = walk(repo, limit=limit)
        assert [entry_record(e) for e in found.entries] == [entry_record(e) for e in walk(repo).entries[:limit]]


def safetensors_again(weights: dict[str, np.ndarray], step: int) -> bytes:
    """The same tensors, which lie at other places of the file."""
    names = sorted(weights, reverse=step % 2 == 1)
    return writer.build({name: ("F32", weights[name].shape, weights[name].tobytes()) for name in names})
