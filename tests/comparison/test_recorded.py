"""What a side says of its training is kept though it is equal, at little cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import diffai
from diffai.comparison import recorded as module
from diffai.comparison.codec import decode_checkpoint, encode_checkpoint, record
from diffai.comparison.recorded import metadata, numbers, recorded
from diffai.comparison.result import CompareOptions
from diffai.model import Checkpoint, TensorSpec


class Training(Checkpoint):
    """Tensors of training state, and how often they were read."""

    format = "memory"

    def __init__(self, tensors: dict[str, tuple[str, tuple[int, ...], bytes]], *, stream: bool = False) -> None:
        self.tensors = {n: TensorSpec(n, dtype, shape, len(data), role="training")
                        for n, (dtype, shape, data) in tensors.items()}  # fmt: skip
        self._data = {name: data for name, (_, _, data) in tensors.items()}
        self._stream, self.reads = stream, 0

    @property
    def random_access(self) -> bool:
        return not self._stream

    def read_into(self, spec: TensorSpec, offset: int, buffer: memoryview) -> None:
        self.reads += 1
        buffer[:] = self._data[spec.name][offset : offset + len(buffer)]


@pytest.mark.parametrize(("dtype", "data", "value"), [
    ("F32", np.float32(0.25).tobytes(), 0.25), ("F64", np.float64(-2).tobytes(), -2.0),
    ("F16", np.float16(3).tobytes(), 3.0), ("BF16", b"\x80\x3f", 1.0), ("I64", np.int64(7).tobytes(), 7),
    ("I32", np.int32(-7).tobytes(), -7), ("U8", b"\xff", 255), ("BOOL", b"\x01", True),
])  # fmt: skip
def test_a_number_that_is_a_tensor_is_read(dtype: str, data: bytes, value: float) -> None:
    assert numbers(Training({"loss": (dtype, (), data)})) == {"loss": value}
    assert numbers(Training({"loss": (dtype, (1, 1), data)})) == {"loss": value}


def test_steps_are_read_once_and_moments_never() -> None:
    one = np.float32(5).tobytes()
    names = [f"optimizer.state.{n}.{slot}" for n in range(50) for slot in ("step", "exp_avg")]
    checkpoint = Training(dict.fromkeys(names, ("F32", (), one)))
    assert numbers(checkpoint) == {"optimizer.state.0.step": 5.0} and checkpoint.reads == 1


def test_reading_is_bounded_and_never_out_of_the_order_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NUMBERS", 3)
    many = {f"loss{n}": ("F32", (), np.float32(n).tobytes()) for n in range(9)}
    checkpoint = Training(many)
    assert len(numbers(checkpoint)) == checkpoint.reads == 3
    assert numbers(Training(many, stream=True)) == {}


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_RECORDED", 4)
    checkpoint = Checkpoint()
    checkpoint.training, checkpoint.metadata = {f"t{n}": n for n in range(3)}, {f"m{n}": n for n in range(9)}
    assert recorded(checkpoint, values=True) == (("t0", 0), ("t1", 1), ("t2", 2))
    assert metadata(checkpoint) == (("m0", 0), ("m1", 1), ("m2", 2), ("m3", 3))


def test_headers_alone_read_no_number(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}, "loss": torch.tensor(0.5), "epoch": 3}, tmp_path / "a.pt")
    path = tmp_path / "a.pt"
    assert dict(diffai.compare(path, path).new.recorded) == {"epoch": 3, "loss": 0.5}
    assert dict(diffai.compare(path, path, CompareOptions(shape_only=True)).new.recorded) == {"epoch": 3}


def test_a_remembered_header_has_numbers_and_curves() -> None:
    checkpoint = Training({"loss": ("F32", (), np.float32(0.5).tobytes())})
    checkpoint.series = {"history.loss": (1.0, 0.5)}
    again = decode_checkpoint(encode_checkpoint(record(checkpoint, 9)))
    assert again.lone_numbers == {"loss": 0.5} and again.series == {"history.loss": (1.0, 0.5)}
    assert dict(recorded(again, values=True)) == {"loss": 0.5}
