"""Draw the pictures of the page "How to read a change": what the program itself draws of a made pair and of the demo.

Run ``python docs/pictures.py`` after a change of what is drawn; with ``--check`` it says what differs, as the tests do.
"""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
import tempfile
from html import escape
from pathlib import Path

import numpy as np

import diffai
from diffai.comparison.result import CompareOptions, ModelDiff
from diffai.views.blocks import Drawing
from diffai.views.charts import change_per_layer, counted
from diffai.views.model_table import TableOptions, model_view
from diffai.views.screen import Screen
from diffai.views.svg import document
from diffai.views.terminal import present

FOLDER = Path(__file__).with_name("pictures")
COLUMNS, WIDE, HIGH = 112, 8.43, 19
SIGNS = re.compile("\x1b\\[([0-9;]*)m")
CLASSES = {"1": "b", "2": "f", "33": "y", "32": "g", "31": "r", "36": "c", "1;31": "p"}
STYLE = (
    "svg{color:#1f2328;background:#fff}.b{font-weight:700}.f{opacity:.6}.y{fill:#7a4d00}.g{fill:#116329}.r{fill:#a40e26}"
    ".c{fill:#0a6375}.p{fill:#b3121d;font-weight:700}@media(prefers-color-scheme:dark){svg{color:#e6edf3;"
    "background:#0d1117}.y{fill:#e3b341}.g{fill:#5fd07a}.r{fill:#ff938a}.c{fill:#63c9dc}.p{fill:#ff8078}}"
)


def pair() -> ModelDiff:
    """Eight layers trained a little further, of which one value matrix grew wild and one matrix broke."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (200, 32), "lm_head.weight": (200, 32)}
    for layer in range(8):
        path = f"model.layers.{layer}."
        shapes |= {f"{path}self_attn.{name}_proj.weight": (32, 32) for name in "qkvo"}
        shapes |= {f"{path}mlp.{name}_proj.weight": (64, 32) for name in ("gate", "up")}
        shapes |= {f"{path}mlp.down_proj.weight": (32, 64), f"{path}input_layernorm.weight": (32,)}
    old = {name: random.normal(0, 0.02, shape).astype("f4") for name, shape in shapes.items()}
    new = {name: (w + random.normal(0, 0.001, w.shape)).astype("f4") for name, w in old.items()}
    new["model.layers.3.self_attn.v_proj.weight"] *= np.float32(5)
    new["model.layers.6.mlp.up_proj.weight"][3, 4] = np.nan
    return diffai.compare(old, new, CompareOptions(update_size=True), analyses=["show_distribution"])


def terminal(diff: ModelDiff) -> str:
    """The table of a terminal, as a picture of its signs."""
    view = model_view(diff, TableOptions(title="model.safetensors"))
    lines = present(view, Screen(COLUMNS, color=True))
    lines = lines[: next(n for n, line in enumerate(lines) if "FINDINGS" in line)]
    rows = []
    for number, line in enumerate(lines):
        spans, place, style = [], 0, ""
        for piece in re.split("(\x1b\\[[0-9;]*m)", line):
            code = SIGNS.fullmatch(piece)
            if code:
                style = CLASSES.get(code[1], "")
            elif piece.strip():
                blank = len(piece) - len(piece.lstrip())
                text = piece.strip()
                at = f'x="{12 + WIDE * (place + blank):.1f}" textLength="{WIDE * len(text):.1f}"'
                tone = f' class="{style}"' if style else ""
                spans.append(f"<tspan {at}{tone}>{escape(text)}</tspan>")
            place += 0 if code else len(piece)
        rows.append(f'<text y="{24 + HIGH * number}" xml:space="preserve">{"".join(spans)}</text>')
    size = f"{WIDE * COLUMNS + 24:.0f} {HIGH * len(lines) + 20}"
    wide, high = size.split()
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" width="{wide}" height="{high}"'
    head += ' font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="14"'
    return "\n".join([f'{head} fill="currentColor">', f"<style>{STYLE}</style>", *rows, "</svg>", ""])


def history() -> str:
    """The history of the demo's model."""
    with tempfile.TemporaryDirectory() as folder:
        program = [sys.executable, "-P", "-m", "diffai"]
        subprocess.run([*program, "demo", f"{folder}/demo"], check=True, capture_output=True)
        words = ["log", "--plot", f"{folder}/history.svg", "--", "model.safetensors"]
        subprocess.run([*program, *words], check=True, capture_output=True, cwd=f"{folder}/demo")
        return Path(folder, "history.svg").read_text("utf-8")


def main() -> int:
    """Write the pictures, or say how they differ."""
    diff = pair()
    drawn: list[Drawing] = [*change_per_layer(diff), *counted(diff)[:2]]
    made = {"table.svg": terminal(diff), "charts.svg": document(drawn), "history.svg": history()}
    wrong = 0
    for name, text in made.items():
        file = FOLDER / name
        if "--check" not in sys.argv:
            file.write_text(text, "utf-8")
        elif file.read_text("utf-8") != text:
            wrong = 1
            was = file.read_text("utf-8").splitlines(True)
            sys.stdout.writelines(difflib.unified_diff(was, text.splitlines(True), name, "drawn"))
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
