"""Results survive being kept, field for field."""

from __future__ import annotations

import json

import numpy as np
import pytest

from diffai.api import compare
from diffai.comparison.codec import (
    decode,
    decode_checkpoint,
    decode_summaries,
    encode,
    encode_checkpoint,
    encode_summaries,
    record,
)
from diffai.errors import SourceError
from diffai.model import LfsPointer
from diffai.models.inputs import open_input
from diffai.tensors.engine import summarise
from diffai.views.text import TextOptions, render_text

OLD = {
    "a": np.ones((2, 3), "f4"),
    "b": np.array([np.nan, 1, np.inf], "f4"),
    "gone": np.zeros(2, "f8"),
    "c": np.ones(4, "f4"),
}
NEW = {
    "a": np.ones((3, 2), "f4"),
    "b": np.array([2, 1, -np.inf], "f4"),
    "\udcff\n": np.zeros(2, "i8"),
    "c": np.ones(4, "f2"),
}


def through_json(value: object) -> object:
    return json.loads(json.dumps(value))


def test_a_model_diff_comes_back_the_same() -> None:
    diff = compare(OLD, NEW)
    again = decode(through_json(encode(diff)))
    assert repr(again) == repr(diff)  # by repr, because NaN is not equal to itself
    assert render_text(again, TextOptions(verbose=True)) == render_text(diff, TextOptions(verbose=True))


def test_a_checkpoint_without_its_values() -> None:
    checkpoint = open_input(OLD).checkpoint
    assert checkpoint is not None
    again = decode_checkpoint(through_json(encode_checkpoint(record(checkpoint, 123))))
    assert again.tensors == dict(checkpoint.tensors)
    assert (again.format, again.size) == (checkpoint.format, 123)
    with pytest.raises(SourceError):
        again.read_into(again.tensors["a"], 0, memoryview(bytearray(4)))


def test_summaries() -> None:
    checkpoint = open_input(OLD).checkpoint
    assert checkpoint is not None
    found = summarise(checkpoint, list(checkpoint.tensors.values()), statistics=True, digest=True)
    assert decode_summaries(through_json(encode_summaries(found))) == found


def test_states_that_may_change_are_never_kept() -> None:
    with pytest.raises(TypeError):
        encode(LfsPointer("0" * 64, 1))


@pytest.mark.parametrize("value", [{"os": ["x"]}, {"TensorSpec": 1}, {"TensorSpec": [1]}, {"Delta": [], "Cast": []}])
def test_what_is_of_another_making_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        decode(value)


@pytest.mark.parametrize("value", [[], 3, ["f", 1, [[1]], [], [], []], {"a": 1}])
def test_a_checkpoint_of_another_making_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        decode_checkpoint(value)
