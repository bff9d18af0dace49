"""The example of each page in docs/analyses: what the analysis says of the planted pair that the page names.

``python docs/analysis_examples.py`` writes them anew; the tests compare.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).with_name("analyses")
sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

_CONTROL = re.compile("<!-- control: (.+) -->")
_EXAMPLE = re.compile(r"```text\n\$ diffai \S+ \S+ (.*)\n((?:.*\n)*?)```")


def refreshed(name: str) -> tuple[str, str]:
    """The page of an analysis as it stands, and with the example as the program has it.

    Raises:
        ValueError: the page names no pair or has no example, or the example does not ask for this analysis.
    """
    from model_pairs import PAIRS

    import diffai
    from diffai.analyses.table import row_of
    from diffai.views.findings import finding_lines

    text = (FOLDER / f"{name}.md").read_text("utf-8")
    control, example = _CONTROL.search(text), _EXAMPLE.search(text)
    if control is None or example is None or control[1] not in PAIRS:
        raise ValueError(f"{name}.md: <!-- control: NAME --> and a text block that begins with $ diffai OLD NEW")
    words = example[1].split()
    if row_of(name).option not in words or not set(words) <= {row_of(name).option, "-v"}:
        raise ValueError(f"{name}.md: the example is {row_of(name).option}, with or without -v")
    diff = diffai.compare(*PAIRS[control[1]], analyses=[name])
    lines = "".join(f"{line}\n" for _, line in finding_lines(diff, verbose="-v" in words))
    return text, text[: example.start(2)] + lines + text[example.end(2) :]


def main() -> None:
    """Write all examples."""
    from diffai.analyses.table import ANALYSES

    for row in ANALYSES:
        if row.help:
            (FOLDER / f"{row.name}.md").write_text(refreshed(row.name)[1], "utf-8")


if __name__ == "__main__":
    main()
