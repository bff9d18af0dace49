"""``git diff`` and ``git show`` on DVC pointers, every form of pointer and place of the cache, without DVC."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import safetensors_writer as writer
from dvcrepo import DvcRepo, md5
from gitrepo import Repo, lfs_pointer
from program import diffai

ONE, TWO, THREE, FOUR = (writer.simple(seed) for seed in (1, 2, 3, 4))
CHANGED = "      ~ a.weight: mean=1.3125->2.3125"
MISSING = "is not here"


def versions(dvc: DvcRepo, path: str = "m.safetensors", **options: bool) -> None:
    """Two committed versions of one tracked model."""
    dvc.add(path, ONE, **options)
    dvc.commit("one")
    dvc.add(path, TWO, **options)
    dvc.commit("two")


# ---------------------------------------------------------------- one file


def test_text_diff_first_then_tensors(dvc: DvcRepo) -> None:
    versions(dvc)
    text = dvc.repo.git("diff", "HEAD~1", "HEAD")
    assert text == (
        "diff --git a/m.safetensors.dvc b/m.safetensors.dvc\n"
        f"index {dvc.repo.rev_parse('HEAD~1:m.safetensors.dvc')[:7]}"
        f"..{dvc.repo.rev_parse('HEAD:m.safetensors.dvc')[:7]} 100644\n"
        "--- a/m.safetensors.dvc\n"
        "+++ b/m.safetensors.dvc\n"
        "@@ -1,5 +1,5 @@\n"
        " outs:\n"
        f"-- md5: {md5(ONE)}\n"
        f"+- md5: {md5(TWO)}\n"
        "   size: 184\n"
        "   hash: md5\n"
        "   path: m.safetensors\n"
        "  m.safetensors (in DVC, 184 bytes)\n"
        "    Model Changes:\n"
        "      No structural changes\n"
        "      Parameters: 12 -> 12 (0% change)\n"
        "      Weight updates: 100% of parameters modified\n"
        "      ~ a.bias: mean=2.3125->3.3125, std=0.2135->0.2135\n"
        "      ~ a.weight: mean=1.3125->2.3125, std=0.2135->0.2135\n"
    )


@pytest.mark.parametrize("options", [(), ("-R",)])
def test_the_output_is_a_patch(dvc: DvcRepo, options: tuple[str, ...]) -> None:
    versions(dvc)
    dvc.add("n.safetensors", ONE)
    dvc.repo.git("rm", "-q", "m.safetensors.dvc")
    dvc.write("z.txt", "plain\n")
    dvc.stage("z.txt")
    dvc.commit("added, deleted, and text behind both")
    patch = dvc.repo.git("diff", *options, "HEAD~2", "HEAD")
    dvc.repo.git("checkout", "-q", "-f", "HEAD" if options else "HEAD~2")
    done = subprocess.run(["git", "apply", "--index"], cwd=dvc.top, input=patch, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert dvc.repo.git("diff", "--cached", "--no-ext-diff", "HEAD~2" if options else "main") == ""


def test_work_tree_index_and_object_names(dvc: DvcRepo) -> None:
    versions(dvc)
    dvc.write("m.safetensors.dvc", (dvc.top / "m.safetensors.dvc").read_text().replace(md5(TWO), md5(THREE)))
    dvc.object(THREE)
    text = dvc.repo.git("diff")
    assert "mean=2.3125->3.3125" in text
    plain = dvc.repo.git("diff", "--no-ext-diff", "--no-textconv")
    assert text.startswith("".join(plain.splitlines(keepends=True)))  # byte for byte what git prints itself
    dvc.repo.git("add", "-A")
    assert "mean=2.3125->3.3125" in dvc.repo.git("diff", "--cached")
    assert dvc.repo.git("diff") == ""


def test_added_deleted_renamed_and_mode(dvc: DvcRepo) -> None:
    dvc.add("m.safetensors", ONE)
    dvc.commit("one")
    added = dvc.repo.git("diff", "HEAD~1", "HEAD", "--", "m.safetensors.dvc")
    assert "  m.safetensors (added to DVC, 184 bytes)\n    Model Changes: added, safetensors, F32, 2 tensors" in added
    removed = dvc.repo.git("diff", "HEAD", "HEAD~1", "--", "m.safetensors.dvc")
    assert "  m.safetensors (removed from DVC, 184 bytes)\n    Model Changes: removed" in removed
    dvc.repo.git("mv", "m.safetensors.dvc", "n.safetensors.dvc")
    text = (dvc.top / "n.safetensors.dvc").read_text()
    dvc.write("n.safetensors.dvc", text.replace("m.safetensors", "n.safetensors"))
    dvc.stage("n.safetensors.dvc")
    renamed = dvc.repo.git("diff", "-M30", "--cached")
    assert "rename from m.safetensors.dvc" in renamed
    assert "  m.safetensors -> n.safetensors (in DVC, 184 bytes)\n    No differences found" in renamed


def test_show_and_log_print_the_pointer_and_its_tensors(dvc: DvcRepo) -> None:
    versions(dvc)
    text = dvc.repo.git("show")
    assert f"-- md5: {md5(ONE)}\n+- md5: {md5(TWO)}\n   size: 184\n   hash: md5\n   path: m.safetensors\n" in text
    assert " # m.safetensors\n-# safetensors: 2 tensors, 12 parameters, 184 bytes, xxh3:" in text
    assert "-a.weight  F32  [2, 3]  mean=1.3125 " in text
    assert "+a.weight  F32  [2, 3]  mean=2.3125 " in text
    assert text in dvc.repo.git("log", "-1", "-p")
    assert dvc.repo.git("cat-file", "--textconv", "HEAD:m.safetensors.dvc").startswith(
        dvc.repo.git("cat-file", "-p", "HEAD:m.safetensors.dvc")
    )


# ---------------------------------------------------------------- the three states


def test_workspace_only(dvc: DvcRepo) -> None:
    dvc.add("m.safetensors", ONE)
    dvc.commit("one")
    dvc.add("m.safetensors", TWO, cached=False)
    text = dvc.repo.git("diff", "--cached")
    assert CHANGED in text
    assert "(new side: file of the workspace, which is not in the DVC cache; dvc commit puts it there)" in text


def test_a_workspace_file_of_another_content_does_not_stand_in(dvc: DvcRepo) -> None:
    dvc.add("m.safetensors", ONE)
    dvc.commit("one")
    dvc.add("m.safetensors", TWO, cached=False)
    dvc.write("m.safetensors", THREE)  # as long, other values
    text = dvc.repo.git("diff", "--cached")
    assert "->" not in text.partition("path:")[2].replace("184 bytes", "")
    assert f"! new: DVC object {md5(TWO)[:8]} of m.safetensors {MISSING} (184 bytes)" in text


def test_not_pulled_names_size_and_command(dvc: DvcRepo) -> None:
    versions(dvc, cached=False, here=False)
    text = dvc.repo.git("diff", "HEAD~1", "HEAD")
    assert (
        f"    ! old: DVC object {md5(ONE)[:8]} of m.safetensors is not here (184 bytes); "
        "bring it with: dvc fetch --all-commits m.safetensors.dvc\n"
        f"    ! new: DVC object {md5(TWO)[:8]} of m.safetensors is not here (184 bytes); "
        "bring it with: dvc fetch m.safetensors.dvc\n"
        "    ! not compared\n"
    ) in text
    show = dvc.repo.git("show")
    assert f"-# m.safetensors: DVC object {md5(ONE)[:8]} of m.safetensors is not here (184 bytes)" in show


def test_one_side_not_pulled(dvc: DvcRepo) -> None:
    dvc.add("m.safetensors", ONE, cached=False)
    dvc.commit("one")
    dvc.add("m.safetensors", TWO)
    text = dvc.repo.git("diff", "--cached")
    assert "! old: DVC object" in text
    assert "new: safetensors, F32, 2 tensors, 12 parameters, 184 bytes" in text
    assert "! not compared" in text


def test_a_damaged_object_is_said(dvc: DvcRepo) -> None:
    versions(dvc)
    path = dvc.cache / "files" / "md5" / md5(TWO)[:2] / md5(TWO)[2:]
    path.write_bytes(TWO[:-5])
    text = dvc.repo.git("diff", "HEAD~1", "HEAD")
    assert "! new: " in text and "the object in the DVC cache has 179 bytes instead of 184: it is damaged" in text


# ---------------------------------------------------------------- caches


def test_legacy_layout(dvc: DvcRepo) -> None:
    versions(dvc, legacy=True, here=False)
    assert CHANGED in dvc.repo.git("diff", "HEAD~1", "HEAD")


def test_legacy_pointer_after_the_cache_was_migrated(dvc: DvcRepo) -> None:
    versions(dvc, legacy=True, here=False)
    (dvc.cache / "files" / "md5").mkdir(parents=True)
    for address in (md5(ONE), md5(TWO)):
        shutil.move(dvc.cache / address[:2], dvc.cache / "files" / "md5" / address[:2])
    assert CHANGED in dvc.repo.git("diff", "HEAD~1", "HEAD")


@pytest.mark.parametrize("level", ["system", "global", "repository", "local", "home"])
def test_external_cache_from_every_level(dvc: DvcRepo, level: str, isolated: Path, tmp_path: Path) -> None:
    versions(dvc, here=False)
    shutil.move(dvc.cache, tmp_path / "shared")
    assert MISSING in dvc.repo.git("diff", "HEAD~1", "HEAD")
    path, value = {
        "system": (isolated / "dvc" / "system" / "config", str(tmp_path / "shared")),
        "global": (isolated / "dvc" / "global" / "config", str(tmp_path / "shared")),
        "repository": (dvc.top / ".dvc" / "config", "../../shared"),  # relative to the folder of the file
        "local": (dvc.top / ".dvc" / "config.local", f"'{tmp_path / 'shared'}'  # ours"),
        "home": (dvc.top / ".dvc" / "config.local", "~/cache"),
    }[level]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"['remote \"x\"']\n    url = s3://bucket\n[cache]\n    dir = {value}\n    type = symlink\n")
    if level == "home":
        shutil.move(tmp_path / "shared", isolated / "cache")
    assert CHANGED in dvc.repo.git("diff", "HEAD~1", "HEAD")


def test_a_stronger_level_wins_and_unknown_sections_are_passed_over(dvc: DvcRepo, tmp_path: Path) -> None:
    versions(dvc, here=False)
    shutil.move(dvc.cache, tmp_path / "shared")
    (dvc.top / ".dvc" / "config").write_text(
        "[diffai]\n  x = 1\nnonsense\n[[nested]]\n= empty\n[cache]\ndir = /nowhere\n[db]\nno = 1\n"
    )
    (dvc.top / ".dvc" / "config.local").write_text(f"[cache]\ndir = {tmp_path / 'shared'}\n")
    assert CHANGED in dvc.repo.git("diff", "HEAD~1", "HEAD")


def test_cache_of_a_local_remote(dvc: DvcRepo, tmp_path: Path) -> None:
    versions(dvc, here=False)
    shutil.move(dvc.cache, tmp_path / "shared")
    (dvc.top / ".dvc" / "config").write_text(
        f"[cache]\n    local = shared\n['remote \"shared\"']\n    url = {tmp_path / 'shared'}\n"
    )
    assert CHANGED in dvc.repo.git("diff", "HEAD~1", "HEAD")


def test_links_of_the_work_tree_into_the_cache(dvc: DvcRepo, tmp_path: Path) -> None:
    """``cache.type = symlink``; and a link to anywhere else is not followed."""
    dvc.add("m.safetensors", ONE)
    dvc.commit("one")
    dvc.add("m.safetensors", TWO, cached=False)
    (dvc.top / "m.safetensors").unlink()
    (tmp_path / "elsewhere").write_bytes(TWO)
    (dvc.top / "m.safetensors").symlink_to(tmp_path / "elsewhere")
    assert MISSING in dvc.repo.git("diff", "--cached")
    dvc.object(TWO)
    (dvc.top / "m.safetensors").unlink()
    (dvc.top / "m.safetensors").symlink_to(dvc.cache / "files" / "md5" / md5(TWO)[:2] / md5(TWO)[2:])
    assert CHANGED in dvc.repo.git("diff", "--cached")


def test_linked_work_tree_uses_the_main_ones_cache(dvc: DvcRepo, tmp_path: Path) -> None:
    versions(dvc)
    (dvc.top / ".dvc" / "config.local").write_text(f"[cache]\ndir = {tmp_path / 'shared'}\n")
    shutil.move(dvc.cache, tmp_path / "shared")
    dvc.repo.git("worktree", "add", "-q", str(tmp_path / "linked"), "HEAD")
    linked = Repo(tmp_path / "linked")
    assert CHANGED in linked.git("diff", "HEAD~1", "HEAD")
    assert "mean=2.3125" in linked.git("show")
    assert not (tmp_path / "linked" / ".dvc" / "cache").exists()


def test_bare_repository_says_that_it_has_no_cache(dvc: DvcRepo, tmp_path: Path) -> None:
    versions(dvc)
    dvc.repo.clone(tmp_path / "bare.git", "--bare")
    bare = Repo(tmp_path / "bare.git")
    assert diffai("install", cwd=bare.top).returncode == 0
    text = bare.git("diff", "HEAD~1", "HEAD")
    assert "a bare repository has no DVC cache of its own" in text
    assert "! not compared" in text


def test_bare_repository_with_an_absolute_cache(dvc: DvcRepo, tmp_path: Path) -> None:
    shutil.copytree(dvc.cache, tmp_path / "shared") if dvc.cache.exists() else None
    dvc.write(".dvc/config", f"[cache]\ndir = {tmp_path / 'shared'}\n")
    dvc.stage(".dvc/config")
    versions(dvc)
    shutil.move(dvc.cache, tmp_path / "shared")
    dvc.repo.clone(tmp_path / "bare.git", "--bare")
    bare = Repo(tmp_path / "bare.git")
    assert diffai("install", cwd=bare.top).returncode == 0
    assert CHANGED in bare.git("diff", "HEAD~1", "HEAD")


# ---------------------------------------------------------------- subrepos, --relative, GIT_PREFIX


@pytest.fixture
def monorepo(dvc: DvcRepo) -> DvcRepo:
    """A DVC repository at the top and one in ``sub``, both with an ``m.safetensors.dvc``."""
    sub = DvcRepo(dvc.repo, "sub")
    dvc.add("m.safetensors", THREE, here=False)
    sub.add("m.safetensors", ONE, here=False)
    dvc.commit("one")
    dvc.add("m.safetensors", FOUR, here=False)
    sub.add("m.safetensors", TWO, here=False)
    dvc.commit("two")
    return sub


def test_subrepo_has_a_cache_of_its_own(monorepo: DvcRepo) -> None:
    shutil.rmtree(monorepo.repo.top / ".dvc" / "cache")
    text = monorepo.repo.git("diff", "HEAD~1", "HEAD", "--", "sub")
    assert "  sub/m.safetensors (in DVC, 184 bytes)\n" in text
    assert CHANGED in text
    shutil.rmtree(monorepo.cache)
    text = monorepo.repo.git("diff", "HEAD~1", "HEAD", "--", "sub")
    assert "bring it with: dvc --cd sub fetch m.safetensors.dvc" in text


def test_relative_does_not_pick_the_pointer_of_the_top(monorepo: DvcRepo) -> None:
    shutil.rmtree(monorepo.repo.top / ".dvc" / "cache")
    for words in (("HEAD~1", "HEAD"), ("--cached", "HEAD~1")):
        text = monorepo.repo.git("diff", "--relative", *words, cwd=monorepo.top)
        assert "diff --git a/m.safetensors.dvc" in text
        assert CHANGED in text, words
    pointer = monorepo.top / "m.safetensors.dvc"
    pointer.write_text(pointer.read_text().replace("184", "0184"))
    assert "Model Changes" not in monorepo.repo.git("diff", "--relative", cwd=monorepo.top)
    monorepo.repo.git("checkout", "-q", ".")
    shutil.rmtree(monorepo.cache)
    text = monorepo.repo.git("diff", "--relative", "HEAD~1", "HEAD", cwd=monorepo.top)
    assert "dvc --cd sub fetch m.safetensors.dvc" in text


def test_from_a_folder_without_relative(monorepo: DvcRepo) -> None:
    text = monorepo.repo.git("diff", "HEAD~1", "HEAD", cwd=monorepo.top)
    assert "  m.safetensors (in DVC, 184 bytes)\n" in text
    assert "mean=3.3125->4.3125" in text
    assert "  sub/m.safetensors (in DVC, 184 bytes)\n" in text
    assert CHANGED in text
    shutil.rmtree(monorepo.repo.top / ".dvc" / "cache")
    (monorepo.top / "m.safetensors.dvc").write_bytes((monorepo.repo.top / "m.safetensors.dvc").read_bytes())
    monorepo.object(FOUR)
    monorepo.stage("m.safetensors.dvc")
    assert "mean=2.3125->4.3125" in monorepo.repo.git("diff", "--relative", "--cached", cwd=monorepo.top)


def test_textconv_finds_the_caches_of_subrepos(monorepo: DvcRepo) -> None:
    shutil.rmtree(monorepo.repo.top / ".dvc" / "cache")
    assert "-a.weight  F32  [2, 3]  mean=1.3125" in monorepo.repo.git("show", "--", "sub")


# ---------------------------------------------------------------- directories


def test_directory_by_relpath(dvc: DvcRepo) -> None:
    files = {"a.safetensors": ONE, "same.safetensors": THREE, "old.safetensors": ONE, "notes.txt": b"1", "x.csv": b"2"}
    dvc.add_directory("ckpt", files)
    dvc.commit("one")
    dvc.add_directory("ckpt", {"a.safetensors": TWO, "same.safetensors": THREE, "sub/new.safetensors": ONE,
                               "notes.txt": b"3", "x.csv": b"2", "y.csv": b"4"})  # fmt: skip
    text = dvc.repo.git("diff", "--cached")
    behind = text[text.index("  ckpt/ (") :]
    assert behind == (
        "  ckpt/ (in DVC, 5 -> 6 files, 554 -> 555 bytes)\n"
        "    a.safetensors\n"
        "      Model Changes:\n"
        "        No structural changes\n"
        "        Parameters: 12 -> 12 (0% change)\n"
        "        Weight updates: 100% of parameters modified\n"
        "        ~ a.bias: mean=2.3125->3.3125, std=0.2135->0.2135\n"
        "        ~ a.weight: mean=1.3125->2.3125, std=0.2135->0.2135\n"
        "\n"
        "    - old.safetensors: safetensors, F32, 2 tensors, 12 parameters, 184 bytes\n"
        "    + sub/new.safetensors: safetensors, F32, 2 tensors, 12 parameters, 184 bytes\n"
        "    4 model files: 1 changed, 1 added, 1 removed, 1 unchanged; other files: 1 differ, 1 added, 1 equal\n"
    ).replace("554 -> 555 bytes", behind.partition(" files, ")[2].partition(")")[0])


def test_missing_manifest_is_never_no_change(dvc: DvcRepo) -> None:
    dvc.add_directory("ckpt", {"a.safetensors": ONE})
    dvc.commit("one")
    dvc.add_directory("ckpt", {"a.safetensors": TWO}, cached=False)
    text = dvc.repo.git("diff", "--cached")
    assert "    ! new: the list of files of ckpt/ (DVC manifest " in text
    assert "bring it with: dvc fetch ckpt.dvc" in text
    assert "    ! which files changed is not known" in text
    assert "the list of files of" in dvc.repo.git("cat-file", "--textconv", ":ckpt.dvc")


def test_directory_with_missing_objects(dvc: DvcRepo) -> None:
    dvc.add_directory("ckpt", {"a.safetensors": ONE}, objects=False)
    dvc.commit("one")
    dvc.add_directory("ckpt", {"a.safetensors": TWO})
    text = dvc.repo.git("diff", "--cached")
    assert f"! old: DVC object {md5(ONE)[:8]} of ckpt/a.safetensors is not here" in text
    assert "1 model file: 1 not readable" in text


def test_shards_of_a_directory_are_one_model(dvc: DvcRepo) -> None:
    def shards(seed: int, count: int) -> dict[str, bytes]:
        names = ["x.w", "y.w"]
        parts = {}
        for i in range(count):
            mine = [n for k, n in enumerate(names) if k % count == i]
            full = {n: names.index(n) for n in mine}
            tensors = {n: ("F32", (2,), bytes([seed + at, 0, 0, 64] * 2)) for n, at in full.items()}
            parts[f"model-{i + 1:05}-of-{count:05}.safetensors"] = writer.build(tensors)
        return parts

    dvc.add_directory("ckpt", shards(1, 2))
    dvc.commit("one")
    dvc.add_directory("ckpt", shards(1, 1) | {"config.json": b"{}"})
    text = dvc.repo.git("diff", "--cached")
    assert "1 model file: 1 unchanged; other files: 1 added" in text
    dvc.add_directory("ckpt", shards(9, 2))
    text = dvc.repo.git("diff", "--cached")
    assert "    model.safetensors\n      Model Changes:" in text
    index = {"weight_map": {"x.w": "model-00001-of-00002.safetensors", "y.w": "model-00002-of-00002.safetensors"}}
    dvc.add_directory("ckpt", shards(9, 2) | {"model.safetensors.index.json": json.dumps(index).encode()})
    text = dvc.repo.git("diff", "--cached")
    assert "    model.safetensors\n      Model Changes:" in text


def test_file_becomes_a_directory(dvc: DvcRepo) -> None:
    dvc.add("m.safetensors", ONE)
    dvc.commit("one")
    dvc.add_directory("m.safetensors", {"a.safetensors": ONE})
    text = dvc.repo.git("diff", "--cached")
    assert "is a file on this side, and a directory on the other" in text


# ---------------------------------------------------------------- dvc.lock


YAML = """stages:
  train:
    wdir: ../models
    cmd: python train.py
    outs: [m.safetensors]
  evaluate:
    cmd: python evaluate.py
    metrics: [scores.json: {cache: false}]
  sweep:
    matrix: {seed: [a, b]}
    cmd: python train.py ${item.seed}
"""


def test_lock_file_every_stage(dvc: DvcRepo) -> None:
    for data in (ONE, TWO, THREE, b"csv"):
        dvc.object(data)
    base = {"sweep@a": {"a.safetensors": (md5(ONE), 184)}, "sweep@b": {"b.safetensors": (md5(THREE), 184)},
            "prepare": {"data.csv": (md5(b"csv"), 3)}}  # fmt: skip
    dvc.lock({"train": {"m.safetensors": (md5(ONE), 184)}, **base}, folder="pipe", yaml=YAML)
    dvc.commit("one")
    dvc.lock({"train": {"m.safetensors": (md5(TWO), 184)}, **base, "sweep@a": {"a.safetensors": (md5(THREE), 184)},
              "prepare": {"data.csv": (md5(b"other"), 5)}, "extra": {"e.safetensors": (md5(ONE), 184)}},
             folder="pipe", yaml=YAML)  # fmt: skip
    text = dvc.repo.git("diff", "--cached")
    assert "  train: models/m.safetensors (in DVC, 184 bytes)\n" in text
    assert CHANGED in text
    assert "  sweep@a: pipe/a.safetensors (in DVC, 184 bytes)\n" in text
    assert "  extra: pipe/e.safetensors (added to DVC, 184 bytes)\n" in text
    assert "  (1 output changed, no model; 1 output unchanged)\n" in text
    shown = dvc.repo.git("cat-file", "--textconv", ":pipe/dvc.lock")
    assert "# train: m.safetensors\n# safetensors: 2 tensors" in shown
    assert "# prepare: data.csv: not called like a model\n" in shown


def test_lock_file_of_schema_1(dvc: DvcRepo) -> None:
    text = "train:\n  cmd: python train.py\n  outs:\n  - path: m.safetensors\n    md5: {}\n    size: 184\n"
    dvc.write("dvc.lock", text.format(dvc.object(ONE, legacy=True)))
    dvc.stage("dvc.lock")
    dvc.commit("one")
    dvc.write("dvc.lock", text.format(dvc.object(TWO, legacy=True)))
    assert "  train: m.safetensors (in DVC, 184 bytes)\n" + " " * 4 + "Model Changes:" in dvc.repo.git("diff")


def test_stage_command_names_the_stage(dvc: DvcRepo) -> None:
    dvc.lock({"train": {"m.safetensors": (md5(ONE), 184)}}, folder="pipe")
    assert "bring it with: dvc fetch pipe/dvc.yaml:train" in dvc.repo.git("diff", "--cached")


def test_uncached_output_comes_from_git(dvc: DvcRepo) -> None:
    """``cache: false`` is only in dvc.yaml; the lock file names an md5 that no cache has."""
    for data in (ONE, TWO):
        dvc.write("m.safetensors", data)
        dvc.stage("m.safetensors")
        dvc.lock({"train": {"m.safetensors": (md5(data), 184)}})
        dvc.commit("one")
    dvc.write("m.safetensors", THREE)
    text = dvc.repo.git("diff", "HEAD~1", "HEAD", "--", "dvc.lock")
    assert "  train: m.safetensors (in DVC, 184 bytes)\n    Model Changes:" in text
    assert CHANGED in text


# ---------------------------------------------------------------- imports, clouds, other keys


IMPORT = """md5: {pointer}
frozen: true
deps:
- path: models/m.safetensors
  repo:
    url: https://example.com/models.git
    rev: {rev}
    rev_lock: {lock}
"""


def test_import_from_a_repository(dvc: DvcRepo) -> None:
    for data, rev, lock in ((ONE, "v1", "a" * 40), (TWO, "v2", "b" * 40)):
        dvc.pointer("m.safetensors", f"- md5: {dvc.object(data)}\n  size: 184\n",
                    before=IMPORT.format(pointer=md5(data + b"x"), rev=rev, lock=lock))  # fmt: skip
        dvc.commit("import")
    text = dvc.repo.git("diff", "HEAD~1", "HEAD")
    assert "  imported from https://example.com/models.git: commit aaaaaaa -> bbbbbbb (rev v1 -> v2)\n".replace(
        " (rev v1 -> v2)", ", rev v1 -> v2"
    ) in text  # fmt: skip
    assert CHANGED in text


def test_import_without_download(dvc: DvcRepo) -> None:
    dvc.add("m.safetensors", ONE)
    dvc.commit("one")
    before = "frozen: true\ndeps:\n- path: s3://b/m.safetensors\n  etag: e1\n  size: 184\n"
    dvc.write("m.safetensors.dvc", before + "outs:\n- hash: md5\n  path: m.safetensors\n")
    text = dvc.repo.git("diff")
    assert "! new: m.safetensors (imported without download) is not here; bring it with: dvc update m.saf" in text


def test_import_url_moves_to_another_version(dvc: DvcRepo) -> None:
    for data, tag in ((ONE, "e1"), (TWO, "e2")):
        before = f"frozen: true\ndeps:\n- path: s3://b/m.safetensors\n  etag: {tag}\n  size: 184\n"
        dvc.pointer("m.safetensors", f"- md5: {dvc.object(data)}\n  size: 184\n", before=before)
        dvc.commit("import")
    text = dvc.repo.git("diff", "HEAD~1", "HEAD")
    assert "  imported from s3://b/m.safetensors: version e1 -> e2\n" in text
    assert CHANGED in text


def test_cloud_versioned_directory_has_its_list_inline(dvc: DvcRepo) -> None:
    def pointer(data: bytes, version: str) -> str:
        return (
            f"outs:\n- hash: md5\n  path: ckpt\n  size: 184\n  nfiles: 1\n  files:\n  - relpath: a.safetensors\n"
            f"    md5: {dvc.object(data)}\n    size: 184\n    cloud:\n      store:\n        etag: e\n"
            f"        version_id: {version}\n"
        )

    dvc.write("ckpt.dvc", pointer(ONE, "v1"))
    dvc.stage("ckpt.dvc")
    dvc.commit("one")
    dvc.write("ckpt.dvc", pointer(TWO, "v2"))
    text = dvc.repo.git("diff")
    assert "  ckpt/ (in DVC, 1 file, 184 bytes)\n    a.safetensors\n      Model Changes:" in text


@pytest.mark.parametrize("key", ["etag", "checksum"])
def test_legacy_outputs_without_md5_show_their_key(dvc: DvcRepo, key: str) -> None:
    for value in ("1234", "5678"):
        dvc.write("m.safetensors.dvc", f"outs:\n- {key}: '{value}'\n  path: m.safetensors\n")
        dvc.stage("m.safetensors.dvc")
        dvc.commit("x")
    text = dvc.repo.git("diff", "HEAD~1", "HEAD")
    assert f"! old: m.safetensors (DVC knows it by its {key} 1234 only) is not here\n" in text


def test_type_model_and_meta(dvc: DvcRepo) -> None:
    for data in (ONE, TWO):
        out = f"outs:\n- md5: {dvc.object(data)}\n  size: 184\n  hash: md5\n  path: weights\n  type: model\n"
        dvc.write("weights.dvc", out + "  desc: the model\n  meta: {a: 1}\nmeta:\n  diffai: {rtol: 0.1}\n")
        dvc.stage("weights.dvc")
        dvc.commit("x")
    assert "  weights (in DVC, 184 bytes)\n    Model Changes:" in dvc.repo.git("diff", "HEAD~1", "HEAD")


# ---------------------------------------------------------------- bad input


def test_no_model_behind_the_pointer(dvc: DvcRepo) -> None:
    dvc.add("data.csv", b"a,b\n1,2\n")
    dvc.commit("one")
    dvc.add("data.csv", b"a,b\n1,3\n")
    text = dvc.repo.git("diff", "--cached")
    assert text.endswith("  (1 output changed, no model)\n")


def test_md5_of_another_kind_of_file(dvc: DvcRepo) -> None:
    dvc.add("m.safetensors", ONE)
    dvc.commit("one")
    dvc.add("m.safetensors", b"<html>nothing</html>" * 20)
    text = dvc.repo.git("diff", "--cached")
    assert "! new: m.safetensors: " in text and "is an HTML page, not a model" in text
    assert "old: safetensors, F32, 2 tensors" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("outs: [\n", "not valid YAML at line 2"),
        ("outs:\n- md5: 1\n  path: [x\n", "not valid YAML"),
        ("- a\n- b\n", "is no DVC pointer (not a mapping)"),
        ("outs: 5\n", "its outs are not a list"),
        ("outs:\n- md5: abc\n", "an out has no path"),
        ("outs:\n- md5: ../../../../etc/passwd\n  path: m.safetensors\n", "is no content address"),
        ("outs:\n- md5: 0123456789abcdef0123456789ABCDEF\n  path: m.safetensors\n", "is no content address"),
        (f"outs:\n- md5: {md5(ONE)}\n  path: ../../etc/passwd\n", "lies outside the repository"),
        (f"outs:\n- md5: {md5(ONE)}\n  path: /etc/passwd\n", "lies outside the repository"),
        (f"wdir: ../..\nouts:\n- md5: {md5(ONE)}\n  path: m.safetensors\n", "lies outside the repository"),
        ("a: &a [*a]\nouts:\n- path: {x: 1}\n  md5: 1\n", "alias *a stands for something that contains it"),
        ("\x00\x01binary", ""),
        ("[" * 5000, "deeper than 64 levels at line 1"),
    ],
)
def test_pointers_that_make_no_sense(dvc: DvcRepo, text: str, said: str) -> None:
    dvc.add("m.safetensors", ONE)
    dvc.add("z.safetensors", ONE)
    dvc.commit("one")
    dvc.write("m.safetensors.dvc", text)
    dvc.write("z.safetensors.dvc", (dvc.top / "z.safetensors.dvc").read_text().replace(md5(ONE), dvc.object(TWO)))
    before = snapshot(dvc)
    out = dvc.repo.git("diff")
    assert said in out
    assert CHANGED in out  # the file behind it is still shown
    assert "root:" not in out
    dvc.repo.git("add", "-A")
    assert dvc.repo.run("diff", "--cached", "--no-ext-diff", "--textconv").returncode == 0
    assert snapshot(dvc) == before


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b"not json", "the directory's manifest is not JSON"),
        (b"{}", "is not a list of files"),
        (b"[1]", "is not a list of files"),
        (b'[{"md5": "%s", "relpath": "../../m"}]' % md5(ONE).encode(), "names a file outside of it"),
        (b'[{"md5": "%s", "relpath": "/etc/passwd"}]' % md5(ONE).encode(), "names a file outside of it"),
        (b'[{"md5": "%s", "relpath": "a/../../../x"}]' % md5(ONE).encode(), "names a file outside of it"),
        (b"[" * 100_000, "the directory's manifest is not JSON"),
    ],
)
def test_manifests_that_make_no_sense(dvc: DvcRepo, manifest: bytes, said: str) -> None:
    dvc.add_directory("ckpt", {"a.safetensors": ONE})
    dvc.commit("one")
    dvc.pointer("ckpt", f"- md5: {dvc.object(manifest, suffix='.dir')}\n  size: 1\n  nfiles: 1\n")
    text = dvc.repo.git("diff", "--cached")
    assert said in text
    assert "! which files changed is not known" in text
    assert said in dvc.repo.git("cat-file", "--textconv", ":ckpt.dvc")


def test_objects_that_are_links_or_folders_are_not_opened(dvc: DvcRepo, tmp_path: Path) -> None:
    versions(dvc, here=False)
    path = dvc.cache / "files" / "md5" / md5(TWO)[:2] / md5(TWO)[2:]
    path.unlink()
    (tmp_path / "secret").write_bytes(TWO)
    path.symlink_to(tmp_path / "secret")
    assert MISSING in dvc.repo.git("diff", "HEAD~1", "HEAD")
    path.unlink()
    path.mkdir()
    assert MISSING in dvc.repo.git("diff", "HEAD~1", "HEAD")
    path.rmdir()
    os.mkfifo(path)
    assert MISSING in dvc.repo.git("diff", "HEAD~1", "HEAD")


def test_no_dvc_folder_at_all(repo: Repo, isolated: Path) -> None:
    assert diffai("install", cwd=repo.top).returncode == 0
    text = f"outs:\n- md5: {md5(ONE)}\n  size: 184\n  hash: md5\n  path: m.safetensors\n"
    repo.commit({"m.safetensors.dvc": text})
    repo.write({"m.safetensors.dvc": text.replace(md5(ONE), md5(TWO))})
    assert "(there is no .dvc folder here, so no cache) is not here (184 bytes)" in repo.git("diff")


def test_a_pointer_that_is_a_link_or_in_lfs_stays_plain(dvc: DvcRepo) -> None:
    dvc.add("m.safetensors", ONE)
    dvc.commit("one")
    (dvc.top / "m.safetensors.dvc").unlink()
    (dvc.top / "m.safetensors.dvc").symlink_to("elsewhere")
    assert "+elsewhere" in dvc.repo.git("diff")
    (dvc.top / "m.safetensors.dvc").unlink()
    dvc.write("m.safetensors.dvc", lfs_pointer("ab" * 32, 5))
    assert "models behind this pointer are not compared" in dvc.repo.git("diff")


def test_nothing_is_written(dvc: DvcRepo) -> None:
    versions(dvc)
    dvc.add_directory("ckpt", {"a.safetensors": ONE})
    before = snapshot(dvc)
    dvc.repo.git("diff", "HEAD~1", "HEAD")
    dvc.repo.git("show")
    dvc.repo.git("diff", "--cached")
    assert snapshot(dvc) == before


def test_lock_of_another_dvc_does_not_matter(dvc: DvcRepo) -> None:
    versions(dvc)
    (dvc.top / ".dvc" / "tmp").mkdir()
    (dvc.top / ".dvc" / "tmp" / "lock").write_text("")
    (dvc.top / ".dvc" / "tmp" / "rwlock").write_text("{}")
    assert CHANGED in dvc.repo.git("diff", "HEAD~1", "HEAD")


def snapshot(dvc: DvcRepo) -> dict[str, bytes]:
    """Everything below the work tree but git's own folder (which git itself writes)."""
    return {
        str(path): path.read_bytes()
        for path in sorted(dvc.top.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(dvc.top).parts
    }


# ---------------------------------------------------------------- by name


def test_a_tracked_directory_between_revisions(dvc: DvcRepo) -> None:
    dvc.add_directory("ckpt", {"a.safetensors": ONE, "b.safetensors": THREE})
    dvc.write("ckpt/a.safetensors", TWO)
    dvc.write("ckpt/b.safetensors", THREE)
    dvc.commit("one")
    dvc.add_directory("ckpt", {"a.safetensors": TWO, "b.safetensors": THREE})
    for words in (("HEAD",), ("HEAD", "--staged")):
        text = diffai(*words, "--", "ckpt", cwd=dvc.top).stdout
        assert CHANGED.strip() in text and "2 model files: 1 changed, 1 unchanged" in text
    dvc.commit("two")
    assert CHANGED.strip() in diffai("HEAD~1", "HEAD", "--", "ckpt", cwd=dvc.top).stdout
    assert "0 model files: none" in diffai("HEAD", "--", "ckpt", cwd=dvc.top).stdout
    dvc.add_directory("ckpt", {"a.safetensors": THREE}, cached=False)
    done = diffai("HEAD", "--", "ckpt", cwd=dvc.top)
    assert done.returncode == 2
    assert "the list of files of ckpt/ (DVC manifest" in done.stdout and "dvc fetch" in done.stdout
    assert "! not compared" in done.stdout


def test_a_tracked_file_by_name(dvc: DvcRepo) -> None:
    versions(dvc)
    for words in (("HEAD~1:m.safetensors", "HEAD:m.safetensors"), ("HEAD~1:m.safetensors.dvc", "m.safetensors.dvc"),
                  ("HEAD~1", "HEAD", "--", "m.safetensors"), ("HEAD~1", "--", "m.safetensors")):  # fmt: skip
        assert CHANGED.strip() in diffai(*words, cwd=dvc.top).stdout, words
    (dvc.top / "m.safetensors").unlink()
    assert CHANGED.strip() in diffai("HEAD~1:m.safetensors", "m.safetensors", cwd=dvc.top).stdout
    shutil.rmtree(dvc.cache)
    done = diffai("HEAD~1:m.safetensors", "m.safetensors", cwd=dvc.top)
    assert done.returncode == 2 and "dvc fetch" in done.stdout + done.stderr
