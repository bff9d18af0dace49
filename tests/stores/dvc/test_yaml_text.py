"""Text of a clone is looked at before it is loaded: a limit is one sentence, whatever was meant to happen."""

from __future__ import annotations

import subprocess
import sys

import pytest
from runaway import ends

from diffai.stores.dvc.pointers import DvcTextError, model_paths, parse_dvc_file, stage_folders, uncached_paths
from diffai.stores.dvc.yaml_text import load, merged_keys

LAUGHS = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 24))
LISTS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 24))

HOSTILE = {
    "brackets": "[" * 100_000,
    "braces": "{" * 100_000,
    "braces in a block": "outs:\n- path: " + "{a: " * 100_000,
    "dashes": "- " * 100_000,
    "dashes in a block": "outs:\n- " + "- " * 100_000,
    "question marks": "? " * 100_000,
    "indentation": "".join(" " * n + "a:\n" for n in range(3000)),
    "lists in mappings": "".join(" " * (2 * n) + "- a:\n" for n in range(2000)),
    "merge keys": LAUGHS,
    "aliases": LISTS,
    "itself": "a: &a\n  b: [*a]\n",
    "itself by a merge key": "a: &a\n  <<: *a\n",
    "an alias of nothing": "a: *b\n",
    "number to base 60": "outs: [" + "1:" * 200_000 + "1]\n",
    "lines": "- a\n" * 1_000_000,
    "plain lines": "outs:\n" + "- a\n" * 1_000_000,
    "mapping keys": "".join(f"k{n}: v\n" for n in range(500_000)),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("name", ["m.dvc", "dvc.lock", "dvc.yaml"])
def test_hostile_text_is_a_sentence_soon(case: str, name: str) -> None:
    data = HOSTILE[case].encode()
    with ends():
        if name == "dvc.yaml":
            assert (stage_folders(data), uncached_paths(data), model_paths(data)) == ({}, frozenset(), frozenset())
        else:
            try:
                parse_dvc_file(data, name)
            except DvcTextError as error:
                assert len(str(error)) < 200


@pytest.mark.parametrize("case", ["brackets", "merge keys", "dashes", "lines"])
def test_hostile_text_stays_small(case: str) -> None:
    """In a process of its own, because a crash would be one."""
    code = (
        "import sys\nfrom diffai.stores.dvc.pointers import *\n"
        "data = sys.stdin.buffer.read()\n"
        "try: parse_dvc_file(data, 'dvc.lock')\nexcept DvcTextError as error: print(str(error)[:100])\n"
        # not ru_maxrss: it counts what the parent had before this program started
        "print(int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=HOSTILE[case].encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 200


def test_what_people_write_is_read() -> None:
    text = """
stages:
  base: &base {wdir: models, outs: [{m.pt: {cache: False}}]}
  train:
    <<: *base
    cmd: "python train.py --layers '[[1, [2]], {a: b}]'"
    outs: [m.pt: {cache: false, type: model}]
  sweep: {matrix: {seed: [1, 2]}, do: {wdir: other}}
artifacts: {best: {type: model, path: best.bin}}
"""
    data = text.encode()
    assert stage_folders(data) == {"base": "models", "train": "models", "sweep": "other"}
    assert uncached_paths(data) == {("base", "m.pt"), ("train", "m.pt")}
    assert model_paths(data) == {"best.bin", "models/m.pt"}


def test_deep_but_not_too_deep() -> None:
    assert load(("[" * 60 + "]" * 60).encode()) is not None
    with pytest.raises(DvcTextError, match="deeper than 64 levels at line 1"):
        load(("[" * 65 + "]" * 65).encode())


def test_merge_keys_of_a_mapping_win_over_what_they_add() -> None:
    assert merged_keys(load(b"<<: [{a: 1, b: 1}, {a: 2, c: 2}]\nb: 3\n")) == {"a": "1", "b": "3", "c": "2"}
