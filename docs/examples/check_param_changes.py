"""Fail when a model gained or lost parameters, or changed its structure, beyond what is allowed.

    diffai OLD NEW --output json | python check_param_changes.py
    diffai OLD NEW --format json | python check_param_changes.py --max-param-diff 1000
    python check_param_changes.py changes.json --allow-structure

Takes either JSON of diffai: the report (``--format json``) or the change list (``--output json``). Of a change list the
elements of tensors are counted, buffers included, because it says no more. Exit codes: 0 within the limits, 1 beyond
them, 2 when the input is neither JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any


def of_report(report: dict[str, Any]) -> tuple[int, int]:
    """(parameters gained, structural changes) of a report, of one model or of a directory."""
    comparison = report["comparison"]
    return report["param_diff"], comparison["structure_changes"]


def of_change_list(changes: list[dict[str, Any]]) -> tuple[int, int]:
    """(elements gained, structural changes) of a change list."""
    gained = structural = 0
    for change in changes:
        ((kind, values),) = change.items()
        if kind == "TensorAdded":
            gained += values[1]["element_count"]
        elif kind == "TensorRemoved":
            gained -= values[1]["element_count"]
        elif kind == "TensorShapeChanged":
            gained += math.prod(values[2]) - math.prod(values[1])
        elif kind != "TensorRenamed":
            continue
        structural += 1
    return gained, structural


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="JSON of diffai; standard input when left out")
    parser.add_argument("--max-param-diff", type=int, default=0, metavar="N", help="most parameters more or fewer")
    parser.add_argument("--allow-structure", action="store_true", help="tensors may come, go, be renamed or reshaped")
    given = parser.parse_args()
    try:
        if given.file:
            with open(given.file, encoding="utf-8") as file:
                content = json.load(file)
        else:
            content = json.load(sys.stdin)
        gained, structural = of_report(content) if isinstance(content, dict) else of_change_list(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"check_param_changes: not a JSON of diffai: {error!r}", file=sys.stderr)
        return 2
    print(f"parameters {gained:+,}, {structural:,} structural change{'' if structural == 1 else 's'}")
    too_many = abs(gained) > given.max_param_diff
    if too_many:
        print(f"refused: more than {given.max_param_diff:,} parameters came or went")
    if structural and not given.allow_structure:
        print("refused: the structure changed (--allow-structure accepts it)")
    return int(too_many or (structural > 0 and not given.allow_structure))


if __name__ == "__main__":
    sys.exit(main())
