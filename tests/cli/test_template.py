"""``--template``: reports of one's own, over documented data, in a sandbox."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from program import diffai
from safetensors.numpy import save

HOSTILE = "<script>x</script>"


@pytest.fixture
def sides(tmp_path: Path) -> tuple[str, str]:
    old = {HOSTILE: np.ones(4, "f4"), "head.weight": np.ones((2, 3), "f4")}
    new = {HOSTILE: np.ones(4, "f4") * 2, "head.weight": np.full((2, 3), np.nan, "f4")}
    for name, weights in (("a", old), ("b", new)):
        (tmp_path / f"{name}.safetensors").write_bytes(save(weights))
    return str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")


def test_a_template_of_one_s_own(sides: tuple[str, str], tmp_path: Path) -> None:
    template = tmp_path / "team.jinja2"
    template.write_text("{{ report.schema }} {{ kind }} {% for t in report.tensors %}[{{ t.name }}]{% endfor %}\n")
    done = diffai(*sides, "--template", template)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("diffai.report/1 diverged")
    assert "[&lt;script&gt;x&lt;/script&gt;][head.weight]" in done.stdout


@pytest.mark.parametrize("name", ["brief.md", "table.html", "table.html.jinja2"])
def test_those_that_come_along(sides: tuple[str, str], tmp_path: Path, name: str) -> None:
    done = diffai(*sides, "--template", name)
    assert done.returncode == 0, done.stderr
    assert "head.weight" in done.stdout and "diverged" in done.stdout
    assert HOSTILE not in done.stdout.replace(f"`{HOSTILE}`", "")
    for side in ("old", "new"):
        (tmp_path / side).mkdir()
    (tmp_path / "old" / "m.safetensors").write_bytes(Path(sides[0]).read_bytes())
    (tmp_path / "new" / "m.safetensors").write_bytes(Path(sides[1]).read_bytes())
    (tmp_path / "new" / "n.safetensors").write_bytes(Path(sides[1]).read_bytes())
    done = diffai(tmp_path / "old", tmp_path / "new", "--template", name)
    assert done.returncode == 0 and "m.safetensors" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ report.__class__.__mro__ }}", "SecurityError"),
        ("{{ ''.__class__ }}", "SecurityError"),
        ("{% include '/etc/passwd' %}", "TypeError"),
        ("{{ report.clear() }}", "SecurityError"),
        ("line\n{% if %}", "line 2"),
        ("{{ nothing }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "OverflowError"),
    ],
)
def test_a_wrong_or_sly_template_is_one_line(sides: tuple[str, str], tmp_path: Path, text: str, said: str) -> None:
    template = tmp_path / "team.jinja2"
    template.write_text(text)
    done = diffai(*sides, "--template", template)
    assert done.returncode == 2 and done.stdout == ""
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_template_that_is_not_there_names_those_that_are(sides: tuple[str, str]) -> None:
    done = diffai(*sides, "--template", "nothing.jinja2")
    assert done.returncode == 2 and "brief.md, table.html" in done.stderr
    assert diffai(*sides, "--template", "brief.md", "--format", "json").returncode == 2
