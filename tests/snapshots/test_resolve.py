from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import safetensors_writer as writer
from gitrepo import Repo, lfs_pointer
from powerless import powerless

from diffai.errors import SourceError
from diffai.model import Absent, DvcPointer, FetchCommand, LfsPointer, NotPulled, Unreadable
from diffai.repository.blobs import GitBlob
from diffai.snapshots import files
from diffai.snapshots.files import WorkFile, open_file, open_path
from diffai.snapshots.resolve import open_blob, open_source, split_word
from diffai.sources.directory import Directory, UnresolvedError
from diffai.stores.store import StoredObject, command_line

ONE, TWO = writer.simple(1), writer.simple(2)
OID = "ab" * 32


@pytest.fixture
def here(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Repo:
    repo.commit({"m.safetensors": ONE, "sub/n.safetensors": ONE, "sub/odd [name]*.pt": ONE}, "first: one")
    repo.commit({"m.safetensors": TWO}, "second")
    monkeypatch.chdir(repo.top)
    return repo


def content(word: str) -> bytes:
    source = files.expect_source(open_source(word), word)
    try:
        with source.open_stream() as stream:
            data = stream.read()
        assert source.read(0, source.size) == data
        return data
    finally:
        source.close()


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("m.safetensors", TWO),
        ("HEAD:m.safetensors", TWO),
        ("HEAD~1:m.safetensors", ONE),
        ("main^:m.safetensors", ONE),
        ("HEAD^{/first: one}:m.safetensors", ONE),
        (":m.safetensors", TWO),
        (":0:m.safetensors", TWO),
        ("HEAD:./m.safetensors", TWO),
        ("HEAD:sub/n.safetensors", ONE),
        ("HEAD:sub/odd [name]*.pt", ONE),
        (":sub/odd [name]*.pt", ONE),
        ("HEAD^{tree}:m.safetensors", TWO),
    ],
)
def test_words(here: Repo, word: str, expected: bytes) -> None:
    assert content(word) == expected


def test_words_in_a_subdirectory(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.top / "sub")
    assert content("HEAD:m.safetensors") == TWO
    assert content("HEAD:./n.safetensors") == ONE
    assert content("HEAD:../m.safetensors") == TWO
    assert content(":./n.safetensors") == ONE
    assert content(":m.safetensors") == TWO
    with pytest.raises(SourceError, match=r"did you mean HEAD:\./n\.safetensors\?"):
        open_source("HEAD:n.safetensors")
    with pytest.raises(SourceError, match="leads out of the repository"):
        open_source("HEAD:../../x")


def test_the_index_is_not_the_work_tree(here: Repo) -> None:
    here.write({"m.safetensors": ONE})
    assert content(":m.safetensors") == TWO
    here.git("add", "m.safetensors")
    assert content(":m.safetensors") == ONE
    here.git("rm", "-q", "--cached", "m.safetensors")
    with pytest.raises(SourceError, match=r"no path 'm\.safetensors' in the index"):
        open_source(":m.safetensors")


def test_the_index_of_a_hook(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(".git/index", ".git/next-index-1.lock")
    here.write({"m.safetensors": ONE})
    here.git("add", "m.safetensors")
    monkeypatch.setenv("GIT_INDEX_FILE", str(here.top / ".git" / "next-index-1.lock"))
    assert content(":m.safetensors") == TWO


def test_sides_of_a_conflict(here: Repo) -> None:
    here.git("checkout", "-q", "-b", "other", "HEAD~1")
    here.commit({"m.safetensors": writer.simple(3)})
    assert here.run("merge", "main").returncode
    assert content(":1:m.safetensors") == ONE
    assert content(":2:m.safetensors") == writer.simple(3)
    assert content(":3:m.safetensors") == TWO
    with pytest.raises(SourceError, match="is in conflict; name a side"):
        open_source(":m.safetensors")


def test_an_existing_path_goes_before_a_revision(here: Repo) -> None:
    here.write({"HEAD:m.safetensors": ONE})
    assert content("HEAD:m.safetensors") == ONE


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("-", "standard input is not read"),
        ("s3://example/m.safetensors", "URLs of this scheme are not read"),
        ("s3://bucket/key", "URLs of this scheme are not read"),
        ("nothing", "nothing: no such file or directory"),
        ("m.safetensor", r"no such file or directory; did you mean m\.safetensors\?"),
        ("sub/m.safetensors", r"did you mean sub/n\.safetensors\?"),
        ("HEAD:nothing", "no path 'nothing' in HEAD"),
        ("HEAD:m.safetensor", r"no path 'm.safetensor' in HEAD; did you mean m\.safetensors\?"),
        ("nope:m.safetensors", "nope: no such revision"),
        ("--help:m.safetensors", "--help: no such revision"),
        (":4:m.safetensors", "no path"),
        (":/second", "no path"),
        ("m.safetensors/x", "no such file or directory"),
        ("HEAD:m.safetensors/x", "no path"),
        ("HEAD:/etc/passwd", "no path"),
        ("HEAD:../x", "leads out"),
    ],
)
def test_words_that_name_nothing(here: Repo, word: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(word)


def test_outside_a_repository(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="not in a git repository"):
        open_source("HEAD:m.safetensors")


def test_permission_denied(here: Repo) -> None:
    (here.top / "m.safetensors").chmod(0)
    with powerless(), pytest.raises(SourceError, match=r"m\.safetensors: permission denied"):
        open_source("m.safetensors")


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("HEAD:a", ("HEAD", "a")), ("HEAD:a:b", ("HEAD", "a:b")), (":a", ("", "a")), ("HEAD:", ("HEAD", "")),
        ("x^{/a: b}:c", ("x^{/a: b}", "c")), ("main@{2024-01-01 10:00}:c", ("main@{2024-01-01 10:00}", "c")),
    ],
)  # fmt: skip
def test_split_word(word: str, parts: tuple[str, str]) -> None:
    assert split_word(word) == parts


# ---------------------------------------------------------------- at a revision


def test_a_path_at_a_revision(here: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here.top)
    found = open_source("HEAD~1:m.safetensors")
    assert isinstance(found, GitBlob)
    assert found.read(0, 999) == ONE
    assert found.label == "HEAD~1:m.safetensors"
    assert found.sibling("m.safetensors").read(0, 999) == ONE
    for name in ("nothing", "m.safetensors/below"):
        with pytest.raises(SourceError, match="no path"):
            open_source(f"HEAD:{name}")
    folder = open_source(f"{here.rev_parse('HEAD')}:sub")
    assert isinstance(folder, Directory)
    assert folder.names() == ("n.safetensors", "odd [name]*.pt")
    assert folder.open("n.safetensors").read(0, 999) == ONE
    for name in ("../m.safetensors", "", "..", "sub/../b"):
        with pytest.raises(SourceError, match="outside its own directory"):
            folder.open(name)
        with pytest.raises(SourceError, match="outside its own directory"):
            found.sibling(name)
    with pytest.raises(SourceError, match="no such file"):
        folder.open("nothing")
    with pytest.raises(SourceError, match="no such revision"):
        open_source("--all:m.safetensors")
    found.close()


def test_bare_repository(here: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = here.clone(tmp_path / "bare.git", "--bare")
    monkeypatch.chdir(bare.top)
    assert content("HEAD:m.safetensors") == TWO


def test_links_are_followed_inside_the_tree(here: Repo) -> None:
    links = {"up": "../m.safetensors", "chain": "up", "out": "../../m.safetensors", "abs": "/etc/passwd", "gone": "x",
             "loop": "loop", "dir": "../sub"}  # fmt: skip
    for name, target in links.items():
        (here.top / "sub" / name).symlink_to(target)
    here.git("add", "sub")
    here.git("commit", "-q", "-m", "links")
    assert content("HEAD:sub/up") == TWO
    assert content("HEAD:sub/chain") == TWO
    assert content(":sub/chain") == TWO
    assert isinstance(open_source("HEAD:sub/dir"), Directory)
    for name in ("out", "abs"):
        with pytest.raises(SourceError, match="leads out of the repository"):
            open_source(f"HEAD:sub/{name}")
    for name in ("gone", "loop"):
        with pytest.raises(SourceError, match="is a symbolic link to 'sub/"):
            open_source(f"HEAD:sub/{name}")


def test_submodule(here: Repo) -> None:
    here.git("update-index", "--add", "--cacheinfo", f"160000,{here.rev_parse('HEAD')},module")
    here.git("commit", "-q", "-m", "module")
    with pytest.raises(SourceError, match="is a submodule"):
        open_source("HEAD:module")


def test_blobs_by_name(here: Repo) -> None:
    found = open_blob("", here.rev_parse("HEAD:m.safetensors"), "m.safetensors")
    assert isinstance(found, GitBlob)
    with pytest.raises(SourceError, match="not known without a revision"):
        found.sibling("x")
    found.close()


def test_partial_clone(here: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here.config("uploadpack.allowFilter", "true")
    clone = here.clone(tmp_path / "clone", "--filter=blob:none", "--no-checkout")
    monkeypatch.chdir(clone.top)
    oid = here.rev_parse("HEAD:m.safetensors")
    found = open_source("HEAD:m.safetensors")
    assert isinstance(found, NotPulled)
    assert (found.what, found.size) == (f"blob {oid[:12]} of m.safetensors (partial clone)", -1)
    assert command_line(found.fetch) == f"git cat-file -e {oid}"
    clone.git("cat-file", "-e", oid)  # the command of the hint
    assert content("HEAD:m.safetensors") == TWO


# ---------------------------------------------------------------- LFS


@pytest.fixture
def lfs(here: Repo) -> Repo:
    here.lfs_track("*.pt")
    here.commit({"big.pt": ONE, "dir/two.pt": TWO}, "lfs")
    return here


@pytest.mark.parametrize("word", ["HEAD:big.pt", ":big.pt", "big.pt"])
def test_lfs_objects_are_read_in_place(lfs: Repo, word: str) -> None:
    if not word.startswith(("HEAD", ":")):
        lfs.write({"big.pt": lfs.git("cat-file", "-p", "HEAD:big.pt")})
    found = open_source(word)
    assert isinstance(found, StoredObject)
    assert found.identity.startswith("sha256:")
    assert found.random_access
    assert found.label == word
    assert Path(found.path).read_bytes() == ONE
    assert content(word) == ONE
    found.close()


def test_real_content_in_the_work_tree_is_read_there(lfs: Repo) -> None:
    found = open_source("big.pt")
    assert isinstance(found, WorkFile)
    assert found.path == "big.pt"
    found.close()


def test_missing_lfs_object(lfs: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    lfs.git("remote", "add", "origin", "file:///nowhere")
    shutil.rmtree(lfs.top / ".git" / "lfs")
    found = open_source("HEAD:dir/two.pt")
    assert isinstance(found, LfsPointer)
    assert (found.size, found.path) == (len(TWO), "dir/two.pt")
    assert command_line(found.fetch) == f"git lfs fetch origin {lfs.rev_parse('HEAD^{tree}')[:12]} -I /dir/two.pt"
    lfs.write({"dir/two.pt": lfs_pointer(OID, 5)})
    pull = (FetchCommand("git-lfs", ("git", "lfs", "pull"), ("/dir/two.pt",), option="-I", joined=","),)
    assert open_source("dir/two.pt") == LfsPointer(OID, 5, "dir/two.pt", pull)
    monkeypatch.chdir(lfs.top / "dir")
    assert open_source("two.pt") == LfsPointer(OID, 5, "dir/two.pt", pull)
    assert open_source(str(lfs.top / "dir" / "two.pt")) == LfsPointer(OID, 5, "dir/two.pt", pull)
    with pytest.raises(UnresolvedError, match=r"git lfs pull -I /dir/two\.pt"):
        files.expect_source(open_source("two.pt"), "two.pt")


def test_files_handed_over_by_git(lfs: Repo, tmp_path: Path) -> None:
    """git writes the pointer to a temporary file; the repository is that of the working directory."""
    copy = tmp_path / "git-blob-x" / "big.pt"
    copy.parent.mkdir()
    copy.write_text(lfs.git("cat-file", "-p", "HEAD:big.pt"))
    found = open_file(str(copy), path="big.pt")
    assert isinstance(found, StoredObject)
    assert found.read(0, 999) == ONE
    found.close()
    copy.write_bytes(lfs_pointer(OID, 7))
    assert open_file(str(copy), path="sub/big.pt") == LfsPointer(OID, 7, "sub/big.pt")
    assert open_file(str(copy)) == LfsPointer(OID, 7, "big.pt")


def test_a_pointer_outside_any_repository(home: Path, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(lfs_pointer(OID, 7))
    assert open_source(str(tmp_path / "m.pt")) == LfsPointer(OID, 7, "m.pt")


def test_a_damaged_pointer_is_just_text(here: Repo) -> None:
    here.write({"m.pt": lfs_pointer("zz" * 32, 7)})
    found = open_source("m.pt")
    assert isinstance(found, WorkFile)
    found.close()


# ---------------------------------------------------------------- other pointers, directories


def test_annex_pointers(here: Repo) -> None:
    key = "SHA256E-s104857600--" + "a" * 64 + ".pt"
    here.write({"unlocked.pt": f"/annex/objects/{key}\n"})
    (here.top / "sub" / "locked.pt").symlink_to(f"../.git/annex/objects/x1/Q2/{key}/{key}")
    here.git("add", ".")
    here.git("commit", "-q", "-m", "annex")
    for word, path in [("unlocked.pt", "unlocked.pt"), ("HEAD:unlocked.pt", "unlocked.pt"),
                       ("HEAD:sub/locked.pt", "sub/locked.pt"), ("sub/locked.pt", "sub/locked.pt")]:  # fmt: skip
        found = open_source(word)
        assert isinstance(found, NotPulled)
        assert (found.what, found.size) == (f"git-annex object {key}", 104857600)
        rest = f"--key={key}" if word.startswith("HEAD") else f"-- {path}"
        assert command_line(found.fetch) == f"git annex get {rest}"


def test_dvc_pointers(here: Repo) -> None:
    here.commit({"m.pt.dvc": "outs:\n- md5: 0f1e\n  size: 5\n  hash: md5\n  path: m.pt\n"})
    assert open_source("m.pt.dvc") == Unreadable("md5 '0f1e' of m.pt is no content address")
    assert open_source("HEAD:m.pt.dvc") == Unreadable("md5 '0f1e' of m.pt is no content address")
    here.commit({"two.dvc": "outs:\n- md5: 0f1e\n  path: a.pt\n- md5: 0f1e\n  path: b.pt\n"})
    assert open_source("two.dvc") == open_source("HEAD:two.dvc") == DvcPointer("two.dvc", ("a.pt", "b.pt"))


def test_local_directory(lfs: Repo) -> None:
    found = open_source("sub")
    assert isinstance(found, Directory)
    assert (found.path, found.label) == ("sub", "sub")
    assert found.names() == ("n.safetensors", "odd [name]*.pt")
    assert found.open("n.safetensors").read(0, 999) == ONE
    with pytest.raises(SourceError, match="outside its own directory"):
        found.open("../m.safetensors")
    with pytest.raises(SourceError, match="no such file"):
        found.open("nothing")
    found.close()


def test_odd_files(here: Repo) -> None:
    assert open_path(os.devnull) == Absent()
    os.mkfifo("pipe.pt")
    with pytest.raises(SourceError, match="not a regular file"):
        open_path("pipe.pt")
    Path("broken.pt").symlink_to("nowhere")
    with pytest.raises(SourceError, match=r"broken\.pt: no such file"):
        open_source("broken.pt")
