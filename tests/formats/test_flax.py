"""Flax checkpoints against the msgpack library, packed the way flax.serialization packs them; damaged ones."""

from __future__ import annotations

import contextlib
import random
import struct
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import msgpack
import numpy as np
import pytest

from diffai.comparison.models import Input, compare_models
from diffai.errors import DiffaiError, FormatError, LimitError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.model import Checkpoint
from diffai.sources.local import MemoryBytes


def packed(value: object) -> bytes:
    """What ``flax.serialization.msgpack_serialize`` writes: arrays as extension 1, numpy scalars as 3, complex as 2."""

    def extension(item: object) -> msgpack.ExtType:
        if isinstance(item, np.ndarray | np.generic):
            data = np.asarray(item)
            inner = msgpack.packb((data.shape, data.dtype.name, data.tobytes("C")), use_bin_type=True)
            return msgpack.ExtType(1 if isinstance(item, np.ndarray) else 3, inner)
        assert isinstance(item, complex)
        return msgpack.ExtType(2, msgpack.packb((item.real, item.imag)))

    return msgpack.packb(value, default=extension, strict_types=True)


def chunked(array: np.ndarray, size: int) -> dict[str, object]:  # type: ignore[type-arg]
    flat = array.reshape(-1)
    pieces = [flat[at : at + size] for at in range(0, flat.size, size)]
    return {"__msgpack_chunked_array__": True, "shape": {str(n): size for n, size in enumerate(array.shape)},
            "chunks": {str(n): piece for n, piece in enumerate(pieces)}}  # fmt: skip


def opened(data: bytes, limits: Limits = Limits(), name: str = "m") -> Checkpoint:
    return registry.open_checkpoint(MemoryBytes(data, label=name), limits)


def content(checkpoint: Checkpoint, name: str) -> bytes:
    data = bytearray(checkpoint.tensors[name].nbytes)
    checkpoint.read_into(checkpoint.tensors[name], 0, memoryview(data))
    return bytes(data)


RNG = np.random.default_rng(0)
ARRAYS = {str(np.dtype(kind)): RNG.normal(size=(3, 5)).astype(kind) for kind in (
    "f4", "f8", "f2", "i1", "i8", "u1", "?", "c8", "c16", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)}  # fmt: skip


def test_every_dtype_is_read_as_it_was_packed() -> None:
    checkpoint = opened(packed({"params": {"Dense_0": ARRAYS}}))
    assert checkpoint.format == "flax"
    for name, array in ARRAYS.items():
        spec = checkpoint.tensors[f"params.Dense_0.{name}"]
        assert spec.shape == (3, 5) and content(checkpoint, spec.name) == array.tobytes()
    assert checkpoint.tensors["params.Dense_0.bfloat16"].dtype == "BF16"
    assert checkpoint.tensors["params.Dense_0.float32"].offset > 0


def test_an_array_in_pieces_is_one_tensor_and_no_difference() -> None:
    array = RNG.normal(size=(7, 11)).astype("f4")
    one = packed({"params": {"w": array}})
    for size in (1, 10, 76, 77):
        data = packed({"params": {"w": chunked(array, size)}})
        checkpoint = opened(data)
        assert checkpoint.tensors["params.w"].shape == (7, 11) and content(checkpoint, "params.w") == array.tobytes()
        part = bytearray(40)
        checkpoint.read_into(checkpoint.tensors["params.w"], 30, memoryview(part))
        assert bytes(part) == array.tobytes()[30:70]
        assert compare_models(Input("a", opened(one)), Input("b", checkpoint)).equal


def test_a_train_state_keeps_its_optimizer_apart() -> None:
    state = {"step": 7, "params": {"w": ARRAYS["float32"]}, "opt_state": {"0": {"count": np.int32(7), "mu": {"w": ARRAYS["float32"]}}},
             "note": "x" * 10, "z": 1 + 2j, "list": [1, 2.5, None]}  # fmt: skip
    checkpoint = opened(packed(state), name="m.msgpack")
    assert checkpoint.training["step"] == 7
    assert {name: spec.role for name, spec in checkpoint.tensors.items()} == {
        "params.w": "weight", "opt_state.0.count": "training", "opt_state.0.mu.w": "training"}  # fmt: skip
    said = {"note": "x" * 10, "z": "(1+2j)", "list.0": 1, "list.1": 2.5, "list.2": None}
    assert dict(checkpoint.metadata) == said


def test_one_changed_value_is_one_change() -> None:
    other = {**ARRAYS, "float32": ARRAYS["float32"].copy()}
    other["float32"][1, 2] += 1
    diff = compare_models(Input("a", opened(packed({"p": ARRAYS}))), Input("b", opened(packed({"p": other}))))
    (change,) = diff.changes
    assert change.name == "p.float32" and change.figures is not None and change.figures.delta is not None
    assert change.figures.delta.changed_count == 1


def array(shape: object, kind: object, data: bytes) -> dict[str, object]:
    return {"a": {"w": msgpack.ExtType(1, msgpack.packb((shape, kind, data), use_bin_type=True))}}


HOSTILE: dict[str, tuple[bytes, str]] = {
    "behind the end": (packed({"p": ARRAYS}) + b"x", "FX01"),
    "cut off": (packed({"p": ARRAYS})[:-3], "FX02"),
    "a list of 2^32 names": (b"\xdf\xff\xff\xff\xff\xa1a" + packed(ARRAYS["float32"]), "FX02"),
    "unknown extension": (packed({"a": {"w": ARRAYS["float32"]}, "b": msgpack.ExtType(9, b"x")}), "FX03"),
    "bytes that do not fit": (packed(array((2, 2), "float32", bytes(15))), "FX04"),
    "a product that overflows": (packed(array((1 << 40, 1 << 40), "float32", bytes(16))), "FX04"),
    "negative": (packed(array((-2, -2), "float32", bytes(16))), "FX04"),
    "objects": (packed(array((2,), "object", bytes(16))), "FX04"),
    "a name twice": (b"\x82" + 2 * (b"\xa1w" + packed(ARRAYS["float32"])), "FX05"),
    "pieces missing": (packed({"p": {"w": chunked(np.ones(9, "f4"), 3) | {"shape": {"0": 12}}}}), "FX06"),
    "pieces out of order": (packed({"p": {"w": chunked(np.ones(9, "f4"), 3) | {"chunks": {"1": np.ones(9, "f4")}}}}), "FX06"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_lies_are_refused_by_number(case: str) -> None:
    data, code = HOSTILE[case]
    with pytest.raises(FormatError) as caught:
        opened(data, name="m.msgpack")
    assert caught.value.code == code
    assert [p.code for p in registry.check(MemoryBytes(data, label="m.msgpack"), Limits())] == [code]


def test_depth_is_bounded() -> None:
    with pytest.raises(LimitError, match="maxDepth"):
        opened(b"\x81\xa1a" * 5000 + packed(ARRAYS["float32"]), name="m.msgpack")


def test_other_content_is_not_taken_for_it() -> None:
    for data in (b"\x81\x01\x02" + bytes(90), b"\x8f" + bytes(range(90)), struct.pack("<I", 0xDE) + bytes(50)):
        with pytest.raises(FormatError) as caught:
            opened(data)
        assert caught.value.format != "flax"


def test_damaged_files_give_our_errors_and_no_others() -> None:
    random_ = random.Random(5)
    samples = [packed({"params": {"w": ARRAYS["float32"], "c": chunked(np.ones(9), 4)}, "step": 3}), *(d for d, _ in HOSTILE.values())]
    for number in range(2000):
        data = bytearray(samples[number % len(samples)])
        for _ in range(random_.randint(1, 6)):
            data[random_.randrange(len(data))] = random_.choice((0, 1, 0x7F, 0x80, 0xC7, 0xDF, 0xFF, random_.randrange(256)))
        with contextlib.suppress(DiffaiError):
            checkpoint = registry.open_checkpoint(MemoryBytes(bytes(data), label="m.msgpack"), Limits(), "flax")
            for spec in checkpoint.tensors.values():
                checkpoint.read_into(spec, 0, memoryview(bytearray(min(spec.nbytes, 1 << 16))))


def test_the_program_compares_it_with_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"Dense.kernel": ARRAYS["float32"]}, tmp_path / "a.safetensors")
    (tmp_path / "b.msgpack").write_bytes(packed({"Dense": {"kernel": 2 * ARRAYS["float32"]}}))
    run = subprocess.run([sys.executable, "-m", "diffai", "a.safetensors", "b.msgpack"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and "~ Dense.kernel: mean=" in run.stdout, run.stdout + run.stderr
