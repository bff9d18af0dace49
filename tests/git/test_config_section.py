"""Our section of git's configuration: git reads it as meant, and every byte is restored."""

from __future__ import annotations

import sys

import pytest
from gitrepo import Repo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from installing import PROGRAM, driver_of, snapshot

from diffai.errors import SourceError, UsageError
from diffai.git import config_section
from diffai.git.command import driver_command, textconv_command
from diffai.git.config_section import XFUNCNAME
from diffai.git.install import install, uninstall
from diffai.git.marks import Notes

VALUES = {"command": driver_command("/x/diffai"), "textconv": textconv_command("/x/diffai"), "xfuncname": XFUNCNAME}

LAYOUTS = {
    "empty": b"",
    "plain": b"[core]\n\tbare = false\n",
    "no final newline": b"[core]\n\tbare = false",
    "crlf": b"[core]\r\n\tbare = false\r\n",
    "crlf, no final newline": b"[core]\r\n\tbare = false\r\n[user]\r\n\tname = x",
    "comments behind": b"[core]\n\tbare = false\n# the end\n; really\n",
    "blank lines behind": b"[core]\n\tbare = false\n\n\n  \n",
    "own keys in our section": b'[diff "diffai"]\n\twordRegex = "[a-z]+"\n[core]\n\tbare = false\n',
    "our section, on one line": b'[diff "diffai"] binary = true\n[core]\n\tbare = false\n',
    "our section, empty": b'[core]\n\tbare = false\n[diff "diffai"]\n',
    "our section, other case": b'[DIFF "diffai"]\n\tWordRegex = x\n[core]\n\tbare = false\n',
    "continued line": b"[alias]\n\tx = log \\\n  --oneline\n[core]\n\tbare = false\n",
    "quoted": b'[alias]\n\tx = "!f() { echo \\"[diff]\\" # no; }; f" ; comment\n[core]\n\tbare = false\n',
    "byte order mark": b"\xef\xbb\xbf[core]\n\tbare = false\n",
    "not utf-8": b"[user]\n\tname = \xff\xe9\n[core]\n\tbare = false\n",
    "another driver": b'[diff "lfs"]\n\ttextconv = cat\n[core]\n\tbare = false\n',
    "indented": b'   [core]\n\n\n      bare=false   # no\n\t[diff   "other"]\n',
    "no value": b"[core]\n\tbare = false\n\tignorecase",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", ["plain", "twice", "dry run", "committed"])
def test_uninstall_restores_every_byte(repo: Repo, layout: str, how: str) -> None:
    head = b"[core]\n\trepositoryformatversion = 0\n"
    content = LAYOUTS[layout]
    prefix = head.replace(b"\n", b"\r\n") if b"\r" in content else head
    content = content if content.startswith(b"\xef") else prefix + content
    repo.write(
        {".git/config": content, ".git/info/attributes": b"*.x -diff", ".gitattributes": b"*.y text\r\n*.z text"}
    )
    before = snapshot(repo.top)
    listed = repo.git("config", "--list", "--local")
    committed = how == "committed"
    install(cwd=str(repo.top), dry_run=how == "dry run", commit_attributes=committed)
    if how == "dry run":
        assert snapshot(repo.top) == before
        return
    if how == "twice":
        install(cwd=str(repo.top), include=["*.more"])
    assert repo.git("config", "diff.diffai.command").strip() == driver_command(PROGRAM, interpreter=sys.executable)
    assert driver_of(repo) == "diffai"
    assert repo.git("config", "--list", "--local").startswith(listed)
    uninstall(cwd=str(repo.top))
    assert snapshot(repo.top) == before


CONFIG_LINES = st.sampled_from([
    b"[core]", b"\tbare = false", b'[diff "diffai"]', b"\twordRegex = x", b"\txfuncname = mine", b"# comment", b"",
    b"  ; other", b"[user] name = x", b"\tkey", b'\tx = "a;b # c" # d', b"\tx = a \\", b"[include]",
    b"\tpath = /nowhere",
    b'[remote "a b"]', b"\turl = [diff]", b"\xff", b'[Diff "diffai"]', b"\tcommand", b'[diff "diffai"] # mine', b"\r",
])  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(CONFIG_LINES, max_size=8), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_remove_undoes_insert_in_any_configuration(lines: list[bytes], newline: bytes, last: bool) -> None:
    content = newline.join(lines) + (newline if last else b"")
    installed = config_section.insert(content, VALUES, Notes())
    assert config_section.remove(installed) == content
    assert config_section.insert(installed, VALUES, Notes()) == installed
    newer = {**VALUES, "command": driver_command("/y/diffai")}
    assert config_section.remove(config_section.insert(installed, newer, Notes())) == content
    try:
        config_section.verify(content, content, {}, path="x")
    except SourceError:
        return  # git cannot read it even without us, or reads a key of ours in it
    try:
        config_section.verify(content, installed, VALUES, path="x")
    except SourceError:
        # Refused rather than written: only where the last line runs on into ours.
        assert lines and lines[-1].endswith(b"\\")


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_remove_undoes_insert_in_any_bytes(content: bytes) -> None:
    assert config_section.remove(config_section.insert(content, VALUES, Notes())) == content


def test_foreign_keys_written_by_git_stay(repo: Repo) -> None:
    install(cwd=str(repo.top))
    repo.config("diff.diffai.wordRegex", "[a-z]+")
    repo.config("user.name", "later")
    repo.config("diff.other.textconv", "cat")
    install(cwd=str(repo.top))
    uninstall(cwd=str(repo.top))
    assert repo.git("config", "--get-regexp", "^(diff|user)").splitlines() == [
        "diff.diffai.wordregex [a-z]+", "user.name later", "diff.other.textconv cat",
    ]  # fmt: skip
    assert b"uninstall" not in (repo.top / ".git/config").read_bytes()


def test_git_itself_can_remove_it(repo: Repo) -> None:
    before = (repo.top / ".git/config").read_bytes()
    install(cwd=str(repo.top))
    repo.git("config", "--remove-section", "diff.diffai")
    assert (repo.top / ".git/config").read_bytes() == before


def test_an_older_command_of_ours_is_updated(repo: Repo) -> None:
    install(cwd=str(repo.top))
    repo.config(
        "diff.diffai.command", 'diffai_driver() { p=\'/old/venv/bin/diffai\'; "$p" git-driver "$@"; }; diffai_driver'
    )
    report = install(cwd=str(repo.top))
    assert [change.done for change in report.changes] == ["updated", "unchanged"]
    assert repo.git("config", "--get-all", "diff.diffai.command").strip() == driver_command(PROGRAM, interpreter=sys.executable)


def test_a_command_written_by_hand_is_not_overwritten(repo: Repo) -> None:
    repo.config("diff.diffai.command", "my-own diffai")
    before = snapshot(repo.top)
    with pytest.raises(UsageError, match=r"already has diff\.diffai\.command = 'my-own diffai'.*--unset-all"):
        install(cwd=str(repo.top))
    assert snapshot(repo.top) == before
    assert not uninstall(cwd=str(repo.top)).changed
    assert snapshot(repo.top) == before


def test_include_adds_and_is_kept(repo: Repo) -> None:
    install(cwd=str(repo.top), include=["*.weights", "my models/*.bin"])
    install(cwd=str(repo.top))
    install(cwd=str(repo.top), include=["*.weights", "*.net"])
    for path in ("a.weights", "my models/x.bin", "a.net", "a.pt"):
        assert driver_of(repo, path) == "diffai"
    assert driver_of(repo, "x.bin") == "unspecified"
    assert (repo.top / ".git/info/attributes").read_bytes().count(b"*.weights") == 1
    uninstall(cwd=str(repo.top))
    assert not (repo.top / ".git/info/attributes").exists()
