"""``diffai install`` and ``uninstall`` in real repositories: what git reads afterwards, and every byte restored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gitrepo import Repo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diffai.errors import DiffaiError, SourceError, UsageError
from diffai.git import config_section, edits
from diffai.git.call import GitMissingError
from diffai.git.command import driver_command, find_program, textconv_command
from diffai.git.config_section import XFUNCNAME
from diffai.git.install import install, uninstall
from diffai.git.marks import Notes
from diffai.git.scopes import Place, as_scope, locate

PROGRAM = str(Path(sys.executable).parent / "diffai")
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


def run(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *words], cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


def snapshot(top: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: contents, links, folders."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def driver_of(repo: Repo, path: str = "m.safetensors", cwd: Path | None = None) -> str:
    return repo.git("check-attr", "diff", "--", path, cwd=cwd).strip().rpartition(": ")[2]


# ---------------------------------------------------------------- what git reads


def test_local(repo: Repo) -> None:
    repo.write({".gitattributes": "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"})
    report = install(cwd=str(repo.top))
    assert report.changed and report.program == PROGRAM
    assert repo.git("config", "--local", "diff.diffai.command").strip() == driver_command(PROGRAM)
    assert repo.git("config", "--local", "diff.diffai.textconv").strip() == textconv_command(PROGRAM)
    assert repo.git("config", "--local", "diff.diffai.xfuncname") == XFUNCNAME + "\n"
    for key in ("trustExitCode", "cachetextconv", "binary"):
        assert repo.run("config", f"diff.diffai.{key}").returncode == 1
    attributes = repo.git("check-attr", "-a", "--", "m.safetensors")
    assert "diff: diffai" in attributes
    assert "filter: lfs" in attributes and "merge: lfs" in attributes and "text: unset" in attributes
    assert repo.run("diff").returncode == 0
    assert (repo.top / ".gitattributes").read_text() == "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def test_twice_changes_no_byte(repo: Repo) -> None:
    install(cwd=str(repo.top))
    before = snapshot(repo.top)
    times = [(repo.top / ".git" / name).stat().st_mtime_ns for name in ("config", "info/attributes")]
    report = install(cwd=str(repo.top))
    assert not report.changed and {change.done for change in report.changes} == {"unchanged"}
    assert snapshot(repo.top) == before
    assert times == [(repo.top / ".git" / name).stat().st_mtime_ns for name in ("config", "info/attributes")]


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
    assert repo.git("config", "diff.diffai.command").strip() == driver_command(PROGRAM)
    assert driver_of(repo) == "diffai"
    assert repo.git("config", "--list", "--local").startswith(listed)
    uninstall(cwd=str(repo.top))
    assert snapshot(repo.top) == before


CONFIG_LINES = st.sampled_from([
    b"[core]", b"\tbare = false", b'[diff "diffai"]', b"\twordRegex = x", b"\txfuncname = mine", b"# comment", b"",
    b"  ; other", b"[user] name = x", b"\tkey", b'\tx = "a;b # c" # d', b"\tx = a \\", b"[include]", b"\tpath = /nowhere",
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
    assert repo.git("config", "--get-all", "diff.diffai.command").strip() == driver_command(PROGRAM)


def test_a_command_written_by_hand_is_not_overwritten(repo: Repo) -> None:
    repo.config("diff.diffai.command", "my-own diffai")
    before = snapshot(repo.top)
    with pytest.raises(UsageError, match="already has diff.diffai.command = 'my-own diffai'.*--unset-all"):
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


# ---------------------------------------------------------------- kinds of repositories


def test_linked_worktree_with_its_own_config(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"m.safetensors": b"1\0"})
    repo.config("extensions.worktreeConfig", "true")
    linked = tmp_path / "linked tree"
    repo.git("worktree", "add", "-q", "-b", "side", str(linked))
    repo.git("config", "--worktree", "user.name", "only here", cwd=linked)
    before = snapshot(repo.top / ".git")
    (linked / "sub").mkdir()
    install(cwd=str(linked / "sub"))
    for place in (repo.top, linked, linked / "sub"):
        assert driver_of(repo, cwd=place) == "diffai"
        assert repo.git("config", "diff.diffai.command", cwd=place).strip() == driver_command(PROGRAM)
    uninstall(cwd=str(repo.top))
    assert snapshot(repo.top / ".git") == before


def test_bare(home: Path, tmp_path: Path) -> None:
    bare = Repo.init(tmp_path / "b are.git", "--bare")
    before = snapshot(bare.top)
    install(cwd=str(bare.top))
    assert driver_of(bare) == "diffai"
    with pytest.raises(UsageError, match="needs a work tree"):
        install(cwd=str(bare.top), commit_attributes=True)
    uninstall(cwd=str(bare.top))
    assert snapshot(bare.top) == before


def test_submodule(repo: Repo, tmp_path: Path) -> None:
    inner = Repo.init(tmp_path / "inner")
    inner.commit({"m.safetensors": b"1\0"})
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.top), "sub")
    outside = (repo.top / ".git/config").read_bytes()
    install(cwd=str(repo.top / "sub"))
    assert (repo.top / ".git/config").read_bytes() == outside
    assert driver_of(repo, cwd=repo.top / "sub") == "diffai"
    assert driver_of(repo) == "unspecified"


def test_from_a_subdirectory_and_inside_the_git_folder(repo: Repo) -> None:
    (repo.top / "a b" / "c").mkdir(parents=True)
    for place in ("a b/c", ".git", ".git/info"):
        install(cwd=str(repo.top / place))
        assert driver_of(repo) == "diffai"
        uninstall(cwd=str(repo.top / place))
        assert driver_of(repo) == "unspecified"


def test_git_dir_in_the_environment(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert run("install", cwd=elsewhere, GIT_DIR="../repo/.git").returncode == 0
    assert driver_of(repo) == "diffai"
    assert run("doctor", cwd=elsewhere, GIT_DIR="../repo/.git", GIT_WORK_TREE="../repo").returncode == 0
    done = run("install", cwd=elsewhere, GIT_DIR="../nowhere")
    assert done.returncode == 2 and "nowhere" in done.stderr


def test_without_info_folder(home: Path, tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / "r", "--template=")
    before = snapshot(repo.top)
    assert not (repo.top / ".git/info").exists()
    install(cwd=str(repo.top))
    uninstall(cwd=str(repo.top))
    assert snapshot(repo.top) == before


# ---------------------------------------------------------------- .gitattributes


def test_commit_attributes(repo: Repo) -> None:
    report = install(cwd=str(repo.top), commit_attributes=True)
    assert "git add .gitattributes" in report.notes[0]
    assert repo.git("status", "--short") == "?? .gitattributes\n"
    assert not (repo.top / ".git/info/attributes").exists()
    assert driver_of(repo) == "diffai"
    uninstall(cwd=str(repo.top))
    assert repo.git("status", "--short") == ""


def test_a_committed_block_of_others_is_left_unless_asked(repo: Repo, tmp_path: Path) -> None:
    install(cwd=str(repo.top), commit_attributes=True)
    repo.commit({}, "nothing")
    repo.git("add", ".gitattributes")
    repo.git("commit", "-q", "-m", "attributes")
    clone = repo.clone(tmp_path / "clone")
    committed = (clone.top / ".gitattributes").read_bytes()
    assert driver_of(clone) == "diffai"  # harmless: git knows no such driver
    install(cwd=str(clone.top), commit_attributes=True)
    report = uninstall(cwd=str(clone.top))
    assert (clone.top / ".gitattributes").read_bytes() == committed
    assert "uninstall --commit-attributes" in report.notes[0]
    uninstall(cwd=str(clone.top), commit_attributes=True)
    assert not (clone.top / ".gitattributes").exists()


def test_gitattributes_that_is_a_link_is_refused(repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious\n")
    (repo.top / ".gitattributes").symlink_to(tmp_path / "victim")
    with pytest.raises(UsageError, match="symbolic link"):
        install(cwd=str(repo.top), commit_attributes=True)
    install(cwd=str(repo.top))
    uninstall(cwd=str(repo.top))
    with pytest.raises(UsageError, match="symbolic link"):
        uninstall(cwd=str(repo.top), commit_attributes=True)
    assert (tmp_path / "victim").read_text() == "precious\n"


def test_notes_of_a_committed_file_remove_no_folders(repo: Repo) -> None:
    nested = Repo.init(repo.top / "a" / "b")
    (nested.top / ".gitattributes").write_bytes(
        b"# >>> diffai >>> (file created, 99 folders created)\n*.x diff=diffai\n"
    )
    uninstall(cwd=str(nested.top), commit_attributes=True)
    assert sorted(path.name for path in nested.top.iterdir()) == [".git"]


# ---------------------------------------------------------------- global and system


@pytest.mark.parametrize("variable", ["set", "unset"])
def test_global_creates_and_removes(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    if variable == "unset":
        monkeypatch.delenv("GIT_CONFIG_GLOBAL")
        monkeypatch.delenv("XDG_CONFIG_HOME")
    install("global", cwd=str(tmp_path))
    assert sorted(snapshot(home)) == [".config", ".config/git", ".config/git/attributes", ".gitconfig"]
    repo = Repo.init(tmp_path / "r")
    assert driver_of(repo) == "diffai"
    assert repo.git("config", "--global", "diff.diffai.command").strip() == driver_command(
        PROGRAM, scope_flag="--global"
    )
    uninstall("global", cwd=str(repo.top))
    assert snapshot(home) == {}


def test_global_in_the_xdg_file(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GIT_CONFIG_GLOBAL")
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/config").write_bytes(b"[user]\n\tname = x")
    (home / ".config/git/attributes").write_bytes(b"*.x text\r\n*.y text")
    before = snapshot(home)
    install("global", cwd=str(tmp_path))
    assert not (home / ".gitconfig").exists()
    git = subprocess.run(["git", "config", "--global", "diff.diffai.command"], capture_output=True, check=True)
    assert b"git-driver" in git.stdout
    uninstall("global", cwd=str(tmp_path))
    assert snapshot(home) == before


def test_global_with_core_attributes_file(home: Path, tmp_path: Path, repo: Repo) -> None:
    (home / ".gitconfig").write_text("[core]\n\tattributesFile = ~/my attributes\n")
    repo.config("core.attributesFile", str(tmp_path / "only of this repository"))
    install("global", cwd=str(repo.top))
    assert (home / "my attributes").exists() and not (tmp_path / "only of this repository").exists()
    repo.git("config", "--unset", "core.attributesFile")
    assert driver_of(repo) == "diffai"
    (home / ".gitconfig").write_text((home / ".gitconfig").read_text().replace("~/my", "sub/my"))
    with pytest.raises(UsageError, match="depends on where git runs"):
        install("global", cwd=str(repo.top))


def test_a_config_that_is_a_link_is_written_through(home: Path, tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    (dotfiles / "gitconfig").write_bytes(b"[user]\n\tname = x\n")
    (dotfiles / "gitconfig").chmod(0o600)
    (home / ".gitconfig").symlink_to(dotfiles / "gitconfig")
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/attributes").symlink_to(dotfiles / "attributes")  # points nowhere yet
    before = snapshot(tmp_path)
    install("global", cwd=str(tmp_path))
    assert (home / ".gitconfig").is_symlink() and (home / ".config/git/attributes").is_symlink()
    assert b"diffai" in (dotfiles / "gitconfig").read_bytes() and (dotfiles / "attributes").exists()
    assert (dotfiles / "gitconfig").stat().st_mode & 0o777 == 0o600
    uninstall("global", cwd=str(tmp_path))
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("value", ["/dev/null", "", "relative"])
def test_global_without_a_place(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", value)
    with pytest.raises(UsageError, match="GIT_CONFIG_GLOBAL"):
        install("global", cwd=str(tmp_path))


def test_system_places(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", str(tmp_path / "etc" / "gitconfig"))
    place = locate("system", str(tmp_path))
    assert place.config == str(tmp_path / "etc" / "gitconfig")
    assert place.attributes.endswith("/etc/gitattributes") and os.path.isabs(place.attributes)
    assert not (tmp_path / "etc").exists()


def test_system(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of the test's own, since git's own attributes file of the machine cannot be moved."""
    etc = tmp_path / "usr" / "etc"
    place = Place("system", str(etc / "gitconfig"), str(etc / "gitattributes"))
    monkeypatch.setattr("diffai.git.install.locate", lambda scope, cwd: place)
    install("system", cwd=str(tmp_path))
    monkeypatch.delenv("GIT_CONFIG_NOSYSTEM")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", place.config)
    git = subprocess.run(["git", "config", "--system", "diff.diffai.textconv"], capture_output=True, check=True)
    assert b"git config --system --remove-section diff.diffai" in git.stdout
    assert b"*.pt diff=diffai\n" in (etc / "gitattributes").read_bytes()
    uninstall("system", cwd=str(tmp_path))
    assert not (tmp_path / "usr").exists()


# ---------------------------------------------------------------- nothing half done


def test_both_files_or_none(repo: Repo) -> None:
    repo.write({".git/info/attributes": b"*.x text\n"})
    (repo.top / ".git/info/attributes").chmod(0o444)
    before = snapshot(repo.top)
    with pytest.raises(SourceError, match="info/attributes: it is read-only"):
        install(cwd=str(repo.top))
    assert snapshot(repo.top) == before


def test_a_locked_config_is_waited_for_by_nobody(repo: Repo) -> None:
    (repo.top / ".git/config.lock").touch()
    before = snapshot(repo.top)
    with pytest.raises(SourceError, match=r"config\.lock exists"):
        install(cwd=str(repo.top))
    assert snapshot(repo.top) == before


def test_a_file_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"newer")
    with pytest.raises(SourceError, match="changed while"):
        edits.apply([edits.FileEdit(str(path), b"older", b"ours")])
    assert snapshot(tmp_path) == {"file": b"newer"}


def test_a_folder_in_the_way(repo: Repo) -> None:
    (repo.top / ".git/info/attributes").mkdir()
    with pytest.raises(SourceError, match="not a regular file"):
        install(cwd=str(repo.top))


def test_a_broken_config_is_named(repo: Repo) -> None:
    (repo.top / ".git/config").write_bytes(b"[core\n")
    with pytest.raises(DiffaiError, match=r"bad config line 1 in file"):
        install(cwd=str(repo.top))


def test_refusing_a_config_that_runs_on(home: Path, tmp_path: Path) -> None:
    """A last line that goes on would swallow the header of the section."""
    for content in (b"[a]\n\tx = y \\", b'[a]\n\tx = "y \\\n'):
        (home / ".gitconfig").write_bytes(content)
        try:
            install("global", cwd=str(tmp_path))
        except DiffaiError:
            assert (home / ".gitconfig").read_bytes() == content
        else:
            uninstall("global", cwd=str(tmp_path))
            assert (home / ".gitconfig").read_bytes() == content


def test_outside_a_repository(home: Path, tmp_path: Path) -> None:
    for words in (["install"], ["uninstall"], ["install", "--commit-attributes"]):
        done = run(*words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "diffai: not in a git repository: go to one, or register for all your repositories with: "
            "diffai install --global\n"
        )


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitMissingError, match="git is not installed"):
        install(cwd=str(tmp_path))
    done = run("install", cwd=tmp_path)
    assert done.returncode == 2 and "git is not installed" in done.stderr


def test_commit_attributes_goes_with_local_only(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not go with --global"):
        install("global", commit_attributes=True, cwd=str(tmp_path))
    with pytest.raises(UsageError, match="no scope 'worldwide'"):
        as_scope("worldwide")


# ---------------------------------------------------------------- the program


def test_the_program_says_what_it_did(repo: Repo) -> None:
    repo.commit({"sub/m odel.pt": b"1\0", ".gitattributes": "*.pt diff=lfs\n"})
    dry = run("install", "--dry-run", cwd=repo.top)
    assert dry.returncode == 0 and dry.stdout.startswith("diffai would be installed in this repository:\n")
    assert "| *.safetensors diff=diffai" in dry.stdout and '| [diff "diffai"]' in dry.stdout
    assert driver_of(repo) == "unspecified"

    first = run("install", "--include", "*.net", cwd=repo.top / "sub")
    assert first.returncode == 0 and first.stderr == ""
    assert first.stdout.startswith(f"diffai is installed in this repository:\n  written    {repo.top}/.git/config\n")
    assert f"diff.diffai.* runs {PROGRAM}\n" in first.stdout
    assert f"  written    {repo.top}/.git/info/attributes\n" in first.stdout and "*.net diff=diffai\n" in first.stdout
    assert "Try:\n  git diff\n  git log -p -- 'm odel.pt'\n" in first.stdout  # as seen from here

    again = run("install", cwd=repo.top)
    assert again.stdout.startswith("diffai is already installed in this repository; nothing was changed\n")
    gone = run("uninstall", cwd=repo.top)
    assert gone.stdout.startswith("diffai is uninstalled in this repository:\n  restored ")
    assert run("uninstall", cwd=repo.top).stdout == "diffai is not installed in this repository; nothing was changed\n"


def test_the_program_warns_where_it_loses(repo: Repo) -> None:
    repo.commit({"m.pt": b"1\0", ".gitattributes": "*.pt binary\n"})
    done = run("install", "--global", cwd=repo.top)
    assert done.returncode == 0
    assert f"! m.pt: git does not call diffai (diff is unset; {repo.top}/.gitattributes:1: *.pt binary)" in done.stdout
    assert "m.pt" not in run("install", "--local", cwd=repo.top).stdout.partition("Try:")[0]


def test_a_bad_glob_is_a_usage_error(repo: Repo) -> None:
    done = run("install", "--include", "!x", cwd=repo.top)
    assert done.returncode == 2 and "negative patterns" in done.stderr


def test_nothing_of_a_clone_chooses_the_command(repo: Repo) -> None:
    """A program of our name in the clone, and settings in it, are not looked at."""
    repo.write(
        {"diffai": "#!/bin/sh\ntouch pwned\n", ".diffai.toml": 'program = "x"\n', "diffai.py": "raise SystemExit(3)\n"}
    )
    (repo.top / "diffai").chmod(0o755)
    done = run("install", cwd=repo.top, PATH=f".:{os.environ['PATH']}")
    assert done.returncode == 0
    assert find_program() in repo.git("config", "diff.diffai.command")
    assert not (repo.top / "pwned").exists()
