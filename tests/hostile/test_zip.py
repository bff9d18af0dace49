"""A zip that two readers could read differently is refused by name, whatever we would have read."""

from __future__ import annotations

import io
import random
import struct
import zipfile

import pytest
from torch_files import checked, everything, opened
from zip_files import MEMBERS, ONE, ambiguous, honest_zip64, lying_zip64, model, with_gap

from diffai.errors import FormatError, LimitError
from diffai.formats.base import Budget, Limits
from diffai.formats.regions import Spool, read
from diffai.formats.zip import Archive
from diffai.sources.local import MemoryBytes

FAR = Limits(allow_torch=False, values=False)


@pytest.mark.parametrize(("kind", "data"), [pytest.param(*item, id=item[0]) for item in ambiguous()])
def test_a_zip_with_two_meanings_is_refused(kind: str, data: bytes) -> None:
    with pytest.raises(FormatError, match="ambiguous container") as caught:
        opened(data)
    assert caught.value.code == "AMB01", kind
    assert [problem.code for problem in checked(data)] == ["AMB01"]


@pytest.mark.parametrize(("number", "data"), [pytest.param(*item, id=item[0]) for item in lying_zip64()])
def test_a_zip64_record_must_agree_with_the_end_record(number: str, data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        opened(data)
    assert caught.value.code == "AMB01", number


def test_honest_archives_stay_readable() -> None:
    assert everything(honest_zip64()) == {"w": ONE}
    assert everything(with_gap(b"padding of some writer")) == {"w": ONE}
    data = model() + b""
    comment = data[:-2] + struct.pack("<H", 5) + b"hello"
    assert everything(comment) == {"w": ONE}


def test_sizes_in_a_descriptor_are_checked() -> None:
    class Unseekable(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    out = Unseekable()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in MEMBERS.items():
            archive.writestr(f"archive/{name}", data)
    whole = out.getvalue()
    assert everything(whole) == {"w": ONE}
    at = whole.index(b"PK\x07\x08", whole.index(b"archive/data/0"))
    for field in (4, 8, 12):
        lying = bytearray(whole)
        lying[at + field] ^= 1
        with pytest.raises(FormatError) as caught:
            opened(bytes(lying))
        assert caught.value.code == "AMB01"


def test_far_away_only_the_members_that_are_read_are_checked_and_the_rest_is_said() -> None:
    found = opened(model(), FAR).problems
    assert [problem.code for problem in found] == ["AMB02"]
    assert f"of {len(MEMBERS)} members" in found[0].message


def test_more_compressed_data_than_the_budget_is_refused_at_once() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in MEMBERS.items():
            archive.writestr(f"archive/{name}", data)
        for number in range(2000):
            archive.writestr(f"archive/data/{number + 1}", bytes(50_000))
    with pytest.raises(LimitError, match=r"diffai\.maxInflation"):
        opened(out.getvalue())
    with pytest.raises(LimitError, match=r"diffai\.maxMembers"):
        opened(model(), Limits(allow_torch=False, max_members=3))


def test_many_small_members_are_not_all_held_in_memory() -> None:
    file, part = io.BytesIO(), 1 << 20
    noise = random.Random(0).randbytes(part // 16)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"m{number}", noise * 16)
    spool = Spool(1 << 30)
    found = Archive(MemoryBytes(file.getvalue()), Budget(Limits()), spool)
    for member in found.members.values():
        assert found.head(member, 12) == noise[:12] and spool.size <= 8 * part
        assert read(found.open(member), part - 5, 5) == noise[-5:]
    assert spool.size == 8 * part
    spool.close()
