"""``diffai A B``, ``-- PATH``, ``show`` and ``check`` on paths that real DVC tracks: files, directories, stage outputs."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
import safetensors_writer as writer
from dvcrepo import RunDvc
from gitrepo import Repo
from program import diffai

ONE, TWO, THREE, FOUR, FIVE = (writer.simple(number) for number in range(1, 6))
def seed(value: float) -> bytes:
    """A model of more than 1 KiB, which is one whatever it is called."""
    values = {"a.weight": ("F32", (300,), struct.pack("<300f", *[value] * 300)), "a.bias": ("F32", (1,), struct.pack("<f", value))}
    return writer.build(values)


STAGE = "stages:\n  train:\n    wdir: run\n    cmd: cp ../seed.data out.safetensors\n    deps: [../seed.data]\n    outs: [out.safetensors]\n"


def make(repo: Repo, dvc: RunDvc) -> None:
    """v1 and v2 of a file, a directory of several models, a stage's output, and a model that goes from git to DVC."""
    dvc("init", "-q", cwd=repo.top)
    (repo.top / "run").mkdir()
    for tag, m, a, grown, moving in (("v1", FIVE, TWO, seed(1), ONE), ("v2", TWO, THREE, seed(2), TWO)):
        repo.write({"m.safetensors": m, "ckpt/a.safetensors": a, "ckpt/deep/b.safetensors": FOUR, "ckpt/same.safetensors": ONE,
                    "ckpt/notes.txt": tag, "seed.data": grown, "dvc.yaml": STAGE, "moving.safetensors": moving})  # fmt: skip
        if tag == "v2":
            repo.git("rm", "-q", "--cached", "moving.safetensors")
            dvc("add", "-q", "moving.safetensors", cwd=repo.top)
        dvc("add", "-q", "m.safetensors", "ckpt", cwd=repo.top)
        dvc("repro", "-q", cwd=repo.top)
        repo.git("add", "-A")
        repo.git("commit", "-qm", tag)
        repo.git("tag", tag)


@pytest.fixture
def named(template: Any, real_dvc: RunDvc) -> Repo:
    made: Repo = template("by-name", lambda repo: make(repo, real_dvc))
    return made


def changes(repo: Repo, *words: str) -> dict[str, set[str]]:
    """The tensors that changed, by model; a single model stands under ""."""
    done = diffai(*words[:1], "--output", "json", *words[1:], cwd=repo.top)
    assert done.returncode == 0, done.stderr
    found: dict[str, set[str]] = {}
    for record in json.loads(done.stdout):
        (kind, values), = record.items()  # fmt: skip
        model, _, tensor = values[0].rpartition(":")
        if kind.startswith("Tensor"):
            found.setdefault(model, set()).add(tensor)
        else:
            found.setdefault(values[0], set()).add(kind)
    return found


BOTH = {"a.bias", "a.weight"}
EVERYTHING = dict.fromkeys(
    ("m.safetensors", "ckpt/a.safetensors", "run/out.safetensors", "moving.safetensors", "seed.data"), BOTH
)


@pytest.mark.parametrize("words", [("v1..v2",), ("v1", "v2", "--"), ("v1", "--"), ("v1", "--staged", "--")])
def test_the_whole_tree(named: Repo, words: tuple[str, ...]) -> None:
    """Every model behind every pointer that changed, under its own path; what only moved to DVC is one change."""
    assert changes(named, *words) == EVERYTHING


@pytest.mark.parametrize(
    ("options", "expected"),
    [(("--include", "ckpt/*"), {"ckpt/a.safetensors", "ckpt/notes.txt:xxh3"}), (("--exclude", "ckpt/*", "--exclude", "m*"), {"run/out.safetensors", "seed.data"}),
     (("--include", "*.dvc"), set()), (("--include", "*.safetensors"), set(EVERYTHING) - {"seed.data"})],
)  # fmt: skip
def test_globs_are_about_models_and_not_their_pointers(
    named: Repo, options: tuple[str, ...], expected: set[str]
) -> None:
    assert set(changes(named, "v1..v2", *options)) == expected


@pytest.mark.parametrize("path", ["ckpt", "ckpt/", "./ckpt", "ckpt.dvc"])
def test_a_directory_by_its_path(named: Repo, path: str) -> None:
    for words in (("v1", "v2"), ("v1",)):
        assert changes(named, *words, "--", path) == {"ckpt/a.safetensors": BOTH}
    text = diffai("v1", "v2", "--", path, cwd=named.top).stdout
    assert "~ a.weight: mean=2.3125->3.3125" in text
    assert "3 model files: 1 changed, 2 unchanged; other files: 1 differ" in text


@pytest.mark.parametrize("path", ["m.safetensors", "ckpt/a.safetensors", "run/out.safetensors", "moving.safetensors"])
def test_one_model_by_its_path(named: Repo, path: str) -> None:
    for words in (("v1", "v2"), ("v1",)):
        assert changes(named, *words, "--", path) == {"": BOTH}, words
    assert changes(named, f"v1:{path}", f"v2:{path}") == {"": BOTH}
    assert changes(named, f"v1:{path}", path) == {"": BOTH}
    (named.top / path).unlink()  # not checked out: the pointer still says what it is
    assert changes(named, f"v1:{path}", path) == {"": BOTH}


def test_several_paths(named: Repo) -> None:
    found = changes(named, "v1", "v2", "--", "ckpt", "m.safetensors", "dvc.lock")
    assert found == dict.fromkeys(("ckpt/a.safetensors", "m.safetensors", "run/out.safetensors"), BOTH)
    done = diffai("v1", "v2", "--", "ckpt", "no.safetensors", cwd=named.top)
    assert done.returncode == 2 and "no.safetensors: neither revision has this path" in done.stderr


def test_from_a_folder(named: Repo) -> None:
    text = diffai("v1", "v2", "--", "a.safetensors", cwd=named.top / "ckpt").stdout
    assert "~ a.weight: mean=2.3125->3.3125" in text
    assert (
        "~ a.weight: mean=2.3125->3.3125"
        in diffai("v1:./a.safetensors", "a.safetensors", cwd=named.top / "ckpt").stdout
    )


def test_two_directories_by_words(named: Repo) -> None:
    for old, new in (("v1:ckpt", "v2:ckpt"), ("v1:ckpt.dvc", "ckpt.dvc"), ("v1:ckpt", "ckpt")):
        assert changes(named, old, new) == {"a.safetensors": BOTH}, (old, new)


def test_models_on_disk_that_dvc_has_not_seen(named: Repo) -> None:
    """What the pointers call unchanged is not: against the work tree, files count and not what was added of them."""
    assert changes(named, "HEAD", "--") == {}
    (named.top / "m.safetensors").write_bytes(FOUR)
    (named.top / "ckpt" / "same.safetensors").write_bytes(TWO)
    (named.top / "ckpt" / "new.safetensors").write_bytes(TWO)
    (named.top / "ckpt" / "deep" / "b.safetensors").unlink()
    below = {
        "ckpt/same.safetensors": BOTH, "ckpt/new.safetensors": {"FileAdded"}, "ckpt/deep/b.safetensors": {"FileRemoved"}
    }  # fmt: skip
    assert changes(named, "HEAD", "--", "ckpt") == below
    assert changes(named, "HEAD", "--") == {"m.safetensors": BOTH} | below
    assert changes(named, "HEAD", "--", "m.safetensors") == {"": BOTH}
    assert changes(named, "v1..v2") == EVERYTHING, "two revisions do not depend on the work tree"
    assert changes(named, "HEAD", "--staged", "--") == {}


def test_show_and_check_every_model_behind_a_word(named: Repo) -> None:
    inside = ["ckpt/a.safetensors", "ckpt/deep/b.safetensors", "ckpt/same.safetensors"]
    for words, expected in (
        (("v1:ckpt",), [f"v1:{name}" for name in inside]), (("v1:ckpt.dvc",), [f"v1:{name}" for name in inside]),
        (("ckpt",), inside), (("ckpt.dvc",), inside), (("v1:m.safetensors",), ["v1:m.safetensors"]),
        (("v1:ckpt/deep/b.safetensors",), ["v1:ckpt/deep/b.safetensors"]), (("v1:run/out.safetensors", "v2:dvc.lock"), ["v1:run/out.safetensors", "v2:dvc.lock"]),
    ):  # fmt: skip
        for command in (("show", "--shape-only"), ("check",)):
            done = diffai(*command, *words, cwd=named.top)
            assert done.returncode == 0, done.stderr
            said = [
                line.partition("   safetensors · ")[0].partition(": ")[0]
                for line in done.stdout.splitlines()
                if ": ok (" in line or "   safetensors · " in line
            ]
            assert said == expected, (command, words)
    assert (
        "v1:./ckpt/a.safetensors   safetensors" in diffai("show", "v1", "--", "ckpt/a.safetensors", cwd=named.top).stdout
    )


def test_what_is_not_pulled(named: Repo, real_dvc: RunDvc) -> None:
    real_dvc("gc", "-q", "-f", "--workspace", cwd=named.top)  # the objects of v1 go
    done = diffai("v1..v2", cwd=named.top)
    assert done.returncode == 2
    for path, size in (("m.safetensors", "184 bytes"), ("run/out.safetensors", "1.3 kB")):
        assert f"of {path} is not here ({size}); bring it with: dvc fetch --all-commits" in done.stdout, done.stdout
    assert "the list of files of ckpt/" in done.stdout and "dvc fetch --all-commits ckpt.dvc" in done.stdout
    assert diffai("show", "v1:m.safetensors", cwd=named.top).returncode == 2
    assert "dvc fetch" in diffai("check", "v1:ckpt", cwd=named.top).stdout
