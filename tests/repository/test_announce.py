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


@pytest.mark.parametrize("known", [True, False])
def test_other_questions_come_between_what_was_announced(repo: Repo, known: bool) -> None:
    """While answers are outstanding: another object, a head, a large blob, one out of order, one that is not here."""
    contents = [bytes([n]) * (n * 400 + 1) for n in range(120)]
    big = b"b" * (3 << 20)
    repo.commit({f"f{at}": data for at, data in enumerate([*contents, big])})
    oids = [repo.git("rev-parse", f"HEAD:f{at}").strip() for at in range(0, 120, 4)]
    large = repo.git("rev-parse", "HEAD:f120").strip()
    sizes = {oid: len(contents[4 * at]) for at, oid in enumerate(oids)} | {large: len(big), "1" * 40: 9}
    reader = ObjectReader(Repository(str(repo.top)))
    order = [*oids[:7], large, "1" * 40, *oids[7:]]
    try:
        reader.announce(order, sizes if known else None)
        for at, oid in enumerate(oids):
            if at in (2, 5):
                assert reader.read("HEAD:f1") == contents[1]
            if at == 8:
                assert reader.head(oids[20], 3) == (contents[80][:3], len(contents[80]))
                assert reader.take(oids[25], "f")[1] == contents[100]
                with pytest.raises(MissingObjectError):
                    reader.take("1" * 40, "f")
                facts, stream = reader.take(large, "f")
                assert facts.size == len(big) and not isinstance(stream, bytes)
                stream.close()
            assert reader.take(oid, "f")[1] == contents[4 * at]
    finally:
        reader.close()
