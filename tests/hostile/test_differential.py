"""Whatever torch loads with weights_only=True is what diffai reads, or diffai refuses the file."""

from __future__ import annotations

import os
import time
from collections import Counter
from itertools import islice

import pytest
from differential import verdict
from loaders import Loader
from mutations import files
from torch_files import everything, global_, integer, numbers, opened, state, tensor, text, zipped
from zip_files import ONE

from diffai.errors import FormatError


def test_a_tensor_whose_state_names_another_storage_has_its_values() -> None:
    other = tensor("1", 2, (2,), (1,))
    storage = b"(" + text("storage") + global_("torch", "FloatStorage") + text("1") + text("cpu") + integer(2) + b"tQ"
    build = b"(" + storage + integer(0) + numbers(2) + numbers(1) + b"tb"
    members = {"data/0": ONE, "data/1": ONE[:8], "version": b"3\n"}
    whole = zipped({"data.pkl": state({"w": tensor("0", 4, (4,), (1,)) + build, "v": other}), **members})
    torch = Loader("weights")
    assert verdict(torch, whole) == "equal"
    assert everything(whole)["w"] == ONE[:8]
    torch.close()
    for source in (other, b"N"):
        odd = tensor("0", 4, (4,), (1,)) + b"(" + source + integer(0) + numbers(2) + numbers(1) + b"tb"
        with pytest.raises(FormatError) as caught:
            opened(zipped({"data.pkl": state({"w": odd}), **members}))
        assert caught.value.code == "PT10"


def test_torch_and_diffai_read_the_same_or_diffai_refuses() -> None:
    wanted, until = int(os.environ.get("DIFFAI_FUZZ", "3000")), time.monotonic() + 40
    torch, found = Loader("weights"), Counter[str]()
    try:
        for kind, data in islice(files(13), wanted):
            answer = verdict(torch, data)
            assert not answer.startswith("wrong"), (kind, answer, data)
            found[answer] += 1
            if time.monotonic() > until:
                break
    finally:
        torch.close()
    assert found["equal"] > 50, found
    assert found["refused"] > 50, found
