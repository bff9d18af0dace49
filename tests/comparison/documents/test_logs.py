"""Logs are counted by lines, whatever the block in which a line is read."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffai.comparison.documents import log_documents
from diffai.comparison.documents.compare import compare_documents
from diffai.comparison.documents.result import DocumentDiff, DocumentOptions
from diffai.errors import LimitError
from diffai.formats.base import Limits
from diffai.sources.local import MemoryBytes

WORDS = ["INFO x", "WARNING y", "WARN", "an error", "ERROR Error error INFO", "loss nan", "", "information", "x ERRORS", "CUDA out of memory"]


def compare(old: bytes, new: bytes) -> DocumentDiff:
    return compare_documents(MemoryBytes(old, label="a.log"), MemoryBytes(new, label="b.log"), DocumentOptions())


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=30), st.booleans(), st.integers(1, 40))
def test_each_line_counts_once(lines: list[str], ends: bool, chunk: int) -> None:
    text = "\n".join(lines) + ("\n" if ends and lines else "")
    whole = log_documents._CHUNK
    log_documents._CHUNK = chunk
    try:
        found = log_documents.read(MemoryBytes(text.encode(), label="a.log"), Limits()).value
    finally:
        log_documents._CHUNK = whole
    split = text.removesuffix("\n").split("\n") if text else []
    levels = [m[1] for line in split if (m := re.search(r"\b(INFO|WARN|ERROR)(?:ING)?\b", line))]
    assert found["lines"] == len(split)
    assert found["levels"] == dict(Counter(levels))
    words = Counter(w for line in split for w in ("error", "nan", "out of memory") if re.search(rf"\b{w}\b", line, re.I))
    assert found["words"] == dict(words)


def test_lines_of_one_side_are_counted() -> None:
    found = compare(b"a\na\nb\n", b"a\nc\nd\nb")
    assert found.notes == ("1 line only in the old one, 2 only in the new one",)


def test_logs_are_equal_only_when_their_bytes_are() -> None:
    assert compare(b"a\nb\n", b"a\nb\n").equal
    assert not compare(b"a\nb\n", b"b\na\n").equal
    assert compare(b"a\nb\n", b"b\na\n").notes == ("the same lines in another order, or with another end",)
    assert not compare(b"a\nb", b"a\nb\n").equal


def test_a_line_is_bounded() -> None:
    with pytest.raises(LimitError, match="a line longer than 10 bytes"):
        log_documents.read(MemoryBytes(b"x" * 100, label="a.log"), Limits(max_made=10))
