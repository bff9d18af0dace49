"""What git tells a program that it calls: configuration in one call, colour as git itself decides it, path quoting."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from diffai.config import Settings, ask_git, git_entries, load_settings, own_entries, repository_root
from diffai.errors import DiffaiError
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from diffai.comparison.result import CompareOptions
    from diffai.config.quick_git import Question
    from diffai.formats.base import Limits
    from diffai.views.screen import Screen
    from diffai.views.text import TextOptions

_PATTERN = r"^(diffai\..*|color\.(ui|diff|pager)|color\.diff\.meta|core\.quotepath|diff\.noprefix)$"
_BOLD = "\x1b[1m"


@frozen
class GitEnvironment:
    """Settings and manners of one call by git.

    ``complaint`` is what is wrong with the configuration; defaults hold then, and the output says so.
    """

    settings: Settings
    color: bool = False
    quote_path: bool = True
    no_prefix: bool = False
    complaint: str = ""

    def meta(self, line: str) -> str:
        """A header line in git's own colour for such lines (bold by default)."""
        return f"{_BOLD}{line}\x1b[m" if self.color and line else line

    def compare_options(self) -> CompareOptions:
        """The comparison's options out of the settings that hold for git's calls."""
        from diffai.comparison.result import CompareOptions

        s = self.settings
        return CompareOptions(
            epsilon=s.epsilon,
            rtol=s.rtol,
            shape_only=s.shape_only,
            ignore_globs=s.ignore,
            ignore_origin=s.origin("ignore"),
            committed=s.committed_tolerances,
            rtol_at_roundoff="rtol" in dict(s.committed_tolerances),
            statistics="few",
            few_limit=max(s.fold_above, 1) if not s.tensor_details else 1 << 30,
            threads=s.threads,
            max_bytes=s.max_bytes,
            update_size=self.table,
        )

    def text_options(self) -> TextOptions:
        """How the text looks under git."""
        from diffai.views.text import TextOptions

        s = self.settings
        return TextOptions(
            color=self.color,
            show_structure=s.show_structure,
            tensor_details=s.tensor_details,
            fold_above=s.fold_above,
            max_lines=s.max_tensor_display,
            threshold=s.threshold if s.filter_small_changes else 0.0,
            screen=self._screen(),
        )

    @property
    def table(self) -> bool:
        """Whether comparisons are shown as tables: asked for, or to people (a pager, a terminal, colour)."""
        if self.settings.format != "auto":
            return self.settings.format == "table"
        paged = os.environ.get("GIT_PAGER_IN_USE") in ("true", "1")
        return self.color or paged or (sys.stdout is not None and sys.stdout.isatty())

    def _screen(self) -> Screen | None:
        if not self.table:
            return None
        from diffai.views.screen import screen_of

        return screen_of(os.environ, color=self.color)

    def limits(self) -> Limits:
        """Reading limits; torch is never used under git."""
        from diffai.formats.base import limits_of

        return limits_of(self.settings)


@frozen
class Change:
    """git's arguments: both sides' paths, files, oids and modes. ``note`` is git's text about a rename."""

    old_path: str
    new_path: str
    old_file: str
    old_hex: str
    old_mode: str
    new_file: str
    new_hex: str
    new_mode: str
    note: str = ""

    @property
    def old_absent(self) -> bool:
        """Whether the file is new."""
        return self.old_file == os.devnull or self.old_mode == "."

    @property
    def new_absent(self) -> bool:
        """Whether the file is gone."""
        return self.new_file == os.devnull or self.new_mode == "."


def ask_environment() -> Question | None:
    """Ask git for its configuration, in one call; it answers while the caller loads what it needs next."""
    return ask_git(os.curdir, _PATTERN)


def read_environment(asked: Question | None, cwd: str = ".") -> GitEnvironment:
    """What git answered; never raises for a wrong configuration."""
    complaint = ""
    entries: Mapping[str, Sequence[str]] = {}
    try:
        entries = git_entries(asked)
    except DiffaiError as error:
        complaint = str(error)
    root = repository_root(cwd)
    try:
        settings = load_settings(cwd, root=root, git_config=own_entries(entries), by_git=True)
    except DiffaiError as error:
        complaint = str(error)
        try:  # a broken file in the clone must not switch off the limits that the user set
            settings = load_settings(os.devnull, root=os.devnull, git_config=own_entries(entries))
        except DiffaiError:
            settings = load_settings(os.devnull, root=os.devnull, git_config={})
    return GitEnvironment(
        settings,
        _color(entries, settings),
        _truth(entries, "core.quotepath", True),
        _truth(entries, "diff.noprefix", False),
        complaint,
    )


def _color(entries: Mapping[str, Sequence[str]], settings: Settings) -> bool:
    """Git's want_color(): color.diff, else color.ui, else auto; auto = a terminal, or our pager shows colour."""
    if os.environ.get("NO_COLOR"):
        return False
    if settings.color != "auto":
        return settings.color == "always"
    last = (entries.get("color.diff") or entries.get("color.ui") or ["auto"])[-1].lower()
    if last == "always":
        return True
    if last in ("never", "false", "no", "off", "0", ""):
        return False
    if os.environ.get("TERM", "dumb") == "dumb":
        return False
    paged = os.environ.get("GIT_PAGER_IN_USE") in ("true", "1") and _truth(entries, "color.pager", True)
    return paged or sys.stdout.isatty()


def _truth(entries: Mapping[str, Sequence[str]], name: str, default: bool) -> bool:
    values = entries.get(name)
    if not values:
        return default
    return values[-1].lower() not in ("false", "no", "off", "0", "")


def quote_path(prefix: str, path: str, *, quote_high: bool = True) -> str:
    """A path as git prints it: C-quoted where it has control characters, quotes or (by default) non-ASCII bytes."""
    raw = os.fsencode(prefix + path)
    if all((0x20 <= b < 0x7F and b not in b'"\\') or (b >= 0x80 and not quote_high) for b in raw):
        return raw.decode("utf-8", "replace")
    out = []
    names = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    for b in raw:
        if b in names:
            out.append(names[b])
        elif 0x20 <= b < 0x7F:
            out.append(chr(b))
        else:
            out.append(f"\\{b:03o}")
    return f'"{"".join(out)}"'
