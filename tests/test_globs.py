"""Globs mean what .gitignore's mean, and no glob of a clone takes longer than its length says."""

from __future__ import annotations

import fnmatch
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runaway import ends

from diffai.globs import name_matches, path_matches


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.pt", ["a.pt", "x/y/a.pt", ".pt"], ["a.ptx", "a.pt/b"]),
        ("/*.pt", ["a.pt"], ["x/a.pt"]),
        ("models/*.pt", ["models/a.pt"], ["x/models/a.pt", "models/x/a.pt"]),
        ("models/", ["models/a", "models/x/y"], ["models", "x/models/a"]),
        ("models/**", ["models/a", "models/x/y"], ["models"]),
        ("**/a.pt", ["a.pt", "x/a.pt", "x/y/a.pt"], ["xa.pt", "a.pt/b"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b", "a/b/b"], ["a/xb", "ab", "a/b/c"]),
        ("a/**/b/c/**/d", ["a/b/c/d", "a/b/b/c/d", "a/b/x/b/c/y/d"], ["a/b/x/c/d"]),
        ("**/b/*a", ["b/xa", "x/b/b/xa"], ["b/x/a", "b/xa/y"]),
        ("**", ["a", "a/b"], []),
        ("m?.p[tl]", ["ma.pt", "x/mb.pl"], ["m/.pt", "m.pt", "ma.px"]),
        ("[!a]b", ["xb"], ["ab", "/b"]),
        ("x/[!a]b", ["x/cb"], ["x/ab"]),
        ("[z-a]x", [], ["zx", "ax"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a*b*c", ["abc", "axbxbxc", "abcc"], ["ab", "ab/c"]),
    ],
)
def test_a_glob_of_paths(glob: str, yes: list[str], no: list[str]) -> None:
    assert [path for path in (*yes, *no) if path_matches(path, [glob])] == yes


@given(st.text("ab*?[]!-", max_size=8), st.text("ab-!", max_size=8))
def test_a_glob_of_names_is_what_the_standard_library_says(glob: str, name: str) -> None:
    assert name_matches(name, [glob]) == fnmatch.fnmatchcase(name, glob)


def _slow(glob: list[str], path: list[str]) -> bool:
    """The meaning of a path glob, straight from its definition."""
    if not glob:
        return not path
    if glob[0] == "**":
        if len(glob) == 1:
            return bool(path)
        return any(_slow(glob[1:], path[at:]) for at in range(len(path) + 1))
    return bool(path) and fnmatch.fnmatchcase(path[0], glob[0]) and _slow(glob[1:], path[1:])


def test_folders_are_what_the_definition_says() -> None:
    parts = ("**", "a", "*b", "a*")
    paths = [list(p) for n in (1, 2, 3, 4) for p in itertools.product(("a", "ab", "b"), repeat=n)]
    for count in (2, 3, 4):
        for glob in itertools.product(parts, repeat=count):
            text = "/".join(glob)
            wrong = [p for p in paths if path_matches("/".join(p), [text]) != _slow(list(glob), p)]
            assert not wrong, (text, wrong[0])


@pytest.mark.parametrize("match", [path_matches, name_matches])
@pytest.mark.parametrize("glob", ["*a" * 60 + "*b", "?*" * 300, "**/a/" * 60 + "b", "*[ab]" * 100 + "c", "x" * 5000])
def test_no_glob_hangs(match: object, glob: str) -> None:
    assert callable(match)
    with ends():
        match("a" * 120, [glob])
        match("a/" * 2000 + "c", [glob])
        match("a" * 4000, [glob])
