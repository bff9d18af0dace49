"""The kinds of document: one row each. A file is one by its name, or by its first bytes where its name says nothing.

Documents are no models: nothing here is asked before the table of formats has declined.
"""

from __future__ import annotations

from diffai.frozen import frozen
from diffai.globs import path_matches

_PACKAGE = "diffai.comparison.documents"


@frozen
class Kind:
    """One kind.

    Attributes:
        name: for ``--input-format`` and the report.
        title: for sentences.
        module: what reads it; "" for tables, which are streamed (see :mod:`.tables`).
        globs: of names.
        heads: first bytes, behind white space and a byte order mark.
        text_only: whether all its values are text.
    """

    name: str
    title: str
    module: str
    globs: tuple[str, ...]
    heads: tuple[bytes, ...] = ()
    text_only: bool = False

    @property
    def is_table(self) -> bool:
        """Whether it has rows and columns."""
        return not self.module


KINDS: tuple[Kind, ...] = (
    Kind("json", "JSON", f"{_PACKAGE}.json_documents", ("*.json", "*.jsonl", "*.ndjson", "*.ipynb"), (b"{", b"[")),
    Kind("yaml", "YAML", f"{_PACKAGE}.yaml_documents", ("*.yaml", "*.yml", "MLmodel"), (b"---", b"%YAML")),
    Kind("toml", "TOML", f"{_PACKAGE}.toml_documents", ("*.toml",)),
    Kind("ini", "INI", f"{_PACKAGE}.ini_documents", ("*.ini", "*.cfg", "*.conf", "*.properties"), (), True),
    Kind("env", "environment file", f"{_PACKAGE}.env_documents", ("*.env", ".env.*"), (), True),
    Kind("xml", "XML", f"{_PACKAGE}.xml_documents", ("*.xml",), (b"<?xml",), True),
    Kind("csv", "CSV", "", ("*.csv", "*.tsv", "*.tab"), (), True),
    Kind("parquet", "Parquet", "", ("*.parquet", "*.pq"), (b"PAR1",), True),
    Kind("log", "log", f"{_PACKAGE}.log_documents", ("*.log", "*.out", "*.err", "*.txt")),
)
_BY_NAME: dict[str, Kind] = {kind.name: kind for kind in KINDS} | {"jsonl": KINDS[0], "tsv": KINDS[6], "yml": KINDS[1]}


def kind_called(name: str) -> Kind | None:
    """The kind of this name (``--input-format``)."""
    return _BY_NAME.get(name)


def kind_named(path: str) -> Kind | None:
    """The kind of files that are called so."""
    name = path.rpartition("/")[2].rpartition(":")[2].lower()  # of REV:path, too
    return next((kind for kind in KINDS if path_matches(name, [glob.lower() for glob in kind.globs])), None)


def kind_of(path: str, head: bytes) -> Kind | None:
    """The kind of a file: by its name, else by its first bytes."""
    bare = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return kind_named(path) or next((kind for kind in KINDS if kind.heads and bare.startswith(kind.heads)), None)


def kinds() -> str:
    """All kinds, for a sentence."""
    return ", ".join(kind.title for kind in KINDS)
