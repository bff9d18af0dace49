"""Element-wise agreement with torch.load, in every container; skipped where torch is not installed."""

from __future__ import annotations

import io
import math
import pickle
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch_files import LIMITS, checked, everything, opened, values

from diffai.formats import torch as reader
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.sources.local import LocalFile

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")
warnings.simplefilter("ignore")


def saved(value: object, *, form: str = "zip") -> bytes:
    out = io.BytesIO()
    torch.save(value, out, _use_new_zipfile_serialization=form != "legacy")
    if form != "deflated":
        return out.getvalue()
    again = io.BytesIO()
    with zipfile.ZipFile(out) as old, zipfile.ZipFile(again, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return again.getvalue()


def raw(tensor: Any) -> bytes:
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def agree(checkpoint: Checkpoint, tensors: dict[str, Any]) -> None:
    assert [name for name, spec in checkpoint.tensors.items() if spec.role != "training"] == list(tensors)
    for name, tensor in tensors.items():
        assert checkpoint.tensors[name].shape == tuple(tensor.shape), name
        assert values(checkpoint, name) == raw(tensor), name


FORMS = ("zip", "legacy", "deflated")
DTYPES = [
    "float64", "float32", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64", "bool", "complex64",
    "complex128", "complex32", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu",
    "float8_e4m3fnuz", "float8_e5m2fnuz",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_dtype(form: str) -> None:
    made = {}
    for name in DTYPES:
        dtype = getattr(torch, name)
        size = torch.empty(0, dtype=dtype).element_size()
        data = torch.randint(0, 2 if name == "bool" else 255, (6 * size,), dtype=torch.uint8)
        made[name] = data.view(dtype).reshape(2, 3)
    agree(opened(saved(made, form=form)), made)


def test_packed_f4_counts_its_elements() -> None:
    made = torch.randint(0, 255, (2, 3), dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    checkpoint = opened(saved({"w": made}))
    spec = checkpoint.tensors["w"]
    assert (spec.dtype, spec.shape, spec.nbytes) == ("F4", (2, 6), 6)
    assert values(checkpoint, "w") == made.view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "complex64", "float16", "int64"])
def test_every_layout(form: str, dtype: str) -> None:
    base = (torch.randn(2, 3, 4, 5) * 100).to(getattr(torch, dtype))
    made = {
        "plain": base, "channels_last": base.contiguous(memory_format=torch.channels_last), "t": base.transpose(0, 3),
        "permuted": base.permute(2, 0, 3, 1), "expanded": base[:1].expand(7, 3, 4, 5), "stepped": base[:, ::2, 1:, ::3],
        "flipped": base.flip(0), "diagonal": base.diagonal(0, 0, 1), "zero": base[:0], "scalar": base[0, 0, 0, 0],
        "overlapping": base.reshape(-1).unfold(0, 6, 2), "new axis": base[None, :, None],
    }  # fmt: skip
    if base.is_complex():
        made |= {"conj": base.conj(), "conj t": base.mT.conj()}
        imaginary = {"imag": base.conj().imag}
        assert imaginary["imag"].is_neg()
        agree(opened(saved(imaginary, form=form)), imaginary)
    agree(opened(saved(made, form=form)), made)


@pytest.mark.parametrize("form", FORMS)
def test_quantized(form: str) -> None:
    base = torch.randn(4, 6, 3) * 3
    made = {
        str(dtype): torch.quantize_per_tensor(base, 0.0371, 5 if dtype != torch.qint32 else 0, dtype)
        for dtype in (torch.qint8, torch.quint8, torch.qint32)
    }
    for axis in range(3):
        scales = torch.rand(base.shape[axis], dtype=torch.float64) / 10 + 0.01
        points = torch.arange(base.shape[axis])
        made[f"axis {axis}"] = torch.quantize_per_channel(base, scales, points, axis, torch.qint8)
    made["transposed"] = made["torch.qint8"].transpose(0, 2)
    agree(opened(saved(made, form=form)), made)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_sparse_layouts(form: str) -> None:
    dense = torch.tensor([[0.0, 1.0, 0, 0], [2.0, 0, 0, 3.0]])
    coo, csr, csc = dense.to_sparse().coalesce(), dense.to_sparse_csr(), dense.to_sparse_csc()
    bsr = dense.to_sparse_bsr((1, 2))
    parts = {
        "coo.indices": coo.indices(), "coo.values": coo.values(), "csr.crow_indices": csr.crow_indices(),
        "csr.col_indices": csr.col_indices(), "csr.values": csr.values(), "csc.ccol_indices": csc.ccol_indices(),
        "csc.row_indices": csc.row_indices(), "csc.values": csc.values(), "bsr.crow_indices": bsr.crow_indices(),
        "bsr.col_indices": bsr.col_indices(), "bsr.values": bsr.values(),
    }  # fmt: skip
    checkpoint = opened(saved({"coo": coo, "csr": csr, "csc": csc, "bsr": bsr}, form=form))
    agree(checkpoint, parts)
    assert checkpoint.metadata["csr.size"] == "sparse CSR [2, 4]"


class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.PReLU())
        self.lstm = torch.nn.LSTM(4, 5, 2)
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(5, 5), torch.nn.MultiheadAttention(4, 2)])
        self.embed = torch.nn.Embedding(7, 5)
        self.head = torch.nn.Linear(5, 7, bias=False)
        self.head.weight = self.embed.weight
        self.scale = torch.nn.Parameter(torch.ones(3))
        self.register_buffer("mask", torch.ones(2, 2).tril())

    def forward(self, x: Any) -> Any:
        return self.head(self.blocks[0](self.embed(x)))


@pytest.mark.parametrize("form", FORMS)
def test_state_dict_with_tied_weights(form: str) -> None:
    state = Net().state_dict()
    checkpoint = opened(saved(state, form=form))
    agree(checkpoint, state)
    assert checkpoint.tensors["head.weight"].alias_of == "embed.weight"
    assert not checkpoint.problems


@pytest.mark.parametrize("form", FORMS)
def test_whole_module(form: str) -> None:
    net = Net()
    checkpoint = opened(saved(net, form=form))
    state = net.state_dict()
    names = [name for name, spec in checkpoint.tensors.items() if spec.role == "weight"]
    assert set(names) == set(state)
    assert all(values(checkpoint, name) == raw(tensor) for name, tensor in state.items())
    assert [problem.code for problem in checkpoint.problems] == ["PT20", "PT21"]  # this test's own class, torch.nn's
    assert checkpoint.problems[0].name.endswith(".Net")
    assert checkpoint.problems[0].use == "construct"
    assert checkpoint.metadata["lstm.hidden_size"] == 5
    assert checkpoint.classes["Net.lstm"] == "torch.nn.LSTM"


def test_plain_pickle_of_a_state_dict() -> None:
    state = Net().state_dict()
    for protocol in (2, 4, 5):
        agree(opened(pickle.dumps(dict(state), protocol)), dict(state))


def test_torchscript(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(4, 4)).eval()
    for number, script in enumerate((torch.jit.script(net), torch.jit.freeze(torch.jit.script(net)))):
        path = tmp_path / f"{number}.pt"
        torch.jit.save(script, str(path))
        checkpoint = reader.open_checkpoint(LocalFile(path), LIMITS)
        assert checkpoint.format == "torchscript"
        assert not checkpoint.problems
        if number == 0:
            agree(checkpoint, dict(torch.jit.load(str(path)).state_dict()))
        else:  # frozen: the weights are constants of the code
            found = sorted(values(checkpoint, name) for name in checkpoint.tensors)
            assert found
            assert all(name.startswith("constants.") for name in checkpoint.tensors)


def test_torchscript_with_attributes_of_all_kinds(tmp_path: Path) -> None:
    class Holder(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.sizes = [1, 2, 3]
            self.table = {"a": torch.ones(2)}
            self.pair = (1, "x")
            self.rates = [0.5, 1.5]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.table["a"][0] + self.sizes[0] + self.pair[0] + self.rates[0]

    torch.jit.save(torch.jit.script(Holder()), str(tmp_path / "m.pt"))
    checkpoint = reader.open_checkpoint(LocalFile(tmp_path / "m.pt"), LIMITS)
    assert list(checkpoint.tensors) == ["table.a"]
    assert checkpoint.metadata["sizes"] == "[1, 2, 3]"
    assert checkpoint.metadata["pair"] == "(1, 'x')"
    assert not checkpoint.problems


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "LBFGS"])
def test_training_checkpoint(optimizer: str) -> None:
    net = torch.nn.Linear(3, 2)
    options = {"momentum": 0.9} if optimizer == "SGD" else {}
    solver = getattr(torch.optim, optimizer)(net.parameters(), lr=0.1, **options)

    def closure() -> Any:
        solver.zero_grad()
        loss = net(torch.ones(1, 3)).square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    schedule = torch.optim.lr_scheduler.StepLR(solver, 2)
    value = {
        "epoch": 3, "model_state_dict": net.state_dict(), "optimizer_state_dict": solver.state_dict(),
        "loss": torch.tensor(0.5), "lr_scheduler": schedule.state_dict(),
        "rng_state": torch.get_rng_state(), "arch": "linear", "best": math.inf,
    }  # fmt: skip
    checkpoint = opened(saved(value))
    agree(checkpoint, dict(net.state_dict()))
    assert checkpoint.tensors["rng_state"].role == checkpoint.tensors["loss"].role == "training"
    assert checkpoint.training["epoch"] == 3
    assert checkpoint.training["optimizer_state_dict.param_groups.0.lr"] == 0.1
    assert checkpoint.training["lr_scheduler.step_size"] == 2
    assert checkpoint.metadata["arch"] == "linear"
    if optimizer == "Adam":
        assert "optimizer_state_dict.state.0.exp_avg" in checkpoint.tensors


Point = namedtuple("Point", "x y")


def test_python_objects_of_all_kinds() -> None:
    value = {
        "w": torch.ones(2), "ordered": OrderedDict(a=1), "default": defaultdict(list, b=[1]), "count": Counter("aab"),
        "queue": deque([1, 2]), "set": {3}, "frozen": frozenset((4,)), "slice": slice(1, 2), "complex": 1 + 2j,
        "bytes": b"abc", "array": bytearray(b"xyz"), "range": range(3), "space": SimpleNamespace(lr=0.5),
        "path": Path("a/b"), "when": datetime(2024, 1, 2), "size": torch.Size((2, 3)), "device": torch.device("cuda:1"),
        "dtype": torch.float16, "point": Point(1, 2), "np": np.float32(1.5), "npa": np.arange(3), "none": None,
        "text": np.array(["a", "b"]), "objects": np.array([1, "x", None], dtype=object), "big": 2**70, "flag": True,
        "long": list(range(100)), ("t", 1): 5, 7: torch.zeros(1),
    }  # fmt: skip
    for form in ("zip", "legacy"):
        checkpoint = opened(saved(value, form=form))
        assert list(checkpoint.tensors) == ["w", "npa", "7"]
        seen = checkpoint.metadata
        assert (seen["ordered.a"], seen["default.b"]) == (1, "[1]")
        assert (seen["count.a"], seen["queue.1"], seen["set"], seen["frozen"]) == (2, 2, "{3}", "{4}")
        assert (seen["space.lr"], seen["dtype"]) == (0.5, "torch.float16")
        assert not checkpoint.training
        assert (seen["path"], seen["device"]) == ("<pathlib.Path('a/b')>", "<torch.device('cuda', 1)>")
        assert (seen["size"], seen["np"], seen["big"], seen["t,1"]) == ("(2, 3)", 1.5, 2**70, 5)
        assert seen["objects"] == "<array of objects [3]: 1, 'x', None>"
        assert (seen["flag"], seen["none"]) == (True, None)
        assert str(seen["point"]).endswith(".Point(1, 2)>")
        assert str(seen["long"]).startswith("<list of 100 values xxh3:")
        assert "datetime.datetime" in str(seen["when"])
        assert [problem.code for problem in checkpoint.problems] == ["PT20", "PT21"]  # Point


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "i1", ">i2", "<u4", "?", "c8", ">c16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_arrays_in_any_order(dtype: str, order: str) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4) % 5, dtype=dtype, order=order)
    expected = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    for protocol in range(6):
        assert everything(pickle.dumps({"a": array}, protocol)) == {"a": expected}
    assert everything(saved({"a": array})) == {"a": expected}


def test_large_numpy_array_in_protocol_2_and_5() -> None:
    array = np.random.default_rng(0).integers(0, 255, 200_000, dtype="u1")
    for protocol in (2, 4, 5):
        assert everything(pickle.dumps({"a": array}, protocol)) == {"a": array.tobytes()}
    assert opened(pickle.dumps({"a": array}, 5)).tensors["a"].offset > 0


def test_ml_dtypes_arrays() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.arange(4).astype(ml_dtypes.bfloat16)
    checkpoint = opened(pickle.dumps({"a": array}, 4))
    assert (checkpoint.tensors["a"].dtype, values(checkpoint, "a")) == ("BF16", array.tobytes())


def test_tensors_without_values() -> None:
    checkpoint = opened(saved({"m": torch.empty(2, 3, device="meta"), "w": torch.ones(1)}))
    assert list(checkpoint.tensors) == ["w"]
    assert checkpoint.metadata["m"] == "no values (meta device) torch.float32 [2, 3]"
    assert [problem.code for problem in checkpoint.problems] == ["PT24"]


def test_parameters_buffers_and_attributes() -> None:
    parameter = torch.nn.Parameter(torch.randn(3))
    parameter.tag = "x"
    parameter.scale = torch.zeros(1)
    checkpoint = opened(saved({"p": parameter, "b": torch.nn.Buffer(torch.ones(2))}))
    agree(checkpoint, {"p": parameter, "p.scale": parameter.scale, "b": torch.ones(2)})
    assert checkpoint.metadata == {"p.tag": "x"}
    assert checkpoint.requires_grad == {"p"}


def test_nested_tensor_is_its_parts() -> None:
    nested = torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)])
    checkpoint = opened(saved({"n": nested}))
    assert values(checkpoint, "n.values") == raw(nested.values())


def test_bare_values() -> None:
    agree(opened(saved(torch.arange(3))), {"tensor": torch.arange(3)})
    agree(opened(saved([torch.ones(1), {"a": torch.zeros(2)}])), {"0": torch.ones(1), "1.a": torch.zeros(2)})
    agree(opened(saved(torch.FloatStorage([1.0, 2.0]))), {"tensor": torch.tensor([1.0, 2.0])})
    assert not opened(saved({})).tensors


def test_subclass_of_tensor_is_read_as_its_data() -> None:
    class Tagged(torch.Tensor):  # type: ignore[misc, name-defined]
        pass

    Tagged.__qualname__ = "Tagged"
    globals()["Tagged"] = Tagged
    agree(opened(saved({"w": torch.ones(2).as_subclass(Tagged)})), {"w": torch.ones(2)})


def test_corpus_agrees(corpus: Path) -> None:
    files = sorted(corpus.rglob("*.pt*"))
    assert files
    for path in files:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        agree(reader.open_checkpoint(LocalFile(path), LIMITS), dict(loaded))
        assert reader.check(LocalFile(path), LIMITS) == ()


def test_fallback_reads_what_only_torch_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffai.formats.torch import constructors

    monkeypatch.delitem(constructors.DTYPES, "float32")
    monkeypatch.delitem(constructors.STORAGE_DTYPES, "FloatStorage")
    data = saved({"w": torch.ones(2), "epoch": 3})
    with pytest.raises(Exception, match=r"pip install 'diffai\[torch\]'"):
        opened(data)
    monkeypatch.undo()
    monkeypatch.delitem(constructors.STORAGE_DTYPES, "FloatStorage")
    checkpoint = opened(data, Limits(allow_torch=True))
    assert checkpoint.format == "torch.load"
    assert values(checkpoint, "w") == raw(torch.ones(2))
    assert checkpoint.training == {"epoch": 3}
    assert [problem.code for problem in checkpoint.problems] == ["PT28"]
    assert [problem.code for problem in checked(data, Limits(allow_torch=True))] == ["PT28"]
