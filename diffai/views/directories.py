"""The text of a comparison of two directories: the files that differ, then counts."""

from __future__ import annotations

from diffai.comparison.result import DirectoryDiff, FileChange, ModelDiff
from diffai.views.state import describe_side, describe_state
from diffai.views.style import escape, paint, plural
from diffai.views.text import TextOptions, render_text


def render_directory(diff: DirectoryDiff, options: TextOptions = TextOptions()) -> list[str]:
    """All files: those that differ in full, one-sided ones, unreadable ones in place; then counts."""
    lines: list[str] = []
    for file in diff.files:
        said = file.diff is not None and (file.diff.hidden or any(found.asked for found in file.diff.findings))
        if _is_same(file) and not (options.verbose or options.tensor_details or said):
            continue
        lines += _file(file, options)
    return [*lines, *summary_lines(diff, color=options.color)]


def _is_same(file: FileChange) -> bool:
    return file.status == "compared" and file.diff is not None and not (file.diff.differs or file.diff.unread)


def summary_lines(diff: DirectoryDiff, *, color: bool = False) -> list[str]:
    """Counts of all files, and what was left out."""
    lines = [_summary(diff, diff.same_models + sum(map(_is_same, diff.files)))]
    return lines + [paint(f"({left.count:,} {left.what} {left.reason})", "…", color) for left in diff.left_out]


def _file(file: FileChange, options: TextOptions) -> list[str]:
    name = escape(file.path)
    if file.status == "added":
        return [paint(f"+ {name}{_described(file, new=True)}", "+", options.color)]
    if file.status == "removed":
        return [paint(f"- {name}{_described(file, new=False)}", "-", options.color)]
    if file.status == "unreadable" and file.diff is None:
        return [paint(f"! {name}: {escape(file.reason, longest=500)}", "!", options.color)]
    assert file.diff is not None
    if options.screen is not None:
        return [paint(f"{name}", "#", options.color), *render_text(file.diff, options), ""]
    return [paint(f"{name}", "#", options.color), *(f"  {line}" for line in render_text(file.diff, options)), ""]


def _described(file: FileChange, *, new: bool) -> str:
    if file.diff is None:
        return f": {escape(file.reason, longest=500)}" if file.reason else ""
    side = file.diff.new if new else file.diff.old
    if side.state is not None:
        return f": {describe_state(side.state)}"
    return f": {describe_side(side)}"


def _summary(diff: DirectoryDiff, same: int) -> str:
    counts = {status: sum(1 for f in diff.files if f.status == status) for status in
              ("added", "removed", "compared", "unreadable")}  # fmt: skip
    unread = sum(1 for f in diff.files if f.status == "compared" and f.diff and not f.diff.differs and f.diff.unread)
    changed = counts["compared"] - unread - (same - diff.same_models)
    alike = sum(1 for f in diff.files if f.status == "compared" and f.diff and _only_headers(f.diff))
    alone = [f.diff for f in diff.files if f.diff and not f.diff.differs and not f.diff.unread]
    hidden = sum(1 for found in alone if found.hidden and not _only_headers(found))
    parts = [
        f"{count:,} {word}"
        for count, word in (
            (changed, "changed"), (unread, "not fully compared"),
            (counts["added"], "added"), (counts["removed"], "removed"),
            (same - alike - hidden, "unchanged"), (alike, "alike in names, shapes and dtypes"),
            (hidden, "unchanged but for what settings hide"),
            (counts["unreadable"], "not readable"),
        )
        if count
    ]  # fmt: skip
    text = f"{plural(len(diff.files) + diff.same_models, 'model file')}: {', '.join(parts) or 'none'}"
    equal, different, gone, come = diff.other_files
    if equal or different or gone or come:
        others = [
            f"{count:,} {word}"
            for count, word in ((different, "differ"), (come, "added"), (gone, "removed"), (equal, "equal"))
            if count
        ]
        text += f"; other files: {', '.join(others)}"
    return text


def _only_headers(diff: ModelDiff) -> bool:
    """Whether no difference was found because values were not looked at."""
    same_bytes = diff.old.identity and diff.old.identity == diff.new.identity
    return diff.options.shape_only and not diff.differs and not same_bytes
