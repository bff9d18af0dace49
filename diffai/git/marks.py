"""What ``install`` notes beside its own lines, inside the file, so that ``uninstall`` restores every byte."""

from __future__ import annotations

import re

from diffai.frozen import frozen


@frozen
class Notes:
    """How a file was before diffai wrote into it.

    Attributes:
        created: the file did not exist.
        folders: number of folders above it that did not exist either.
        unended: its last line had no newline.
        committed: the block in the work tree's ``.gitattributes`` was written by this clone's install.

    """

    created: bool = False
    folders: int = 0
    unended: bool = False
    committed: bool = False

    def write(self) -> bytes:
        """The notes as the tail of a comment line; empty when there is nothing to note."""
        parts = [
            "file created" if self.created else "",
            f"{self.folders} folders created" if self.folders else "",
            "last line had no newline" if self.unended else "",
            "wrote .gitattributes" if self.committed else "",
        ]
        text = ", ".join(part for part in parts if part)
        return f" ({text})".encode() if text else b""

    @staticmethod
    def read(line: bytes) -> Notes:
        """The notes out of such a line; what is not understood is no note."""
        folders = re.search(rb"\b(\d{1,2}) folders created", line)
        return Notes(
            created=b"file created" in line,
            folders=int(folders[1]) if folders else 0,
            unended=b"last line had no newline" in line,
            committed=b"wrote .gitattributes" in line,
        )


def newline_of(content: bytes) -> bytes:
    """The line ending that the file uses, judged by its first line."""
    first = content.find(b"\n")
    return b"\r\n" if first > 0 and content[first - 1 : first] == b"\r" else b"\n"


def ending_of(line: bytes) -> bytes:
    """The line ending of one line; a plain newline where it has none."""
    return b"\r\n" if line.endswith(b"\r\n") else b"\n"


def lines_of(content: bytes) -> list[bytes]:
    """Lines with their endings; only a newline ends a line (``bytes.splitlines`` also splits at a carriage return)."""
    lines = content.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
