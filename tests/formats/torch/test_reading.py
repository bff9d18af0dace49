"""The committed files, read without torch, against the bytes torch had when they were made."""

from __future__ import annotations

import base64
import json
import struct
import threading
from pathlib import Path

import pytest
from stream_source import StreamSource
from torch_files import DATA, LIMITS, everything, integer, opened, state, tensor, values, zipped

from diffai.errors import FormatError
from diffai.formats import torch as reader
from diffai.sources.local import LocalFile

EXPECTED = json.loads((DATA / "expected.json").read_text())


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_values(file: str) -> None:
    checkpoint = opened((DATA / file).read_bytes())
    for name, shape, data in EXPECTED[file]:
        assert checkpoint.tensors[name].shape == tuple(shape)
        assert values(checkpoint, name) == base64.b64decode(data), name
    weights = [spec for spec in checkpoint.tensors.values() if spec.role != "training"]
    assert len(weights) == len(EXPECTED[file])


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_recognised_by_content(file: str) -> None:
    data = (DATA / file).read_bytes()
    assert reader.recognise(data[:4096], len(data), "no-suffix")


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_reading_in_pieces_gives_the_same(file: str) -> None:
    checkpoint = opened((DATA / file).read_bytes())
    for name, spec in checkpoint.tensors.items():
        whole, pieces = values(checkpoint, name), bytearray(spec.nbytes)
        for start in range(0, spec.nbytes, 3):
            checkpoint.read_into(spec, start, memoryview(pieces)[start : start + 3])
        assert pieces == whole, name


@pytest.mark.parametrize("file", sorted(EXPECTED))
def test_raw_offsets_point_at_the_values(file: str) -> None:
    data = (DATA / file).read_bytes()
    checkpoint = opened(data)
    raw = [spec for spec in checkpoint.tensors.values() if spec.offset >= 0]
    assert raw or file in ("quantized.pt", "numpy2.pkl", "numpy5.pkl")
    for spec in raw:
        assert data[spec.offset : spec.offset + spec.nbytes] == values(checkpoint, spec.name)


def test_formats_are_told_apart() -> None:
    names = {"zip.pt": "torch zip", "legacy.pt": "torch legacy", "script.pt": "torchscript", "numpy5.pkl": "pickle"}
    for file, name in names.items():
        assert opened((DATA / file).read_bytes()).format == name


def test_training_checkpoint_compares_by_name_with_bare_weights() -> None:
    whole, bare = (opened((DATA / file).read_bytes()) for file in ("lightning.ckpt", "zip.pt"))
    assert [s.name for s in whole.tensors.values() if s.role == "weight"] == list(bare.tensors)
    assert whole.tensors["optimizer_states.0.state.0.exp_avg"].role == "training"
    assert whole.tensors["callbacks.ModelCheckpoint.best_model_score"].role == "training"
    assert whole.training["epoch"] == 2
    assert whole.training["optimizer_states.0.param_groups.0.lr"] == 0.01
    assert whole.metadata == {"hyper_parameters.lr": 0.01, "pytorch-lightning_version": "2.4.0"}


def test_whole_module_has_the_names_of_its_state_dict() -> None:
    module, bare = (opened((DATA / file).read_bytes()) for file in ("module.pt", "zip.pt"))
    assert list(module.tensors) == list(bare.tensors)
    assert [problem.code for problem in module.problems] == ["PT21"]  # classes of torch.nn are known, though never loaded
    assert module.safety == "builds classes"
    assert "torch.nn.modules.linear.Linear" in module.problems[0].message
    assert module.metadata["0.kernel_size"] == "(2, 2)"
    assert (module.classes["Sequential"], module.classes["Sequential.0"]) == ("torch.nn.Sequential", "torch.nn.Conv2d")


def test_views_dtypes_and_ties() -> None:
    tensors = opened((DATA / "views.pt").read_bytes()).tensors
    assert tensors["tied.b"].alias_of == "tied.a"
    assert not tensors["part"].alias_of
    assert tensors["transposed"].offset == tensors["conj"].offset == -1
    kinds = {name: tensors[name].dtype for name in ("bf16", "f8", "u16", "bool", "conj", "scalar")}
    assert kinds == {"bf16": "BF16", "f8": "F8_E4M3", "u16": "U16", "bool": "BOOL", "conj": "C64", "scalar": "I64"}


def test_quantized_values_are_decoded() -> None:
    checkpoint = opened((DATA / "quantized.pt").read_bytes())
    spec = checkpoint.tensors["tensor"]
    assert (spec.dtype, spec.values, spec.nbytes, spec.encoding) == ("QI8", "F32", 12, "scale=0.1, zero_point=3")
    assert checkpoint.tensors["channel"].encoding == "per channel of axis 0, 2 scales"


def test_sparse_tensors_are_their_parts() -> None:
    checkpoint = opened((DATA / "sparse.pt").read_bytes())
    assert list(checkpoint.tensors) == ["s.indices", "s.values"]
    assert checkpoint.metadata["s.size"] == "sparse COO [2, 2]"


def test_torchscript_code_is_part_of_what_is_compared() -> None:
    assert opened((DATA / "script.pt").read_bytes()).metadata["code"].startswith("1 files, xxh3:")


@pytest.mark.parametrize("file", ["zip.pt", "legacy.pt", "numpy5.pkl"])
def test_a_stream_is_spooled(file: str) -> None:
    data = (DATA / file).read_bytes()
    checkpoint = reader.open_checkpoint(StreamSource(data), LIMITS)
    assert {name: values(checkpoint, name) for name in checkpoint.tensors} == everything(data)
    checkpoint.close()


def test_threads_read_at_once() -> None:
    pieces = b"".join(struct.pack("<f", number) for number in range(4096))
    pickled = state({"a": tensor("0", 4096, (64, 64), (1, 64)), "b": tensor("0", 4096, (4096,), (1,))})
    checkpoint = opened(zipped({"data.pkl": pickled, "data/0": pieces}, compression=8))
    wanted = {name: values(checkpoint, name) for name in "ab"}
    wrong: list[str] = []

    def read(name: str) -> None:
        wrong.extend(name for _ in range(50) if values(checkpoint, name) != wanted[name])

    threads = [threading.Thread(target=read, args=(name,)) for name in "abab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert wanted["b"] == pieces


def test_large_transposed_tensor_is_gathered_in_blocks() -> None:
    import numpy as np

    array = np.arange(3000 * 2500, dtype="<f4").reshape(3000, 2500)
    pickled = state({"t": tensor("0", array.size, (2500, 3000), (1, 2500))})
    checkpoint = opened(zipped({"data.pkl": pickled, "data/0": array.tobytes()}))
    assert values(checkpoint, "t") == array.T.tobytes()


@pytest.mark.parametrize(("sparse", "page"), [(4, 16384), (1, 0), (2, 8)])
def test_permutations_across_blocks_and_windows(monkeypatch: pytest.MonkeyPatch, sparse: int, page: int) -> None:
    import itertools

    import numpy as np

    from diffai.formats import gather

    monkeypatch.setattr(gather, "BLOCK", 96)
    monkeypatch.setattr(gather, "WINDOW", 64)
    monkeypatch.setattr(gather, "SPARSE", sparse)
    monkeypatch.setattr(gather, "PAGE", page)
    array = np.arange(4 * 5 * 6, dtype="<i2").reshape(4, 5, 6)
    full = (30, 6, 1)
    for order in itertools.permutations(range(3)):
        shape, strides = tuple(array.shape[i] for i in order), tuple(full[i] for i in order)
        pickled = state({"t": tensor("0", 120, shape, strides, kind="ShortStorage")})
        got = everything(zipped({"data.pkl": pickled, "data/0": array.tobytes()}))["t"]
        assert got == array.transpose(order).tobytes(), order
        sliced = array.transpose(order)[::2, 1:, ::-1][:, :, ::-1][:, :, ::3]
        steps = tuple(step // 2 for step in sliced.strides)
        offset = strides[1]
        ops = tensor("0", 120, sliced.shape, steps, offset, kind="ShortStorage")
        assert everything(zipped({"data.pkl": state({"t": ops}), "data/0": array.tobytes()}))["t"] == sliced.tobytes()


def test_reading_outside_a_tensor_is_refused() -> None:
    checkpoint = opened((DATA / "zip.pt").read_bytes())
    spec = checkpoint.tensors["0.bias"]
    with pytest.raises(FormatError):
        checkpoint.read_into(spec, 8, memoryview(bytearray(8)))


def test_closing_twice_is_fine(tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes((DATA / "zip.pt").read_bytes())
    checkpoint = reader.open_checkpoint(LocalFile(tmp_path / "m.pt"), LIMITS)
    checkpoint.verify_unchanged()
    checkpoint.close()
    checkpoint.close()


def test_legacy_views_of_storages() -> None:
    from torch_files import global_, legacy, numbers, text

    storage = (
        b"(" + text("storage") + global_("torch", "FloatStorage") + text("root") + text("cpu") + integer(4)
        + b"(" + text("view") + integer(2) + integer(2) + b"ttQ"
    )  # fmt: skip
    rebuilt = global_("torch._utils", "_rebuild_tensor") + b"(" + storage + integer(0) + numbers(2) + numbers(1) + b"tR"
    data = legacy(state({"w": rebuilt}), {"root": (4, struct.pack("<4f", 0, 1, 2, 3))})
    assert everything(data) == {"w": struct.pack("<2f", 2, 3)}
