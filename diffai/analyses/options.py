"""What ``[analyses.NAME]`` says, checked against the table: unknown names and keys are errors that name the nearest."""

from __future__ import annotations

from diffai.analyses.table import ANALYSES, Analysis, Key, nearest
from diffai.config.keys import Key as Setting
from diffai.config.keys import checked
from diffai.errors import UsageError
from diffai.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffai.analyses.row import Option
    from diffai.config.keys import AnalysisSetting, Settings

_KINDS = {"number": "number", "count": "count", "flag": "bool", "text": "text"}


@frozen
class Loosened:
    """A threshold that a committed file set so that more passes."""

    analysis: str
    key: str
    value: object
    default: object
    origin: str

    @property
    def text(self) -> str:
        """``threshold shift = 5 (default 1) is set by .diffai.toml:3``."""
        return f"threshold {self.key} = {self.value:g} (default {self.default:g}) is set by {self.origin}"


@frozen
class AnalysisOptions:
    """The options of all analyses that are not by default.

    Attributes:
        values: by name of the analysis and of the key.
        loosened: those that a file of the clone loosened.
    """

    values: Mapping[str, Mapping[str, Option]]
    loosened: tuple[Loosened, ...] = ()

    def of(self, name: str) -> Mapping[str, Option]:
        """Those of one analysis."""
        return self.values.get(name, {})


def analysis_options(settings: Settings) -> AnalysisOptions:
    """The checked options.

    Raises:
        UsageError: an analysis or a key is unknown or a value makes no sense; the text names file and line.
    """
    values: dict[str, dict[str, Option]] = {}
    loosened = []
    committed = "analyses" in settings.committed and not settings.trust_repository
    for setting in settings.analyses:
        row = _row(setting)
        if not setting.key:
            continue
        key = _key(row, setting)
        place = f"{setting.origin}: analyses.{row.name}.{key.name}"
        value: Option = checked(Setting(key.name, _KINDS[key.kind]), setting.value, place)  # type: ignore[assignment]
        values.setdefault(row.name, {})[key.name] = value
        if committed and _is_looser(key, value):
            loosened.append(Loosened(row.name, key.name, value, key.default, setting.origin))
    return AnalysisOptions(values, tuple(loosened))


def _row(setting: AnalysisSetting) -> Analysis:
    for row in ANALYSES:
        if row.name == setting.analysis:
            return row
    name = setting.analysis if setting.analysis.isprintable() else repr(setting.analysis)
    hint = nearest(setting.analysis, ["auto", *(row.name for row in ANALYSES)])
    raise UsageError(f"{setting.origin}: unknown key {name} in [analyses]{hint}")


def _key(row: Analysis, setting: AnalysisSetting) -> Key:
    for key in row.keys:
        if key.name == setting.key:
            return key
    name = setting.key if setting.key.isprintable() else repr(setting.key)
    hint = nearest(setting.key, [key.name for key in row.keys]) if row.keys else ", which has no keys"
    raise UsageError(f"{setting.origin}: unknown key {name} in [analyses.{row.name}]{hint}")


def _is_looser(key: Key, value: Option) -> bool:
    if not key.looser or isinstance(value, str) or isinstance(key.default, str):
        return False
    return value > key.default if key.looser == "higher" else value < key.default
