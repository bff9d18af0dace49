"""The files of a torch zip beside its pickles and storages: TorchScript's code, ``_extra_files``, what else was put in.

Each is part of what the file says, by the digest of its bytes. Numbers that TorchScript puts into names to tell classes
of one process apart (``___torch_mangle_7``) say nothing and are left out.
"""

from __future__ import annotations

import re

from diffai.formats.regions import read
from diffai.formats.torch.document import Document
from diffai.formats.torch.plain_values import Digest, digest_of
from diffai.formats.zip import Archive
from diffai.formats.zip_members import Member

_MANGLED = re.compile(rb"___torch_mangle_\d+\.")
_OWN = frozenset(("data.pkl", "constants.pkl", "version", "byteorder", ".format_version", ".storage_alignment",
                  ".data/serialization_id"))  # fmt: skip
_OWN_FOLDERS = ("data/", "constants/")
DEBUG = "debug files of TorchScript (they name lines of the source)"


def describe_attachments(archive: Archive, top: str, document: Document, most: int) -> None:
    """Add code and attached files to the document's metadata.

    Args:
        archive: the zip file.
        top: the folder that everything lies in, with its slash.
        document: what the file says so far.
        most: bytes that are read; files beyond are told by the checksum in the zip directory.

    Raises:
        FormatError: such a file is damaged.

    """
    code: list[tuple[str, Member]] = []
    debug: list[tuple[str, Member]] = []
    others: list[tuple[str, Member]] = []
    for full, member in archive.members.items():
        name = full[len(top) :]
        if full.endswith("/") or not full.startswith(top) or name in _OWN or name.startswith(_OWN_FOLDERS):
            continue
        (debug if name.endswith(".debug_pkl") else code if name.startswith("code/") else others).append((name, member))
    if code:
        read_here = sum(member.size for _, member in code) <= most
        digest = _code(archive, code) if read_here else _checksums(code)
        document.metadata["code"] = f"{len(code)} files, {digest}"
    left = most
    for name, member in others:
        left -= member.size
        content = digest_of(archive.open(member)) if left > 0 else _checksum(member)
        document.metadata[name] = f"{member.size:,} bytes, {content}"
    if debug:
        document.asides[DEBUG] = _checksums(debug)


def _code(archive: Archive, members: list[tuple[str, Member]]) -> str:
    """Digest of all code, each file in the order of its name."""
    digest = Digest()
    texts = []
    for name, member in members:
        region = archive.open(member)
        path = name.encode("utf-8", "replace").replace(b"/", b".")
        texts.append((_MANGLED.sub(b"", path), read(region, 0, region.size)))
    for path, text in sorted(texts):
        digest.update(path + b"\0" + _MANGLED.sub(b"", text) + b"\0")
    return str(digest)


def _checksums(members: list[tuple[str, Member]]) -> str:
    digest = Digest()
    for name, member in sorted(members, key=lambda item: item[0]):
        digest.update(f"{name} {_checksum(member)} {member.size}\n".encode("utf-8", "replace"))
    return str(digest)


def _checksum(member: Member) -> str:
    return f"crc32 {member.crc:08x}"


