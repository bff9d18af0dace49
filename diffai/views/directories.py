"""The text of a comparison of two directories: the files that differ, then counts."""

from __future__ import annotations

from diffai.comparison.result import DirectoryDiff, FileChange, ModelDiff
from diffai.views.blocks import Block, Gap, View, said
from diffai.views.lines import left_text
from diffai.views.state import describe_side, describe_state
from diffai.views.style import escape, plural
from diffai.views.text import TextOptions, comparison_view, presented

_FEW = 3
"""Models that are read one after the other; of more a table stands before them."""


def render_directory(diff: DirectoryDiff, options: TextOptions = TextOptions()) -> list[str]:
    """All lines of a comparison of directories, without newline."""
    return presented(directory_view(diff, options), options)


def directory_view(diff: DirectoryDiff, options: TextOptions = TextOptions()) -> View:
    """All files: those that differ in full, one-sided ones, unreadable ones in place; then counts."""
    lines: list[Block] = []
    if options.screen is not None and len(diff.files) > _FEW:
        from diffai.views.overview import differing, stat_table

        shown = differing(diff.files)
        lines += [stat_table(shown), Gap()] if len(shown) > _FEW else []
    for file in diff.files:
        more = file.diff is not None and (file.diff.hidden or any(found.asked for found in file.diff.findings))
        if _is_same(file) and not (options.verbose or options.tensor_details or more):
            continue
        lines += _file(file, options)
    return (*lines, *_documents(diff, options), *summary_view(diff))


def _documents(diff: DirectoryDiff, options: TextOptions) -> View:
    if not diff.documents:
        return ()
    from diffai.views.documents import DocumentLook, documents_view

    look = DocumentLook(options.verbose, options.stats, options.max_lines or options.fold_above)
    return documents_view(diff.documents, look, table=options.screen is not None)


def _is_same(file: FileChange) -> bool:
    return file.status == "compared" and file.diff is not None and not (file.diff.differs or file.diff.unread)


def summary_view(diff: DirectoryDiff) -> View:
    """Counts of all files, and what was left out."""
    counts = said(_summary(diff, diff.same_models + sum(map(_is_same, diff.files))))
    return (counts, *(said(f"({left_text(left)})", "…") for left in diff.left_out))


def _file(file: FileChange, options: TextOptions) -> View:
    name = escape(file.path)
    if file.status == "added":
        return (said(f"+ {name}{_described(file, new=True)}", "+"),)
    if file.status == "removed":
        return (said(f"- {name}{_described(file, new=False)}", "-"),)
    if file.status == "unreadable" and file.diff is None:
        return (said(f"! {name}: {escape(file.reason, longest=500)}", "!"),)
    assert file.diff is not None
    return (*comparison_view(file.diff, options, file.path), Gap())


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
    if diff.documents and not parts:
        text = "no model files"
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
