"""The progress bar, drawn for a terminal that is none."""

from __future__ import annotations

import io
import sys
import time

import pytest

from diffai.cli.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, *steps: tuple[int, int]) -> str:
    """What stands on the terminal after some steps of work, each long enough to be drawn."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("diffai.cli.progress._DELAY", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with ProgressBar("comparing") as bar:
        for done, total in steps:
            bar(done, total)
            awaited = f"{done / 1e6:.1f}/{total / 1e6:.1f}" if done < total else None
            for _ in range(3000 if awaited else 25):  # rich draws ten times a second, on a thread of its own
                if awaited and awaited in screen.getvalue():
                    break
                time.sleep(0.01)
    return screen.getvalue()


def test_it_never_stands_at_100_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(monkeypatch, (1_000_000, 2_000_000), (2_000_000, 2_000_000))
    assert "1.0/2.0" in text and "2.0/2.0" not in text


def test_more_work_after_the_end_of_some_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(monkeypatch, (2_000_000, 2_000_000), (3_000_000, 4_000_000), (4_000_000, 4_000_000), (9, 4))
    assert "3.0/4.0" in text and "4.0/4.0" not in text


def test_no_work_at_all_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, (0, 0)) == ""
