"""Formats that are recognised and not read, on every surface: name, size and digest of both sides; the bytes decide."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash
from dvcrepo import DvcRepo
from gitrepo import Repo, isolate
from program import DIFFAI
from program import diffai as installed

import diffai
from diffai.cli.main import main
from diffai.errors import DiffaiError

KINDS: dict[str, tuple[str, bytes, str]] = {
    "tensorrt": ("plan.engine", b"ftrt", "TensorRT"),
    "executorch": ("net.pte", b"\x1c\0\0\0ET12", "ExecuTorch"),
    "orbax": ("manifest.ocdbt", b"\x0c\xdb\x3a\x2a", "Orbax (OCDBT)"),
    "ggml": ("old.ggml", b"lmgg", "GGML"),
    "xgboost": ("boost.model", b"binf" + bytes(40), "XGBoost (old binary)"),
    "caffe": ("net.caffemodel", b"\x0a\x05model\x92\x01", "Caffe"),
    "paddle": ("inference.pdiparams", b"\0\0\0\0\1\1\1\1", "Paddle (for inference)"),
    "mnn": ("net.mnn", b"\x18\0\0\0\xff\xfe", "MNN"),
}
"""File name, first bytes, what it is called."""


def content(kind: str, new: bool) -> bytes:
    return KINDS[kind][1] + bytes((7 + new,)) + b"\0\xff" * 1500


def fingerprint(data: bytes) -> str:
    return f"{len(data):,} bytes, xxh3:{xxhash.xxh3_128_hexdigest(data)[:16]}"


def texts(kind: str) -> tuple[str, str]:
    """What both sides' bytes tell."""
    return fingerprint(content(kind, False)), fingerprint(content(kind, True))


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    """One commit of each side of each kind, in git with the driver installed, and one pointer of DVC."""
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, tmp_path_factory.mktemp("home"))
        made = Repo.init(tmp_path_factory.mktemp("unread"))
        dvc = DvcRepo(made)
        assert installed("install", cwd=made.top).returncode == 0
        for new in (False, True):
            made.write({KINDS[kind][0]: content(kind, new) for kind in KINDS})
            made.write({".gitignore": "/kept/*\n!/kept/*.dvc\n"})
            made.git("add", "-A")
            for kind in KINDS:
                dvc.add(f"kept/{KINDS[kind][0]}", content(kind, new))
            made.git("commit", "-q", "-m", "new" if new else "old")
        patch.chdir(made.top)
        yield made


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


each = pytest.mark.parametrize("kind", KINDS)


@each
def test_equal_bytes_are_equal(repo: Repo, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in "ab":
        (tmp_path / side).mkdir()
        (tmp_path / side / KINDS[kind][0]).write_bytes(content(kind, True))
    words = [str(tmp_path / side / KINDS[kind][0]) for side in "ab"]
    code, out, _ = run(capsys, *words, "--format", "json")
    assert (code, json.loads(out)["equal"]) == (0, True)
    assert run(capsys, *words, "-q", "--exit-code")[0] == 0
    assert run(capsys, *words, "--output", "json")[1].strip() == "[]"
    assert run(capsys, f"HEAD:{KINDS[kind][0]}", words[0])[0] == 0


@each
def test_other_bytes_are_a_difference_that_was_not_compared(
    repo: Repo, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _, title = KINDS[kind]
    sides = [f"HEAD~1:{name}", f"HEAD:{name}"]
    code, out, _ = run(capsys, *sides)
    assert code == 2
    assert all(text in out and f"{title}" in out for text in texts(kind))
    assert "not compared: their bytes differ" in out
    assert max(map(len, out.splitlines())) < 160
    code, out, _ = run(capsys, *sides, "--format", "json")
    report = json.loads(out)
    assert (code, report["equal"]) == (2, False)
    for side, new in (("old", False), ("new", True)):
        digest = f"xxh3:{xxhash.xxh3_128_hexdigest(content(kind, new))}"
        assert (report[side]["state"], report[side]["size"], report[side]["digest"]) == (
            "NotRead", len(content(kind, new)), digest,
        )  # fmt: skip
    assert [title in entry["reason"] for entry in report["not_compared"]] == [True, True]
    assert run(capsys, *sides, "-q")[:2] == (2, "")
    code, out, _ = run(capsys, *sides, "--output", "json")
    assert code == 2 and [next(iter(record)) for record in json.loads(out)] == ["FileUnreadable"] * 2
    with pytest.raises(DiffaiError, match=re.escape(texts(kind)[0])):
        diffai.compare(*sides)


@each
def test_against_a_model_that_is_read(repo: Repo, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"w": np.ones(3, "f4")}, tmp_path / "m.safetensors")
    code, out, _ = run(capsys, str(tmp_path / "m.safetensors"), f"HEAD:{KINDS[kind][0]}", "--format", "json")
    assert (code, json.loads(out)["equal"]) == (2, False)


def test_ranges_say_of_each_that_it_was_not_compared(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "HEAD~1..HEAD")
    assert code == 2
    for kind in KINDS:
        assert all(text in out for text in texts(kind)), kind
    code, out, _ = run(capsys, "HEAD~1..HEAD", "--format", "json")
    report = json.loads(out)
    assert (code, report["equal"]) == (2, False)
    files = {file["path"]: file for file in report["files"]}
    assert {name for name, _, _ in KINDS.values()} <= set(files)
    wrong = {
        name: file for name, file in files.items() if (file["status"], file["report"]["equal"]) != ("unreadable", False)
    }
    assert wrong == {}
    code, out, _ = run(capsys, "HEAD~1..HEAD", "--stat")
    for kind in KINDS:
        assert any(all(text in line for text in texts(kind)) for line in out.splitlines()), kind


def test_git_goes_on(repo: Repo) -> None:
    """Registered names come through the driver and textconv; git exits 0 and each side's bytes are told."""
    named = [kind for kind in KINDS if kind != "xgboost"]  # .model has no glob: content alone says what it is
    paths = [KINDS[kind][0] for kind in named]
    patch = repo.git("diff", "HEAD~1", "HEAD", "--", *paths)
    log = repo.git("log", "-p", "-1", "--", *paths)
    for kind in named:
        title = KINDS[kind][2]
        assert all(text in patch for text in texts(kind)) and title in patch
        for new in (False, True):
            digest = xxhash.xxh3_128_hexdigest(content(kind, new))
            assert f"{'+' if new else '-'}diffai: is " in log and digest in log
    assert "Binary files" not in patch + log and "no model" not in patch + log


@each
def test_histories_name_it(repo: Repo, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, _, title = KINDS[kind]
    code, out, _ = run(capsys, "log", "--", name)
    assert code == 0 and all(text in out for text in texts(kind))
    code, out, err = run(capsys, "blame", "--", name)
    assert code == 2 and title in err and texts(kind)[1] in err
    for command in ("show", "check"):
        code, out, err = run(capsys, command, name)
        assert code == 2 and title in out + err and "not a model" not in out + err


@pytest.mark.parametrize("command", ["gate", "ci"])
def test_a_gate_says_that_it_was_not_judged(repo: Repo, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    warn = {"gate": ("--on-missing", "warn"), "ci": ("--on-missing", "warn", "--no-annotations")}[command]
    fail = tuple("fail" if word == "warn" else word for word in warn)
    code, out, _ = run(capsys, command, "--base", "HEAD~1", *warn)
    assert code == 0
    for kind in KINDS:
        old, new = texts(kind)
        assert any("NOT JUDGED" in line and old in line and new in line for line in out.splitlines()), kind
    code, out, _ = run(capsys, command, "--base", "HEAD~1", *fail)
    assert code != 0 and "NOT JUDGED" in out


def test_dvc_diff_tells_both_sides(repo: Repo, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "dvc", "diff", "HEAD~1", "HEAD", "--tensors")
    assert code in (0, 2)
    for kind in KINDS:
        if kind != "xgboost":  # an output that is neither called like a model nor begins like one that is read
            assert all(text in out for text in texts(kind)), kind


def test_a_stage_refuses_to_invent_figures(repo: Repo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in KINDS:
        (tmp_path / KINDS[kind][0]).write_bytes(content(kind, False))
        code, _out, err = run(
            capsys, "dvc", "stage", str(tmp_path / KINDS[kind][0]), KINDS[kind][0], "--out", str(tmp_path / "out")
        )
        assert code == 2 and KINDS[kind][2] in err, kind
        assert not (tmp_path / "out" / "metrics.json").exists()


def test_an_unknown_content_is_decided_by_its_bytes_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, last in (("a.dat", 1), ("b.dat", 1), ("c.dat", 2)):
        (tmp_path / name).write_bytes(b"\0\xff" * 99 + bytes((last,)))
    for other, wanted in (("b.dat", (0, True)), ("c.dat", (2, False))):
        code, out, _ = run(capsys, str(tmp_path / "a.dat"), str(tmp_path / other), "--format", "json")
        assert (code, json.loads(out)["equal"]) == wanted


def test_damaged_files_stay_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A format that is read, and a file of it that cannot be: whether the models differ is not known."""
    (tmp_path / "a.safetensors").write_bytes(b"\1\2\3" * 500)
    (tmp_path / "b.safetensors").write_bytes(b"\1\2\4" * 500)
    words = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    code, out, _ = run(capsys, *words, "--format", "json")
    assert (code, json.loads(out)["equal"]) == (2, None)


def test_the_installed_program_says_so(repo: Repo) -> None:
    done = subprocess.run(
        [str(DIFFAI), "HEAD~1:plan.engine", "HEAD:plan.engine"], cwd=repo.top, capture_output=True, text=True,
        env=dict(os.environ), check=False,
    )  # fmt: skip
    assert done.returncode == 2 and all(text in done.stdout for text in texts("tensorrt"))
