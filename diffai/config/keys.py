"""What can be configured: one row a setting, its type, its default and what a sound value is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from diffai.errors import UsageError
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Format = Literal["auto", "text", "table", "markdown", "html", "json", "yaml"]
    Color = Literal["auto", "always", "never"]
    Remote = Literal["never", "header", "full"]
else:
    Format = Color = Remote = str

FORMATS: tuple[Format, ...] = ("auto", "text", "table", "markdown", "html", "json", "yaml")
FORMAT_ALIASES: Mapping[str, Format] = MappingProxyType({"enhanced": "table", "unified": "text", "cli": "text"})
"""What older guides call them."""
COLORS: tuple[Color, ...] = ("auto", "always", "never")
REMOTES: tuple[Remote, ...] = ("never", "header", "full")


@frozen
class NotApplied:
    """A committed setting that does not count: its key in the file, its value as text, and where it stands."""

    key: str
    value: str
    origin: str


@frozen
class AnalysisSetting:
    """One key under ``[analyses.NAME]``, as it stands in the file; the analyses know which there are."""

    analysis: str
    key: str
    value: object
    origin: str


@frozen
class Settings:
    """Every configurable value.

    Attributes:
        project_name: heading for reports; "" = none.
        show_structure: the summary block and structural lines only.
        tensor_details: one line a tensor, never folded.
        filter_small_changes: hide tensors whose relative L2 is below ``threshold`` (and say how many).
        threshold: relative L2, dimensionless.
        format: what ``diffai OLD NEW`` writes; older guides say ``enhanced`` for ``table``.
        color: ``auto`` decides as git does.
        max_tensor_display: tensor lines printed at most; 0 = all.
        epsilon, rtol: elements within epsilon + rtol * abs(old) count as equal.
        include, exclude: globs of file paths, for directories.
        ignore: globs of tensor names and metadata keys that are left out (and counted).
        fold_above: tensor lines from which on they are folded by layer; 0 = always fold.
        shape_only: read headers only.
        threads: worker threads; 0 = as many as help.
        max_bytes: files larger than this have their values not compared; 0 = no limit.
        max_header: bytes of metadata read at most from one file.
        max_spool: bytes written at most to a private temporary file.
        max_steps, max_values, max_made, max_names, max_members, max_inflation, max_depth: what reading one file may
            cost at most; see :class:`diffai.formats.base.Limits`.
        cache_size: bytes kept at most in the repository's summary cache; 0 = no cache.
        remote: what is read from a DVC remote when the DVC cache has no object: nothing, its header, or all of it.
        analyses_auto: findings that nobody asked for are shown where they have something to say.
        analyses: what stands under ``[analyses.NAME]``; which names and keys there are, :mod:`diffai.analyses` checks.
        trust_repository: let a committed ``epsilon`` or ``rtol`` act in full under git, too.
        committed: names of those of the above that a file of the clone set (and not the user).
        not_applied: committed settings that do not count here.
        origins: where each of the above comes from, by its name: ``default``, ``.diffai.toml:7``,
            ``git config diffai.epsilon``, ``option --epsilon``.

    """

    __uncompared__ = ("origins", "committed")

    project_name: str = ""
    show_structure: bool = False
    tensor_details: bool = False
    filter_small_changes: bool = False
    threshold: float = 1e-3
    format: Format = "auto"
    color: Color = "auto"
    max_tensor_display: int = 0
    epsilon: float = 0.0
    rtol: float = 0.0
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fold_above: int = 40
    shape_only: bool = False
    threads: int = 0
    max_bytes: int = 0
    max_header: int = 100_000_000
    max_spool: int = 64 << 30
    max_steps: int = 3_000_000
    max_values: int = 1_000_000
    max_made: int = 128 << 20
    max_names: int = 64 << 20
    max_members: int = 200_000
    max_inflation: int = 50
    max_depth: int = 200
    cache_size: int = 256 << 20
    remote: Remote = "never"
    trust_repository: bool = False
    analyses_auto: bool = True
    analyses: tuple[AnalysisSetting, ...] = ()
    committed: frozenset[str] = frozenset()
    not_applied: tuple[NotApplied, ...] = ()
    origins: Mapping[str, str] = MappingProxyType({})

    def origin(self, name: str) -> str:
        """Where the value of field ``name`` comes from."""
        return self.origins.get(name, "default")

    def committed_origin(self, name: str) -> str:
        """The same where a file of the clone set it; "" where the user did, or nobody."""
        return self.origin(name) if name in self.committed else ""

    @property
    def committed_tolerances(self) -> tuple[tuple[str, str], ...]:
        """(name, origin) of what hides differences and was set by a file of a clone that the user does not trust."""
        names = [] if self.trust_repository else ["epsilon", "rtol", "ignore"]
        return tuple((name, self.origin(name)) for name in names if name in self.committed)


@frozen
class Key:
    """One setting: its field, what it holds, its spelling in TOML and in git ("" = cannot be set there)."""

    field: str
    kind: str
    toml: str = ""
    git: str = ""


# One row a setting. Rows without a TOML name are limits and habits of one machine: a clone cannot set them.
KEYS: tuple[Key, ...] = (
    Key("project_name", "text", "project.name"),
    Key("show_structure", "bool", "pytorch.show_structure", "showStructure"),
    Key("tensor_details", "bool", "pytorch.tensor_details", "tensorDetails"),
    Key("filter_small_changes", "bool", "pytorch.filter_small_changes"),
    Key("threshold", "number", "pytorch.threshold"),
    Key("format", "format", "output.format", "format"),
    Key("color", "color", "output.color", "color"),
    Key("max_tensor_display", "count", "output.max_tensor_display", "maxTensorDisplay"),
    Key("epsilon", "number", "compare.epsilon", "epsilon"),
    Key("rtol", "number", "compare.rtol", "rtol"),
    Key("include", "globs", "compare.include", "include"),
    Key("exclude", "globs", "compare.exclude", "exclude"),
    Key("ignore", "globs", "compare.ignore", "ignore"),
    Key("analyses_auto", "bool", "analyses.auto"),
    Key("fold_above", "count", "", "foldAbove"),
    Key("shape_only", "bool", "", "shapeOnly"),
    Key("threads", "count", "", "threads"),
    Key("max_bytes", "size", "", "maxBytes"),
    Key("max_header", "size", "", "maxHeader"),
    Key("max_spool", "size", "", "maxSpool"),
    Key("max_steps", "count", "", "maxSteps"),
    Key("max_values", "count", "", "maxValues"),
    Key("max_made", "size", "", "maxMade"),
    Key("max_names", "size", "", "maxNames"),
    Key("max_members", "count", "", "maxMembers"),
    Key("max_inflation", "count", "", "maxInflation"),
    Key("max_depth", "count", "", "maxDepth"),
    Key("cache_size", "size", "", "cacheSize"),
    Key("remote", "remote", "", "remote"),
    Key("trust_repository", "bool", "", "trustRepository"),
)

# Tables that other parts of the program read and check themselves.
CHECKED_ELSEWHERE = ("gate",)

_EXPECTED = {
    "text": "a string",
    "bool": "true or false",
    "number": "a finite number of at least 0",
    "count": "a whole number of at least 0",
    "size": "a size in bytes, such as 500m or 2g",
    "globs": "a list of strings",
    "format": "one of " + ", ".join((*FORMATS, *FORMAT_ALIASES)),
    "color": "one of " + ", ".join(COLORS),
    "remote": "one of " + ", ".join(REMOTES),
}

Found = dict[str, tuple[object, str]]


def parse_size(text: str) -> int:
    """Bytes of ``500``, ``64k``, ``100m`` or ``2g``, in powers of 1024 as git has them.

    Raises:
        ValueError: it is not such a number.

    """
    digits, factor = text.strip().lower(), 1
    if digits[-1:] in ("k", "m", "g", "t"):
        factor = 1024 ** (1 + "kmgt".index(digits[-1]))
        digits = digits[:-1]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise ValueError(text)
    return int(digits) * factor


def checked(key: Key, value: object, place: str) -> object:
    """``value`` as its field holds it.

    Raises:
        UsageError: it is none; the text begins with ``place``.

    """
    result = _CONVERT[key.kind](value) if key.kind in _CONVERT else None
    if result is None:
        raise UsageError(f"{place} must be {_EXPECTED[key.kind]}, not {_excerpt(value)}")
    return result


def _excerpt(value: object) -> str:
    try:
        text = ("true" if value else "false") if isinstance(value, bool) else repr(value)
    except ValueError:  # Python writes no integer of more than some thousand digits
        text = "a number of very many digits"
    return text if len(text) <= 60 else text[:57] + "..."


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if 0 <= number < float("inf") else None


def _count(value: object) -> int | None:
    plain = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
    return int(value) if plain else None  # type: ignore[call-overload]


def _size(value: object) -> int | None:
    if isinstance(value, str):
        try:
            value = parse_size(value)
        except ValueError:
            return None
    return _count(value)


def _globs(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        return None
    return tuple(value)


def _color(value: object) -> str | None:
    if isinstance(value, bool):  # as git's color.ui: true = auto
        return "auto" if value else "never"
    return str(value) if value in COLORS else None


def _format(value: object) -> str | None:
    word = FORMAT_ALIASES.get(value, value) if isinstance(value, str) else ""
    return word if word in FORMATS else None


_CONVERT: Mapping[str, Callable[[object], object]] = {
    "text": lambda value: value if isinstance(value, str) else None,
    "bool": lambda value: value if isinstance(value, bool) else None,
    "number": _number,
    "count": _count,
    "size": _size,
    "globs": _globs,
    "format": _format,
    "color": _color,
    "remote": lambda value: value if value in REMOTES else None,
}
