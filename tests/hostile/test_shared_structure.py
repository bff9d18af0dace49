"""Small pickles that refer to the same things again and again: read, or refused with the limit that they reach, soon."""

from __future__ import annotations

import pickle
import struct
import time
from itertools import pairwise

import pytest
from torch_files import global_, opened, state, tensor, text, zipped

from diffai.api import compare
from diffai.errors import LimitError
from diffai.formats.base import Limits
from diffai.formats.torch import flatten

WEIGHT = tensor("0", 4, (2, 2), (2, 1))
START = b"\x80\x02}(" + text("w") + WEIGHT


def memo(number: int) -> bytes:
    return bytes((number,))


def again(number: int) -> bytes:
    return b"h" + memo(number)


LISTS = text("x") + b"]q\x01K\x01a" + b"".join(b"0]q" + memo(i + 1) + b"(" + again(i) * 2 + b"e" for i in range(1, 60))
OBJECTS = text("x") + global_("a", "B") + b"q\x00(K\x01tRq\x01" + b"".join(
    b"0h\x00(" + again(i) * 2 + b"tRq" + memo(i + 1) for i in range(1, 60))  # fmt: skip
LONG_LIST = text("l") + b"]q\x01(" + b"K\x01" * 500_000 + b"e" + b"".join(text(f"b{i}") + again(1) for i in range(20_000))
LONG_TEXT = text("t") + b"X" + struct.pack("<I", 4_000_000) + b"a" * 4_000_000 + b"q\x01" + b"".join(
    text(f"b{i}") + again(1) for i in range(20_000))  # fmt: skip
ONE_NAME = text("c") + b"}(" + b"".join(
    b"J" + struct.pack("<i", i) + b"](NK\x01eX" + struct.pack("<I", len(str(i))) + str(i).encode() + b"]K\x02a" for i in range(50_000)
) + b"u"  # fmt: skip
COPIES = text("l") + b"]q\x01(" + b"K\x01" * 200_000 + b"e" + text("r") + b"](" + global_("builtins", "list") + b"q\x02(" + again(1) + (
    b"tR" + b"h\x02(" + again(1)) * 20_000 + b"tRe"  # fmt: skip
LONG_NAMES = text("n" * 65_000) + b"}(" + b"".join(text(f"a{i}") + b"](NK\x01e" for i in range(20_000)) + b"u"
TENSORS = text("d") + b"}q\x01(" + b"".join(text(f"b{i}") + WEIGHT for i in range(100)) + b"u" + b"".join(
    text(f"x{i}") + again(1) for i in range(20_000))  # fmt: skip


@pytest.mark.parametrize(
    "body", [LISTS, OBJECTS, LONG_LIST, LONG_TEXT, ONE_NAME, COPIES, LONG_NAMES, TENSORS],
    ids=["lists", "objects", "long list", "long text", "one name", "copies", "long names", "tensors"],
)  # fmt: skip
def test_shared_things_cost_no_more_than_the_budget(body: bytes) -> None:
    data = zipped({"data.pkl": START + body + b"u.", "data/0": bytes(16)})
    begun = time.process_time()
    try:
        assert "w" in opened(data, Limits(allow_torch=False, max_values=200_000)).tensors
    except LimitError as error:
        assert "(limit diffai." in error.reason
    assert time.process_time() - begun < 10


def test_values_beyond_those_that_are_listed_still_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flatten, "MAX_SCALARS", 50)
    values = {f"k{i}": [i, [i]] for i in range(100)}
    names = {"w": 1.0}
    files = []
    for last in ([1, [2]], [1, [3]], (1, [2])):
        made = pickle.dumps({**names, "values": {**values, "last": last}}, 2)
        files.append(zipped({"data.pkl": state({"w": WEIGHT})[:-2] + text("more") + made[2:-1] + b"u.", "data/0": bytes(16)}))
    assert not compare(files[0], files[0]).differs
    assert all(compare(one, other).differs for one, other in pairwise(files))
    shared = [1, [2]]
    one, other = ({**values, "a": first, "b": second} for first, second in ((shared, shared), ([1, [2]], [1, [2]])))
    same = [zipped({"data.pkl": START + text("v") + pickle.dumps(each, 2)[2:-1] + b"u.", "data/0": bytes(16)}) for each in (one, other)]
    assert not compare(*same).differs
