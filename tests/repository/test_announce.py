"""Blobs that are announced are read many at a time, and are the same as those that are asked for one by one."""

from __future__ import annotations

import pytest
from gitrepo import Repo

from diffai.repository.objects import MissingObjectError, ObjectReader
from diffai.repository.runner import Repository


def test_what_is_announced_is_what_is_taken(repo: Repo) -> None:
    contents = [b"", b"x\n" * 9, *(bytes([n]) * (n * 300) for n in range(250))]
    big = b"b" * (3 << 20)
    repo.commit({f"f{at}": data for at, data in enumerate([*contents, big])})
    oids = [repo.git("rev-parse", f"HEAD:f{at}").strip() for at in range(0, len(contents), 7)]
    large, missing = repo.git("rev-parse", f"HEAD:f{len(contents)}").strip(), "1" * 40
    reader = ObjectReader(Repository(str(repo.top)))
    try:
        reader.announce([*oids[:20], large, missing, *oids[20:]])
        for at, oid in enumerate(oids[1:], 1):  # the first is never taken
            facts, data = reader.take(oid, "f")
            assert data == contents[at * 7] and facts.size == len(data) and facts.oid == oid
        with pytest.raises(MissingObjectError):
            reader.take(missing, "f")
        facts, stream = reader.take(large, "f")
        assert facts.size == len(big) and not isinstance(stream, bytes)
        stream.close()
        assert reader.take(oids[0], "f")[1] == contents[0]
    finally:
        reader.close()
