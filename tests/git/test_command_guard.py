"""The configured commands keep git alive whatever happens to diffai, seen through real git."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gitrepo import Repo

from diffai.errors import UsageError
from diffai.git.command import driver_command, find_program, is_ours, program_of, quote, textconv_command
from diffai.git.config_section import XFUNCNAME

SHELLS = [shell for shell in ("dash", "bash", "busybox", "ksh", "zsh") if shutil.which(shell)]
MODEL_1, MODEL_2 = b"one\0" * 10, b"two\0" * 12

# What may happen to the program: a script, or None for no program at all. {out} is where garbage goes.
BROKEN = {
    "deleted": None,
    "interpreter gone": "#!/nonexistent/venv/bin/python3\n",
    "exit 1": "#!/bin/sh\nexit 1\n",
    "exit 3 with a traceback": "#!/bin/sh\necho Traceback >&2\nexit 3\n",
    "killed": "#!/bin/sh\nkill -9 $$\n",
    "aborted": "#!/bin/sh\nkill -ABRT $$ 2>/dev/null\n",
    "killed half way": "#!/bin/sh\nprintf 'diff --git a/m.pt b/m.pt\\nhalf a li'\nkill -9 $$\n",
    "not executable": "no",
    "a module of it is gone": f"#!{sys.executable}\nimport diffai_that_is_not_there\n",
}


def install_program(folder: Path, script: str | None) -> str:
    program = folder / "diffai"
    folder.mkdir(parents=True, exist_ok=True)
    if script is not None:
        program.write_text(script)
        program.chmod(0o644 if script == "no" else 0o755)
    return str(program)


def register(repo: Repo, program: str) -> None:
    repo.config("diff.diffai.command", driver_command(program))
    repo.config("diff.diffai.textconv", textconv_command(program))
    repo.write({".git/info/attributes": "*.pt diff=diffai\n"})


@pytest.fixture
def history(repo: Repo) -> Repo:
    repo.commit({"a.txt": "old a\n", "m.pt": MODEL_1, "z.txt": "old z\n"})
    repo.commit({"a.txt": "new a\n", "m.pt": MODEL_2, "z.txt": "new z\n"})
    return repo


def oid(content: bytes) -> str:
    done = subprocess.run(["git", "hash-object", "--stdin"], input=content, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.mark.parametrize("what", BROKEN)
def test_git_survives(history: Repo, tmp_path: Path, what: str) -> None:
    register(history, install_program(tmp_path / "it's a venv; $HOME `x` ü/bin", BROKEN[what]))

    driver = history.run("diff", "HEAD~1", "HEAD")
    assert driver.returncode == 0
    assert "+new a" in driver.stdout and "+new z" in driver.stdout  # the files before and behind it are shown
    assert f"index {oid(MODEL_1)[:7]}..{oid(MODEL_2)[:7]} 100644\n" in driver.stdout
    assert "\ndiff --git a/m.pt b/m.pt\n" in driver.stdout
    assert "\nBinary files a/m.pt and b/m.pt differ (40 bytes, 48 bytes)\ndiffai " in driver.stdout
    assert "external diff died" not in driver.stderr

    for command in (["log", "-p"], ["show"], ["diff", "--no-ext-diff", "HEAD~1"]):
        textconv = history.run(*command)
        assert textconv.returncode == 0, textconv.stderr
        assert "+new a" in textconv.stdout and "+new z" in textconv.stdout
        assert f"-git blob {oid(MODEL_1)}\n+git blob {oid(MODEL_2)}\n" in textconv.stdout
    blame = history.run("blame", "m.pt")
    assert blame.returncode == 0
    assert f"git blob {oid(MODEL_2)}" in blame.stdout


@pytest.mark.parametrize("what", ["deleted", "interpreter gone", "not executable"])
def test_missing_program_is_named_with_the_way_out(history: Repo, tmp_path: Path, what: str) -> None:
    program = install_program(tmp_path / "bin", BROKEN[what])
    register(history, program)
    out = history.git("diff", "HEAD~1")
    assert f"diffai is missing ({program}): install it again and run: diffai install; or forget it: " in out
    way_out = out.partition("or forget it: git ")[2].splitlines()[0]
    history.git(*way_out.split())
    assert "Binary files a/m.pt and b/m.pt differ\n" in history.git("diff", "HEAD~1")


@pytest.mark.parametrize("status", [1, 2, 3, 128])
def test_crash_is_named_with_its_status(history: Repo, tmp_path: Path, status: int) -> None:
    program = install_program(tmp_path / "bin", f"#!/bin/sh\nexit {status}\n")
    register(history, program)
    assert f"\ndiffai failed (exit {status}): {program}\n" in history.git("diff", "HEAD~1")
    assert f" diffai failed (exit {status}): {program}\n" in history.git("show")


def test_half_a_line_is_ended_before_the_fallback(history: Repo, tmp_path: Path) -> None:
    register(history, install_program(tmp_path / "bin", BROKEN["killed half way"]))
    assert "\nhalf a li\ndiff --git a/m.pt b/m.pt\nindex " in history.git("diff", "HEAD~1")


def test_a_working_program_is_all_that_is_seen(history: Repo, tmp_path: Path) -> None:
    script = '#!/bin/sh\nfor word; do printf "<%s>" "${word##*/}"; done\n'
    register(history, install_program(tmp_path / "bin", script))
    old, new = oid(MODEL_1), oid(MODEL_2)
    words = ["git-driver", "m.pt", "m.pt", old, "100644", "m.pt", new, "100644"]
    assert history.git("diff", "HEAD~1", "HEAD", "--", "m.pt") == "".join(f"<{word}>" for word in words)
    assert history.git("cat-file", "--textconv", "HEAD:m.pt") == "<textconv><m.pt>"


def test_garbage_passes_through(history: Repo, tmp_path: Path) -> None:
    register(history, install_program(tmp_path / "bin", "#!/bin/sh\nhead -c 3000 /dev/urandom\n"))
    for command in (["diff", "HEAD~1"], ["log", "-p"], ["show"]):
        done = history.run(*command)
        assert done.returncode == 0
        assert "+new z" in done.stdout


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("program", ["/nonexistent/diffai", "/bin/false"])
def test_every_shell_prints_the_same(shell: str, program: str, tmp_path: Path) -> None:
    for name, content in {"old": b"12345", "new": b"1234567"}.items():
        (tmp_path / name).write_bytes(content)
    seven = ["m.pt", "old", "a" * 40, "100644", "new", "b" * 40, "100644"]
    renamed = [*seven, "n.pt", "similarity index 98%\nrename from m.pt\nrename to n.pt\nindex a..b 100644\n"]
    cases = {
        "changed": (
            seven,
            (
                "diff --git a/m.pt b/m.pt\nindex aaaaaaa..bbbbbbb 100644\n"
                "Binary files a/m.pt and b/m.pt differ (5 bytes, 7 bytes)\n"
            ),
        ),
        "added": (
            ["m.pt", "/dev/null", ".", ".", *seven[4:]],
            (
                "diff --git a/m.pt b/m.pt\nnew file mode 100644\nindex 0000000..bbbbbbb\n"
                "Binary files /dev/null and b/m.pt differ (nothing, 7 bytes)\n"
            ),
        ),
        "removed": (
            [*seven[:4], "/dev/null", ".", "."],
            (
                "diff --git a/m.pt b/m.pt\ndeleted file mode 100644\nindex aaaaaaa..0000000\n"
                "Binary files a/m.pt and /dev/null differ (5 bytes, nothing)\n"
            ),
        ),
        "neither": (
            ["m.pt", "/dev/null", ".", ".", "/dev/null", ".", "."],
            (
                "diff --git a/m.pt b/m.pt\nindex 0000000..0000000\n"
                "Binary files /dev/null and /dev/null differ (nothing, nothing)\n"
            ),
        ),
        "mode": (
            [*seven[:6], "100755"],
            (
                "diff --git a/m.pt b/m.pt\nold mode 100644\nnew mode 100755\nindex aaaaaaa..bbbbbbb\n"
                "Binary files a/m.pt and b/m.pt differ (5 bytes, 7 bytes)\n"
            ),
        ),
        "renamed": (
            renamed,
            (
                "diff --git a/m.pt b/n.pt\nsimilarity index 98%\nrename from m.pt\nrename to n.pt\n"
                "index a..b 100644\nBinary files a/m.pt and b/n.pt differ (5 bytes, 7 bytes)\n"
            ),
        ),
        "unmerged": (["m.pt"], "* Unmerged path m.pt\n"),
        "hostile": (
            ["-n \x1b[31m\n%s\\n$(x)`y`\"'.pt", *seven[1:]],
            (
                "diff --git a/-n ?[31m?%s\\n$(x)`y`\"'.pt b/-n ?[31m?%s\\n$(x)`y`\"'.pt\n"
                "index aaaaaaa..bbbbbbb 100644\nBinary files "
            ),
        ),
    }
    value = driver_command(program)
    run = [shell, "sh"] if shell == "busybox" else [shell]
    for name, (arguments, expected) in cases.items():
        done = subprocess.run(
            [*run, "-c", f'{value} "$@"', value, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), name
        assert done.stdout.removeprefix("\n").startswith(expected), name
        assert done.stdout.splitlines()[-1].startswith(f"diffai {'failed' if 'false' in program else 'is missing'}")


@pytest.mark.parametrize("shell", SHELLS)
def test_textconv_without_git(shell: str, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"123456789")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cksum").symlink_to(shutil.which("cksum") or "")
    value = textconv_command("/nonexistent/diffai")
    path = shutil.which(shell) or ""
    run = [path, "sh"] if shell == "busybox" else [path]
    done = subprocess.run(
        [*run, "-c", f'{value} "$@"', value, "m"], cwd=tmp_path, capture_output=True, text=True,
        env={"PATH": str(tools)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split() == ["cksum", "930766865", "9"]


@pytest.mark.parametrize("signal_number", [signal.SIGPIPE, signal.SIGINT])
def test_a_reader_that_left_is_not_told(history: Repo, tmp_path: Path, signal_number: int) -> None:
    register(history, install_program(tmp_path / "bin", f"#!/bin/sh\ntrap - INT\nkill -{signal_number} $$\n"))
    done = history.run("diff", "HEAD~1", "--", "m.pt")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("script", [None, "#!/bin/sh\nexit 1\n"])
def test_a_closed_pipe_is_quiet(history: Repo, tmp_path: Path, script: str | None) -> None:
    value = driver_command(install_program(tmp_path / "bin", script))
    arguments = ["m.pt", "m.pt", "a" * 40, "100644", "m.pt", "b" * 40, "100644"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        ["sh", "-c", f'{value} "$@"', value, *arguments], stdout=writing, stderr=subprocess.PIPE, cwd=history.top,
        check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_no_process_beyond_shell_and_program(history: Repo, tmp_path: Path) -> None:
    """While diffai works, the guard runs shell builtins only: an empty PATH is enough."""
    program = install_program(tmp_path / "bin", "#!/bin/sh\necho fine\n")
    for value in (driver_command(program), textconv_command(program)):
        done = subprocess.run(
            [shutil.which("sh") or "", "-c", f'{value} "$@"', value, "m.pt"], env={"PATH": ""}, capture_output=True,
            check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, b"fine\n", b"")


def test_merge_and_conflict_survive(history: Repo, tmp_path: Path) -> None:
    register(history, install_program(tmp_path / "bin", None))
    history.git("checkout", "-q", "-b", "side", "HEAD~1")
    history.commit({"m.pt": b"three\0"})
    assert history.run("merge", "main").returncode == 1
    for command in (["diff"], ["diff", "--ours"], ["diff", "--cached"], ["diff", "--base"]):
        assert history.run(*command).returncode == 0
    history.commit({"m.pt": b"four\0"})
    for command in (["show"], ["log", "-p", "-m"], ["log", "-p", "--ext-diff", "--remerge-diff"], ["log", "-p", "-c"]):
        assert history.run(*command).returncode == 0


def test_quote_and_recognise() -> None:
    for program in ("/a/diffai", "/it's/d i/diffai", "/x;y/diffai", '/ü/$(a)/`b`/"c"/diffai', "/a;/diffai"):
        for value in (driver_command(program), textconv_command(program, scope_flag="--global")):
            assert is_ours(value)
            assert program_of(value) == program
            assert "\n" not in value
        done = subprocess.run(["sh", "-c", f"printf %s {quote(program)}"], capture_output=True, check=True)
        assert done.stdout.decode() == program
    for other in ("diffai git-driver", "", "nbdiff", "diffai_driver", "diffai_driver() { p='/a"):
        assert program_of(other) == ""


def test_find_program_is_the_one_beside_this_python() -> None:
    assert find_program() == str(Path(sys.executable).parent / "diffai")


def test_find_program_never_takes_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_program(tmp_path / "clone", "#!/bin/sh\n")
    monkeypatch.chdir(tmp_path / "clone")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python3")
    monkeypatch.setattr(sys, "argv", ["diffai"])
    monkeypatch.setattr("sysconfig.get_path", lambda name: "/nonexistent")
    monkeypatch.setenv("PATH", f".:{os.pathsep}relative")
    with pytest.raises(UsageError, match="not found"):
        find_program()
    monkeypatch.setenv("PATH", str(tmp_path / "clone"))
    assert find_program() == str(tmp_path / "clone" / "diffai")


def test_rename_mode_and_no_index_through_git(history: Repo, tmp_path: Path) -> None:
    register(history, install_program(tmp_path / "bin", None))
    weights = bytes(range(256)) * 20
    history.commit({"m.pt": weights})
    history.git("mv", "m.pt", "n ü.pt")
    (history.top / "n ü.pt").write_bytes(weights + b"\0")
    (history.top / "n ü.pt").chmod(0o755)
    out = history.git("-c", "core.quotePath=false", "diff", "-M", "HEAD")
    assert out.startswith("diff --git a/m.pt b/n ü.pt\nold mode 100644\nnew mode 100755\nsimilarity index ")
    assert "\nrename from m.pt\nrename to n ü.pt\nindex " in out
    assert "\nBinary files a/m.pt and b/n ü.pt differ (5120 bytes, 5121 bytes)\ndiffai is missing" in out
    (tmp_path / "1.pt").write_bytes(b"1\0")
    done = history.run("diff", "--no-index", str(tmp_path / "1.pt"), "n ü.pt")
    assert done.returncode == 1
    assert "differ (2 bytes, 5121 bytes)\n" in done.stdout


def test_hunk_headers_name_the_module(repo: Repo, tmp_path: Path) -> None:
    """Through the pattern that install writes, on text in the form of textconv's."""
    register(repo, install_program(tmp_path / "bin", '#!/bin/sh\ncat -- "$2"\n'))
    repo.config("diff.diffai.xfuncname", XFUNCNAME)
    text = '# safetensors\n__metadata__.a b = "c"\n' + "".join(
        f"model.layers.{layer}.mlp.{name}  F32  [4]  mean=0.1  xxh3:{layer}\n"
        for layer in range(4)
        for name in ("up", "w")
    )
    repo.commit({"m.pt": text})
    repo.commit({"m.pt": text.replace("xxh3:2", "xxh3:9")})
    assert "\n@@ -7,2 +7,2 @@ model.layers.1.mlp\n" in repo.git("show", "-U0")
