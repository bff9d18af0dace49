"""Parquet by DuckDB, the extra ``tables``; nothing is installed, loaded or fetched by it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

from diffai.comparison.documents.columns import Cell
from diffai.comparison.documents.reading import CODE, DocumentError
from diffai.errors import LimitError
from diffai.formats.base import Limits
from diffai.sources.base import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

_BLOCK = 4096
_CHUNK = 1 << 20
_TYPES = {
    "BOOLEAN": "boolean", "FLOAT": "float", "DOUBLE": "float", "DATE": "date", "TIMESTAMP": "date",
    **dict.fromkeys(
        (f"{sign}{kind}" for sign in ("", "U") for kind in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")),
        "integer",
    ),
}  # fmt: skip


class Table:
    """An opened Parquet file; see :class:`.csv_tables.Table`."""

    encoding = ""
    notes: tuple[str, ...] = ()

    def __init__(self, source: Source, limits: Limits) -> None:
        try:
            import duckdb
        except ImportError:
            raise DocumentError('is Parquet, which needs the extra "tables": pip install "diffai[tables]"') from None
        self._duckdb = duckdb
        self._kept = None if source.path else _spooled(source, limits)
        self._path = source.path or self._kept.name  # type: ignore[union-attr]
        with self._connection() as connection:
            described = self._run(connection, "DESCRIBE SELECT * FROM read_parquet(?)").fetchall()
        self.names = tuple(str(row[0]) for row in described)
        self.types = tuple(_TYPES.get(str(row[1]).partition(" ")[0], "text") for row in described)

    def rows(self) -> Iterator[list[Cell]]:
        """Rows of cells as text; None where there is no value."""
        with self._connection() as connection:
            result = self._run(connection, "SELECT * FROM read_parquet(?)")
            while block := result.fetchmany(_BLOCK):
                for row in block:
                    yield [None if cell is None else _text(cell) for cell in row]

    def _connection(self) -> Any:
        return self._duckdb.connect(
            ":memory:",
            config={
                "threads": 1,
                "memory_limit": "400MB",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "preserve_insertion_order": True,
            },
        )

    def _run(self, connection: Any, query: str) -> Any:
        try:
            # A path is no pattern here: the signs that DuckDB would expand are put in brackets.
            path = "".join(f"[{sign}]" if sign in "*?[" else sign for sign in self._path)
            return connection.execute(query, [path])
        except self._duckdb.Error as error:
            raise DocumentError(f"is not Parquet that DuckDB reads: {str(error).splitlines()[0][:200]}") from None


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell)


def _spooled(source: Source, limits: Limits) -> BinaryIO:
    """The bytes as a private temporary file, which goes with the table."""
    if source.size > limits.max_spool:
        raise LimitError(f"is larger than {limits.max_spool:,} bytes (limit diffai.maxSpool)", code=CODE)
    kept = tempfile.NamedTemporaryFile(suffix=".parquet")  # noqa: SIM115
    with source.open_stream() as stream:
        while chunk := stream.read(_CHUNK):
            kept.write(chunk)
    kept.flush()
    return kept  # type: ignore[return-value]
