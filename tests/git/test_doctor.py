"""``diffai doctor``: who wins for each model file and why, by real git and git-lfs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gitrepo import Repo, lfs_pointer
from installing import PROGRAM

import diffai
from diffai.git.attributes import DEFAULT_GLOBS
from diffai.git.call import Answer, GitError
from diffai.git.command import driver_command
from diffai.git.doctor import Diagnosis, Finding, Group, diagnose, size_text
from diffai.git.doctor_text import doctor_lines
from diffai.git.install import install
from diffai.git.lfs_state import LfsSetup

needs_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
SAFETENSORS = b"\x02\0\0\0\0\0\0\0{}"


def doctor(repo: Repo) -> Diagnosis:
    return diagnose(str(repo.top))


def group_of(diagnosis: Diagnosis, path: str) -> Group:
    (found,) = [group for group in diagnosis.groups if path in group.paths]
    return found


def place_of(diagnosis: Diagnosis, path: str, repo: Repo) -> str:
    rule = group_of(diagnosis, path).rule
    assert rule is not None
    return f"{rule.file.replace(str(repo.top) + '/', '')}:{rule.number}: {rule.text}"


def texts(findings: tuple[Finding, ...], level: str) -> list[str]:
    return [finding.text for finding in findings if finding.level == level]


# ---------------------------------------------------------------- who wins


def test_nothing_installed(repo: Repo) -> None:
    repo.commit({"m.safetensors": SAFETENSORS, "notes.txt": "x"})
    diagnosis = doctor(repo)
    assert diagnosis.exit_code == 1
    assert [group.paths for group in diagnosis.groups] == [("m.safetensors",)]
    group = diagnosis.groups[0]
    assert (group.driver, group.rule) == ("unspecified", None)
    assert group.finding.command == "diffai install"
    assert "Next:\n  diffai install" in "\n".join(doctor_lines(diagnosis))


def test_all_is_well(repo: Repo) -> None:
    repo.commit({"m.safetensors": SAFETENSORS, "sub/a.pt": b"x\0"})
    install(cwd=str(repo.top))
    diagnosis = doctor(repo)
    assert diagnosis.exit_code == 0
    assert diagnosis.versions[0].startswith("diffai ") and diagnosis.versions[1].startswith("git 2.")
    assert f"git runs {PROGRAM}, which starts (diffai {diffai.__version__})" in texts(diagnosis.registration, "ok")
    assert place_of(diagnosis, "m.safetensors", repo) == ".git/info/attributes:2: *.safetensors diff=diffai"
    lines = doctor_lines(diagnosis)
    assert "Model files: 2" in lines and lines[-1].startswith("All is well.")
    assert not any("\x1b" in line for line in lines)
    assert any("\x1b[32mok" in line for line in doctor_lines(diagnosis, color=True))


def test_lfs_in_the_repository_beats_a_global_install(repo: Repo) -> None:
    repo.commit({"m.pt": b"x\0", ".gitattributes": "# models\n*.pt filter=lfs diff=lfs merge=lfs -text\n"})
    install("global", cwd=str(repo.top))
    diagnosis = doctor(repo)
    group = group_of(diagnosis, "m.pt")
    assert (group.driver, group.finding.level, group.finding.command) == ("lfs", "todo", "diffai install")
    assert place_of(diagnosis, "m.pt", repo) == ".gitattributes:2: *.pt filter=lfs diff=lfs merge=lfs -text"
    install(cwd=str(repo.top))
    assert group_of(doctor(repo), "m.pt").finding.level == "ok"


@pytest.mark.parametrize(
    ("line", "driver", "said"),
    [("*.pt binary", "unset", "switched off"), ("*.pt -diff", "unset", "switched off"),
     ("*.pt diff", "set", "plain text"),
     ("*.pt diff=nbdime", "nbdime", "'nbdime'"), ("[attr]weights -diff\n*.pt weights", "unset", "switched off"),
     ("*.pt !diff", "unspecified", "no attributes line")],
)  # fmt: skip
def test_what_keeps_git_from_diffai(repo: Repo, line: str, driver: str, said: str) -> None:
    repo.commit({"m.pt": b"x\0", ".gitattributes": f"{line}\n"})
    install("global", cwd=str(repo.top))
    diagnosis = doctor(repo)
    group = group_of(diagnosis, "m.pt")
    assert (group.driver, diagnosis.exit_code) == (driver, 1)
    assert said in group.finding.text
    assert place_of(diagnosis, "m.pt", repo).endswith(line.splitlines()[-1])


def test_a_line_behind_our_block_is_named(repo: Repo) -> None:
    repo.commit({"m.pt": b"x\0"})
    install(cwd=str(repo.top))
    with (repo.top / ".git/info/attributes").open("a") as file:
        file.write("*.pt -diff\n")
    last = len((repo.top / ".git/info/attributes").read_text().splitlines())
    diagnosis = doctor(repo)
    assert place_of(diagnosis, "m.pt", repo) == f".git/info/attributes:{last}: *.pt -diff"
    assert "remove that line" in group_of(diagnosis, "m.pt").finding.text
    assert "by hand" in doctor_lines(diagnosis)[-1]


def test_sources_in_gits_order(repo: Repo, home: Path) -> None:
    files = [f"{folder}m{number}.pt" for number in range(5) for folder in ("", "d/", "d/e/")]
    repo.commit(dict.fromkeys(files, b"x\0"))
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/attributes").write_text("*.pt diff=user\nm0.pt diff=user0\n")
    repo.write({
        ".gitattributes": "m1.pt diff=root\nd/** diff=rootd\n\n# c\n\"m3.pt\" diff=quoted\n",
        "d/.gitattributes": "*.pt text\n/m2.pt diff=d\ne/m3.pt diff=de\n",
        "d/e/.gitattributes": "m4.pt eol=lf diff=e\n",
        ".git/info/attributes": "d/e/m1.pt diff=info\n",
    })  # fmt: skip
    diagnosis = doctor(repo)
    user = str(home / ".config/git/attributes")
    assert place_of(diagnosis, "m0.pt", repo) == f"{user}:2: m0.pt diff=user0"
    assert place_of(diagnosis, "m2.pt", repo) == f"{user}:1: *.pt diff=user"
    assert place_of(diagnosis, "m1.pt", repo) == ".gitattributes:1: m1.pt diff=root"
    assert place_of(diagnosis, "m3.pt", repo) == '.gitattributes:5: "m3.pt" diff=quoted'
    assert place_of(diagnosis, "d/m0.pt", repo) == ".gitattributes:2: d/** diff=rootd"
    assert place_of(diagnosis, "d/m2.pt", repo) == "d/.gitattributes:2: /m2.pt diff=d"
    assert place_of(diagnosis, "d/e/m2.pt", repo) == ".gitattributes:2: d/** diff=rootd"
    assert place_of(diagnosis, "d/e/m3.pt", repo) == "d/.gitattributes:3: e/m3.pt diff=de"
    assert place_of(diagnosis, "d/e/m4.pt", repo) == "d/e/.gitattributes:1: m4.pt eol=lf diff=e"
    assert place_of(diagnosis, "d/e/m1.pt", repo) == ".git/info/attributes:1: d/e/m1.pt diff=info"
    for group in diagnosis.groups:
        assert group.rule is not None and group.rule.text.endswith(f"diff={group.driver}")


def test_attributes_that_are_only_in_the_index(repo: Repo) -> None:
    repo.commit({"m.pt": b"x\0", ".gitattributes": "*.pt diff=lfs\n"})
    (repo.top / ".gitattributes").unlink()
    (repo.top / "m.pt").unlink()
    diagnosis = doctor(repo)
    assert place_of(diagnosis, "m.pt", repo) == ":.gitattributes:1: *.pt diff=lfs"
    assert "      .gitattributes (in the index):1: *.pt diff=lfs" in doctor_lines(diagnosis)


def test_model_files_without_a_rule(repo: Repo) -> None:
    zipped = b"PK\x03\x04" + b"\0" * 26 + b"archive/data.pkl" + b"\0" * 90
    repo.commit({
        "a.bin": zipped, "b.bin": b"firmware", "UPPER.PT": b"x\0", "e.pth.tar": zipped,
        "c.tar": b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
        "d.weights": SAFETENSORS[:8] + b'{"a":1}', "model": zipped,
    })  # fmt: skip
    install(cwd=str(repo.top))
    diagnosis = doctor(repo)
    lost = {path: group.finding.command for group in diagnosis.groups for path in group.paths}
    assert lost == {
        "a.bin": "diffai install --include '*.bin'",
        "UPPER.PT": "diffai install --include '*.PT'",
        "e.pth.tar": "",  # a default
        "c.tar": "diffai install --include '*.tar'",
        "d.weights": "diffai install --include '*.weights'",
    }
    lines = doctor_lines(diagnosis)
    (command,) = lines[lines.index("Next:") + 1 :]
    subprocess.run(["sh", "-c", command.replace("diffai", PROGRAM, 1)], cwd=repo.top, check=True)
    assert doctor(repo).exit_code == 0


def test_bare_worktree_and_outside(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"sub/m.pt": b"x\0"})
    bare = repo.clone(tmp_path / "bare.git", "--bare")
    install(cwd=str(bare.top))
    line = 2 + DEFAULT_GLOBS.index("*.pt")  # below the line that begins the block
    assert place_of(doctor(bare), "sub/m.pt", bare) == f"info/attributes:{line}: *.pt diff=diffai"
    repo.git("worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    install(cwd=str(tmp_path / "linked"))
    diagnosis = diagnose(str(tmp_path / "linked" / "sub"))
    assert diagnosis.exit_code == 0 and group_of(diagnosis, "sub/m.pt").driver == "diffai"

    outside = diagnose(str(tmp_path))
    assert (outside.repository, outside.groups, outside.exit_code) == ("", (), 1)
    install("global", cwd=str(tmp_path))
    assert diagnose(str(tmp_path)).exit_code == 0


def test_empty_repository_and_foreign_index_entries(repo: Repo, tmp_path: Path) -> None:
    install(cwd=str(repo.top))
    assert "Model files: none tracked yet" in doctor_lines(doctor(repo))
    other = Repo.init(tmp_path / "other")
    other.commit({"x": "y"})
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other.top), "sub.pt")
    (repo.top / "link.pt").symlink_to("x")
    repo.git("add", "link.pt")
    assert doctor(repo).groups == ()


def test_unmerged_and_odd_names(repo: Repo) -> None:
    odd = 'a\nb\x1b[31m "q" ü.pt'
    repo.commit({odd: b"x\0", "m.pt": b"0\0"})
    repo.git("checkout", "-q", "-b", "side")
    repo.commit({"m.pt": b"1\0"})
    repo.git("checkout", "-q", "main")
    repo.commit({"m.pt": b"2\0"})
    assert repo.run("merge", "side").returncode == 1
    install(cwd=str(repo.top))
    diagnosis = doctor(repo)
    assert sorted(path for group in diagnosis.groups for path in group.paths) == [odd, "m.pt"]
    assert all("\x1b" not in line and "\n" not in line for line in doctor_lines(diagnosis))


def test_ten_thousand_files_are_one_group(repo: Repo) -> None:
    blob = repo.git("hash-object", "-w", "--stdin").strip()
    entries = "".join(f"100644 {blob}\tdir{n % 100}/file{n}.{'pt' if n % 2 else 'txt'}\n" for n in range(10_000))
    subprocess.run(["git", "update-index", "--index-info"], input=entries, text=True, cwd=repo.top, check=True)
    install(cwd=str(repo.top))
    diagnosis = doctor(repo)
    assert len(diagnosis.groups[0].paths) == 5000
    assert len(doctor_lines(diagnosis)) < 30
    assert len(doctor_lines(diagnosis, verbose=True)) > 5000


# ---------------------------------------------------------------- the program


def test_program_that_is_gone(repo: Repo) -> None:
    install(cwd=str(repo.top))
    repo.config("diff.diffai.command", driver_command("/nonexistent/bin/diffai"))
    (finding,) = [found for found in doctor(repo).registration if found.level == "todo"]
    assert "/nonexistent/bin/diffai is gone" in finding.text and finding.command == "diffai install"


@pytest.mark.parametrize(
    ("script", "said"),
    [("#!/nonexistent/python\n", "does not start: No such file"),
     ("#!/bin/sh\necho oh no >&2; exit 1\n", "does not work: oh no"),
     ("#!/bin/sh\necho something else\n", "does not work: exit 0")],
)  # fmt: skip
def test_program_that_does_not_start(repo: Repo, tmp_path: Path, script: str, said: str) -> None:
    program = tmp_path / "diffai"
    program.write_text(script)
    program.chmod(0o755)
    repo.config("diff.diffai.command", driver_command(str(program)))
    assert any(said in text for text in texts(doctor(repo).registration, "todo"))


def test_another_installation_is_named(repo: Repo, tmp_path: Path) -> None:
    program = tmp_path / "diffai"
    program.write_text("#!/bin/sh\necho diffai 0.0.9\n")
    program.chmod(0o755)
    install("global", cwd=str(repo.top))
    repo.git("config", "--global", "diff.diffai.command", driver_command(str(program)))
    (note,) = [found for found in doctor(repo).registration if found.level == "note"]
    assert (
        f"git runs {program} (diffai 0.0.9), and you are running another one: {os.path.realpath(PROGRAM)}" in note.text
    )
    assert note.command == "diffai install --global"


@pytest.mark.parametrize("start", ['"$p"', f"'{sys.executable}' -E -P \"$p\""])
def test_a_command_of_an_older_version_is_named_and_install_renews_it(repo: Repo, start: str) -> None:
    """Before, the script was run as it is, and later it was shut off from PYTHONPATH; now Python is started itself."""
    repo.commit({"m.safetensors": SAFETENSORS})
    install(cwd=str(repo.top))
    current = repo.git("config", "diff.diffai.command").strip()
    begin, end = current.index("then ") + len("then "), current.index(' git-driver "$@"')
    repo.config("diff.diffai.command", current[:begin] + start + current[end:])
    (said,) = [finding for finding in doctor(repo).registration if finding.level == "todo"]
    assert "diff.diffai.command" in said.text and "another version" in said.text and said.command == "diffai install"
    install(cwd=str(repo.top))
    assert repo.git("config", "diff.diffai.command").strip() == current
    assert not texts(doctor(repo).registration, "todo")


def test_a_command_written_by_hand_is_reported_and_not_run(repo: Repo, tmp_path: Path) -> None:
    repo.config("diff.diffai.command", f"touch {tmp_path}/ran; true")
    diagnosis = doctor(repo)
    assert any("was written by hand: touch" in text for text in texts(diagnosis.registration, "note"))
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------- surroundings


def test_dangerous_and_harmless_settings(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    install(cwd=str(repo.top))
    repo.config("diff.diffai.trustExitCode", "true")
    repo.config("diff.diffai.cacheTextconv", "true")
    repo.config("diff.external", "difft")
    monkeypatch.setenv("GIT_PAGER", "delta")
    monkeypatch.setenv("GIT_LFS_SKIP_SMUDGE", "1")
    monkeypatch.setenv("LESS", "FX")
    diagnosis = doctor(repo)
    dangers = texts(diagnosis.surroundings, "todo")
    assert "trustExitCode is set" in dangers[0] and "cachetextconv is set" in dangers[1]
    notes = "\n".join(texts(diagnosis.surroundings, "note"))
    assert "diff.external is difft: harmless" in notes and "GIT_PAGER is delta" in notes and "SKIP_SMUDGE" in notes
    for finding in diagnosis.surroundings:
        if finding.level == "todo":
            subprocess.run(["sh", "-c", finding.command], check=True, cwd=repo.top)
    assert doctor(repo).exit_code == 0


def test_global_attributes_that_are_not_read_here(repo: Repo, tmp_path: Path) -> None:
    install("global", cwd=str(repo.top))
    repo.config("core.attributesFile", str(tmp_path / "own"))
    assert "so git does not read" in texts(doctor(repo).registration, "todo")[0]


@pytest.mark.parametrize(("version", "levels"), [("2.20.1", ["todo", "note"]), ("2.29.0", ["note"]), ("2.30.0", [])])
def test_an_old_git(repo: Repo, monkeypatch: pytest.MonkeyPatch, version: str, levels: list[str]) -> None:
    install(cwd=str(repo.top))
    answer = Answer(0, f"git version {version} (Apple)\n".encode(), "")
    monkeypatch.setattr("diffai.git.doctor.demand", lambda *words, cwd: answer)
    assert [finding.level for finding in doctor(repo).surroundings] == levels


def test_another_package_with_our_module(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: {"diffai": ["diffai", "diffai-python"]})
    (finding,) = [found for found in doctor(repo).surroundings if found.level == "todo"]
    assert "diffai-python" in finding.text and finding.command.startswith("pip uninstall diffai-python")


# ---------------------------------------------------------------- git-LFS


@pytest.fixture
def lfs_repo(repo: Repo) -> Repo:
    repo.lfs_track("*.pt")
    repo.commit({"here.pt": b"x" * 5000, "raw.txt": "x"})
    install(cwd=str(repo.top))
    return repo


@needs_lfs
def test_lfs_all_here(lfs_repo: Repo) -> None:
    diagnosis = doctor(lfs_repo)
    assert diagnosis.exit_code == 0
    assert texts(diagnosis.lfs, "ok") == ["1 of 1 LFS objects are in the local store"]
    assert any(version.startswith("git-lfs 3") for version in diagnosis.versions)


@needs_lfs
def test_lfs_object_missing_without_a_remote(lfs_repo: Repo) -> None:
    (lfs_repo.top / "gone.pt").write_bytes(b"y" * 4_100_000)
    lfs_repo.git("add", "gone.pt")
    lfs_repo.git("commit", "-q", "-m", "gone")
    lfs_repo.commit({"gone.pt": b"z" * 4_200_000})
    for path in (lfs_repo.top / ".git/lfs/objects").rglob("*"):
        if path.is_file() and path.stat().st_size > 4_000_000:
            path.unlink()
    diagnosis = doctor(lfs_repo)
    missing, smudge = [finding for finding in diagnosis.lfs if finding.level == "todo"]
    assert missing.text == "LFS objects not downloaded, 4.2 MB: gone.pt"
    assert missing.command == "git lfs pull --include gone.pt"
    assert "there is no remote" in smudge.text and "die before diffai runs" in smudge.text
    dead = lfs_repo.run("diff", "HEAD~1", "HEAD")
    assert dead.returncode == 128 and "smudge filter lfs failed" in dead.stderr
    lfs_repo.git(*smudge.command.split()[1:])
    assert lfs_repo.run("diff", "HEAD~1", "HEAD").returncode == 0
    assert "show pointers for them" in texts(doctor(lfs_repo).lfs, "note")[0]


@needs_lfs
def test_lfs_pointer_on_disk(lfs_repo: Repo, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(
        ["git", "clone", "-q", f"file://{lfs_repo.top}", str(clone)],
        check=True,
        env={**os.environ, "GIT_LFS_SKIP_SMUDGE": "1"},
    )
    other = Repo(clone)
    other.git("lfs", "install", "--local", "--skip-smudge")
    install(cwd=str(clone))
    diagnosis = doctor(other)
    assert any("LFS objects not downloaded" in text for text in texts(diagnosis.lfs, "todo"))
    assert any("download such objects" in text for text in texts(diagnosis.lfs, "note"))
    (command,) = [found.command for found in diagnosis.lfs if found.level == "todo"]
    other.git(*command.split()[1:])
    assert doctor(other).exit_code == 0
    shutil.move(lfs_repo.top, tmp_path / "moved")
    for path in (clone / ".git/lfs/objects").rglob("*"):
        if path.is_file():
            path.unlink()
    assert any("does not exist" in text for text in texts(doctor(other).lfs, "todo"))


@needs_lfs
def test_lfs_pointer_on_disk_though_the_object_is_here(lfs_repo: Repo) -> None:
    (lfs_repo.top / "here.pt").write_text(lfs_repo.git("cat-file", "blob", "HEAD:here.pt"))
    (note,) = [found for found in doctor(lfs_repo).lfs if found.level == "note"]
    assert "pointers instead of models" in note.text
    lfs_repo.git(*note.command.split()[1:])
    assert doctor(lfs_repo).lfs[0].level == "ok"


def test_lfs_without_a_filter(repo: Repo) -> None:
    pointer = lfs_pointer("a" * 64, 4_100_000_000)
    repo.commit({"m.pt": pointer, ".gitattributes": "*.pt filter=lfs diff=lfs\n", "n.pt": b"not a pointer\0"})
    install(cwd=str(repo.top))
    diagnosis = doctor(repo)
    assert "no filter configured" in texts(diagnosis.lfs, "note")[0]
    assert texts(diagnosis.lfs, "todo") == ["LFS objects not downloaded, 4.1 GB: m.pt"]


@needs_lfs
@pytest.mark.parametrize("how", ["lfs.storage", "alternates", "worktree"])
def test_lfs_stores(lfs_repo: Repo, tmp_path: Path, how: str) -> None:
    place = lfs_repo.top
    if how == "lfs.storage":
        shutil.move(place / ".git/lfs", tmp_path / "store")
        lfs_repo.config("lfs.storage", str(tmp_path / "store"))
    elif how == "worktree":
        place = tmp_path / "linked"
        lfs_repo.git("worktree", "add", "-q", "-b", "side", str(place))
    else:
        place = tmp_path / "shared"
        subprocess.run(["git", "clone", "-q", "--shared", str(lfs_repo.top), str(place)], check=True)
        shutil.rmtree(place / ".git/lfs", ignore_errors=True)
    assert any("1 of 1 LFS objects" in text for text in texts(diagnose(str(place)).lfs, "ok"))


def test_lfs_filter_without_the_program(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = LfsSetup("", filtered=True, required=True, remote=False, gone="")
    monkeypatch.setattr("diffai.git.doctor.read_setup", lambda cwd: setup)
    repo.commit({"m.pt": lfs_pointer("a" * 64, 5), ".gitattributes": "*.pt filter=lfs\n"})
    assert "git-lfs is not installed" in texts(doctor(repo).lfs, "todo")[0]


def test_sizes() -> None:
    sizes = [0, 999, 1000, 4_100_000, 4_100_000_000, 4_100_000_000_000]
    assert [size_text(size) for size in sizes] == ["0 bytes", "999 bytes", "1.0 kB", "4.1 MB", "4.1 GB", "4100.0 GB"]


# ---------------------------------------------------------------- exit codes


def test_exit_codes(repo: Repo) -> None:
    def code(**variables: str) -> tuple[int, str]:
        done = subprocess.run(
            [PROGRAM, "doctor"],
            cwd=repo.top,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout + done.stderr

    assert code()[0] == 1
    install(cwd=str(repo.top))
    status, out = code()
    assert status == 0 and out.startswith("diffai ") and "Registered in git\n  ok  " in out
    assert code(PATH="/nonexistent")[0] == 2
    (repo.top / ".git/config").write_text("[broken\n")
    assert code()[0] == 2


def test_a_repository_that_git_refuses(repo: Repo) -> None:
    repo.config("core.repositoryformatversion", "99")
    with pytest.raises(GitError, match="version"):
        doctor(repo)


def test_what_git_does_not_follow_of_a_committed_configuration_is_named(repo: Repo) -> None:
    repo.commit({"m.safetensors": SAFETENSORS, ".diffai.toml": "[compare]\nepsilon = 0.5\n"})
    install(cwd=str(repo.top))
    (note,) = [finding for finding in doctor(repo).surroundings if "epsilon" in finding.text]
    assert note.level == "note" and note.text.startswith("compare.epsilon = 0.5 (.diffai.toml:2) came with the repository")
    repo.config("diffai.trustRepository", "true")
    assert not [finding for finding in doctor(repo).surroundings if "epsilon" in finding.text]
    repo.write({".diffai.toml": "[compare]\nepsilom = 0.5\n"})
    (todo,) = [finding for finding in doctor(repo).surroundings if "epsilom" in finding.text]
    assert todo.level == "todo" and ".diffai.toml:2" in todo.text
