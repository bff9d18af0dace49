"""``--format html``, ``--report-file``, ``--include-charts`` and ``ci --html``: one file, complete, bounded, inert."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gating import model
from gitrepo import Repo
from program import diffai
from safetensors.numpy import save

Weights = dict[str, Any]


def network(tensors: int) -> Weights:
    random = np.random.default_rng(0)
    roles = [f"attention.self.{word}" for word in ("query", "key", "value")] + ["output.dense", "norm", "proj"]
    names = [f"encoder.layer.{n // 6}.{roles[n % 6]}.weight" for n in range(tensors)]
    return {name: random.normal(size=(6, 6)).astype("f4") for name in names}


def moved(weights: Weights) -> Weights:
    random = np.random.default_rng(1)
    return {name: (w + 0.01 * random.normal(size=w.shape)).astype("f4") for name, w in weights.items()}


def pair(folder: Path, old: Weights, new: Weights) -> tuple[Path, Path]:
    sides = folder / "a.safetensors", folder / "b.safetensors"
    for path, weights in zip(sides, (old, new), strict=True):
        path.write_bytes(save(weights))
    return sides


class Elements(HTMLParser):
    """What a page consists of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.data = ""
        self._in = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in = tag if tag in ("script", "style") else ""
        if tag == "script" and dict(attrs).get("id") == "diffai-data":
            self._in = "data"

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "data":
            self.data += data
        elif not self._in:
            self.text.append(data)


def page_of(*words: Any, cwd: Path | None = None, paths: tuple[str, ...] = ()) -> Elements:
    done = diffai(*words, "--format", "html", *(("--", *paths) if paths else ()), cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return Elements(done.stdout)


def names_of(data: dict[str, Any]) -> list[str]:
    """Names of all rows, read as the page documents them."""
    names = []
    for one in data["models"]:
        before = ""
        for row in one["rows"]:
            before = before[: row[0]] + row[1]
            names.append(before)
    return names


def test_the_embedded_figures_are_those_of_the_report(tmp_path: Path) -> None:
    old = network(12)
    new = moved(old) | {"added": np.ones(3, "f4")}
    sides = pair(tmp_path, old, new)
    data = json.loads(page_of(*sides).data)
    report = json.loads(diffai(*sides, "--format", "json").stdout)
    assert data["schema"] == "diffai.page/1"
    assert names_of(data) == [tensor["name"] for tensor in report["tensors"]]
    assert data["models"][0]["update_size"] == report["comparison"]["update_size"]
    columns = {name: place for place, name in enumerate(data["columns"])}
    for row, tensor in zip(data["models"][0]["rows"], report["tensors"], strict=True):
        assert data["statuses"][row[columns["status"]]] == tensor["status"]
        spec = data["specs"][row[columns["spec"]]]
        assert spec[3] == tensor["new"]["shape"] and spec[4] == "parameter"
        if tensor["delta"]:
            assert row[columns["l2"]] == pytest.approx(tensor["delta"]["l2"], rel=1e-3)
            assert row[columns["changed_count"]] == tensor["delta"]["changed_count"]
            assert row[columns["new_std"]] == pytest.approx(tensor["new"]["std"], rel=1e-3)
            assert row[columns["old_mean"]] == pytest.approx(tensor["old"]["mean"], abs=1e-3)


def test_it_opens_with_the_kind_and_what_to_look_at(tmp_path: Path) -> None:
    old = network(60)
    new = moved(old)
    name = "encoder.layer.3.norm.weight"
    new[name][0, 0] = np.nan
    page = page_of(*pair(tmp_path, old, new))
    text = " ".join(page.text)
    assert (
        text.index("DIVERGED")
        < text.index("LOOK AT")
        < text.index(name, text.index("LOOK AT"))
        < text.index("by layer")
    )
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert f"#t=0%3A{name}" in links
    assert f"t=0%3A{name}" in [attrs["id"] for tag, attrs in page.tags if tag == "tr" and "id" in attrs]


@pytest.mark.parametrize(("tensors", "most"), [(300, 100_000), (10_000, 1_000_000)])
def test_it_is_small(tmp_path: Path, tensors: int, most: int) -> None:
    old = network(tensors)
    done = diffai(*pair(tmp_path, old, moved(old)), "--format", "html")
    assert len(done.stdout.encode()) <= most
    page = Elements(done.stdout)
    assert len(names_of(json.loads(page.data))) == tensors
    assert sum(tag == "tr" for tag, _ in page.tags) < 300
    said = "left out to keep this page small" in " ".join(page.text)
    assert said is (tensors > 300)


def test_it_needs_nothing_else(tmp_path: Path) -> None:
    old = network(6)
    page = page_of(*pair(tmp_path, old, moved(old)))
    for tag, attrs in page.tags:
        assert tag not in ("link", "img", "iframe", "base", "form", "object", "embed")
        assert "src" not in attrs and not [name for name in attrs if name.startswith("on")]
        assert (attrs.get("href") or "#").startswith("#")
    (policy,) = [attrs["content"] or "" for tag, attrs in page.tags if attrs.get("http-equiv")]
    assert "default-src 'none'" in policy and re.search(r"script-src 'sha256-[\w+/=]+'", policy)
    assert "unsafe-inline" not in policy.partition("script-src")[2]


@pytest.mark.parametrize("name", ["</script><script>x", "<!--<script>", "a\u2028b", "a\u202eb", "'\"><img src=x>", "n" * 65_000])  # fmt: skip
def test_hostile_names_are_text(tmp_path: Path, name: str) -> None:
    sides = pair(tmp_path, {name: np.ones(3, "f4")}, {name: np.zeros(3, "f4")})
    done = diffai(*sides, "--format", "html")
    assert not set(done.stdout) & set("\u2028\u2029\u202e")
    assert len(done.stdout) < 60_000
    page, plain = Elements(done.stdout), page_of(*pair(tmp_path, {"w": np.ones(3, "f4")}, {"w": np.zeros(3, "f4")}))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert not set(page.data) & set("<>&") and page.data.isascii()
    assert names_of(json.loads(page.data))[0][0] == name[0]


def test_equal_and_unreadable_sides_are_said(tmp_path: Path) -> None:
    one, other = pair(tmp_path, network(6), network(6))
    assert "No differences found" in " ".join(page_of(one, other).text)
    other.write_bytes(other.read_bytes()[:-10])
    done = diffai(one, other, "--format", "html")
    assert done.returncode == 2 and "not compared" in " ".join(Elements(done.stdout).text)


def test_a_report_file_is_written_beside_the_output(tmp_path: Path) -> None:
    old = network(6)
    sides = pair(tmp_path, old, moved(old))
    done = diffai(*sides, "--report-file", tmp_path / "change.html", "--include-charts")
    assert done.returncode == 0 and done.stdout.startswith("Model Changes:")
    page = (tmp_path / "change.html").read_text("utf-8")
    assert page == diffai(*sides, "--format", "html", "--include-charts").stdout
    assert 'aria-label="Change per layer"' in page
    diffai(*sides, "--report-file", tmp_path / "change.md", "-q")
    assert (tmp_path / "change.md").read_text("utf-8") == diffai(*sides, "--format", "markdown").stdout


@pytest.mark.parametrize("name", ["b.safetensors", "report", "report.pt", "report.md.pt", "folder.md"])
def test_a_report_never_takes_another_file_s_place(tmp_path: Path, name: str) -> None:
    old = network(6)
    sides = pair(tmp_path, old, moved(old))
    (tmp_path / "folder.md").mkdir()
    before = sides[1].read_bytes()
    done = diffai(*sides, "--report-file", tmp_path / name)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert sides[1].read_bytes() == before


def test_charts_without_a_page_are_refused(tmp_path: Path) -> None:
    old = network(6)
    done = diffai(*pair(tmp_path, old, moved(old)), "--include-charts")
    assert done.returncode == 2 and "--format html" in done.stderr


def test_directories_have_a_row_a_model_and_one_tree(tmp_path: Path) -> None:
    old = network(6)
    for side, weights in (("old", old), ("new", moved(old))):
        (tmp_path / side).mkdir()
        pair(tmp_path / side, weights, old)
    (tmp_path / "new" / "c.safetensors").write_bytes(save(old))
    page = page_of(tmp_path / "old", tmp_path / "new")
    data = json.loads(page.data)
    assert [(one["path"], one["status"]) for one in data["models"]] == [
        ("a.safetensors", "changed"), ("b.safetensors", "equal"), ("c.safetensors", "added"),
    ]  # fmt: skip
    assert "3 model files: 1 changed, 1 added, 1 unchanged" in " ".join(page.text)
    assert {"m0", "m1", "m2"} <= {attrs.get("id") for _, attrs in page.tags}


def test_two_revisions_of_a_model(repo: Repo) -> None:
    repo.commit({"m.safetensors": save(network(6))})
    repo.commit({"m.safetensors": save(moved(network(6)))})
    page = page_of("HEAD~1", "HEAD", cwd=repo.top, paths=("m.safetensors",))
    assert "TRAINING STEP" in " ".join(page.text)
    assert len(names_of(json.loads(page.data))) == 6


def test_ci_writes_one_page_of_all_models_the_refused_ones_first(repo: Repo, tmp_path: Path) -> None:
    repo.commit({f"{name}.safetensors": model(4) for name in ("a_good", "bad")})
    repo.git("checkout", "-q", "-b", "work")
    repo.commit({"bad.safetensors": model(5), "a_good.safetensors": model(4, scale=2)})
    done = diffai("ci", "--base", "main", "--html", tmp_path / "page.html", cwd=repo.top)
    assert done.returncode == 1
    page = Elements((tmp_path / "page.html").read_text("utf-8"))
    assert [(one["path"], one["status"]) for one in json.loads(page.data)["models"]] == [
        ("bad.safetensors", "refused"), ("a_good.safetensors", "passes"),
    ]  # fmt: skip
    text = " ".join(page.text)
    assert "1 of 2 changed models refused" in text and "structure.reshaped: 2 tensors reshaped" in text


def test_ci_says_on_the_page_that_nothing_could_be_judged(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"m.safetensors": model(4)})
    done = diffai("ci", "--base", "nowhere", "--html", tmp_path / "page.html", cwd=repo.top)
    assert done.returncode == 2
    assert "NOT JUDGED" in (tmp_path / "page.html").read_text("utf-8")
