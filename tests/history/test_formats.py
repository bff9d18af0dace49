"""What programs read of a history: JSON against its schema, CSV, Markdown and HTML, with hostile words in all of them."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from gitrepo import Repo
from model_history import commit, diffai, history, start, trained

from diffai.views.report import schema_path

SCRIPT = "<script>alert(1)</script>"
NAMES = [SCRIPT, "=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-1", "\t=1", "\x1b]0;title\x07", "a\x1b[2Jb", "a|b`c*d_e[f](g)",
         "\x85next", "‮right to left", "--output=x", "![i](http://x/y.png)", "&lt;b&gt;"]  # fmt: skip


def validate(name: str, text: str) -> Any:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    report = json.loads(text, parse_constant=lambda token: pytest.fail(f"{token} is no JSON"))
    jsonschema.validate(report, json.loads(Path(schema_path(name)).read_text()))
    return report


@pytest.fixture
def hostile(repo: Repo) -> Repo:
    """A commit for every hostile word: as author, subject, tensor and file name, branch and tag."""
    weights = start()
    commit(repo, weights, "first")
    for step, name in enumerate(NAMES):
        weights = dict(trained(weights, step, "head")) | {f"{name}.weight": trained(start(), step)["head.weight"]}
        repo.write({"note": str(step)})
        env = {"GIT_AUTHOR_NAME": f"x{name}", "GIT_AUTHOR_EMAIL": f"{name}@x".replace("<", "").replace(">", "")}
        from safetensors.numpy import save

        repo.write({"model.safetensors": save(weights, metadata={name: name})})
        repo.git("add", "model.safetensors")
        repo.git("commit", "-q", "--cleanup=verbatim", "-m", name, env=env)
    return repo


OPTIONS = [
    (), ("--level", "header"), ("--level", "digest"), ("-p",), ("--only-structure",), ("--compare-to", "first"),
    ("--compare-to", "HEAD~1"), ("--tensor", "head.*"), ("--first-bad", "structure"), ("--first-bad", "nonfinite"),
    ("-n", "1"), ("--all",), ("--follow",), ("--all-models",),
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_json_keeps_its_schema(hostile: Repo, options: tuple[str, ...]) -> None:
    words = () if "--all-models" in options else ("--", "model.safetensors")
    found = validate("log", diffai(hostile.top, "log", "--format", "json", *options, *words))
    entries = found["entries"] if "entries" in found else [found["first_bad"]]
    if not options:
        assert [entry["subject"] for entry in entries[-2::-1]] == NAMES


def test_blame_keeps_its_schema(hostile: Repo) -> None:
    report = validate("blame", diffai(hostile.top, "blame", "--format", "json", "--", "model.safetensors"))
    assert len(report["tensors"]) == len(NAMES) + 7
    hostile.write({"model.safetensors": (hostile.top / "model.safetensors").read_bytes()[:-4] + b"abcd"})
    validate("blame", diffai(hostile.top, "blame", "--format", "json", "--", "model.safetensors", "head.*"))


def test_states_keep_the_schema(repo: Repo) -> None:
    history(repo, 2)
    repo.commit({"model.safetensors": b"\xff\0\0\0\0\0\0\0{"}, "damaged")
    repo.git("rm", "-q", "model.safetensors")
    repo.git("commit", "-q", "-m", "gone")
    commit(repo, start(3), "again", day=9)
    for words in ((), ("--level", "header"), ("-p",)):
        validate("log", diffai(repo.top, "log", "--format", "json", *words, "--", "model.safetensors"))


@pytest.mark.parametrize("words", [("log",), ("log", "-p", "-v"), ("blame",), ("blame", "--depth", "1"),
                                   ("log", "--format", "markdown"), ("log", "--format", "html"),
                                   ("log", "--format", "csv"), ("log", "--first-bad", "structure")])  # fmt: skip
def test_no_control_characters_reach_a_terminal(hostile: Repo, words: tuple[str, ...]) -> None:
    text = diffai(hostile.top, *words, "--", "model.safetensors")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def test_csv_starts_no_formula_and_keeps_its_rows(hostile: Repo) -> None:
    rows = list(csv.reader(io.StringIO(diffai(hostile.top, "log", "--format", "csv", "--", "model.safetensors"))))
    assert len(rows) == len(NAMES) + 2
    assert {len(row) for row in rows} == {len(rows[0])}
    for row in rows[1:]:
        for heading, cell in zip(rows[0], row, strict=True):
            if not re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", cell):
                assert cell[:1] not in tuple("=+-@\t\r"), (heading, cell)


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str | None] = set()
        self.scripts: set[str | None] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value for name, value in attrs if name == "href"}
        self.scripts |= {dict(attrs).get("type")} if tag == "script" else set()


def test_html_has_only_our_elements(hostile: Repo, tmp_path: Path) -> None:
    page = diffai(hostile.top, "log", "--format", "html", "--", "model.safetensors")
    diffai(hostile.top, "log", "--plot", str(tmp_path / "x.html"), "--", "model.safetensors")
    diffai(hostile.top, "log", "--plot", str(tmp_path / "x.svg"), "--", "model.safetensors")
    for text in (page, (tmp_path / "x.html").read_text(), (tmp_path / "x.svg").read_text()):
        seen = Elements()
        seen.feed(text)
        assert not seen.names & {"b", "img", "iframe", "link", "object"}
        assert seen.scripts <= {"application/json"}  # data, and no script of anybody
        assert all(re.fullmatch(r"#c0-[0-9a-f]{10}", link) for link in seen.links)  # within the page
        assert not {name for name in seen.attributes if name.startswith("on") or name == "src"}


def test_markdown_keeps_its_table(hostile: Repo) -> None:
    text = diffai(hostile.top, "log", "--format", "markdown", "--", "model.safetensors")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == len(NAMES) + 3
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert not re.search(r"(?<!\\)[<>\[\]]", re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)|->", "", text))


def test_hostile_refs(hostile: Repo) -> None:
    hostile.git("update-ref", "refs/heads/--output=x", "HEAD")
    hostile.git("update-ref", "refs/tags/-n1", "HEAD~1")
    for rev in ("refs/heads/--output=x", "refs/tags/-n1", "heads/--output=x", "tags/-n1"):
        for command in ("log", "blame", "show", "check"):
            diffai(hostile.top, command, rev, "--", "model.safetensors", code=0)
        diffai(hostile.top, rev, "HEAD~2", "--", "model.safetensors")
        diffai(hostile.top, f"{rev}..HEAD~2", "--", "model.safetensors")
        diffai(hostile.top, "log", "--compare-to", rev, "-n", "1", "--", "model.safetensors")
        diffai(hostile.top, f"{rev}:model.safetensors", "model.safetensors")
    # Given as words of options, they are names of these refs, and nothing else.
    for rev in ("--output=x", "-n1"):
        assert diffai(hostile.top, "log", "--compare-to", rev, "-n", "1", "--", "model.safetensors")
        judged = ("check", "--bisect", "--bad", "structure", "--against", rev)
        assert diffai(hostile.top, *judged, "--", "model.safetensors", code=0 if rev != "-n1" else 1)
    assert not (hostile.top / "x").exists()


FILES = ["--output=x", "-n", "-p", "HEAD", "--all", ":(top)x", "a\nb", "log", "--end-of-options"]


@pytest.mark.parametrize("name", FILES)
def test_hostile_files_in_every_command(repo: Repo, name: str) -> None:
    weights = start()
    one = commit(repo, weights, "one", path=f"./{name}")
    two = commit(repo, trained(weights, 1, "head"), "two", path=f"./{name}", day=2)
    repo.git("mv", "--", f"./{name}", "./moved")
    repo.git("mv", "--", "./moved", f"./{name}")
    for words in (("log", "--follow"), ("blame",), ("show", "HEAD~1"), ("check", "HEAD"), ("check", "--staged"),
                  ("show", "--staged"), ("--staged",), ("HEAD~1",), ("HEAD~1..HEAD",), (one, two), ("log", "--fetch"),
                  ("check", "--bisect"), ("log", "--first-bad", "structure")):  # fmt: skip
        text = diffai(repo.top, *words, "--", name)
        assert text
    assert not (repo.top / "x").exists()


def test_formats_that_first_bad_does_not_have(repo: Repo) -> None:
    history(repo, 2)
    said = diffai(repo.top, "log", "--first-bad", "structure", "--format", "csv", "--", "model.safetensors", code=2)
    assert "text or json" in said
    said = diffai(repo.top, "log", "--level", "digest", "--plot", "x.svg", "--", "model.safetensors", code=2)
    assert said == "diffai: --plot needs the values: leave out --level and --only-structure\n"


def test_a_merge_says_so(repo: Repo) -> None:
    base = start()
    commit(repo, base, "base")
    repo.git("checkout", "-q", "-b", "side")
    side = commit(repo, trained(base, 1), "side", day=2)
    repo.git("checkout", "-q", "main")
    main = commit(repo, trained(base, 2), "main", day=3)
    repo.run("merge", "-q", "--no-commit", "side")
    commit(repo, trained(base, 3), "both", day=4)
    text = diffai(repo.top, "log", "-n", "1", "--", "model.safetensors")
    assert f"    merge of {main[:10]}, {side[:10]}, compared with the first\n" in text
