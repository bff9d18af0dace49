"""The frame of a page: its policy, its style, its script and its data, all in one file."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files

from diffai.version import __version__
from diffai.views.html.present import inert

_LITERAL = re.compile(r"""("[^"\n]*"|`[^`]*`|(?<=\()/(?![*/])(?:\\.|[^/\\\n])+/)""")
_AROUND = re.compile(r"[ \t]*([=+*/<>&|?:;,(){}\[\]!-])[ \t]*")


@cache
def _asset(name: str) -> str:
    """A file of this package without the comments, indents and blanks that only its readers need."""
    lines = (line.strip() for line in files("diffai.views.html").joinpath(name).read_text("utf-8").splitlines())
    text = "\n".join(line for line in lines if line and not line.startswith("//"))
    return _compact(text) if name.endswith(".js") else text


def _compact(script: str) -> str:
    """A script without the blanks around its signs; what is in quotes, and every end of a line, stays."""
    pieces = _LITERAL.split(script)
    return "".join(piece if number % 2 else _AROUND.sub(r"\1", piece) for number, piece in enumerate(pieces))


def policy(*, script: bool = True) -> str:
    """The Content-Security-Policy: nothing is loaded, and no script runs but the page's own, known by its digest.

    Source: https://www.w3.org/TR/CSP3/
    """
    digest = base64.b64encode(hashlib.sha256(_asset("page.js").encode()).digest()).decode()
    scripts = f"'sha256-{digest}'" if script else "'none'"
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {scripts}; base-uri 'none'; form-action 'none'"
    )


def document(title: str, body: list[str], data: str, *, script: bool = True) -> str:
    """The whole file: ``body`` is HTML, ``data`` JSON that is inert in a script element; ``script``: ours runs."""
    head = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy(script=script)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{inert(title, 200)} · diffai</title><style>{_asset('page.css')}</style></head><body><main>",
    ]
    made = f"Made by diffai {inert(__version__)}. This file loads nothing and sends nothing."
    foot = [
        f"</main><footer>{made} Its figures are JSON in the element <code>diffai-data</code>.</footer>",
        f'<script type="application/json" id="diffai-data">{data}</script>',
        *([f"<script>{_asset('page.js')}</script>"] if script else []),
        "</body></html>",
    ]
    return "\n".join([*head, *body, *foot]) + "\n"
