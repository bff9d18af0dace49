"""A history drawn into a file: SVG and HTML by ourselves, PNG with matplotlib where it is installed."""

from __future__ import annotations

import os

from diffai.errors import DiffaiError, UsageError
from diffai.history.entries import Level, ModelLog
from diffai.history.series import chart_of

SUFFIXES = (".png", ".svg", ".html")


def check_plot(path: str, level: Level = "values") -> None:
    """Refuse early what cannot be drawn, before the versions are read.

    Raises:
        UsageError: the name's suffix is none of those that are written, or no values are looked at.
        DiffaiError: a PNG is asked for and matplotlib is not installed.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"--plot {path}: expected a file name ending in {', '.join(SUFFIXES)}")
    if level != "values":
        raise UsageError("--plot needs the values: leave out --level and --only-structure")
    if suffix == ".png":
        from diffai.views.png import require_png

        require_png(f"--plot {path}")


def plot_log(log: ModelLog, path: str) -> None:
    """Draw a history; the file's suffix says how.

    Raises:
        DiffaiError: the file cannot be written, matplotlib is missing, or no values were looked at.
    """
    check_plot(path, log.level)
    suffix = os.path.splitext(path)[1].lower()
    try:
        if suffix == ".png":
            from diffai.views.png import write_png

            write_png([chart_of(log)], path)
            return
        if suffix == ".svg":
            from diffai.views.svg import document

            text = document([chart_of(log)])
        else:
            from diffai.history.log_page import log_page

            text = log_page([log])
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise DiffaiError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from error
