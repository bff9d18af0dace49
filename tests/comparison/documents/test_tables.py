"""Tables: types, figures, rows by content, by key, in partitions; against pandas-like truth computed here."""

from __future__ import annotations

import csv
import io
import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffai.comparison.documents import partitions, tables
from diffai.comparison.documents.compare import compare_documents
from diffai.comparison.documents.paths import path_text
from diffai.comparison.documents.result import DocumentDiff, DocumentOptions, TableChange
from diffai.comparison.result import CompareOptions
from diffai.errors import SourceError, UsageError
from diffai.sources.local import LocalFile, MemoryBytes


def compare(old: str | bytes, new: str | bytes, name: str = "csv", **options: Any) -> DocumentDiff:
    data = [text.encode() if isinstance(text, str) else text for text in (old, new)]
    sides = [MemoryBytes(one, label=f"{side}.{name}") for side, one in zip("ab", data, strict=True)]
    return compare_documents(sides[0], sides[1], DocumentOptions(**options))


def table_of(diff: DocumentDiff) -> TableChange:
    assert diff.table is not None
    return diff.table


def changes(diff: DocumentDiff) -> list[tuple[Any, ...]]:
    return [(c.kind, path_text(c.path), c.old, c.new) for c in diff.changes]


def test_types_and_figures_of_columns() -> None:
    text = "i,f,b,d,t,e,n\n1,1.5,true,2024-01-01,x,,nan\n2,NA,False,2024-01-02 10:00:00,yy,,1\n4,2.5,true,2024-01-03,,,2\n"
    found = {c.name: c.new for c in table_of(compare("i\n1\n", text)).columns}
    assert {name: c.type for name, c in found.items() if c} == {
        "i": "integer", "f": "float", "b": "boolean", "d": "date", "t": "text", "e": "empty", "n": "float"
    }  # fmt: skip
    numbers = found["i"]
    assert numbers is not None
    assert (numbers.count, numbers.minimum, numbers.maximum, numbers.last) == (3, 1, 4, 4)
    assert numbers.mean == pytest.approx(statistics.mean([1, 2, 4]))
    assert numbers.std == pytest.approx(statistics.pstdev([1, 2, 4]))
    assert [(c.missing, c.nan) for c in (found["f"], found["e"], found["n"]) if c] == [(1, 0), (3, 0), (0, 1)]


def test_figures_agree_over_many_blocks() -> None:
    chance = random.Random(3)
    values = [chance.gauss(1e6, 1) for _ in range(20_000)]
    text = "v\n" + "".join(f"{value!r}\n" for value in values)
    column = table_of(compare("v\n1\n", text)).columns[0].new
    assert column is not None
    assert column.mean == pytest.approx(math.fsum(values) / len(values), rel=1e-12)
    assert column.std == pytest.approx(statistics.pstdev(values), rel=1e-9)


def test_a_constant_column_has_no_deviation_of_rounding() -> None:
    column = table_of(compare("v\n1\n", "v\n" + "0.1\n" * 9999)).columns[0].new
    assert column is not None
    assert (column.mean, column.std) == (0.1, 0.0)


def test_columns_that_came_went_or_are_of_another_type() -> None:
    found = compare("a,b,c\n1,2,3\n", "a,c,d\n1,x,4\n")
    assert changes(found)[:3] == [
        ("Removed", "columns.b", "integer", None), ("TypeChanged", "columns.c", "integer", "text"),
        ("Added", "columns.d", None, "integer"),
    ]  # fmt: skip


def test_equal_rows_are_found_whatever_came_between() -> None:
    old = "n\n" + "".join(f"{n}\n" for n in range(100))
    new = "n\n" + "".join(f"{n}\n" for n in range(100) if n != 50).replace("20\n", "20\n777\n888\n", 1)
    found = compare(old, new)
    table = table_of(found)
    assert (table.added, table.removed, table.changed, table.equal, table.how) == (2, 1, 0, 99, "by content")
    assert changes(found) == [
        ("Added", "rows[21]", None, {"n": 777}), ("Added", "rows[22]", None, {"n": 888}),
        ("Removed", "rows[50]", {"n": 50}, None),
    ]  # fmt: skip


def test_order_of_columns_and_spelling_of_numbers_are_no_difference() -> None:
    found = compare("a,b\n1.0,x\n2.50,y\n", "b,a\nx,1.00\ny,2.5\n")
    assert found.equal
    assert table_of(found).equal == 2


def test_rows_are_matched_by_a_key() -> None:
    found = compare("id,v\n1,a\n2,b\n3,c\n", "id,v\n3,c\n1,x\n4,d\n", array_id_key="id")
    assert changes(found) == [
        ("Removed", "rows[id=2]", {"id": 2, "v": "b"}, None), ("Modified", "rows[id=1].v", "a", "x"),
        ("Added", "rows[id=4]", None, {"id": 4, "v": "d"}),
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"--array-id-key idd: is not a column of both tables; did you mean id\?"):
        compare("id\n1\n", "id\n2\n", array_id_key="idd")


def test_several_rows_of_one_key_are_matched_in_order_and_said() -> None:
    found = compare("id,v\n1,a\n1,b\n", "id,v\n1,a\n1,c\n", array_id_key="id")
    assert changes(found) == [("Modified", 'rows[id=1 (2)].v', "b", "c")]
    assert found.notes == ("1 values of 'id' stand in several rows: the n-th belong together",)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.integers(0, 60), st.text("ab\",\n é", max_size=3)), st.dictionaries(st.integers(0, 60), st.text("ab", max_size=2)))
def test_partitions_on_disk_say_the_same_as_memory(old: dict[int, str], new: dict[int, str]) -> None:
    def text(rows: dict[int, str]) -> str:
        stream = io.StringIO()
        csv.writer(stream).writerows([("id", "v", "w"), *((key, value, "k") for key, value in rows.items())])
        return stream.getvalue()

    inside = compare(text(old), text(new), array_id_key="id")
    most, partitions._IN_MEMORY = partitions._IN_MEMORY, 4
    try:
        outside = compare(text(old), text(new), array_id_key="id")
    finally:
        partitions._IN_MEMORY = most
    assert sorted(map(str, changes(inside))) == sorted(map(str, changes(outside)))
    truth = (len(new.keys() - old.keys()), len(old.keys() - new.keys()))
    assert (table_of(outside).added, table_of(outside).removed) == truth


def test_beyond_what_is_listed_changes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_LISTED", 10)
    found = compare("v\n" + "1\n" * 100, "v\n" + "2\n" * 100)
    assert (len(found.changes), found.uncounted, table_of(found).cells) == (10, 90, 100)
    assert found.differs


def test_longer_gaps_than_are_aligned_are_matched_by_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MOST_ALIGNED", 3)
    found = compare("v\n1\n2\n3\n4\n5\n", "v\n0\n1\n2\n3\n4\n6\n")
    assert (table_of(found).how, table_of(found).added) == ("by position", 1)


def test_tolerances_and_choices_act_on_cells() -> None:
    old, new = "a,b\n1.0,1\n2.0,2\n", "a,b\n1.001,1\n2.5,3\n"
    assert [c[1] for c in changes(compare(old, new, compare=CompareOptions(epsilon=0.01)))] == ["rows[1].a", "rows[1].b"]
    found = compare(old, new, compare=CompareOptions(ignore=("a$",)))
    assert [c[1] for c in changes(found)] == ["rows[1].b"]
    assert (table_of(found).changed, table_of(found).equal) == (1, 1)


def test_choices_that_choose_no_column_are_refused() -> None:
    assert compare("loss\n1\n", "loss\n1\n", compare=CompareOptions(filter="loss")).equal
    with pytest.raises(UsageError, match=r"--path columns\.los selects nothing; did you mean columns\.loss"):
        compare("loss\n1\n", "loss\n2\n", compare=CompareOptions(path="columns.los"))


def test_many_columns_take_no_time_that_grows_with_their_square() -> None:
    text = ",".join(f"c{n}" for n in range(20_000)) + "\n"
    found = compare(text, text.replace("c7,", "x,"))
    assert [c[1] for c in changes(found)] == ["columns.c7", "columns.x"]


@pytest.mark.parametrize(("text", "names"), [("a;b\n1;2\n", ["a", "b"]), ("a\tb\n1\t2\n", ["a", "b"]), ("a|b\n1|2\n", ["a", "b"]),
                                             ("1,2\n3,4\n", ["column 1", "column 2"]), ("a,a,\n1,2,3\n", ["a", "a (2)", "column 3"]),
                                             ('"x, y",b\n"1\n2",3\n', ["x, y", "b"])])  # fmt: skip
def test_delimiter_and_header_are_found(text: str, names: list[str]) -> None:
    assert [column.name for column in table_of(compare(text, text)).columns] == names


def test_bytes_that_are_no_utf_8_are_compared_as_they_are() -> None:
    assert not compare(b"a\nx\xe9\n", b"a\nx\xe8\n").equal
    assert compare("a\né\n".encode("utf-16"), "a\né\n").equal


@pytest.mark.parametrize(("data", "says"), [(b"", "a.csv: is empty, which is no table"), (b'a\n"' + b"x" * 200_000, "field larger than field limit")])  # fmt: skip
def test_what_is_no_table_is_one_sentence(data: bytes, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        compare(data, b"a\n1\n")


def test_a_distribution_is_compared_where_it_is_asked_for() -> None:
    old, new = ("v,t\n" + "".join(f"{n + add},x\n" for n in range(200)) for add in (0, 100))
    found = {c.name: c.shift for c in table_of(compare(old, new, distribution=True)).columns}
    assert found["v"] is not None and found["v"].ks == pytest.approx(0.5)
    assert found["t"] is None


def test_parquet_is_read_by_duckdb(tmp_path: Path) -> None:
    import duckdb

    for name, query in (("a", "1 AS id, 0.5::DOUBLE AS v, 'x' AS t"), ("b", "1 AS id, 0.25::DOUBLE AS v, NULL AS t")):
        duckdb.sql(f"COPY (SELECT {query}) TO '{tmp_path / name}.parquet' (FORMAT parquet)")
    sides = [LocalFile(tmp_path / f"{name}.parquet") for name in "ab"]
    assert changes(compare_documents(sides[0], sides[1], DocumentOptions()))[-2:] == [
        ("Modified", "rows[0].v", 0.5, 0.25), ("Modified", "rows[0].t", "x", None)
    ]  # fmt: skip
    data = (tmp_path / "a.parquet").read_bytes()
    assert compare(data, data, "parquet").equal  # out of git it is no file
    with pytest.raises(SourceError, match="is not Parquet that DuckDB reads"):
        compare(data[:40], data, "parquet")
