"""What analyses cost: a second pass over tensors as a ratio to the plain comparison; automatic ones within a bound.

The pair has the shapes of a small language model (hidden size 1,024, grouped-query) and at most 400 MB a side:
what is larger is capped by the analyses themselves, and the cap is printed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

from measure import DIFFAI, Row, diffai, interleaved, make, megabytes, peak, remove, wall

MOST = 400_000_000
AUTOMATIC = 1.15


def analyses(directory: str, size: int, runs: int, keep: bool) -> Iterator[Row]:
    """One row an analysis that reads tensors again, and one for all automatic findings."""
    from diffai.analyses.table import ANALYSES

    size = min(size, MOST)
    paths = make(directory, "transformer_pair", dtype="F32", size=size)
    pair = (paths["old"], paths["new"])
    rows = [row for row in ANALYSES if row.second_pass and row.option]
    commands = {"plain": diffai(*pair, expect="Weight updates")}
    commands["report"] = diffai(*pair, "--format", "json", expect='"findings"')
    commands["without"] = diffai(*pair, "--format", "json", "--config", _without(directory), expect='"findings"')
    commands |= {row.name: diffai(*pair, row.option, expect=f" {row.name}: ") for row in rows}
    samples = interleaved(commands, runs)
    ours, base = wall(samples["report"]), wall(samples["without"])
    yield Row(
        f"automatic findings, 2 x {megabytes(size)}, every tensor changed, F32",
        f"<= {AUTOMATIC:g} x without",
        f"{ours / base:.2f} x ({ours:.2f} s, without {base:.2f} s)",
        ours <= AUTOMATIC * base,
        {"seconds": ours, "without": base, "ratio": ours / base},
    )
    base = wall(samples["plain"])
    for row in rows:
        ours = wall(samples[row.name])
        yield Row(
            f"`{row.option}`, 2 x {megabytes(size)}{_caps(pair, row.option, row.name)}",
            "",
            f"{ours / base:.2f} x the plain comparison ({ours:.2f} s, plain {base:.2f} s, "
            f"{megabytes(peak(samples[row.name]))})",
            None,
            {"seconds": ours, "plain": base, "ratio": ours / base, "peak_bytes": peak(samples[row.name])},
        )
    if not keep:
        remove(paths)


def _without(directory: str) -> str:
    """A configuration without automatic findings."""
    path = f"{directory}/no-findings.toml"
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("[analyses]\nauto = false\n")
    return path


def _caps(pair: tuple[str, str], option: str, name: str) -> str:
    """The caps that acted, as the finding prints them."""
    done = subprocess.run([DIFFAI, *pair, option, "--format", "json"], capture_output=True, text=True, check=True)
    notes = [note for found in json.loads(done.stdout)["findings"] if found["name"] == name for note in found["notes"]]
    return f" ({notes[0]}{f' and {len(notes) - 1:,} more caps' if len(notes) > 1 else ''})" if notes else ""
