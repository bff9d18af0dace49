"""Every form of pointer that DVC writes, and the traps around it, one test each; forms met elsewhere are in test_git_diff
and test_real_dvc.
"""

from __future__ import annotations

import http.server
import os
import shutil
import subprocess
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors_writer as writer
from dvcrepo import DvcRepo, RunDvc, md5
from gitrepo import Repo
from program import DIFFAI, diffai

ONE, TWO, THREE = (writer.simple(seed) for seed in (1, 2, 3))
CHANGED = "~ a.weight: mean=1.3125->2.3125"
NOTE = "(header read from the DVC remote: shapes and dtypes compared, values not)"
ALIKE = "No differences found in names, shapes and dtypes (values were not compared)"


def behind(repo: Repo, pointer: str, *words: str) -> str:
    """What stands below git's own diff of one pointer."""
    text = repo.git("diff", *(words or ("HEAD~1", "HEAD")), "--", pointer)
    lines = text.splitlines(keepends=True)
    plain = repo.git("diff", "--no-ext-diff", "--no-textconv", *(words or ("HEAD~1", "HEAD")), "--", pointer)
    assert text.startswith(plain) and plain, text
    return "".join(lines[len(plain.splitlines()) :])


# ---------------------------------------------------------------- imports and versioned clouds, by real DVC


def test_imports_and_versioned_clouds(isolated: Path, repo: Repo, real_dvc: RunDvc, s3: tuple[str, Any]) -> None:
    """import-url (plain, version-aware, directories, not downloaded, from a local path) and a version-aware remote."""
    import boto3

    endpoint, _ = s3
    client = boto3.client("s3", endpoint_url=endpoint)
    for bucket in ("source", "remote"):
        client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def dvc(*words: str) -> None:
        real_dvc(*words, cwd=repo.top)

    dvc("init", "-q")
    assert diffai("install", cwd=repo.top).returncode == 0
    for name, url in (("src", "s3://source/data"), ("rem", "s3://remote/store")):
        dvc("remote", "add", "-q", name, url)
        dvc("remote", "modify", name, "endpointurl", endpoint)
    dvc("config", "core.remote", "rem")
    dvc("remote", "modify", "rem", "version_aware", "true")
    local = repo.top.parent / "local.safetensors"
    for first, data in ((True, ONE), (False, TWO)):
        client.put_object(Bucket="source", Key="data/m.safetensors", Body=data)
        client.put_object(Bucket="source", Key="data/dir/a.safetensors", Body=data)
        local.write_bytes(data)
        repo.write({"own.safetensors": data, "folder/x.safetensors": data, "folder/y.txt": "y"})
        if first:
            dvc("import-url", "-q", "remote://src/m.safetensors", "plain.safetensors")
            dvc("import-url", "-q", "--version-aware", "remote://src/m.safetensors", "aware.safetensors")
            dvc("import-url", "-q", "--version-aware", "remote://src/dir", "awaredir")
            dvc("import-url", "-q", "--no-download", "remote://src/m.safetensors", "later.safetensors")
            dvc("import-url", "-q", str(local), "local.safetensors")
        else:
            for name in ("plain.safetensors", "aware.safetensors", "awaredir", "local.safetensors"):
                dvc("update", "-q", f"{name}.dvc")
            dvc("update", "-q", "--no-download", "later.safetensors.dvc")
        dvc("add", "-q", "own.safetensors", "folder")
        dvc("push", "-q", "own.safetensors", "folder")
        repo.git("add", "-A")
        repo.git("commit", "-qm", "version")
    assert "push: false" in (repo.top / "aware.safetensors.dvc").read_text()
    assert "version_id" in (repo.top / "folder.dvc").read_text() and ".dir" not in (repo.top / "folder.dvc").read_text()

    for name in ("plain", "aware", "own", "local"):
        assert f"  {name}.safetensors (in DVC, 184 bytes)\n    Model Changes:" in behind(
            repo, f"{name}.safetensors.dvc"
        )
    for name in ("plain", "aware", "later"):
        text = behind(repo, f"{name}.safetensors.dvc")
        assert (
            text.startswith("  imported from remote://src/m.safetensors: version ") and " -> " in text.splitlines()[0]
        )
    assert behind(repo, "local.safetensors.dvc").startswith(
        f"  imported from {local}: version {md5(ONE)} -> {md5(TWO)}\n"
    )
    assert "1 model file: 1 changed\n" in behind(repo, "awaredir.dvc")
    assert "1 model file: 1 changed; other files: 1 equal\n" in behind(repo, "folder.dvc")
    later = behind(repo, "later.safetensors.dvc")
    assert "! old: later.safetensors (imported without download) is not here\n" in later
    assert "! new: later.safetensors (imported without download) is not here; bring it with: dvc update " in later

    shutil.rmtree(repo.top / ".dvc" / "cache")
    for path in ("plain.safetensors", "aware.safetensors", "own.safetensors", "local.safetensors"):
        (repo.top / path).unlink()
    for path in ("folder", "awaredir"):
        shutil.rmtree(repo.top / path)
    assert "is not here (184 bytes)" in behind(repo, "own.safetensors.dvc")
    repo.config("diffai.remote", "header")
    for name in ("own", "plain", "aware", "later"):  # by the version in the remote, or the one that was imported
        text = behind(repo, f"{name}.safetensors.dvc")
        assert ALIKE in text and NOTE in text, (name, text)
    text = behind(repo, "folder.dvc")
    assert "1 model file: 1 alike in names, shapes and dtypes; other files: 1 equal" in text and NOTE in text
    assert "which files changed is not known" in behind(repo, "awaredir.dvc")
    repo.git("config", "diffai.remote", "full")
    for name in ("own", "plain", "aware", "later"):
        assert CHANGED in behind(repo, f"{name}.safetensors.dvc")
    repo.git("config", "--unset", "diffai.remote")
    dvc("update", "-q", "later.safetensors.dvc")  # what the hint says
    assert "(added" not in behind(repo, "later.safetensors.dvc", "HEAD")
    assert "new: safetensors, F32, 2 tensors" in behind(repo, "later.safetensors.dvc", "HEAD")


# ---------------------------------------------------------------- stages


def test_a_stage_without_its_dvc_yaml(dvc: DvcRepo) -> None:
    """Only dvc.yaml knows the wdir: without it the output is called as the lock file does, and found by its md5."""
    for data in (ONE, TWO):
        dvc.lock({"train": {"m.safetensors": (dvc.object(data), 184)}}, folder="pipe")
        dvc.commit("run")
    assert behind(dvc.repo, "pipe/dvc.lock").startswith("  train: pipe/m.safetensors (in DVC, 184 bytes)\n")
    dvc.write("pipe/dvc.yaml", "stages:\n  train:\n    wdir: ../models\n    cmd: x\n    outs: [m.safetensors]\n")
    assert behind(dvc.repo, "pipe/dvc.lock").startswith("  train: models/m.safetensors (in DVC, 184 bytes)\n")
    dvc.write("pipe/dvc.yaml", "stages: [broken\n")
    assert behind(dvc.repo, "pipe/dvc.lock").startswith("  train: pipe/m.safetensors (in DVC, 184 bytes)\n")


@pytest.mark.parametrize(
    "yaml",
    [
        "artifacts:\n  classifier:\n    path: weights\n    type: model\n",
        "stages:\n  train:\n    cmd: x\n    outs:\n    - weights:\n        type: model\n        desc: d\n        labels: [a]\n",
    ],
    ids=["artifacts", "type of an output"],
)
def test_dvc_yaml_says_which_output_is_a_model(dvc: DvcRepo, yaml: str) -> None:
    """A name without a suffix, and nothing here to look into: said to be missing, not passed over as no model."""
    for data in (ONE, TWO):
        dvc.lock({"train": {"weights": (md5(data), 184), "data": (md5(data), 184)}}, yaml=yaml)
        dvc.commit("run")
    text = behind(dvc.repo, "dvc.lock")
    assert (
        f"! new: DVC object {md5(TWO)[:8]} of weights is not here (184 bytes); bring it with: dvc fetch train" in text
    )
    assert "(1 output changed, no model)" in text and "of data" not in text


def test_free_form_meta_and_annotations_survive(dvc: DvcRepo) -> None:
    for data in (ONE, TWO):
        facts = f"- md5: {dvc.object(data)}\n  size: 184\n  desc: 'the: model'\n  labels: [a, b]\n  meta:\n    diffai: {{rtol: 1e-3}}\n"
        dvc.pointer("m.safetensors", facts, before="meta:\n  owner: [x, {y: z}]\ndesc: all of it\n")
        dvc.commit("x")
    assert "  m.safetensors (in DVC, 184 bytes)\n    Model Changes:" in behind(dvc.repo, "m.safetensors.dvc")


# ---------------------------------------------------------------- legacy


def test_a_legacy_object_is_never_judged_by_its_md5(dvc: DvcRepo) -> None:
    """DVC 2 hashed text with its line ends normalised, so that an md5 names bytes with another md5."""
    addresses = []
    for data in (ONE, TWO):
        address = md5(data + b"normalised")
        path = dvc.cache / address[:2] / address[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        dvc.pointer("m.safetensors", f"- md5: {address}\n  size: 184\n", legacy=True)
        dvc.commit("x")
        addresses.append(address)
    text = behind(dvc.repo, "m.safetensors.dvc")
    assert CHANGED in text and "damaged" not in text


def test_the_filter_finds_legacy_objects(dvc: DvcRepo, real_dvc: RunDvc) -> None:
    """``dvc diff --json`` does not say which version of DVC wrote a hash: both layouts are tried."""
    for data in (ONE, TWO):
        dvc.add("m.safetensors", data, legacy=True)
        dvc.commit("x")
    theirs = real_dvc("diff", "--json", "--show-hash", "HEAD~1", "HEAD", cwd=dvc.top).stdout
    words = [DIFFAI, "dvc", "diff", "-"]
    done = subprocess.run(words, cwd=dvc.top, input=theirs, text=True, capture_output=True, check=False)
    assert CHANGED in done.stdout, done.stdout + done.stderr


# ---------------------------------------------------------------- configuration


def test_a_section_of_ours_in_dvcs_configuration(dvc: DvcRepo, real_dvc: RunDvc) -> None:
    """DVC refuses to run then, and says so through us; what needs no DVC goes on, and we never write there."""
    before = (dvc.top / ".dvc" / "config").read_bytes()
    for data in (ONE, TWO):
        dvc.add("m.safetensors", data)
        dvc.commit("x")
    assert diffai("install", cwd=dvc.top).returncode == 0 and (dvc.top / ".dvc" / "config").read_bytes() == before
    real_dvc("status", "-q", cwd=dvc.top)
    (dvc.top / ".dvc" / "config").write_text("[diffai]\n    epsilon = 1\n")
    assert real_dvc("status", cwd=dvc.top, check=False).returncode == 251
    done = diffai("dvc", "diff", "HEAD~1", cwd=dvc.top)
    assert done.returncode == 2 and "exit code 251" in done.stderr and "extra keys not allowed" in done.stderr
    assert CHANGED in diffai("dvc", "diff", "HEAD~1", "HEAD", cwd=dvc.top).stdout
    assert CHANGED in behind(dvc.repo, "m.safetensors.dvc")


def test_an_output_with_a_remote_of_its_own(dvc: DvcRepo, tmp_path: Path) -> None:
    pytest.importorskip("dvc", reason="dvc is not installed")
    for data in (ONE, TWO):
        dvc.pointer("m.safetensors", f"- md5: {md5(data)}\n  size: 184\n  remote: second\n")
        dvc.commit("x")
        path = tmp_path / "second" / "files" / "md5" / md5(data)[:2] / md5(data)[2:]
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    (tmp_path / "first").mkdir()
    remotes = "".join(f"['remote \"{name}\"']\n    url = {tmp_path / name}\n" for name in ("first", "second"))
    (dvc.top / ".dvc" / "config").write_text(f"[core]\n    remote = first\n{remotes}")
    dvc.repo.config("diffai.remote", "full")
    assert CHANGED in behind(dvc.repo, "m.safetensors.dvc")


def test_a_linked_work_tree_uses_the_main_ones_local_configuration(dvc: DvcRepo, tmp_path: Path) -> None:
    """Credentials and URLs are often in config.local, which git does not give to a linked work tree."""
    pytest.importorskip("dvc", reason="dvc is not installed")
    for data in (ONE, TWO):
        dvc.add("m.safetensors", data, here=False)
        dvc.commit("x")
    shutil.move(dvc.cache, tmp_path / "remote")
    dvc.write(".dvc/config.local", f"[core]\n    remote = here\n['remote \"here\"']\n    url = {tmp_path / 'remote'}\n")
    dvc.repo.git("worktree", "add", "-q", str(tmp_path / "linked"), "HEAD")
    dvc.repo.config("diffai.remote", "header")
    text = behind(Repo(tmp_path / "linked"), "m.safetensors.dvc")
    assert ALIKE in text and NOTE in text


def test_a_remote_without_byte_ranges(dvc: DvcRepo, tmp_path: Path) -> None:
    """Python's own HTTP server answers a range with the whole file: that is no header, and is said or read right."""
    pytest.importorskip("dvc_http", reason="dvc is not installed")
    for data in (ONE, TWO):
        dvc.add("m.safetensors", data, here=False)
        dvc.commit("x")
    shutil.move(dvc.cache, tmp_path / "remote")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(tmp_path / "remote"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        (dvc.top / ".dvc" / "config").write_text(f"[core]\n    remote = h\n['remote \"h\"']\n    url = {url}\n")
        for mode, said in (("full", CHANGED), ("header", ALIKE)):
            dvc.repo.config("diffai.remote", mode)
            text = behind(dvc.repo, "m.safetensors.dvc")
            assert said in text or "! not compared" in text, text
            assert mode == "header" or said in text
        server.shutdown()


def test_environment_variables_of_dvc(dvc: DvcRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (ONE, TWO):
        dvc.add("m.safetensors", data, here=False)
        dvc.commit("x")
    shutil.move(dvc.cache, tmp_path / "shared")
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config").write_text(f"[cache]\n    dir = {os.path.relpath(tmp_path / 'shared', folder)}\n")
        monkeypatch.setenv(name, str(folder))
        assert CHANGED in behind(dvc.repo, "m.safetensors.dvc"), name
        (folder / "config").unlink()
