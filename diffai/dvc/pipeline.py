"""Add a stage and its plot to a ``dvc.yaml`` as text: comments, order and style of what is there stay as they are.

What was written is read again; unless that is exactly the old content plus the addition, nothing is changed and the
lines to add by hand are shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from diffai.errors import SourceError, UsageError
from diffai.stores.dvc.yaml_text import DvcTextError, load

_KEY = re.compile(r"^([A-Za-z_][\w-]*|'[^']*'|\"[^\"]*\")\s*:(.*)$")


def add_stage(path: str, definition: Mapping[str, Mapping[str, Any]]) -> bool:
    """Write the stage and the plots of ``definition`` into the file at ``path``, which is made when missing.

    Returns:
        Whether the file was changed; False when exactly this stands in it already.

    Raises:
        UsageError: another stage of this name stands in it, or its style is one that cannot be extended safely.
        SourceError: it cannot be read or written.
    """
    before = _read(path)
    (name,) = definition["stages"]
    data = _parsed(before, path)
    stages = data.get("stages") or {}
    wanted = _try(snippet(definition) + "\n")
    if name in stages:
        if stages[name] == wanted["stages"][name]:
            return False
        raise UsageError(f"{path} already has a stage {name} that says something else; choose another --name")
    newline = "\r\n" if "\r\n" in before else "\n"
    lines = before.replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    _insert(lines, "stages", definition["stages"], as_list=False)
    plots = {plot: facts for plot, facts in definition["plots"].items() if plot not in _plot_names(data)}
    if plots:
        _insert(lines, "plots", plots, as_list=not isinstance(data.get("plots"), dict))
    after = newline.join(lines) + newline
    as_text = {plot: facts for item in wanted["plots"] for plot, facts in item.items() if plot in plots}
    if not _is_sum(data, _try(after), wanted["stages"], as_text):
        raise UsageError(f"{path} is in a style that cannot be extended safely; add by hand:\n{snippet(definition)}")
    _write(path, after)
    return True


def snippet(definition: Mapping[str, Mapping[str, Any]]) -> str:
    """The addition as lines of a ``dvc.yaml`` of its own."""
    lines: list[str] = []
    _insert(lines, "stages", definition["stages"], as_list=False)
    _insert(lines, "plots", definition["plots"], as_list=True)
    return "\n".join(lines)


def _insert(lines: list[str], key: str, items: Mapping[str, Any], *, as_list: bool) -> None:
    """Put items at the end of the block of a top-level key, which is added when it is missing."""
    start = next((at for at, line in enumerate(lines) if (m := _KEY.match(line)) and m[1].strip("'\"") == key), -1)
    if start < 0:
        lines += [f"{key}:", *_block(items, "  ", as_list)]
        return
    end = next((at for at in range(start + 1, len(lines)) if _starts_key(lines[at])), len(lines))
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1  # what stands before the next key belongs to it
    body = [line for line in lines[start + 1 : end] if line.strip() and not line.lstrip().startswith("#")]
    indent = body[0][: len(body[0]) - len(body[0].lstrip())] if body else "  "
    lines[end:end] = _block(items, indent, as_list)


def _starts_key(line: str) -> bool:
    return bool(line) and not line[0].isspace() and not line.startswith(("#", "- "))


def _block(items: Mapping[str, Any], indent: str, as_list: bool) -> list[str]:
    import yaml

    data: Any = [{name: facts} for name, facts in items.items()] if as_list else dict(items)
    text = yaml.dump(data, sort_keys=False, allow_unicode=True, width=10_000, Dumper=_dumper())
    return [indent + line for line in text.splitlines()]


def _dumper() -> Any:
    """A dumper that repeats equal values instead of naming them (``&id001``)."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Plain


def _plot_names(data: Mapping[str, Any]) -> set[str]:
    plots = data.get("plots")
    if isinstance(plots, dict):
        return set(plots)
    return {name for item in plots or () for name in (item if isinstance(item, dict) else [item])}


def _is_sum(before: Mapping[str, Any], after: Any, stages: Mapping[str, Any], plots: Mapping[str, Any]) -> bool:
    """Whether the new content is the old one plus the addition and nothing else."""
    expected = dict(before)
    expected["stages"] = {**(before.get("stages") or {}), **stages}
    known = before.get("plots")
    if plots:
        if isinstance(known, dict):
            expected["plots"] = {**known, **plots}
        else:
            expected["plots"] = [*(known or []), *({name: facts} for name, facts in plots.items())]
    return bool(after == expected)


def _parsed(text: str, path: str) -> dict[str, Any]:
    data = _try(text)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UsageError(f"{path} is not a dvc.yaml that can be read")
    return data


def _try(text: str) -> Any:
    """The content, its scalars as text; a text that is no YAML is its own message."""
    try:
        return load(text.encode("utf-8", "surrogateescape"))
    except DvcTextError as error:
        return f"no YAML: {error}"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: {error}") from error


def _write(path: str, text: str) -> None:
    """Replace the file in one step, through a link to it."""
    target = os.path.realpath(path)
    temporary = f"{target}.diffai-tmp"
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        if os.path.exists(target):
            os.chmod(temporary, os.stat(target).st_mode & 0o777)
        os.replace(temporary, target)
    except OSError as error:
        raise SourceError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from error
