"""Where people read what happened to a model. A surface says a part of the facts; what it says has to be true."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gitrepo import Repo
from program import diffai as run_installed
from truth_packagings import PACKAGINGS, Packaging
from truth_pairs import Pair

Facts = dict[str, Any]


class Printed(io.TextIOWrapper):
    """Standard output that is kept."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")

    def getvalue(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined, no-any-return]


class World:
    """A repository that keeps all pairs in one way: the commit before HEAD has the old sides, HEAD the new ones."""

    def __init__(self, repo: Repo, packaging: Packaging, pairs: dict[str, Pair]) -> None:
        self.repo, self.packaging = repo, packaging
        self.pairs = {name: pair for name, pair in pairs.items() if not packaging.why_not(pair)}
        self.subprocess = False
        packaging.prepare(repo)
        for new in (False, True):
            for name, pair in self.pairs.items():
                packaging.keep(repo, name, packaging.files(pair, new))
            repo.git("commit", "-q", "--allow-empty", "-m", "new" if new else "old")
        self.cached: dict[tuple[str, ...], Any] = {}

    def path(self, pair: str) -> str:
        """What people name."""
        return f"{pair}/{self.packaging.named}".rstrip("/")

    def run(self, *arguments: str) -> tuple[int, str]:
        """The program in this process (or installed, as its own): exit code and output."""
        if self.subprocess:
            done = run_installed(*arguments, cwd=self.repo.top)
            assert "Traceback" not in done.stderr, done.stderr
            return done.returncode, done.stdout
        from diffai.cli.main import main

        with self.inside() as out:
            code = main(list(arguments))
        return code, out.getvalue()

    @contextlib.contextmanager
    def inside(self) -> Iterator[Printed]:
        """In the repository, with what is printed."""
        before, out = os.getcwd(), Printed()
        os.chdir(self.repo.top)
        try:
            with contextlib.redirect_stdout(out):
                yield out
        finally:
            os.chdir(before)

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """What one call says of all pairs."""
        if (key,) not in self.cached:
            self.cached[(key,)] = make()
        return self.cached[(key,)]

    @contextlib.contextmanager
    def staged(self) -> Iterator[None]:
        """With the new sides in the index only."""
        self.repo.git("reset", "-q", "--soft", "HEAD~1")
        try:
            yield
        finally:
            self.repo.git("reset", "-q", "--soft", "ORIG_HEAD")


# ---------------------------------------------------------------- what each surface says


def _of_report(report: dict[str, Any]) -> Facts:
    """The facts of a report (--format json)."""
    if report["kind"] == "directory":
        files = [file["report"] for file in report["files"] if file["report"]]
        if not files:
            return {"equal": report["equal"]}
        assert len(files) == 1, [file["path"] for file in report["files"]]
        report = files[0]
    by_status: dict[str, set[str]] = {}
    for tensor in report["tensors"]:
        if tensor["role"] == "weight":
            for status in tensor["status"]:
                by_status.setdefault(status, set()).add(tensor["name"])
    renamed = {t["old_name"]: t["name"] for t in report["tensors"] if "renamed" in t["status"]}
    comparison = report["comparison"]
    return {
        "equal": report["equal"], "added": by_status.get("added", set()), "removed": by_status.get("removed", set()),
        "renamed": renamed, "reshaped": by_status.get("reshaped", set()), "cast": by_status.get("cast", set()),
        "changed": by_status.get("changed", set()), "structure": comparison["structure_changes"],
        "parameters": (comparison["parameters_old"], comparison["parameters_new"]),
    }  # fmt: skip


def _json(world: World, *arguments: str) -> Facts:
    _code, out = world.run(*arguments, "--format", "json")
    return _of_report(json.loads(out))


def api(world: World, pair: str) -> Facts:
    import diffai
    from diffai.views.report import report

    with world.inside():
        return _of_report(report(diffai.compare(f"HEAD~1:{world.path(pair)}", f"HEAD:{world.path(pair)}")))  # type: ignore[arg-type]


def old_new(world: World, pair: str) -> Facts:
    return _json(world, f"HEAD~1:{world.path(pair)}", world.path(pair))


def rev_path(world: World, pair: str) -> Facts:
    return _json(world, f"HEAD~1:{world.path(pair)}", f"HEAD:{world.path(pair)}")


def two_revisions(world: World, pair: str) -> Facts:
    _code, out = world.run("HEAD~1..HEAD", "--format", "json", "--", world.path(pair))
    return _of_report(json.loads(out))


def whole_range(world: World, pair: str) -> Facts:
    """One call over all models of the range."""

    def make() -> dict[str, Any]:
        _code, out = world.run("HEAD~1..HEAD", "--format", "json")
        return {file["path"].split("/")[0]: file for file in json.loads(out)["files"]}

    file = world.once("range", make).get(pair)
    return _of_report(file["report"]) if file else {"equal": True}


def staged(world: World, pair: str) -> Facts:
    def make() -> dict[str, Any]:
        with world.staged():
            _code, out = world.run("--staged", "--format", "json")
        return {file["path"].split("/")[0]: file for file in json.loads(out)["files"]}

    file = world.once("staged", make).get(pair)
    return _of_report(file["report"]) if file else {"equal": True}


_LINE = re.compile(r"^ *([~+>-]) (\S+?)(?: -> (\S+))?(?::| \(|$| )")


def git_diff(world: World, pair: str) -> Facts:
    """The driver, called with what git calls it with; of shards once for each file."""
    from diffai.git import driver

    raw = world.repo.git("diff", "--raw", "--no-abbrev", "--no-renames", "HEAD~1", "HEAD", "--", pair)
    text = ""
    with world.inside() as out, tempfile.TemporaryDirectory() as folder:
        for number, line in enumerate(raw.splitlines()):
            facts, path = line[1:].split("\t")
            modes, oids = facts.split()[:2], facts.split()[2:4]
            files = []
            for side, oid in enumerate(oids):
                file = Path(folder) / f"{number}-{side}"
                if oid.strip("0"):
                    file.write_bytes(_blob(world, oid, path, modes[side]))
                files.append(str(file) if oid.strip("0") else os.devnull)
            driver.main([path, files[0], oids[0], modes[0], files[1], oids[1], modes[1]])
        text = out.getvalue()
    return _of_text(text)


def _blob(world: World, oid: str, path: str, mode: str) -> bytes:
    import subprocess

    assert mode
    filters = ("--filters", f"--path={path}") if world.packaging.name == "lfs" else ()
    kind = (*filters, oid) if filters else ("blob", oid)
    return subprocess.run(["git", "cat-file", *kind], cwd=world.repo.top, capture_output=True, check=True).stdout


def _of_text(text: str) -> Facts:
    said: dict[str, set[str]] = {sign: set() for sign in "~+->"}
    renamed = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found and not line.startswith(("---", "+++", "-", "+")):
            said[found[1]].add(found[2])
            if found[1] == ">" and found[3]:
                renamed[found[2]] = found[3]
    loud = {word for line in text.splitlines() if "appeared" in line for word in re.findall(r"[\w.]+\.\w+", line)}
    return {"differs": bool(said["~"] or said["+"] or said["-"] or said[">"] or "dropped" in text), "text": text,
            "loud": loud}  # fmt: skip


def textconv(world: World, pair: str) -> Facts:
    """The texts of both sides are equal exactly where the models are."""
    from diffai.git import textconv as converter

    raw = world.repo.git("diff", "--raw", "--no-abbrev", "--no-renames", "HEAD~1", "HEAD", "--", pair)
    if not raw.strip():
        return {"equal": True}
    texts: list[str] = []
    for side in (0, 1):
        with world.inside() as out, tempfile.TemporaryDirectory() as folder:
            for number, line in enumerate(raw.splitlines()):
                facts, path = line[1:].split("\t")
                oid, mode = facts.split()[2 + side], facts.split()[side]
                if not oid.strip("0") or path.endswith(("config.json", "dvc.yaml")):
                    continue
                file = Path(folder) / f"{number}.bin"
                file.write_bytes(_blob(world, oid, path, mode))
                converter.main([str(file)])
            texts.append(re.sub(folder, "", out.getvalue()))
    return {"equal": texts[0] == texts[1]}


def log(world: World, pair: str) -> Facts:
    _code, out = world.run("log", "--format", "json", "--", world.path(pair))
    entries = json.loads(out)["entries"]
    newest = entries[0]
    if newest["subject"] != "new":
        return {"equal": True}
    return {"log": newest}


def first_bad(world: World, pair: str) -> Facts:
    code, out = world.run("log", "--first-bad", "nonfinite", "--format", "json", "--", world.path(pair))
    found = json.loads(out)
    return {"first_bad": found, "code": code}


def blame(world: World, pair: str) -> Facts:
    _code, out = world.run("blame", "--format", "json", "HEAD", "--", world.path(pair))
    return {"blame": json.loads(out)}


def gate(world: World, pair: str) -> Facts:
    def make() -> dict[str, Any]:
        _code, out = world.run("gate", "--base", "HEAD~1", "--format", "json")
        return {entry["path"].split("/")[0]: entry for entry in json.loads(out)["models"]}

    return {"gate": world.once("gate", make).get(pair)}


def gate_staged(world: World, pair: str) -> Facts:
    def make() -> dict[str, Any]:
        with world.staged():
            _code, out = world.run("gate", "--format", "json")
        return {entry["path"].split("/")[0]: entry for entry in json.loads(out)["models"]}

    return {"gate": world.once("gate staged", make).get(pair)}


def ci(world: World, pair: str) -> Facts:
    def make() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.json"
            world.run("ci", "--base", "HEAD~1", "--json", str(path), "--no-annotations")
            return {entry["path"].split("/")[0]: entry for entry in json.loads(path.read_text())["models"]}

    return {"gate": world.once("ci", make).get(pair)}


def check(world: World, pair: str) -> Facts:
    code, _out = world.run("check", world.path(pair))
    return {"check": code}


def dvc_diff(world: World, pair: str) -> Facts:
    def make() -> dict[str, Any]:
        _code, out = world.run("dvc", "diff", "HEAD~1", "HEAD", "--json", "--tensors")
        rows = [row for rows in json.loads(out).values() for row in rows]
        return {str(row["path"]).split("/")[0]: row for row in rows}

    return {"dvc": world.once("dvc diff", make).get(pair)}


def dvc_stage(world: World, pair: str) -> Facts:
    with tempfile.TemporaryDirectory() as folder:
        for name, data in world.packaging.files(world.pairs[pair], False).items():
            (Path(folder) / name).write_bytes(data)
        baseline = os.path.join(folder, world.packaging.named.rpartition("/")[2])
        code, _out = world.run("dvc", "stage", baseline, world.path(pair), "--out", f"{folder}/out")
        assert code == 0
        return {"stage": json.loads((Path(folder) / "out" / "metrics.json").read_text())}


SURFACES: dict[str, Callable[[World, str], Facts]] = {
    "API": api, "OLD NEW": old_new, "REV:path": rev_path, "A..B -- PATH": two_revisions, "A..B": whole_range,
    "--staged": staged, "git diff": git_diff, "textconv": textconv, "log": log, "--first-bad": first_bad,
    "blame": blame, "gate": gate, "gate, staged": gate_staged, "ci": ci, "check": check, "dvc diff": dvc_diff,
    "dvc stage": dvc_stage,
}  # fmt: skip


@functools.cache
def why_not(surface: str, packaging: str) -> str:
    """Why a surface does not apply to a packaging; "" where it does."""
    if surface == "dvc diff" and not packaging.startswith("dvc"):
        return "not kept in DVC"
    if surface == "textconv" and packaging == "new-index":
        return "git converts one file at a time, and a model that is cut up otherwise is other files"
    if surface == "git diff" and packaging == "onnx-data":
        return "git hands over one file at a time, and the values lie in another"
    assert packaging in PACKAGINGS or packaging == "trees"
    return ""
