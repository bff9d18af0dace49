"""Pickles inside zips of any name are judged, also where the zip is no model of any kind."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import pytest
from program import diffai

from diffai.errors import FormatError
from diffai.formats import registry
from diffai.formats.base import Limits
from diffai.sources.local import MemoryBytes

EVIL = b"cos\nsystem\n(S'id'\ntR."


def zipped(method: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return file.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("name", ["model__config.pkl", "weights", "a.txt"])
def test_a_pickle_in_any_member_is_judged(name: str, method: int, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(zipped(method, readme=b"hello", **{name: EVIL + bytes(4)}))
    done = diffai("check", path)
    assert done.returncode == 1 and "PT20" in done.stdout and "os.system" in done.stdout


def test_a_zip_without_pickles_is_no_model() -> None:
    with pytest.raises(registry.NotAModelError, match="zip archive"):
        registry.open_checkpoint(MemoryBytes(zipped(readme=b"hello", data=b"1,2,3"), label="m.zip"), Limits())


def test_an_innocent_pickle_is_no_problem() -> None:
    data = zipped(settings=pickle.dumps({"a": 1}))
    with pytest.raises(registry.NotAModelError):
        registry.open_checkpoint(MemoryBytes(data, label="m.zip"), Limits())


def test_a_zip_that_contradicts_itself_is_refused_by_name() -> None:
    data = bytearray(zipped(member=EVIL))
    data[30:36] = b"memXer"  # the local header calls it otherwise than the directory
    with pytest.raises(FormatError) as caught:
        registry.open_checkpoint(MemoryBytes(bytes(data), label="m.zip"), Limits())
    assert caught.value.code == "AMB01"
