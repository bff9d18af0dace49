from __future__ import annotations

import pytest
from gitrepo import Repo, lfs_pointer
from hypothesis import given
from hypothesis import strategies as st

from diffai.stores.annex import AnnexText, parse_annex
from diffai.stores.dvc import DvcText, parse_dvc
from diffai.stores.lfs import LfsText, parse_lfs
from diffai.stores.table import recognise

OID = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
V1 = "version https://git-lfs.github.com/spec/v1\n"

GOOD = {
    "as written": f"{V1}oid sha256:{OID}\nsize 12345\n",
    "hawser": f"version https://hawser.github.com/spec/v1\noid sha256:{OID}\nsize 12345\n",
    "git-media": f"version http://git-media.io/v/2\noid sha256:{OID}\nsize 12345\n",
    "extensions": f"{V1}ext-0-foo sha256:{'a' * 64}\next-1-bar sha256:{'b' * 64}\noid sha256:{OID}\nsize 12345\n",
    "no last newline": f"{V1}oid sha256:{OID}\nsize 12345",
    "crlf": f"{V1}oid sha256:{OID}\nsize 12345\n".replace("\n", "\r\n"),
    "blank lines": f"\n{V1}\noid sha256:{OID}\nsize 12345\n\n",
}

BAD = {
    "empty": "",
    "no size": f"{V1}oid sha256:{OID}\n",
    "no oid": f"{V1}size 12345\n",
    "no version": f"oid sha256:{OID}\nsize 12345\n",
    "order": f"{V1}size 12345\noid sha256:{OID}\n",
    "other version": f"version https://git-lfs.github.com/spec/v9\noid sha256:{OID}\nsize 12345\n",
    "extra line": f"{V1}oid sha256:{OID}\nsize 12345\nx y\n",
    "oid too short": f"{V1}oid sha256:{OID[:-1]}\nsize 12345\n",
    "oid too long": f"{V1}oid sha256:{OID}0\nsize 12345\n",
    "oid upper case": f"{V1}oid sha256:{OID.upper()}\nsize 12345\n",
    "oid a path": f"{V1}oid sha256:../../../../etc/passwd{'a' * 42}\nsize 12345\n",
    "md5": f"{V1}oid md5:{OID}\nsize 12345\n",
    "negative size": f"{V1}oid sha256:{OID}\nsize -1\n",
    "size in words": f"{V1}oid sha256:{OID}\nsize big\n",
    "size with digits of another script": f"{V1}oid sha256:{OID}\nsize ١٢\n",
    "1024 bytes": f"{V1}ext-0-foo {'a' * 1024}\noid sha256:{OID}\nsize 12345\n",
    "prose": "version control is hard\n",
}


@pytest.mark.parametrize("case", GOOD)
def test_lfs_pointers(case: str) -> None:
    data = GOOD[case].encode()
    assert parse_lfs(data) == LfsText(OID, 12345)
    assert recognise(data, len(data)) == LfsText(OID, 12345)


@pytest.mark.parametrize("case", BAD)
def test_no_lfs_pointers(case: str) -> None:
    data = BAD[case].encode()
    assert parse_lfs(data) is None
    assert recognise(data, len(data)) is None


def test_what_git_lfs_writes(repo: Repo) -> None:
    repo.lfs_track("*.bin")
    repo.commit({"a.bin": b"x" * 5000})
    pointer = parse_lfs(repo.git("cat-file", "-p", "HEAD:a.bin").encode())
    assert pointer is not None
    assert pointer.size == 5000
    assert lfs_pointer(pointer.oid, 5000).decode() == repo.git("cat-file", "-p", "HEAD:a.bin")


@pytest.mark.parametrize(
    ("text", "key", "size"),
    [
        ("/annex/objects/SHA256E-s104857600--" + "a" * 64 + ".safetensors\n", "SHA256E-s104857600--", 104857600),
        ("../.git/annex/objects/x1/Q2/SHA256E-s5--abc.pt/SHA256E-s5--abc.pt", "SHA256E-s5--abc.pt", 5),
        (".git/annex/objects/x1/Q2/MD5-s7--0123/MD5-s7--0123", "MD5-s7--0123", 7),
        ("/annex/objects/URL--http&c%%example.com%model", "URL--http", -1),
        ("/annex/objects/WORM-s9-m1700000000--model.pt\nmore\n", "WORM-s9-m1700000000--model.pt", 9),
    ],
)
def test_annex_pointers(text: str, key: str, size: int) -> None:
    found = parse_annex(text.encode())
    assert isinstance(found, AnnexText)
    assert found.key.startswith(key)
    assert found.size == size
    assert recognise(text.encode(), len(text)) == found


@pytest.mark.parametrize("text", ["/annex/objects/", "/annex/objects/no key", "see /annex/objects/MD5-s1--a", "x", ""])
def test_no_annex_pointers(text: str) -> None:
    assert parse_annex(text.encode()) is None


@pytest.mark.parametrize(
    "text",
    [
        "outs:\n- md5: 0f1e\n  size: 5\n  hash: md5\n  path: m.pt\n",
        "md5: 12\nframe:\ndeps:\n- path: x\nouts:\n- etag: '\"abc\"'\n  path: m.pt\n",
        "schema: '2.0'\nstages:\n  train:\n    cmd: python train.py\n",
        "outs:\r\n- md5: 0f1e\r\n",
    ],
)
def test_dvc_pointers(text: str) -> None:
    assert parse_dvc(text.encode()) == DvcText()
    assert recognise(text.encode(), len(text), "m.pt.dvc") == DvcText()
    assert recognise(text.encode(), len(text), "notes.yaml") is None


@pytest.mark.parametrize("text", ["", "outs: none\n", "outs:\n- path: m.pt\n", "stages:\n  a: b\n"])
def test_no_dvc_pointers(text: str) -> None:
    assert parse_dvc(text.encode()) is None


@given(st.binary(max_size=1500), st.integers(0, 3000), st.sampled_from(["m.pt", "m.dvc"]))
def test_any_bytes_are_judged_without_error(data: bytes, size: int, name: str) -> None:
    recognise(data, size, name)
    parse_lfs(V1.encode() + data)
    parse_annex(b"/annex/objects/" + data)
    parse_dvc(data)
