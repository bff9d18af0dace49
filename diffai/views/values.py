"""The same values in both machine outputs: statistics, deltas and states as plain JSON-ready objects."""

from __future__ import annotations

import json
import math
from typing import Any

from diffai.comparison.result import TensorChange
from diffai.finding import Finding, Value
from diffai.model import Cast, Delta, Problem, Scalar, Statistics, TensorSpec
from diffai.views.lines import statistics_of

Json = Any


def finite(value: Scalar) -> Scalar:
    """The value, or None where JSON has no word for it (NaN, infinity); lone surrogates are replaced."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def text(value: str) -> str:
    """A string that every JSON and YAML writer accepts (lone surrogates as backslash escapes)."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def statistics(spec: TensorSpec, figures: Statistics | None) -> dict[str, Json]:
    """Statistics of one tensor; figures that were not computed, or do not exist, are null."""
    return {
        "mean": finite(figures.mean) if figures else None,
        "std": finite(figures.std) if figures else None,
        "min": finite(figures.min) if figures else None,
        "max": finite(figures.max) if figures else None,
        "shape": list(spec.shape),
        "dtype": text(spec.dtype),
        "element_count": spec.elements,
        "zero_count": figures.zero_count if figures else None,
        "nan_count": figures.nan_count if figures else None,
        "pos_inf_count": figures.pos_inf_count if figures else None,
        "neg_inf_count": figures.neg_inf_count if figures else None,
    }


def both_statistics(change: TensorChange) -> tuple[dict[str, Json], dict[str, Json]]:
    """Old and new statistics of a pair."""
    assert change.old is not None and change.new is not None
    old, new = statistics_of(change)
    return statistics(change.old, old), statistics(change.new, new)


def delta(figures: Delta) -> dict[str, Json]:
    """The delta's contract fields."""
    return {
        "changed_count": figures.changed_count,
        "max_abs": finite(figures.max_abs),
        "mean_abs": finite(figures.mean_abs),
        "rms": finite(figures.rms),
        "l2": finite(figures.l2),
        "relative_l2": finite(figures.relative_l2),
        "cosine": finite(figures.cosine),
        "element_count": figures.element_count,
        "tolerated_count": figures.tolerated_count,
        "nonfinite_count": figures.nonfinite_count,
    }


def cast(figures: Cast) -> dict[str, Json]:
    """What a change of dtype did."""
    return {
        "exact": figures.exact,
        "rounded": figures.rounded,
        "relative_l2": finite(figures.relative_l2),
        "sqnr_db": finite(figures.sqnr_db),
        "overflow_count": figures.overflow_count,
        "underflow_count": figures.underflow_count,
        "beyond_ulp_count": figures.beyond_ulp_count,
    }


def finding(found: Finding) -> dict[str, Json]:
    """One finding; figures that are not finite are null."""
    return {
        "name": found.name,
        "severity": found.severity,
        "basis": found.basis,
        "text": text(found.text),
        "fields": _plain(found.fields),
        "evidence": [text(line) for line in found.evidence],
        "notes": [text(line) for line in found.notes],
        "status": found.status,
    }


def _plain(value: Value) -> Json:
    """Fields of a finding: mappings and tuples as objects and arrays."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return finite(value)
    return {text(key): _plain(item) for key, item in value.items()}


def problem(found: Problem) -> dict[str, Json]:
    """One problem of a file."""
    return {
        "code": found.code,
        "severity": found.severity,
        "message": text(found.message),
        "tensor": text(found.tensor),
        "offset": found.offset if found.offset >= 0 else None,
    }


def dump(data: Json, kind: str) -> str:
    """As JSON (two-space indent, newline at the end) or YAML; never a NaN or Infinity token."""
    if kind == "yaml":
        import yaml

        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        return str(yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True, width=10_000))
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
