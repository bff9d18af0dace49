"""Reports of one's own: a Jinja template, in a sandbox, over what the JSON report says.

A template sees ``report`` (the object of ``--format json``), ``kind`` (the kind of change in words; "" of directories),
``look_first`` (name, severity and text of what to look at), ``files`` (path and report of every model; of two models
one), and the filters ``clean`` (control characters spelled out), ``code`` (a Markdown code span), ``short`` (three
significant digits), ``size`` (bytes for people) and ``percent`` (a share). It can read nothing else.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from diffai.analyses.change_kind import change_kind
from diffai.analyses.look_first import look_first
from diffai.comparison.result import DirectoryDiff, ModelDiff
from diffai.errors import UsageError
from diffai.views.markdown import code
from diffai.views.report import report
from diffai.views.style import escape, share_text, short, size

_SUFFIX = ".jinja2"
SHIPPED = ("brief.md", "table.html")
"""Templates that come with the program."""


def shipped(name: str) -> str | None:
    """The text of a template that comes with the program; None where there is none of that name."""
    if name.removesuffix(_SUFFIX) not in SHIPPED:
        return None
    return files("diffai.views").joinpath("templates", name.removesuffix(_SUFFIX) + _SUFFIX).read_text("utf-8")


def render_template(diff: ModelDiff | DirectoryDiff, name: str, text: str) -> str:
    """A comparison as a template has it; markup in names is escaped unless the template is called ``.md`` or ``.txt``.

    Raises:
        UsageError: the extra is not installed, or the template is wrong; name and line are said.
    """
    try:
        from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise UsageError("--template needs the extra 'report': pip install 'diffai[report]'") from error
    plain = any(part in ("md", "txt") for part in name.lower().split(".")[1:])
    environment = ImmutableSandboxedEnvironment(
        autoescape=not plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"clean": escape, "code": _code, "short": short, "size": size, "percent": share_text}
    try:
        return environment.from_string(text).render(context(diff))
    except TemplateSyntaxError as error:
        raise UsageError(f"--template {name}, line {error.lineno}: {error.message}") from error
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"--template {name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}") from error


def context(diff: ModelDiff | DirectoryDiff) -> dict[str, Any]:
    """What a template sees."""
    whole = report(diff)
    if isinstance(diff, ModelDiff):
        return {
            "report": whole,
            "files": [{"path": diff.new.label, "status": "compared", "report": whole}],
            **_judged(diff),
        }
    return {"report": whole, "files": whole["files"], "kind": "", "look_first": []}


def _judged(diff: ModelDiff) -> dict[str, Any]:
    kind = change_kind(diff)
    looks = [{"name": look.name, "severity": look.severity, "text": look.text} for look in look_first(diff)]
    return {"kind": kind.phrase if kind is not None else "", "look_first": looks}


def _code(text: object) -> str:
    return code(str(text))
