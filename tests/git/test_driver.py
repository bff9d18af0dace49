"""The driver through real git: every form of ``git diff``, and git never killed."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors_writer as writer
from gitrepo import Repo, lfs_pointer
from powerless import drop
from program import DIFFAI, diffai

ONE, TWO, THREE = (writer.simple(seed) for seed in (1, 2, 3))
CHANGED = "  ~ a.weight: mean=1.3125->2.3125"


@pytest.fixture
def repo(repo: Repo) -> Repo:
    repo.commit({"m.safetensors": ONE, "notes.txt": "one\n"}, "one")
    result = diffai("install", cwd=repo.top)
    assert result.returncode == 0, result.stderr
    return repo


def test_work_tree_index_and_commits(repo: Repo) -> None:
    repo.write({"m.safetensors": TWO, "notes.txt": "two\n"})
    text = repo.git("diff")
    assert text.startswith("diff --git a/m.safetensors b/m.safetensors\nindex ")
    assert CHANGED in text
    assert "-one\n+two" in text
    repo.git("add", "-A")
    assert repo.git("diff") == ""
    assert CHANGED in repo.git("diff", "--cached")
    repo.git("commit", "-qm", "two")
    assert CHANGED in repo.git("diff", "HEAD~1", "HEAD")
    assert "mean=2.3125->1.3125" in repo.git("diff", "-R", "HEAD~1", "HEAD")
    assert CHANGED in repo.git("log", "-1", "-p", "--ext-diff")
    repo.write({"m.safetensors": THREE})
    repo.git("stash")
    assert "mean=2.3125->3.3125" in repo.git("stash", "show", "-p", "--ext-diff")


def test_added_and_deleted(repo: Repo) -> None:
    repo.commit({"n.safetensors": TWO})
    added = repo.git("diff", "HEAD~1", "HEAD")
    assert "new file mode 100644\nindex 0000000.." in added
    assert "Model Changes: added, safetensors, F32, 2 tensors, 12 parameters" in added
    assert "  + a.bias: shape=[2, 3], dtype=F32" in added
    deleted = repo.git("diff", "HEAD", "HEAD~1")
    assert "deleted file mode 100644" in deleted
    assert "  - a.bias: shape=[2, 3], dtype=F32" in deleted


def test_rename_and_copy_have_nine_arguments(repo: Repo) -> None:
    big = writer.simple(1, [f"layer.{i}.w" for i in range(100)])
    moved = writer.build({f"layer.{i}.w": ("F32", (2, 3), struct.pack("<6f", *(1 + i + k / 8 for k in range(6)))) for i in range(99)}
                         | {"layer.99.w": ("F32", (2, 3), struct.pack("<6f", *range(6)))})  # fmt: skip
    repo.commit({"big.safetensors": big})
    repo.git("mv", "big.safetensors", "renamed.safetensors")
    repo.commit({"renamed.safetensors": moved})
    text = repo.git("diff", "-M", "HEAD~1", "HEAD")
    assert "diff --git a/big.safetensors b/renamed.safetensors\nsimilarity index " in text
    assert "rename from big.safetensors\nrename to renamed.safetensors\nindex " in text
    assert "  ~ layer.99.w:" in text
    repo.commit({"copy.safetensors": moved})
    text = repo.git("diff", "-C", "-C", "HEAD~1", "HEAD")
    assert "copy from renamed.safetensors\ncopy to copy.safetensors" in text
    assert "No differences found" in text


def test_mode_change_and_symlink(repo: Repo) -> None:
    (repo.top / "m.safetensors").chmod(0o755)
    text = repo.git("diff")
    assert "old mode 100644\nnew mode 100755\n" in text
    assert "No differences found" in text
    (repo.top / "m.safetensors").unlink()
    (repo.top / "m.safetensors").symlink_to("elsewhere.safetensors")
    text = repo.git("diff")
    assert "deleted file mode 100644" in text
    assert "  - a.bias" in text
    assert "new file mode 120000" in text
    assert "+elsewhere.safetensors" in text


def test_unmerged_path(repo: Repo) -> None:
    repo.git("checkout", "-qb", "other")
    repo.commit({"m.safetensors": TWO})
    repo.git("checkout", "-q", "main")
    repo.commit({"m.safetensors": THREE})
    assert repo.run("merge", "other").returncode == 1
    assert repo.run("diff").returncode == 0
    ours = repo.git("diff", "--ours")
    assert "* Unmerged path m.safetensors" in ours
    assert repo.run("diff", "--theirs").returncode == 0


def test_no_index_subdirectory_and_relative(repo: Repo) -> None:
    repo.commit({"sub/dir/x.safetensors": ONE})
    repo.write({"sub/dir/x.safetensors": TWO, "free.safetensors": THREE})
    sub = repo.top / "sub"
    assert "diff --git a/sub/dir/x.safetensors b/sub/dir/x.safetensors" in repo.git("diff", cwd=sub)
    text = repo.git("diff", "--relative", cwd=sub)
    assert "diff --git a/dir/x.safetensors b/dir/x.safetensors" in text
    assert CHANGED in text
    done = repo.run("diff", "--no-index", "m.safetensors", "free.safetensors")
    assert done.returncode == 1
    assert "mean=1.3125->3.3125" in done.stdout


def test_remerge_with_both_sides_absent_is_answered(repo: Repo) -> None:
    done = subprocess.run(
        [str(DIFFAI), "git-driver", "m.pt", "/dev/null", ".", ".", "/dev/null", ".", "."],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("diff --git a/m.pt b/m.pt\n")


@pytest.mark.parametrize("count", [0, 2, 8, 10])
def test_other_argument_counts_are_said_and_exit_zero(count: int) -> None:
    result = diffai("git-driver", *(["x"] * count))
    assert result.returncode == 0
    assert "1, 7 or 9" in result.stdout


def test_paths_with_spaces_quotes_and_newlines(repo: Repo) -> None:
    names = ["a b.safetensors", 'quo"te.safetensors', "new\nline.safetensors", "größe.safetensors", "-dash.safetensors"]
    repo.commit(dict.fromkeys(names, ONE))
    repo.write(dict.fromkeys(names, TWO))
    text = repo.git("diff")
    assert text.count("mean=1.3125->2.3125") == 5
    assert '"a/new\\nline.safetensors"' in text
    assert '"a/gr\\303\\266\\303\\237e.safetensors"' in text
    assert "a/größe.safetensors" in repo.git("-c", "core.quotePath=false", "diff")


def test_the_header_is_what_git_prints(repo: Repo) -> None:
    repo.commit({"x y.safetensors": ONE})
    repo.commit({"x y.safetensors": TWO})
    ours = repo.git("diff", "HEAD~1", "HEAD").splitlines()[:2]
    plain = repo.git("diff", "--no-ext-diff", "--no-textconv", "HEAD~1", "HEAD").splitlines()[:2]
    assert ours == plain
    ours = repo.git("-c", "diff.noprefix=true", "diff", "HEAD~1", "HEAD").splitlines()[0]
    assert ours == "diff --git x y.safetensors x y.safetensors"


def test_files_that_are_no_models_look_as_git_shows_them(repo: Repo) -> None:
    repo.commit({"pytorch_model.bin": "one\ntwo\n", "x.pt": b"\x89PNG\r\n\x1a\n\0\0\1"})
    repo.write({"pytorch_model.bin": "one\n2\n", "x.pt": b"\x89PNG\r\n\x1a\n\0\0\2"})
    text = repo.git("diff")
    plain = repo.git("diff", "--no-ext-diff", "--no-textconv")
    assert "@@ -1,2 +1,2 @@\n one\n-two\n+2\n" in text
    assert "--- a/pytorch_model.bin\n+++ b/pytorch_model.bin\n" in text
    assert "Binary files a/x.pt and b/x.pt differ" in text
    assert "Binary files a/x.pt and b/x.pt differ" in plain


def test_colour_as_git_decides(repo: Repo) -> None:
    repo.write({"m.safetensors": TWO})
    assert "\x1b" not in repo.git("diff")
    coloured = repo.git("-c", "color.ui=always", "-c", "diffai.format=text", "diff")
    assert "  \x1b[33m~ a.weight" in coloured
    assert coloured.startswith("\x1b[1mdiff --git")
    assert "\x1b" not in repo.git("-c", "color.ui=always", "diff", env={"NO_COLOR": "1"})
    assert "\x1b" not in repo.git("-c", "color.ui=always", "-c", "color.diff=false", "diff")
    assert all(line.endswith("\x1b[m") for line in coloured.splitlines() if "\x1b" in line)


def test_people_see_a_table_and_pipes_see_text(repo: Repo) -> None:
    repo.write({"m.safetensors": TWO})
    wide = {"COLUMNS": "100", "LC_ALL": "C.UTF-8"}
    assert "Model Changes:" in repo.git("diff", env=wide)
    for arguments, environment in ((("-c", "color.ui=always"), {}), (("-c", "diffai.format=table"), {}),
                                   ((), {"GIT_PAGER_IN_USE": "1"})):  # fmt: skip
        table = re.sub("\x1b\\[[0-9;]*m", "", repo.git(*arguments, "diff", env={**wide, **environment}))
        assert "rel L2" in table and "█" in table and "Model Changes:" not in table
        assert max(map(len, table.splitlines())) <= 100
    ascii_only = repo.git("-c", "diffai.format=table", "diff", env={"COLUMNS": "100", "LC_ALL": "C"})
    assert ascii_only.isascii() and "rel L2" in ascii_only


def test_settings_come_from_git_config_and_the_file(repo: Repo) -> None:
    repo.write({"m.safetensors": TWO})
    assert "No differences found (within epsilon tolerance)" in repo.git("-c", "diffai.epsilon=2", "diff")
    shapes = repo.git("-c", "diffai.shapeOnly=true", "diff")
    assert "No differences found in names, shapes and dtypes (values were not compared)" in shapes
    limited = repo.git("-c", "diffai.maxBytes=10", "diff")
    assert "over the limit of 10" in limited
    assert "git config diffai.maxBytes 0" in limited
    folded = repo.git("-c", "diffai.foldAbove=0", "diff")
    assert "Model Changes: F32, 2 tensors, 12 parameters" in folded
    repo.write({".diffai.toml": '[compare]\nignore = ["a.*"]\n'})
    hidden = repo.git("diff")
    assert "2 tensors or keys ignored by 'a.*' (.diffai.toml:2)" in hidden


def test_a_broken_configuration_is_one_line_and_defaults_hold(repo: Repo) -> None:
    repo.write({"m.safetensors": TWO, ".diffai.toml": "[compare]\nepsilom = 3\n"})
    text = repo.git("diff")
    assert "! diffai: .diffai.toml" in text
    assert "epsilon" in text
    assert CHANGED in text
    repo.config("diffai.epsilon", "much")
    assert CHANGED in repo.git("diff")


def test_a_clone_cannot_lift_limits(repo: Repo) -> None:
    repo.write({"m.safetensors": TWO, ".diffai.toml": "[compare]\nmax_header = 1\n"})
    assert CHANGED in repo.git("diff")


HOSTILE = {
    "empty": b"",
    "one byte": b"x",
    "truncated header": ONE[:20],
    "truncated data": ONE[:-3],
    "header length 2^60": struct.pack("<Q", 2**60) + ONE[8:],
    "trailing bytes": ONE + b"tail",
    "overlap": writer.raw({"a": writer.entry("F32", [2], 0, 8), "b": writer.entry("F32", [2], 4, 12)}, bytes(12)),
    "hole": writer.raw({"a": writer.entry("F32", [2], 0, 8), "b": writer.entry("F32", [2], 12, 20)}, bytes(20)),
    "reversed": writer.raw({"a": writer.entry("F32", [2], 8, 0)}, bytes(8)),
    "out of range": writer.raw({"a": writer.entry("F32", [2], 0, 2**40)}, bytes(8)),
    "duplicate keys": writer.raw(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "nested": writer.raw(b"[" * 200_000),
    "nested in metadata": writer.raw(b'{"__metadata__":' + b"[" * 200_000),
    "shape overflow": writer.raw({"a": writer.entry("F32", [2**40, 2**40], 0, 8)}, bytes(8)),
    "unknown dtype": writer.raw({"a": writer.entry("F99", [2], 0, 8)}, bytes(8)),
    "html": b"<!DOCTYPE html><html><body>404</body></html>\n",
    "text": b"hello\n",
    "lfs pointer": lfs_pointer("ab" * 32, 4_100_000_000),
    "escape in name": writer.build({"a\x1b[31m\nb": ("F32", (1,), bytes(4))}),
    "long name": writer.build({"n" * 10_000: ("F32", (1,), bytes(4))}),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("direction", ["good to bad", "bad to good"])
def test_bad_content_never_stops_git(repo: Repo, what: str, direction: str) -> None:
    first, second = (ONE, HOSTILE[what]) if direction == "good to bad" else (HOSTILE[what], ONE)
    repo.commit({"m.safetensors": first, "z.safetensors": ONE, "q.pt": first})
    repo.write({"m.safetensors": second, "z.safetensors": TWO, "q.pt": second})
    done = repo.run("diff")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert CHANGED in done.stdout.partition("z.safetensors")[2], "the next file's diff must still appear"
    block = done.stdout.partition("diff --git a/q.pt")[0].splitlines()
    assert max(map(len, block)) < 800
    if what not in ("escape in name", "long name"):
        assert any(line.startswith("! ") for line in block), block
    log = repo.run("log", "-p", "-1")
    assert (log.returncode, log.stderr) == (0, "")


def test_a_malicious_pickle_is_named_and_not_run(repo: Repo, tmp_path: Path) -> None:
    marker = tmp_path / "touched"
    payload = (
        b"\x80\x02cos\nsystem\nX" + struct.pack("<I", len(f"touch {marker}")) + f"touch {marker}".encode() + b"\x85R."
    )
    repo.commit({"evil.pt": payload})
    repo.write({"evil.pt": payload.replace(b"touch", b"TOUCH")})
    done = repo.run("diff")
    assert (done.returncode, done.stderr) == (0, "")
    assert repo.run("log", "-p").returncode == 0
    assert not marker.exists()
    assert "system" in diffai("check", "evil.pt", cwd=repo.top).stdout


def test_a_reader_that_goes_away_is_quiet(repo: Repo) -> None:
    names = {f"m{i}.safetensors": writer.simple(i, [f"layer.{k}.weight_{k}" for k in range(3000)]) for i in range(6)}
    repo.commit(names)
    repo.write({name: writer.simple(99, [f"layer.{k}.weight_{k}" for k in range(3000)]) for name in names})
    done = subprocess.run(
        ["bash", "-c", "set -o pipefail; git -c diffai.tensorDetails=true diff | head -1"],
        cwd=repo.top, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("diff --git a/m0.safetensors")
    assert done.stderr == ""


def test_closed_output_is_no_traceback() -> None:
    done = subprocess.run(
        ["bash", "-c", f"'{DIFFAI}' git-driver x >&-; s=$?; '{DIFFAI}' textconv x >&-; echo $s $? >&2"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == "0 0\n"


def test_permission_denied(repo: Repo) -> None:
    repo.write({"m.safetensors": TWO})
    (repo.top / "m.safetensors").chmod(0)
    git, without = (
        subprocess.run(["git", "diff", *words], cwd=repo.top, capture_output=True, preexec_fn=drop, check=False)
        for words in ((), ("--no-ext-diff",))
    )  # git itself cannot hash the file
    assert (git.returncode, git.stderr) == (without.returncode, without.stderr)
    (repo.top / "old.safetensors").write_bytes(ONE)
    sides = ["old.safetensors", "1" * 40, "100644", "m.safetensors", "0" * 40, "100644"]
    done = diffai("git-driver", "m.safetensors", *sides, cwd=repo.top, before=drop)
    assert (done.returncode, done.stderr) == (0, "")
    assert "permission denied" in done.stdout and "Traceback" not in done.stdout


def test_the_driver_loads_only_what_it_needs(repo: Repo) -> None:
    script = (
        "import sys; from diffai.git import driver\n"
        "driver.main(['m.safetensors', sys.argv[1], '1'*40, '100644', sys.argv[2], '2'*40, '100644'])\n"
        "heavy = {'numpy', 'torch', 'click', 'yaml', 'rich', 'git', 'dvc', 'safetensors', 'ml_dtypes', 'concurrent.futures', 'tempfile'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    repo.write({"x.safetensors": ONE, "y.safetensors": TWO})

    def loaded(*config: str) -> str:
        environment = {
            **os.environ,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "diffai.shapeOnly",
            "GIT_CONFIG_VALUE_0": config[0],
        }
        done = subprocess.run(
            [sys.executable, "-c", script, "x.safetensors", "y.safetensors"],
            cwd=repo.top,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()[-1]

    assert loaded("true") == "LOADED []"
    assert loaded("false") == "LOADED ['numpy']"


def test_a_conflict_shows_what_either_side_did(repo: Repo) -> None:
    repo.commit({"sub/m.safetensors": ONE})
    repo.git("checkout", "-qb", "theirs")
    repo.commit({"sub/m.safetensors": writer.build({"a.weight": ("F32", (1,), bytes(4))})})
    repo.git("checkout", "-q", "main")
    repo.commit({"sub/m.safetensors": TWO})
    assert repo.run("merge", "theirs").returncode == 1
    for words, folder in ((("--base",), repo.top), (("--relative", "--ours"), repo.top / "sub")):
        text = repo.git("diff", *words, cwd=folder)
        ours, _, theirs = text.partition("base -> theirs\n")
        assert "base -> ours\n" in ours and CHANGED in ours, text
        assert "- a.bias" in theirs.partition("diff --git")[0], text


def test_a_shard_index_says_what_is_not_compared(repo: Repo) -> None:
    for number, name in ((1, "old"), (2, "new")):
        (repo.top / name).write_text(json.dumps({"weight_map": {f"t{number}": "model-00001-of-00001.safetensors"}}))
    path = "m/model.safetensors.index.json"
    done = diffai("git-driver", path, "old", "1" * 40, "100644", "new", "2" * 40, "100644", cwd=repo.top)
    assert "NOT COMPARED" in done.stdout and f"diffai A..B -- {path}" in done.stdout
