"""The page in a real browser: it opens, unfolds, sorts, filters, takes keys, scrolls, prints, and runs nothing foreign."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, DRIVER, Browser, browsing
from gitrepo import Repo
from model_history import history
from safetensors.numpy import save_file

from diffai import api
from diffai.comparison.result import CompareOptions
from diffai.views.html.page import comparison_page

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver on this machine")

Weights = dict[str, Any]
OUTLIER = "model.layers.3.self_attn.v_proj.weight"


def network(layers: int, experts: int = 0) -> Weights:
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (32, 8), "lm_head.weight": (32, 8)}
    for layer in range(layers):
        path = f"model.layers.{layer}."
        shapes |= {f"{path}self_attn.{name}_proj.weight": (8, 8) for name in "qkvo"}
        shapes |= {f"{path}mlp.{name}_proj.weight": (8, 8) for name in ("gate", "up", "down")}
        shapes |= {f"{path}experts.{n}.{name}.weight": (4, 4) for n in range(experts) for name in ("w1", "w2", "w3")}
        shapes |= {f"{path}{name}_layernorm.weight": (8,) for name in ("input", "post_attention")}
    shapes["model.bn.running_var"] = (8,)
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype("f4") for name, shape in shapes.items()}


def trained(weights: Weights) -> Weights:
    random = np.random.default_rng(1)
    moved = {name: (w + 0.01 * random.normal(size=w.shape)).astype("f4") for name, w in weights.items()}
    moved[OUTLIER] = moved[OUTLIER] * 8
    moved["model.bn.running_var"] = moved["model.bn.running_var"] * 1e6  # a buffer: no part of any size
    return moved | {name: w for name, w in weights.items() if ".layers.7." in name}


def written(path: Path, old: Weights, new: Weights) -> Path:
    diff = api.compare(old, new, options=CompareOptions(update_size=True))
    path.write_text(comparison_page(diff), "utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as window:
        yield window


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    old = network(33)
    assert 295 <= len(old) <= 305
    return written(tmp_path_factory.mktemp("page") / "page.html", old, trained(old))


def rows(browser: Browser) -> list[str]:
    """Names of the rows that are made now."""
    return browser.run("return [...document.querySelectorAll('#g tr.w .n')].map((name) => name.textContent)")  # type: ignore[no-any-return]


def count(browser: Browser) -> str:
    return str(browser.run("return document.getElementById('count').textContent"))


def type_filter(browser: Browser, text: str) -> None:
    browser.keys("/", *text)


def test_it_opens_without_a_word_on_the_console_and_loads_nothing(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.console() == []
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.run("return document.querySelectorAll('#map rect').length") == 3 + 33 * 9
    assert count(browser) == "300 of 300 tensors"


def test_the_policy_stops_a_script_that_is_not_the_page_s_own(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
                "const i = new Image(); i.src = 'http://127.0.0.1:9/x.png'; document.body.append(i)")  # fmt: skip
    assert browser.run("return window.ran === undefined") is True
    assert any("Content Security Policy" in line for line in browser.console())


def test_modules_open_and_close(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.getElementById('none').click()")
    assert sorted(rows(browser)) == ["lm_head.weight", "model"]
    browser.click("#g tr.w")
    assert sorted(rows(browser)) == sorted(
        ["model", "layers", "embed_tokens.weight", "bn.running_var", "lm_head.weight"]
    )
    assert browser.run("return document.querySelector('#g tr.w').getAttribute('aria-expanded')") == "true"
    browser.click("#g tr.w")
    assert sorted(rows(browser)) == ["lm_head.weight", "model"]


def test_a_module_has_the_figures_of_all_its_tensors(browser: Browser, page: Path) -> None:
    browser.open(page)
    data = json.loads(browser.run("return document.getElementById('diffai-data').textContent"))
    size = data["models"][0]["update_size"]
    browser.run("document.getElementById('none').click()")
    cells = browser.run(
        "return [...document.querySelectorAll('#g tr.w')].map((row) => [...row.cells].map((c) => c.textContent))"
    )
    assert cells[0][1] == "290 of 299" and cells[0][5] == "100%"
    assert float(cells[0][4]) == pytest.approx(size, rel=0.05)


def test_a_module_of_which_little_can_be_compared_has_no_figure(browser: Browser, tmp_path: Path) -> None:
    old = {"a.weight": np.ones((8, 8), "f4"), "a.bias": np.ones(8, "f4"), "b.weight": np.ones(8, "f4")}
    new = {"a.weight": np.ones((9, 8), "f4"), "a.bias": np.full(8, 2, "f4"), "b.weight": np.full(8, 2, "f4")}
    browser.open(written(tmp_path / "page.html", old, new))
    browser.run("document.getElementById('none').click()")
    cells = browser.run(
        "return [...document.querySelectorAll('#g tr.w')].map((row) => [row.cells[0].textContent, row.cells[4].textContent])"
    )
    assert sorted(cells) == [["b.weight", "1.00"], ["▸a (2)", "n/c"]]


def test_a_click_on_a_head_sorts_and_another_turns_it(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.getElementById('tree').click()")
    assert rows(browser)[0] == OUTLIER
    browser.click("th[data-key=name] button")
    ascending = rows(browser)
    assert ascending[:2] == ["lm_head.weight", "model.bn.running_var"]
    assert "model.layers.2.mlp.up_proj.weight" in ascending  # natural order: 2 before 10
    browser.click("th[data-key=name] button")
    assert rows(browser)[0] == "model.layers.32.self_attn.v_proj.weight"
    assert browser.run("return document.querySelector('th[data-key=name]').getAttribute('aria-sort')") == "descending"


def test_the_filter_takes_words_and_kinds(browser: Browser, page: Path) -> None:
    browser.open(page)
    type_filter(browser, "layers.3. PROJ")
    assert count(browser) == "7 of 300 tensors"
    assert "v_proj.weight" in " ".join(rows(browser))
    browser.keys("Escape")
    assert count(browser) == "300 of 300 tensors"
    browser.run("const s = document.getElementById('s'); s.value = 'equal'; s.dispatchEvent(new Event('change'))")
    assert count(browser) == "9 of 300 tensors"


def test_keys_move_open_and_close(browser: Browser, page: Path) -> None:
    browser.open(page)
    type_filter(browser, "v_proj")
    browser.keys("Enter")
    assert browser.run("return document.activeElement.id") == "g"
    browser.run("document.getElementById('tree').click()")
    browser.keys("j", "j", "k")
    selected = "return document.querySelector('#g tr[aria-selected=true] .n').textContent"
    assert browser.run(selected) == rows(browser)[1]
    browser.keys("k", "e")
    assert browser.run(selected) == OUTLIER
    detail = browser.run("return document.querySelector('#g tr.d').textContent")
    assert "64 of 64" in detail and "mean" in detail and "norm old, new" in detail
    browser.keys("e")
    assert browser.run("return document.querySelector('#g tr.d')") is None


def test_links_lead_to_rows(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click(".box a")
    shown = browser.run("return document.querySelector('#g tr.d').textContent")
    assert shown.startswith(OUTLIER)
    address = browser.run("return location.hash")
    browser.open(page, address)
    assert browser.run("return document.querySelector('#g tr.d').textContent").startswith(OUTLIER)
    assert browser.run("return document.querySelector('#g tr.d a').getAttribute('href')") == address


def test_a_link_to_a_module_opens_it(browser: Browser, page: Path) -> None:
    browser.open(page, "#t=0%3Amodel.layers.7")
    assert browser.run("return document.querySelector('#g tr[aria-selected=true] .n').textContent") == "7"


def test_the_map_leads_to_rows_by_click_and_by_keys(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run(
        "[...document.querySelectorAll('#map rect.k6')].find((box) => box.cell.column.endsWith('.3')).dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    assert browser.run("return document.querySelector('#g tr.d').textContent").startswith(OUTLIER)
    browser.open(page)
    browser.run("document.getElementById('map').focus()")
    browser.keys("Right", "Down")
    said = browser.run("return document.getElementById('say').textContent")
    assert "relative L2" in said
    browser.keys("Enter")
    name = said.partition(":")[0].replace(" · ", ".")
    assert browser.run("return document.querySelector('#g tr.d').textContent").startswith(name)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(browser: Browser, page: Path, theme: str) -> None:
    """WCAG 2.1, level AA: a contrast of 4.5 for texts."""
    browser.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
    try:
        browser.open(page)
        weak = browser.run("""
          const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
          const light = (c) => [0.2126, 0.7152, 0.0722].reduce((s, w, i) => s + w * channel(c[i]), 0);
          const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
          const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
            if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
          return [...document.querySelectorAll('body *')].filter((e) => !e.closest('svg, script, style, option')
            && e.offsetParent && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())).map((e) => {
            const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
            return [(a + 0.05) / (b + 0.05), e.className, e.textContent.slice(0, 40)];
          }).filter(([contrast]) => contrast < 4.5);""")
        assert weak == []
    finally:
        browser.command("Emulation.setEmulatedMedia", features=[])


def test_every_control_has_a_name(browser: Browser, page: Path) -> None:
    browser.open(page)
    tree = browser.command("Accessibility.getFullAXTree")["nodes"]
    roles = {node["role"]["value"] for node in tree}
    assert {"treegrid", "columnheader", "row", "gridcell", "searchbox", "main", "heading"} <= roles
    controls = [n for n in tree if n["role"]["value"] in ("button", "searchbox", "combobox", "treegrid", "link")]
    assert controls and all(node["name"]["value"] for node in controls)


def test_it_prints_its_rows(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.getElementById('tree').click(); window.dispatchEvent(new Event('beforeprint'))")
    assert len(rows(browser)) == 300
    browser.run("window.dispatchEvent(new Event('afterprint'))")
    assert len(rows(browser)) < 100


def test_without_script_head_and_first_rows_are_there(page: Path) -> None:
    with browsing(scripts=False) as browser:
        browser.open(page)
        shown = browser.run("return document.body.innerText")
        assert "TRAINING STEP" in shown and "LOOK AT" in shown and OUTLIER in shown
        assert browser.run("return document.querySelectorAll('#g tbody tr').length") == 200
        assert "100 more tensors" in shown


def test_a_row_draws_the_values_that_a_second_pass_counted(browser: Browser, tmp_path: Path) -> None:
    old = network(8)
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for file, weights in zip(files, (old, trained(old)), strict=True):
        save_file(weights, file)
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "diffai", *map(str, files), "--report-file", str(page), "--include-charts"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    name = "model.layers.2.self_attn.v_proj.weight"
    browser.open(page, "#t=0%3A" + name)
    assert browser.console() == []
    assert browser.run("return document.querySelectorAll('tr.d figure path').length") == 2
    assert browser.run("return document.querySelector('tr.d .n').textContent") == name
    data = json.loads(str(browser.run("return document.getElementById('diffai-data').textContent")))
    low, high, before, after = data["models"][0]["histograms"]["2"]
    assert low < high and len(before) == len(after) == 32 and sum(before) == sum(after)
    assert browser.run("return document.querySelectorAll('main > figure > svg').length") > 2  # seen without script, too


def test_the_page_of_a_history_needs_no_script_and_leads_from_rows_to_commits(browser: Browser, repo: Repo) -> None:
    history(repo, 5)
    page = repo.top / "log.html"
    command = [sys.executable, "-m", "diffai", "log", "-p", "--plot", str(page), "--", "model.safetensors"]
    assert subprocess.run(command, check=False, capture_output=True, cwd=repo.top).returncode == 0
    browser.open(page)
    assert browser.console() == []
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.run("return document.querySelectorAll('svg polyline').length") == 3
    assert browser.run("return document.querySelectorAll('details.m').length") == 5
    browser.click("table.b a")
    target = browser.run("return document.querySelector(location.hash).querySelector('summary').textContent")
    assert target.startswith(browser.run("return document.querySelector('table.b a').textContent"))
    data = json.loads(str(browser.run("return document.getElementById('diffai-data').textContent")))
    assert data["schema"] == "diffai.log/1" and len(data["entries"]) == 5


def test_the_map_of_several_models_names_each_whole_and_cuts_no_head(browser: Browser, tmp_path: Path) -> None:
    old = {f"layers.{n}.weight": np.full((4, 4), 1 + n, "f4") for n in range(6)}
    for side, factor in (("a", 1), ("b", 2)):
        (tmp_path / side).mkdir()
        for name in ("net.v1", "net.v2"):
            save_file({k: w * np.float32(factor) for k, w in old.items()}, tmp_path / side / f"{name}.safetensors")
    page = tmp_path / "page.html"
    command = [sys.executable, "-m", "diffai", "a", "b", "--report-file", str(page)]
    assert subprocess.run(command, check=False, capture_output=True, cwd=tmp_path).returncode == 0
    browser.open(page)
    assert browser.console() == []
    heads = browser.run("return [...document.querySelectorAll('#map text')].map((text) => text.textContent)")
    assert {"net.v1.safetensors: layers [0-5]", "net.v2.safetensors: layers [0-5]", "weight"} <= set(heads)
    tops = browser.run("""const frame = document.querySelector('#map svg').getBoundingClientRect().top;
      return [...document.querySelectorAll('#map text')].map((text) => text.getBoundingClientRect().top - frame)""")
    assert min(tops) >= -1


def test_ten_thousand_tensors_scroll_without_a_stall(browser: Browser, tmp_path: Path) -> None:
    old = network(64, 49)
    assert 9_900 <= len(old) <= 10_100
    page = written(tmp_path / "page.html", old, trained(old))
    assert page.stat().st_size <= 1_000_000
    browser.open(page)
    assert browser.console() == []
    assert count(browser) == f"{len(old):,} of {len(old):,} tensors"
    took = browser.run("""
      document.getElementById('tree').click();
      const frame = document.getElementById('f'), times = [];
      for (let top = 0; top < frame.scrollHeight; top += frame.scrollHeight / 50) {
        const start = performance.now();
        frame.scrollTop = top;
        frame.dispatchEvent(new Event('scroll'));
        frame.getBoundingClientRect();
        times.push(performance.now() - start);
      }
      times.sort((a, b) => a - b);
      return [times[45], document.querySelectorAll('#g tr').length, frame.scrollHeight];""")
    assert took[0] < 250 and took[1] < 100 and took[2] > 9_900 * 28
    assert (
        browser.run("""const start = performance.now(); document.querySelector('th[data-key=name] button').click();
      return performance.now() - start""")
        < 3000
    )


HOSTILE = [
    "<script>window.ran = 1</script>", "</script><script>window.ran = 1</script>", "<!--", "]]>",
    "\"><img src=x onerror='window.ran = 1'>", "' onmouseover='window.ran = 1", "a.<b>bold</b>.weight",
    "\u202etxt.exe", "line\u2028separator\u2029", "tab\tnew\nline\0nul", "constructor.__proto__.toString", "x" * 65_000,
    "javascript:window.ran = 1", "&lt;b&gt;", "${window.ran = 1}", "名前.重み", "😀.weight", "a" * 300 + "😀b", "..", "",
]  # fmt: skip


def test_hostile_names_are_inert(browser: Browser, tmp_path: Path) -> None:
    old = {name: np.full(4, 1 + n, "f4") for n, name in enumerate(HOSTILE)}
    new = {name: w * (1 + n) for n, (name, w) in enumerate(old.items())}
    page = written(tmp_path / "page.html", old, new)
    assert page.stat().st_size < 150_000
    browser.open(page)
    assert browser.console() == []
    browser.run("document.getElementById('all').click()")
    for row in range(len(rows(browser))):
        browser.run("document.querySelector('#g tr[data-n=\"' + arguments[0] + '\"]')?.click()", row)
    browser.run(
        "for (const e of document.querySelectorAll('#map rect')) e.dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))"
    )
    assert browser.run("return window.ran === undefined") is True
    assert browser.run("return document.querySelectorAll('img, main script, main b, main b *').length") == 0
    assert not browser.run("return /[\\u202e\\u2028\\u2029\\u0000]/.test(document.documentElement.innerHTML)")
    assert browser.console() == []
    assert f"{len(old)} tensors" in count(browser)
