"""Where DVC keeps objects, out of its configuration files: system, global, the repository's, and ``config.local``.

The files have the syntax of ConfigObj; only the few keys that say where the cache lies are understood, anything else
is passed over, so an unknown section can never be an error here.

Source: ``dvc/config.py``, ``dvc/dirs.py`` and ``dvc/cachemgr.py`` of DVC 3.67.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

Sections = dict[str, dict[str, str]]

_SECTION = re.compile(r"""\[\s*(?P<quote>['"]?)(?P<name>.*?)(?P=quote)\s*\]\s*(#.*)?""")
_ENTRY = re.compile(r"""(?P<key>'[^']*'|"[^"]*"|[^=\[#]+?)\s*=\s*(?P<value>.*)""")
_MAX_BYTES = 1 << 20


def cache_folders(dvc_dir: str, *, committed: str | None = None) -> tuple[str, ...]:
    """The folders that may hold objects, the configured one first, then the default one.

    Args:
        dvc_dir: the ``.dvc`` folder; "" when there is none on disk (a bare repository).
        committed: text of ``.dvc/config`` where it is not on disk.

    """
    found: list[str] = []
    configured = _configured(dvc_dir, committed)
    if configured:
        found.append(configured)
    if dvc_dir:
        found.append(os.path.join(dvc_dir, "cache"))
    return tuple(dict.fromkeys(os.path.normpath(folder) for folder in found))


def _configured(dvc_dir: str, committed: str | None) -> str:
    """``cache.dir`` of the strongest level that has it, or the folder of the remote that ``cache.local`` names."""
    chosen, local, urls = "", "", dict[str, str]()
    for text, folder in _levels(dvc_dir, committed):
        sections = parse_config(text)
        for name, entries in sections.items():
            if name.startswith("remote ") and "url" in entries:
                urls[name.removeprefix("remote ").strip().strip('"')] = _resolved(folder, entries["url"])
        cache = sections.get("cache", {})
        chosen = _resolved(folder, cache["dir"]) if cache.get("dir") else chosen
        local = cache.get("local", local)
    return urls.get(local, "") if local else chosen


def default_remote(dvc_dir: str) -> str:
    """The remote that DVC takes when none is named (``core.remote``); "" when there is none."""
    chosen = ""
    for text, _ in _levels(dvc_dir, None):
        chosen = parse_config(text).get("core", {}).get("remote", chosen)
    return chosen


def is_configured(remote: str, text: str) -> bool:
    """Whether a configuration file has this remote."""
    return any(name.partition(" ")[2].strip().strip('"') == remote for name in parse_config(text)
               if name.startswith("remote "))  # fmt: skip


def _levels(dvc_dir: str, committed: str | None) -> Iterator[tuple[str, str]]:
    """(text, folder it is relative to) of each configuration file, the weakest first."""
    for folder in (_system_folder(), _global_folder()):
        yield read_text(os.path.join(folder, "config")), folder
    if committed is not None:
        yield committed, ""
    if dvc_dir:
        yield read_text(os.path.join(dvc_dir, "config")), dvc_dir
        yield read_text(os.path.join(dvc_dir, "config.local")), dvc_dir


def _system_folder() -> str:
    if os.environ.get("DVC_SYSTEM_CONFIG_DIR"):
        return os.environ["DVC_SYSTEM_CONFIG_DIR"]
    if sys.platform == "darwin":
        return "/Library/Application Support/dvc"
    return os.path.join((os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)[0], "dvc")


def _global_folder() -> str:
    if os.environ.get("DVC_GLOBAL_CONFIG_DIR"):
        return os.environ["DVC_GLOBAL_CONFIG_DIR"]
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Application Support/dvc")
    return os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "dvc")


def _resolved(folder: str, value: str) -> str:
    """A path as DVC has it: absolute, below ``~``, or relative to the folder of its file; "" for a URL."""
    if re.match(r"\w+://", value):
        return ""
    if not os.path.isabs(value):
        value = os.path.expanduser(value)
    if os.path.isabs(value):
        return value
    return os.path.abspath(os.path.join(folder, value)) if folder else ""


def read_text(path: str) -> str:
    """Content of a file; "" when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(_MAX_BYTES)
    except OSError:
        return ""


def parse_config(text: str) -> Sections:
    """Keys and values by section (``cache``, ``remote "store"``); what is not understood is passed over."""
    sections: Sections = {}
    current: dict[str, str] = sections.setdefault("", {})
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        section = _SECTION.fullmatch(line)
        if section:
            current = sections.setdefault(section["name"].strip(), {})
            continue
        entry = _ENTRY.fullmatch(line)
        if entry:
            current[entry["key"].strip().strip("'\"").lower()] = _value(entry["value"])
    return sections


def _value(text: str) -> str:
    """A value without its quotes, or without the comment behind it."""
    for quote in ("'", '"'):
        if text.startswith(quote) and quote in text[1:]:
            return text[1 : text.index(quote, 1)]
    return text.partition("#")[0].strip()
