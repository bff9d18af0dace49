"""Equal means that nothing readable differs: classes, attributes, containers, keys, ties, gradients, attached files."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections import OrderedDict, deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_files import checked, opened

from diffai.api import ModelDiff, TextOptions, compare, render_text
from diffai.formats.torch.objects import Global
from diffai.formats.torch.plain_values import class_name

torch = pytest.importorskip("torch")
nn = torch.nn
warnings.simplefilter("ignore")


def saved(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def difference(old: object, new: object) -> ModelDiff:
    return compare(saved(old), saved(new))


def scripted(module: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.jit.save(torch.jit.script(module), out, **options)
    return out.getvalue()


LAYERS = [
    (nn.Linear(3, 2), "in_features", 4), (nn.Conv2d(2, 2, 3), "stride", (2, 2)), (nn.Conv1d(2, 2, 3), "dilation", (2,)),
    (nn.ConvTranspose2d(2, 2, 3), "output_padding", (1, 1)), (nn.Conv3d(1, 1, 2), "padding_mode", "reflect"),
    (nn.BatchNorm2d(2), "momentum", 0.2), (nn.BatchNorm1d(2), "eps", 1e-3), (nn.GroupNorm(1, 2), "num_groups", 2),
    (nn.LayerNorm(3), "eps", 1e-3), (nn.InstanceNorm2d(2), "track_running_stats", True), (nn.Dropout(0.5), "p", 0.3),
    (nn.LSTM(2, 3), "bidirectional", True), (nn.GRU(2, 3), "batch_first", True), (nn.RNN(2, 3), "nonlinearity", "relu"),
    (nn.Embedding(5, 2), "padding_idx", 1), (nn.EmbeddingBag(5, 2), "mode", "sum"), (nn.PReLU(), "num_parameters", 2),
    (nn.MultiheadAttention(4, 2), "num_heads", 4), (nn.MaxPool2d(2), "ceil_mode", True), (nn.AvgPool2d(2), "kernel_size", 3),
    (nn.AdaptiveAvgPool2d(1), "output_size", 2), (nn.Upsample(scale_factor=2), "mode", "bilinear"), (nn.ReLU(), "inplace", True),
    (nn.LeakyReLU(), "negative_slope", 0.2), (nn.ELU(), "alpha", 2.0), (nn.Softmax(1), "dim", 0), (nn.Flatten(), "end_dim", 2),
    (nn.GELU(), "approximate", "tanh"), (nn.PixelShuffle(2), "upscale_factor", 3), (nn.ZeroPad2d(1), "padding", (1, 1, 1, 2)),
    (nn.TransformerEncoderLayer(4, 2, 8), "norm_first", True), (nn.CrossEntropyLoss(), "label_smoothing", 0.1),
    (nn.Bilinear(2, 2, 2), "out_features", 3), (nn.Hardtanh(), "max_val", 2.0), (nn.LocalResponseNorm(2), "alpha", 1.0),
]  # fmt: skip


@pytest.mark.parametrize("case", LAYERS, ids=lambda case: type(case[0]).__name__)
def test_one_plain_attribute_of_a_layer_is_a_difference(case: tuple[Any, str, object]) -> None:
    layer, attribute, value = case
    other = copy.deepcopy(layer)
    setattr(other, attribute, value)
    assert not difference(nn.Sequential(layer), nn.Sequential(copy.deepcopy(layer))).differs
    found = difference(nn.Sequential(layer), nn.Sequential(other))
    assert [(change.key, change.status) for change in found.metadata] == [(f"0.{attribute}", "changed")]
    assert not (found.classes or found.training or found.changes)


@pytest.mark.parametrize(("old", "new"), [(nn.Tanh, nn.Sigmoid), (nn.Identity, nn.Tanh), (nn.ReLU, nn.ReLU6), (nn.ELU, nn.CELU)])
def test_another_class_is_a_change_of_structure(old: type, new: type) -> None:
    one, other = nn.Sequential(nn.Linear(2, 2), old()), nn.Sequential(nn.Linear(2, 2), new())
    other[0] = one[0]
    found = difference(one, other)
    change = next(change for change in found.classes if change.key == "Sequential.1")
    assert (change.old, change.new) == (f"torch.nn.{old.__name__}", f"torch.nn.{new.__name__}")
    assert f"Sequential.1: {change.old} -> {change.new}" in "\n".join(render_text(found))


def test_another_class_of_the_whole_is_one_change() -> None:
    layer = nn.Linear(2, 2)
    found = difference(nn.Sequential(layer, nn.Tanh()), nn.ModuleList([layer, nn.Tanh()]))
    assert [(c.key, c.old, c.new) for c in found.classes] == [("Sequential", "torch.nn.Sequential", "torch.nn.ModuleList")]


def test_very_many_classes_and_attributes_are_counted() -> None:
    layer = nn.Linear(1, 1)
    one, other = (nn.Sequential(*([kind()] * 100), layer) for kind in (nn.Tanh, nn.Dropout))
    found = difference(one, other)
    lines = render_text(found)
    assert len(lines) < 90
    assert "60 more classes changed (-v lists them)" in "\n".join(lines)
    assert len(render_text(found, TextOptions(verbose=True))) > 300


def test_names_of_classes_are_those_that_torch_exports() -> None:
    import importlib
    import pkgutil

    checked_names = 0
    for room in (nn.modules, torch.optim):
        for file in pkgutil.iter_modules(room.__path__, f"{room.__name__}."):
            for kind in vars(importlib.import_module(file.name)).values():
                if isinstance(kind, type) and kind.__module__ == file.name and "." not in kind.__qualname__:
                    shown = class_name(Global(kind.__module__, kind.__qualname__))
                    where, _, name = shown.rpartition(".")
                    assert getattr(importlib.import_module(where), name) is kind, shown
                    checked_names += shown.count(".") == 2
    assert checked_names > 150  # have a short name


def test_training_flag() -> None:
    one = nn.Sequential(nn.Dropout(0.1), nn.Linear(1, 1))
    other = copy.deepcopy(one).eval()
    assert [change.key for change in difference(one, other).metadata] == ["0.training", "1.training", "training"]


W, V = torch.ones(2, 2), torch.zeros(3)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"w": W, "e": {}}, {"w": W}), ({"w": W, "e": {}}, {"w": W, "e": []}), ({"w": W, "e": ()}, {"w": W, "e": []}),
        ({"w": [W]}, {"w": (W,)}), ({"w": [W, V]}, {"w": {"0": W, "1": V}}), ({"w": {"0": W}}, {"w": {0: W}}),
        ({"w": W, "n": {1: 2}}, {"w": W, "n": {"1": 2}}), ({"w": W, "n": 1}, {"w": W, "n": True}),
        ({"w": W, "n": 1}, {"w": W, "n": 1.0}), ({"w": W, "n": "1"}, {"w": W, "n": 1}), ({"w": W, "n": None}, {"w": W}),
        ({"w": W, "n": (1, 2)}, {"w": W, "n": "(1, 2)"}), ({"w": W, "n": [1, 2]}, {"w": W, "n": [2, 1]}),
        ({"w": W, "n": {1, 2}}, {"w": W, "n": [1, 2]}), ({"w": W, "n": deque([1])}, {"w": W, "n": [1]}),
        ({"w": W, "n": list(range(100))}, {"w": W, "n": [*range(99), 0]}), ({"w": W, "n": "x" * 999}, {"w": W, "n": "x" * 998 + "y"}),
        ({"w": W, "n": torch.device("cpu")}, {"w": W, "n": "cpu"}), ({"w": W, "n": torch.float16}, {"w": W, "n": "torch.float16"}),
        ({"w": W, "n": b"a"}, {"w": W, "n": b"b"}), ({"w": W, "n": 1 + 2j}, {"w": W, "n": 1 + 3j}), ([W, V], (W, V)),
        ({"w": W.requires_grad_(False)}, {"w": W.clone().requires_grad_(True)}), ({"a": W, "b": W}, {"a": W, "b": W.clone()}),
        ({"w": W, "f": nn.functional.relu}, {"w": W, "f": nn.functional.gelu}), ({"w": W, "n": [[1], [2]]}, {"w": W, "n": [(1,), (2,)]}),
        ({"w": W, "epoch": [1]}, {"w": W, "epoch": (1,)}),
    ],
)  # fmt: skip
def test_whatever_can_be_read_differs(old: object, new: object) -> None:
    assert difference(old, new).differs
    assert difference(new, old).differs
    assert not difference(old, copy.deepcopy(old)).differs


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"w": W, "v": V}, OrderedDict(v=V, w=W)), ({"w": W, "s": {3, 1, 2}}, {"w": W, "s": {2, 3, 1}}),
        ({"w": W, "x": 0.0}, {"w": W, "x": -0.0}), ({"w": W, "x": [0.0]}, {"w": W, "x": [-0.0]}),
        ({"w": W.T}, {"w": W.T.contiguous()}), ({"w": W, "x": float("nan")}, {"w": W, "x": float("nan")}),
    ],
)  # fmt: skip
def test_what_is_the_same_is_equal(old: object, new: object) -> None:
    assert not difference(old, new).differs


def test_a_state_dict_and_a_plain_copy_are_equal_and_say_what_was_left_aside() -> None:
    state = nn.BatchNorm2d(2).state_dict()
    changed = copy.deepcopy(state)
    changed._metadata[""]["version"] = 1
    assert not difference(state, dict(state)).differs
    found = difference(state, changed)
    assert not found.differs
    assert ["_metadata" in left.what for left in found.left_out] == [True]


def test_tied_and_untied_whatever_the_names() -> None:
    tied, untied = {"a": W, "b": W, "c": W}, {"a": W, "b": W.clone(), "c": W}
    tied["c"] = untied["c"] = tied["a"]
    found = difference(tied, untied)
    assert [(c.key, c.old, c.new) for c in found.classes] == [("b", "tied to a", "not tied")]
    first_another = difference({"b": W, "a": W}, {"a": W, "b": W})
    assert not first_another.differs


def test_a_format_that_cannot_hold_a_facet_leaves_equal_alone() -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    value = {"a": W.clone().requires_grad_(True), "b": V}
    value["c"] = value["a"].detach()
    bare = {name: tensor.detach().clone() for name, tensor in value.items()}
    found = compare(saved(value), safetensors.save(bare))
    assert not found.differs
    assert set(found.not_expressible) == {"ties", "requires_grad"}


def test_files_attached_to_torchscript_are_compared() -> None:
    net = nn.Linear(2, 2)
    same, other = (scripted(net, _extra_files={"notes": text}) for text in ("a", "b"))
    found = compare(same, other)
    assert [change.key for change in found.metadata] == ["extra/notes"]
    assert [change.status for change in compare(same, scripted(net)).metadata] == ["removed"]


def test_code_of_torchscript_is_compared_and_its_numbering_is_not() -> None:
    class Doubles(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    class Halves(nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / 2

    one, other = (scripted(nn.Sequential(nn.Linear(2, 2), kind())) for kind in (Doubles, Halves))
    assert "code" in [change.key for change in compare(one, other).metadata]
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    again = scripted(copy.deepcopy(net))
    assert not compare(scripted(net), again).differs


def test_jagged_nested_tensors_are_safe() -> None:
    nested = torch.nested.nested_tensor([torch.ones(2, 3), torch.zeros(1, 3)], layout=torch.jagged)
    data = saved({"n": nested})
    assert not checked(data)
    tensors = opened(data).tensors
    assert {name: spec.role for name, spec in tensors.items()} == {"n.values": "weight", "n.offsets": "index"}


PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=5), st.binary(max_size=4),
    st.sampled_from(["(1,)", "[]", "{}", "None", "torch.float32", "<list>", "'a'"]),
)  # fmt: skip
TENSORS = st.sampled_from([torch.ones(2), torch.zeros(2), torch.ones(2, 1), torch.ones(2, dtype=torch.int64)])
KEYS = st.one_of(st.sampled_from(["a", "b", "c"]), st.integers(0, 2))
NESTED = st.recursive(
    st.one_of(PLAIN, TENSORS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.dictionaries(KEYS, inner, max_size=3),
        st.sets(st.integers(0, 3), max_size=3), st.sets(st.tuples(st.text(max_size=1), st.integers(0, 2)), max_size=3),
    ),
    max_leaves=6,
)  # fmt: skip


def same(a: Any, b: Any) -> bool:
    """Whether two structures hold the same: kinds and values, not which objects are shared."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


def untied(value: Any) -> Any:
    """The same with a copy of every tensor, so that none is shared."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, (list, tuple)):
        return type(value)(map(untied, value))
    return {key: untied(item) for key, item in value.items()} if isinstance(value, dict) else value


@settings(max_examples=150, deadline=None)
@given(NESTED, NESTED, st.booleans())
def test_equal_exactly_where_what_torch_loads_is_equal(one: Any, other: Any, again: bool) -> None:
    old, new = ({"x": torch.ones(1), "value": untied(value)} for value in (one, one if again else other))
    assert difference(old, new).differs is not same(old, new)


def test_pickles_of_protocols_say_the_same() -> None:
    value = {"w": torch.ones(2).numpy(), "n": [1, (2, "x")], "d": {1: None}, "s": {1}}
    files = [pickle.dumps(value, protocol) for protocol in (2, 3, 4, 5)]
    assert not any(compare(files[0], file).differs for file in files[1:])
