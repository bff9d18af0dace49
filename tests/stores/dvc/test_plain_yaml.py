"""What the plain reader accepts is what PyYAML reads; whatever else it is given it refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from diffai.stores.dvc.plain_yaml import NotPlainError, parse_plain

FILE = b"outs:\n- md5: 897316929176464ebc9ad085f31e7284\n  size: 2\n  hash: md5\n  path: data.csv\n"
IMPORT = b"""md5: d3b07384d113edec49eaa6238ad5ff00
frozen: true
deps:
- path: models/m.pt
  repo:
    url: https://example.com/x.git
    rev: main
    rev_lock: 0123456789abcdef0123456789abcdef01234567
outs:
- md5: 897316929176464ebc9ad085f31e7284.dir
  size: 20
  nfiles: 3
  hash: md5
  path: m.pt
""".replace(b"https://example.com/x.git", b"../other")
LOCK = b"""schema: '2.0'
stages:
  train@a:
    cmd: ./train.sh a --lr=0.1,0.2
    deps:
    - path: data.csv
      md5: '12345678901234567890123456789012'
      size: 2
    params:
      params.yaml:
        lr: 0.1
    outs:
    - path: m.safetensors
      hash: md5
      md5: 897316929176464ebc9ad085f31e7284
      size: 2
  empty:
"""


def pyyaml(text: bytes) -> Any:
    return yaml.load(text, Loader=yaml.BaseLoader)


def agrees(text: bytes) -> bool:
    """Whether the text was accepted, and then read as PyYAML reads it."""
    try:
        found = parse_plain(text)
    except NotPlainError:
        return False
    assert found == pyyaml(text)
    assert list(found) == list(pyyaml(text))
    return True


@pytest.mark.parametrize("text", [FILE, IMPORT, LOCK, b"wdir: ../x\nouts:\n  - path: a\n    cache: false\n"])
def test_what_dvc_writes_is_plain(text: bytes) -> None:
    assert agrees(text)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\n", b"outs:", b"# c\nouts:\n", b"outs: []\n", b"outs:\n- {md5: a}\n", b"a:  b\n", b"a: b  c\n", b"a: b \n", b"a: b # c\n",
        b"a: &x b\n", b"a: *x\n", b"a: !t b\n", b"a: |\n  b\n", b"a: b\n  c\n", b"a: b\n\nc: d\n", b"a: b\r\n",
        b"a: \xc3\xa9\n", b"\xef\xbb\xbfa: b\n", b"a:\tb\n", b"a: b\na: c\n", b"---\na: b\n", b"a: b\n...\n", b"- a\n",
        b"a: ''\n", b"a: 'it''s'\n", b'a: "b"\n', b"a: -\n", b"a:\n- - b\n", b"a: b: c\n", b"a:\n    b: c\n  d: e\n",
        b" a: b\n", b"? a\n: b\n", b"%YAML 1.1\n", b"a: b\n- c\n", b"a: b\0\n", b"a" * 2000 + b": b\n",
    ],
)  # fmt: skip
def test_anything_else_is_left_to_pyyaml(text: bytes) -> None:
    with pytest.raises(NotPlainError):
        parse_plain(text)


def test_nesting_is_bounded() -> None:
    deep = b"".join(b"  " * level + b"a:\n" for level in range(5000))
    with pytest.raises(NotPlainError):
        parse_plain(deep)


WORDS = st.text("az09_./-+@=,'\":# ", min_size=1, max_size=6)
NODES: st.SearchStrategy[Any] = st.recursive(
    WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(WORDS, NODES, min_size=1, max_size=4), st.booleans(), st.integers(1, 5))
def test_whatever_pyyaml_writes(document: dict[str, Any], wide: bool, indent: int) -> None:
    agrees(yaml.safe_dump(document, default_flow_style=False, sort_keys=False, indent=indent).encode())


PIECES = ["a:", "b:", "a: x", "a: x - x", "d: x, =", "b: 'x'", "a: 'x -'", "a: '- x'", "- x x", "c: ...", "- a: x", "- a:", "- b: x", "- x", "- 'x'", "- - x", "- ...", "x", "",
          "---", "...", "a:b", "a : x", "a: ", "'a': x", "- a:x", "a: x'", "a: '", "?", "k: -"]  # fmt: skip
LINES = st.tuples(st.sampled_from([0, 0, 0, 2, 2, 2, 4, 4, 1, 3, 6]), st.sampled_from(PIECES))


@given(st.lists(LINES, min_size=1, max_size=8))
@example([(0, "a:"), (2, "- x"), (0, "b:"), (0, "- a:"), (4, "b: 'x'")])
def test_lines_in_any_order(lines: list[tuple[int, str]]) -> None:
    agrees("".join(" " * indent + piece + "\n" for indent, piece in lines).encode())


@given(st.sampled_from([FILE, IMPORT, LOCK]), st.data())
def test_one_byte_of_a_pointer_changed(text: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.sampled_from([bytes([n]) for n in b" \n:-'\"#x0.,&*!|>%@`{[\t\r"] + [b"", b"\n\n", b"  "]))
    agrees(text[:at] + byte + text[at + 1 :])


@pytest.mark.parametrize(("text", "name"), [(FILE, "a.dvc"), (IMPORT, "a.dvc"), (LOCK, "dvc.lock")])
def test_pointers_as_dvc_writes_them_load_no_pyyaml(text: bytes, name: str) -> None:
    code = (
        "import sys; from diffai.stores.dvc.pointers import parse_dvc_file\n"
        f"assert parse_dvc_file({text!r}, {name!r}).outs\n"
        "print(*sorted({'yaml', 'json', 'subprocess', 'hashlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
