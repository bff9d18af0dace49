"""The looks of a comparison, a history and a model, as files: ``DIFFAI_ACCEPT=1 pytest tests/views/test_golden.py``
accepts what is shown now.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gitrepo import Repo
from model_history import commit, start, trained
from planted import base
from safetensors.numpy import save_file

from diffai import api
from diffai.cache.store import Store
from diffai.comparison.result import CompareOptions
from diffai.comparison.summary import show_model
from diffai.formats.base import Limits
from diffai.history.entries import LogOptions, ModelLog
from diffai.history.log import log_model
from diffai.history.log_table import log_view
from diffai.history.model_path import ModelPath
from diffai.repository.runner import Repository
from diffai.views.blocks import View
from diffai.views.model_table import model_view
from diffai.views.overview import stat_table
from diffai.views.screen import Screen, width_of
from diffai.views.show import show_view
from diffai.views.terminal import present, present_plain

FOLDER = Path(__file__).with_name("golden")
SCREENS = {
    "60": Screen(60), "80": Screen(80), "120": Screen(120), "200": Screen(200),
    "color": Screen(80, color=True), "ascii": Screen(80, unicode=False),
}  # fmt: skip
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def pair() -> View:
    """A training step with one wild tensor, a part left untouched, a renamed embedding and a wider head."""
    old = base()
    old |= {"head.weight": np.full((4, 32), 0.5, "f4"), "model.norm.weight": np.ones(32, "f4")}
    random = np.random.default_rng(5)
    new = {
        name: value if ".layers.2." in name else (value * (1 + 0.05 * random.standard_normal(value.shape))).astype("f4")
        for name, value in old.items()
    }
    new["model.norm.weight"] = old["model.norm.weight"] * np.float32(40)
    new["embed.weight"] = old["model.embed_tokens.weight"]
    del new["model.embed_tokens.weight"]
    new["head.weight"] = np.full((6, 32), 0.5, "f4")
    return model_view(api.compare(old, new, CompareOptions(update_size=True)))


def log(repo: Repo) -> ModelLog:
    """Three steps, a step back, a wider head, a cast, a NaN, an unreadable version."""
    weights = start()
    commit(repo, weights, "start", day=1)
    for day in (2, 3):
        weights = trained(weights, day)
        commit(repo, weights, f"train {day}", day=day)
    head = trained(weights, 4, only="head.")
    commit(repo, head, "tune the head", day=4)
    wide = {**head, "head.weight": np.ones((5, 8), "f4"), "head.bias": np.ones(5, "f4")}
    commit(repo, wide, "two more classes", day=5)
    commit(repo, {name: value.astype("f2") for name, value in wide.items()}, "half precision", day=6)
    broken = {name: value.astype("f2") for name, value in wide.items()}
    broken["layers.0.mlp.weight"] = broken["layers.0.mlp.weight"] * np.float16("nan")
    commit(repo, broken, "overflow", day=7)
    repo.commit({"model.safetensors": b"\xff" * 2000}, "damage it")
    return log_model(Repository(str(repo.top)), ModelPath("model.safetensors"), LogOptions(), Store("", 0))


def one_model(folder: Path) -> View:
    """A model of many tensors, with a NaN."""
    arrays = base()
    arrays["model.layers.1.norm.weight"][3] = np.nan
    path = folder / "m.safetensors"
    save_file(arrays, path, metadata={"step": "7"})
    view = show_view(show_model(str(path), Limits()))
    return tuple(_without(block, str(path)) for block in view)


def _without(block: object, path: str) -> object:
    """The block with the file's name only, whatever the folder of the test."""
    from diffai.views.blocks import Line, Word

    if not isinstance(block, Line):
        return block
    return Line(tuple(Word(w.text.replace(path, "m.safetensors"), w.tone) for w in block.words), block.indent, block.wraps)


def check(name: str, view: View) -> None:
    """Every screen's lines against the file; no line is longer than the screen."""
    for which, screen in SCREENS.items():
        lines = present(view, screen)
        assert all(width_of(ESCAPE.sub("", text)) <= screen.width for text in lines), which
        if which == "ascii":
            assert all(text.isascii() for text in lines)
        same(f"{name}-{which}.txt", lines)
    colored, bare = present(view, SCREENS["color"]), present(view, SCREENS["80"])
    assert [ESCAPE.sub("", text) for text in colored] == bare  # colour says nothing alone


def same(name: str, lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines).replace("\x1b", "\\e")
    file = FOLDER / name
    if os.environ.get("DIFFAI_ACCEPT"):
        file.write_text(text, "utf-8")
    assert text == file.read_text("utf-8")


def test_a_comparison() -> None:
    check("pair", pair())


def test_a_history(repo: Repo) -> None:
    found = log(repo)
    check("log", log_view(found))
    same("log-plain.txt", present_plain(log_view(found)))


def test_a_model(tmp_path: Path) -> None:
    check("show", one_model(tmp_path))


@pytest.mark.parametrize("change", [lambda a: a, lambda a: {**a, "x": a["x"] * np.float32(1.1)}])
def test_one_line_a_model(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    arrays = {"x": np.ones((4, 4), "f4"), "y": np.ones(3, "f4")}
    lines = present((stat_table([("a.pt", api.compare(arrays, change(arrays)))] * 2),), Screen(100))
    assert len(lines) == 3 and all(line.startswith("a.pt") for line in lines[1:])
