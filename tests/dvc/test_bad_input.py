"""Hostile and broken repositories end to end: every command answers, git lives on, and nothing anywhere is written."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
import safetensors_writer as writer
from dvcrepo import DvcRepo, md5
from program import diffai

ONE, TWO = writer.simple(1), writer.simple(2)
CHANGED = "~ a.weight: mean=1.3125->2.3125"

NAMES = ["-rf.safetensors", "new\nline.safetensors", "tab\tand space.safetensors", "é.safetensors", "quote'\".safetensors",
         "$(touch x).safetensors", "#hash.safetensors", "a:b.safetensors", "{brace}.safetensors", "\x1b[31mred.safetensors"]  # fmt: skip


def snapshot(*folders: Path) -> dict[str, tuple[int, int, str]]:
    """Mode, time and content of everything in some folders, without git's own index and our cache below ``.git``."""
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder).as_posix()
            if inside.startswith((".git/diffai", ".git/index")):
                continue
            status = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
            time = 0 if stat.S_ISDIR(status.st_mode) and inside in (".git", "") else status.st_mtime_ns
            found[f"{folder.name}/{inside}"] = (status.st_mode, time, content)
    return found


def every_command(dvc: DvcRepo) -> str:
    """All that reads pointers; each ends well or with one clear line."""
    said = []
    for words in (("diff", "HEAD~1", "HEAD"), ("diff",), ("diff", "--cached"), ("show",), ("log", "-p", "-3")):
        done = dvc.repo.run(*words)
        assert done.returncode == 0, (words, done.stderr)
        assert "diffai: unexpected" not in done.stdout, (words, done.stdout)
        said.append(done.stdout)
    for words in (
        ("HEAD~1..HEAD",), ("HEAD", "--"), ("dvc", "diff", "HEAD~1", "HEAD"), ("dvc", "diff", "--json", "HEAD~1", "HEAD"),
        ("log", "--", "m.safetensors"), ("blame", "--", "m.safetensors"), ("gate", "--base", "HEAD~1"), ("gate",),
        ("show", "HEAD:m.safetensors"), ("check", "HEAD:m.safetensors"), ("ci", "--base", "HEAD~1"), ("doctor",),
    ):  # fmt: skip
        done = diffai(*words, cwd=dvc.top)
        assert done.returncode in (0, 1, 2), (words, done.stderr)
        assert "Traceback" not in done.stdout + done.stderr, (words, done.stderr)
        assert done.returncode != 2 or len(done.stderr.splitlines()) <= 3, (words, done.stderr)
        said.append(done.stdout + done.stderr)
    return "\n".join(said)


@pytest.mark.parametrize(
    "text",
    [
        "outs: [\n", "\x00\x01", f"outs:\n- md5: {md5(ONE)}\n  path: /etc/passwd\n",
        f'wdir: "a\\0b"\nouts:\n- md5: {md5(ONE)}\n  path: m.safetensors\n',
        "<<<<<<< ours\nouts:\n=======\n>>>>>>> theirs\n", "!!python/object/apply:os.system ['touch executed']\n",
        f"outs:\n- md5: {'0' * 32}.dir\n  path: m.safetensors\n", "version https://git-lfs.github.com/spec/v1\n",
    ],
    ids=["YAML", "binary", "absolute", "NUL", "conflict", "code", "directory", "LFS"],
)  # fmt: skip
def test_a_pointer_that_is_anything(dvc: DvcRepo, text: str, tmp_path: Path) -> None:
    dvc.add("m.safetensors", ONE)
    dvc.add("z.safetensors", ONE)
    dvc.commit("one")
    dvc.write("m.safetensors.dvc", text)
    dvc.stage("m.safetensors.dvc")
    dvc.add("z.safetensors", TWO)
    dvc.commit("two")
    before = snapshot(dvc.top)
    said = every_command(dvc)
    assert CHANGED in said, "the pointer beside it is still compared"
    assert snapshot(dvc.top) == before
    assert not (dvc.top / "executed").exists() and "root:" not in said


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_of_outputs(dvc: DvcRepo, name: str) -> None:
    """In a pointer and in the list of a directory: shown escaped, opened by address alone, never run or written."""
    for data in (ONE, TWO):
        out = {"outs": [{"md5": dvc.object(data), "size": 184, "hash": "md5", "path": name}]}
        dvc.write("hostile.dvc", json.dumps(out))
        dvc.stage("hostile.dvc")
        manifest = dvc.object(json.dumps([{"md5": md5(data), "relpath": name}]).encode(), suffix=".dir")
        dvc.pointer("ckpt", f"- md5: {manifest}\n  size: 184\n  nfiles: 1\n")
        dvc.commit("x")
    before = snapshot(dvc.top)
    text = dvc.repo.git("diff", "HEAD~1", "HEAD")
    assert text.count(CHANGED) == 2, text
    own = text.replace(json.dumps(name), "")
    assert "\x1b[31m" not in own and "new\nline" not in own
    assert "new\nline" not in diffai("dvc", "diff", "HEAD~1", "HEAD", cwd=dvc.top).stdout
    for words in (("HEAD~1..HEAD",), ("dvc", "diff", "HEAD~1", "HEAD"), ("gate", "--base", "HEAD~1")):
        done = diffai(*words, cwd=dvc.top)
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr, (words, done.stderr)
    word = f"HEAD:{name}"
    assert "2 tensors" in diffai("show", "--shape-only", word, cwd=dvc.top).stdout or "\n" in name
    assert snapshot(dvc.top) == before


def test_paths_and_links_that_lead_out(dvc: DvcRepo, tmp_path: Path) -> None:
    """A file outside of the repository is never read for a pointer, however it is reached."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "m.safetensors").write_bytes(TWO)
    (dvc.top / "link").symlink_to(outside)
    dvc.add("m.safetensors", ONE)
    dvc.commit("one")
    for path in ("link/m.safetensors", "../outside/m.safetensors", str(outside / "m.safetensors")):
        facts = json.dumps({"outs": [{"md5": md5(TWO), "size": 184, "hash": "md5", "path": path}]})
        dvc.write("m.safetensors.dvc", facts)
        before = snapshot(dvc.top, outside)
        text = dvc.repo.git("diff")
        assert "is not here" in text or "lies outside the repository" in text, (path, text)
        assert "mean=" not in text
        assert snapshot(dvc.top, outside) == before
    manifest = dvc.object(json.dumps([{"md5": md5(TWO), "relpath": "m.safetensors"}]).encode(), suffix=".dir")
    dvc.pointer("link", f"- md5: {manifest}\n  size: 184\n  nfiles: 1\n")
    assert "is not here" in dvc.repo.git("diff", "--cached", "--", "link.dvc")
    assert "mean=" not in diffai("HEAD", "--", "link", cwd=dvc.top).stdout


def test_no_name_becomes_an_option_of_the_command_that_is_shown(dvc: DvcRepo) -> None:
    """The command is there to be copied, and ``--fetch`` runs it."""
    body = "outs:\n- md5: 0123456789abcdef0123456789abcdef\n  size: 184\n  path: m.safetensors\n"
    (dvc.top / "--jobs=9.dvc").write_text(body)
    (dvc.top / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  --cprofile-dump=x:\n    cmd: x\n    outs:\n    - path: n.safetensors\n"
        "      md5: 0123456789abcdef0123456789abcdef\n      size: 184\n"
    )
    dvc.repo.git("add", "-A")
    text = dvc.repo.git("diff", "--cached")
    assert "dvc fetch ./--jobs=9.dvc" in text and "dvc fetch dvc.yaml:--cprofile-dump=x" in text, text


@pytest.mark.parametrize("what", ["absent", "empty", "a file", "unreadable manifest", "a folder in place of an object"])
def test_a_cache_that_is_no_cache(dvc: DvcRepo, what: str) -> None:
    for data in (ONE, TWO):
        dvc.add("m.safetensors", data, here=False)
        dvc.add_directory("ckpt", {"a.safetensors": data})
        dvc.commit("x")
    import shutil

    if what in ("absent", "empty", "a file"):
        shutil.rmtree(dvc.cache)
        if what == "empty":
            dvc.cache.mkdir()
        elif what == "a file":
            dvc.cache.write_text("not a folder")
    else:
        for path in sorted((dvc.cache / "files").rglob("*")):
            if path.is_file() and (path.suffix == ".dir") == (what == "unreadable manifest"):
                data = path.read_bytes()
                path.unlink()
                path.write_bytes(b"\xff" + data) if what == "unreadable manifest" else path.mkdir()
    before = snapshot(dvc.top)
    said = every_command(dvc)
    if what == "unreadable manifest":
        assert "manifest is not JSON" in said and CHANGED in said
    else:
        assert "is not here (184 bytes); bring it with: dvc fetch" in said
    assert snapshot(dvc.top) == before


def test_everything_read_only(dvc: DvcRepo) -> None:
    """A repository that nothing can be written to is read as any other."""
    from powerless import drop

    for data in (ONE, TWO):
        dvc.add("m.safetensors", data)
        dvc.commit("x")
    folders = [path for path in (dvc.top, *dvc.top.rglob("*")) if path.is_dir() and not path.is_symlink()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        for words in (("HEAD~1..HEAD",), ("log", "--", "m.safetensors"), ("dvc", "diff", "HEAD~1", "HEAD")):
            done = diffai(*words, cwd=dvc.top, before=drop)
            assert done.returncode == 0 and "Traceback" not in done.stderr, (words, done.stderr)
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_lock_held_and_left_behind(dvc: DvcRepo) -> None:
    """A lock that another DVC holds, and the remains of one that died: nothing here waits for either."""
    import fcntl

    for data in (ONE, TWO):
        dvc.add("m.safetensors", data)
        dvc.commit("x")
    (dvc.top / ".dvc" / "tmp").mkdir()
    (dvc.top / ".dvc" / "tmp" / "rwlock").write_text('{"/x": {"write": {"pid": 1, "cmd": "dvc repro"}}}')
    with (dvc.top / ".dvc" / "tmp" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        before = snapshot(dvc.top)
        assert CHANGED in every_command(dvc)
        assert snapshot(dvc.top) == before
    assert os.path.exists(dvc.top / ".dvc" / "tmp" / "lock")
