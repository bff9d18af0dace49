"""The block in an attributes file: found, written, replaced, and removed without a trace."""

from __future__ import annotations

import pytest
from gitrepo import Repo
from hypothesis import assume, given
from hypothesis import strategies as st

from diffai.errors import UsageError
from diffai.formats.table import model_globs
from diffai.git.attributes import DEFAULT_GLOBS, ask_git, find, insert, quote_glob, remove
from diffai.git.marks import Notes

MARKS = (b">>> diffai >>>", b"<<< diffai <<<")
LINES = st.sampled_from([
    b"*.pt filter=lfs diff=lfs merge=lfs -text", b"", b"# comment", b"*.pt diff=diffai", b"*.png binary",
    b"\xff\xfe\x00",
    b" ", b"\t*.x -diff", b'"a b" diff=c', b"[attr]foo diff=bar", "*.ü eol=lf".encode(), b"\r",
])  # fmt: skip
CONTENTS = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda lines, newline, last: newline.join(lines) + (newline if last else b""),
        st.lists(LINES, max_size=6), st.sampled_from([b"\n", b"\r\n"]), st.booleans(),
    ),
)  # fmt: skip
GLOBS = st.lists(
    st.text(st.characters(blacklist_categories=("Cc", "Cs")), min_size=1, max_size=8).filter(
        lambda glob: not glob.isspace() and not glob.startswith(("!", "[attr]")) and not glob.endswith("/")
    ),
    min_size=1, max_size=4,
)  # fmt: skip


@given(CONTENTS, GLOBS)
def test_remove_undoes_insert(content: bytes, globs: list[str]) -> None:
    assume(not any(mark in content for mark in MARKS))
    installed = insert(content, globs, Notes())
    assert remove(installed) == content
    assert insert(installed, globs, Notes()) == installed  # a second time changes nothing


@given(CONTENTS, CONTENTS, GLOBS, GLOBS)
def test_remove_keeps_what_came_behind_and_updates_stay_in_place(
    before: bytes, behind: bytes, globs: list[str], more: list[str]
) -> None:
    assume(not any(mark in before + behind for mark in MARKS))
    installed = insert(before, globs, Notes()) + behind
    updated = insert(installed, more, Notes())
    found = find(updated)
    assert found is not None
    assert found.globs == tuple(dict.fromkeys(quote_glob(glob) for glob in [*more, *globs]))
    # A newline that was added between two lines has become the end of a line of somebody else's.
    ended = before if not behind or not before or before.endswith(b"\n") else insert(before, ["x"], Notes())
    ended = ended.partition(b"# >>> diffai")[0]
    assert remove(updated) == ended + behind


def test_missing_file() -> None:
    installed = insert(None, ["*.pt"], Notes(created=True, folders=2))
    assert installed == (
        b"# >>> diffai >>> (file created, 2 folders created)\n*.pt diff=diffai\n# <<< diffai <<<\n"
    )  # fmt: skip
    found = find(installed)
    assert found is not None and found.notes == Notes(created=True, folders=2)
    assert remove(installed) == b""


def test_line_endings_follow_the_file() -> None:
    assert insert(b"*.a -text\r\n", ["*.pt"], Notes()).count(b"\r\n") == 4
    assert insert(b"*.a -text\n", ["*.pt"], Notes()).count(b"\r") == 0
    unended = insert(b"*.a -text\r\n*.b text", ["*.pt"], Notes())
    assert b"text\r\n# >>> diffai >>> (last line had no newline)\r\n" in unended
    assert remove(unended) == b"*.a -text\r\n*.b text"


def test_foreign_lines_inside_the_block_stay() -> None:
    content = insert(b"a text\n", ["*.pt"], Notes())
    edited = content.replace(b"*.pt diff=diffai\n", b"*.pt diff=diffai\n*.md text\n")
    assert remove(edited) == b"a text\n*.md text\n"
    assert remove(insert(edited, ["*.x"], Notes())) == b"a text\n*.md text\n"


def test_a_block_whose_end_was_lost() -> None:
    content = b"# >>> diffai >>>\n*.pt diff=diffai\n*.pth diff=diffai\n*.png binary\n*.x diff=diffai\n"
    assert remove(content) == b"*.png binary\n*.x diff=diffai\n"


def test_a_block_that_was_doubled_by_a_merge() -> None:
    block = insert(None, ["*.pt"], Notes())
    assert remove(b"a text\n" + block + b"b text\n" + block) == b"a text\nb text\n"


def test_an_end_without_a_beginning_is_left_alone() -> None:
    assert find(b"# <<< diffai <<<\n*.pt diff=diffai\n") is None
    assert remove(b"# <<< diffai <<<\n") == b"# <<< diffai <<<\n"


@pytest.mark.parametrize("glob", ["", "  ", "!*.pt", "a\nb", "a\tb", "x\x00", "[attr]x", "dir/", "x" * 2100])
def test_globs_that_cannot_be_attributes(glob: str) -> None:
    with pytest.raises(UsageError, match="--include"):
        quote_glob(glob)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*.my model", "sub/a.my model"), ('*"q"', 'a"q"'), ("#x", "#x"), ("a b\\*", "a b*"), ("/top/*.w", "top/x.w"),
        ("ünï *.w", "ünï 1.w"), ("[wW]*", "Wx"), ("'", "'"), ("-x", "-x"), ("m/**", "m/a/b"),
        ("back\\\\slash", "back\\slash"),
    ],
)  # fmt: skip
def test_git_reads_the_globs_as_meant(repo: Repo, glob: str, path: str) -> None:
    content = insert(b"* filter=lfs diff=lfs merge=lfs -text\n", [*DEFAULT_GLOBS, glob], Notes())
    repo.write({".git/info/attributes": content})
    found = ask_git([path, "m.safetensors", "other"], cwd=str(repo.top))
    assert found[path].diff == found["m.safetensors"].diff == "diffai"
    assert found["other"].diff == "lfs"
    assert {attributes.filter for attributes in found.values()} == {"lfs"}
    assert repo.run("check-attr", "-a", "--", path).stderr == ""


def test_default_globs(repo: Repo) -> None:
    repo.write({".git/info/attributes": insert(None, DEFAULT_GLOBS, Notes())})
    models = [
        "a.safetensors", "d/a.pt", "a.pth", "a.ckpt", "model.safetensors.index.json", "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin", "adapter_model.bin",
    ]  # fmt: skip
    others = ["a.bin", "config.json", "a.tar", "a.pt.txt", "x_adapter_model.bin"]
    found = ask_git([*models, *others], cwd=str(repo.top))
    assert [path for path in found if found[path].diff == "diffai"] == models


def test_ask_git_about_nothing_and_about_odd_names(repo: Repo) -> None:
    assert ask_git([], cwd=str(repo.top)) == {}
    odd = ["a\nb.pt", "ü.pt", "-x.pt", "\udcff.pt"]
    assert list(ask_git(odd, cwd=str(repo.top))) == odd


def test_each_format_of_the_table_is_a_default() -> None:
    assert set(model_globs()) < set(DEFAULT_GLOBS)
    assert set(DEFAULT_GLOBS) - set(model_globs()) == {"*.dvc", "dvc.lock"}
