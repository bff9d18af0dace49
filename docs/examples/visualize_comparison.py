"""Draw how far each tensor moved: a bar chart as SVG, or as PNG where matplotlib is installed.

    diffai OLD NEW --output json | python visualize_comparison.py changes.svg
    python visualize_comparison.py changes.png --input report.json --top 20

Takes either JSON of diffai: the report (``--format json``) or the change list (``--output json``). Bars are relative L2
on a logarithmic scale; tensors for which it is not known (reshaped, or all zero before) are counted below the chart.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any
from xml.sax.saxutils import escape

ROW, LABEL, BAR = 18, 360, 420


def sizes(content: Any) -> tuple[list[tuple[str, float]], int]:
    """(name, relative L2) of the tensors whose values changed, and how many have none."""
    if isinstance(content, dict):
        files = content["files"] if content["kind"] == "directory" else [{"path": "", "report": content}]
        pairs = [
            (f"{file['path']}:{tensor['name']}".lstrip(":"), tensor)
            for file in files if file["report"] for tensor in file["report"]["tensors"]
        ]  # fmt: skip
        deltas = [(name, tensor["delta"]) for name, tensor in pairs if (tensor["delta"] or {}).get("changed_count")]
        unknown = sum(1 for _, tensor in pairs if "reshaped" in tensor["status"])
    else:
        changed = [record["TensorStatsChanged"] for record in content if "TensorStatsChanged" in record]
        deltas = [(name, delta) for name, _, _, delta in changed]
        unknown = sum("TensorShapeChanged" in record for record in content)
    known = [(name, delta["relative_l2"]) for name, delta in deltas if delta["relative_l2"]]
    return sorted(known, key=lambda pair: -pair[1]), unknown + len(deltas) - len(known)


def place(value: float) -> float:
    """Where a relative L2 lies between 1e-6 (0) and 10 (1)."""
    return min(max((math.log10(value) + 6) / 7, 0.0), 1.0)


def svg(rows: list[tuple[str, float]], note: str) -> str:
    """The chart as an SVG document; names of tensors are text and nothing else."""
    height = ROW * (len(rows) + 2)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL + BAR + 100}" height="{height}">',
        "<style>text { font: 12px monospace }</style>",
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (name, value) in enumerate(rows):
        y = ROW * (number + 1)
        shown = name if len(name) <= 48 else f"{name[:22]}…{name[-25:]}"
        lines.append(f'<text x="{LABEL - 8}" y="{y}" text-anchor="end">{escape(shown)}</text>')
        lines.append(
            f'<rect x="{LABEL}" y="{y - 11}" width="{BAR * place(value):.1f}" height="13" fill="#3b6fb6">'
            f"<title>{escape(name)}: {value:.3g}</title></rect>"
        )
        lines.append(f'<text x="{LABEL + BAR * place(value) + 6:.1f}" y="{y}">{value:.3g}</text>')
    lines.append(f'<text x="8" y="{height - 6}">{escape(note)}</text></svg>')
    return "\n".join(lines) + "\n"


def png(rows: list[tuple[str, float]], note: str, path: str) -> None:
    """The same chart by matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.25 * max(len(rows), 1)), layout="constrained")
    axes = figure.subplots()
    axes.barh([name for name, _ in rows], [value for _, value in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(f"relative L2   {note}")
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="FILE.svg or FILE.png")
    parser.add_argument("--input", help="JSON of diffai; standard input when left out")
    parser.add_argument("--top", type=int, default=40, help="most tensors drawn")
    given = parser.parse_args()
    if not given.output.endswith((".svg", ".png")):
        parser.error("the output is FILE.svg or FILE.png, so that no model can be overwritten")
    try:
        if given.input:
            with open(given.input, encoding="utf-8") as file:
                content = json.load(file)
        else:
            content = json.load(sys.stdin)
        known, unknown = sizes(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"visualize_comparison: not a JSON of diffai: {error!r}", file=sys.stderr)
        return 2
    rows = known[: given.top]
    note = f"{len(rows)} of {len(known)} changed tensors; of {unknown} more the size of the change is not known"
    if given.output.endswith(".png"):
        png(rows, note, given.output)
    else:
        with open(given.output, "w", encoding="utf-8") as file:
            file.write(svg(rows, note))
    print(f"{given.output}: {note}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
