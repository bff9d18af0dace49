"""What an analysis is given: files beside the models wherever these are kept, values of any dtype, caps that are said."""

from __future__ import annotations

import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from dvcrepo import DvcRepo
from gitrepo import Repo
from model_pairs import transformer
from safetensors.numpy import save, save_file

from diffai.analyses.context import Context, Sides
from diffai.analyses.table import Analysis
from diffai.comparison.request import compare_revisions, compare_words
from diffai.comparison.result import CompareOptions, DirectoryDiff, ModelDiff, TensorChange
from diffai.errors import SourceError
from diffai.formats.arrays import ArrayCheckpoint
from diffai.formats.base import Limits
from diffai.frozen import replace
from diffai.models.inputs import Input
from diffai.sources.local import MemoryBytes

ROW = Analysis("beside", "memory", needs=("siblings",), siblings=("config.json", "tokenizer.json", "sub/x.json"))
MODEL = save(transformer())


def beside(old: str, new: str) -> list[bytes | None]:
    """What lies beside both models that two words name."""
    found: list[bytes | None] = []

    def look(diff: ModelDiff, *sides: Input) -> ModelDiff:
        context = Context(ROW, {}, Sides(*sides))
        found.extend(context.sibling(which, "config.json") for which in ("old", "new"))
        return diff

    compare_words(old, new, CompareOptions(while_open=look), Limits())
    return found


def beside_each(*revisions: str) -> list[tuple[str, bytes | None, bytes | None]]:
    """The same of every model that changed between revisions."""
    found = []

    def look(diff: ModelDiff, *sides: Input) -> ModelDiff:
        context = Context(ROW, {}, Sides(*sides))
        found.append((diff.new.label, context.sibling("old", "config.json"), context.sibling("new", "config.json")))
        return diff

    assert isinstance(compare_revisions(revisions, (), CompareOptions(while_open=look), Limits()), DirectoryDiff)
    return found


def test_files_beside_models_on_disk(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.safetensors").write_bytes(MODEL)
        (tmp_path / name / "config.json").write_text(name)
    models = [str(tmp_path / name / "m.safetensors") for name in ("a", "b")]
    assert beside(*models) == [b"a", b"b"]
    (tmp_path / "b" / "config.json").unlink()
    assert beside(*models) == [b"a", None]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a").mkdir()
    save_file(transformer(), tmp_path / "a" / "m.safetensors")
    (tmp_path / "a" / "config.json").symlink_to(tmp_path / "secret")
    model = str(tmp_path / "a" / "m.safetensors")
    assert beside(model, model) == [None, None]


def test_files_beside_models_of_commits_and_the_work_tree(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo.top)
    repo.commit({"m/a.safetensors": MODEL, "m/config.json": "one"})
    other = save({**transformer(), "more": np.ones(3, "f4")})
    repo.commit({"m/a.safetensors": other, "m/config.json": "two"})
    repo.write({"m/config.json": "three"})
    assert beside("HEAD~1:m/a.safetensors", "HEAD:m/a.safetensors") == [b"one", b"two"]
    assert beside("HEAD:m/a.safetensors", "m/a.safetensors") == [b"two", b"three"]
    assert beside_each("HEAD~1", "HEAD") == [("HEAD:m/a.safetensors", b"one", b"two")]
    assert [sides[1:] for sides in beside_each("HEAD~1")] == [(b"one", b"three")]


def test_files_beside_models_in_lfs(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo.top)
    subprocess.run(["git", "lfs", "install", "--local"], cwd=repo.top, check=True, capture_output=True)
    repo.lfs_track("*.safetensors")
    repo.commit({"m/a.safetensors": MODEL, "m/config.json": "one"})
    other = save({**transformer(), "more": np.ones(3, "f4")})
    repo.commit({"m/a.safetensors": other, "m/config.json": "two"})
    assert "version https://git-lfs" in repo.git("show", "HEAD:m/a.safetensors")
    assert [sides[1:] for sides in beside_each("HEAD~1", "HEAD")] == [(b"one", b"two")]


def test_files_beside_models_in_dvc(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repo.top)
    dvc = DvcRepo(repo)
    for number, text in ((1, "one"), (2, "two")):
        model = save({**transformer(), "more": np.full(3, number, "f4")})
        address = dvc.object(model)
        pointer = f"outs:\n- md5: {address}\n  size: {len(model)}\n  hash: md5\n  path: a.safetensors\n"
        repo.commit({"m/a.safetensors.dvc": pointer, "m/config.json": text})
    assert [sides[1:] for sides in beside_each("HEAD~1", "HEAD")] == [(b"one", b"two")]


def test_a_name_that_was_not_declared_is_a_mistake_of_the_analysis() -> None:
    with pytest.raises(AssertionError):
        Context(ROW).sibling("old", "../../etc/passwd")


def test_another_machine_is_asked_for_files_only_by_who_was_asked_for() -> None:
    asked_for = []

    class Far(MemoryBytes):
        requests = True

        def sibling(self, name: str) -> MemoryBytes:  # type: ignore[override]
            asked_for.append(name)
            return MemoryBytes(b"{}")

    side = Input("http://m", ArrayCheckpoint({}), found=Far(b"model"))
    assert Context(ROW, {}, Sides(side, side)).sibling("old", "config.json") is None and not asked_for
    assert Context(ROW, {}, Sides(side, side), asked=True).sibling("old", "config.json") == b"{}"
    assert asked_for == ["config.json"]


def test_nothing_is_open_by_default() -> None:
    context = Context(ROW)
    assert context.old is None and context.base is None and context.unread
    assert context.sibling("old", "config.json") is None
    assert list(context.blocks(TensorChange("w", ("changed",)))) == []


# ---------------------------------------------------------------- values


def context_of(**arrays: np.ndarray) -> tuple[Context, ArrayCheckpoint]:  # type: ignore[type-arg]
    checkpoint = ArrayCheckpoint(arrays)
    side = Input("m", checkpoint)
    return Context(ROW, {}, Sides(side, side, unread="")), checkpoint


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, "i1", "i8", "?", "c8"])
def test_values_are_decoded(dtype: object) -> None:
    values = (np.arange(12) % 3).reshape(3, 4).astype(dtype)  # type: ignore[call-overload]
    context, checkpoint = context_of(w=values)
    array = context.array("old", checkpoint.tensors["w"])
    assert array is not None and array.dtype == np.float64 and not context.caps
    assert np.array_equal(array, np.abs(values.astype("c16")))


def test_of_a_large_tensor_evenly_spread_rows_are_read_and_that_is_said() -> None:
    values = np.arange(1000, dtype="f4").reshape(100, 10)
    context, checkpoint = context_of(w=values)
    array = context.array("old", checkpoint.tensors["w"], 50)
    assert array is not None and array[:, 0].tolist() == [0, 200, 400, 600, 800]
    assert np.array_equal(array, values[[0, 20, 40, 60, 80]])
    assert context.caps == ["5 of 100 rows of w were read (cap 50 elements)"]
    assert context.array("old", checkpoint.tensors["w"], 9) is None
    assert context.caps[1:] == ["one row of w is over 9 elements: left out"]


def test_rows_are_read_by_their_numbers() -> None:
    values = np.arange(24, dtype="f4").reshape(6, 2, 2)
    context, checkpoint = context_of(w=values)
    rows = context.rows("old", checkpoint.tensors["w"], [0, 2, 3, 5])
    assert rows is not None and np.array_equal(rows, values[[0, 2, 3, 5]])


def test_scalars_and_empty_tensors() -> None:
    context, checkpoint = context_of(s=np.array(2.5, "f4"), e=np.zeros((0, 4), "f4"))
    scalar = context.array("old", checkpoint.tensors["s"])
    assert scalar is not None and scalar.shape == () and scalar == 2.5
    assert context.array("old", checkpoint.tensors["e"]) is None


def test_blocks_go_through_a_pair() -> None:
    old, new = np.arange(10, dtype="f4"), np.arange(10, dtype="f2") + 1
    left, right = ArrayCheckpoint({"w": old}), ArrayCheckpoint({"w": new})
    context = Context(ROW, {}, Sides(Input("a", left), Input("b", right), unread=""))
    change = TensorChange("w", ("cast", "changed"), left.tensors["w"], right.tensors["w"])
    blocks = list(context.blocks(change, 4))
    assert [len(a) for a, _ in blocks] == [4, 4, 2]
    assert np.array_equal(np.concatenate([b for _, b in blocks]), new)
    lacking = replace(change, new=replace(right.tensors["w"], lacking="its shard is not here"))
    assert list(context.blocks(lacking)) == []


def test_bytes_that_are_gone_are_an_error() -> None:
    class Ended(ArrayCheckpoint):
        def read_into(self, spec: object, offset: int, buffer: memoryview) -> None:
            raise SourceError("m: ends at offset 3")

    checkpoint = Ended({"w": np.ones(4, "f4")})
    context = Context(ROW, {}, Sides(Input("m", checkpoint), Input("m", checkpoint), unread=""))
    with pytest.raises(SourceError, match="ends at offset 3"):
        context.array("old", checkpoint.tensors["w"])
