"""Each kind says the same as the library that others read it with, and bad input is one sentence with a place."""

from __future__ import annotations

import configparser
import contextlib
import importlib
import json
import math
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from diffai.comparison.documents.reading import Document, count_values
from diffai.comparison.documents.result import Key, Special
from diffai.errors import FormatError, LimitError
from diffai.formats.base import Limits
from diffai.sources.local import MemoryBytes


def read(kind: str, data: bytes | str, limits: Limits = Limits(), name: str = "") -> Document:
    module: Any = importlib.import_module(f"diffai.comparison.documents.{kind}_documents")
    raw = data.encode() if isinstance(data, str) else data
    found: Document = module.read(MemoryBytes(raw, label=name or f"x.{kind}"), limits)
    count_values(found.value, limits)
    return found


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TREES = st.recursive(SCALARS, lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside), max_leaves=25)


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_json_is_what_the_standard_library_reads(value: Any) -> None:
    assert read("json", json.dumps(value)).value == value


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_yaml_is_what_pyyaml_reads(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert read("yaml", text).value == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["yes", "No", "on", "0x1F", "010", "0b11", "1:30", "1_000", ".inf", "-.INF", "1.5e+3",
                                  "1e3", "1e-3", "~", "''", "null", "+12", "1.", ".5", "685_230.15", "190:20:30.15", "0"])  # fmt: skip
def test_scalars_mean_what_yaml_1_1_says(text: str) -> None:
    ours, theirs = read("yaml", f"a: {text}").value["a"], yaml.safe_load(f"a: {text}")["a"]
    assert (type(ours), ours) == (type(theirs), theirs)


def test_what_yaml_1_2_reads_otherwise_is_said_with_its_line() -> None:
    notes = read("yaml", "a: 1\nb: yes\nc: 1e-3\nd: 010\n").notes
    assert [note.partition(")")[0] for note in notes] == ["yes (line 2", "1e-3 (line 3", "010 (line 4"]
    assert not read("yaml", "a: true\nb: 1.0e-3\nc: 10\nd: 2024-01-01\n").notes


def test_tags_make_nothing() -> None:
    found = read("yaml", 'a: !!python/object/apply:os.system ["touch /tmp/x"]\nb: !mine {c: 1}\nd: !!python/name:os.x y\n')
    assert found.value["a"] == {Key("tag", "!!python/object/apply:os.system"): ["touch /tmp/x"]}
    assert found.value["b"] == {Key("tag", "!mine"): {"c": 1}}
    assert "makes nothing" in found.notes[0]


def test_anchors_and_merges_are_what_pyyaml_makes_of_them() -> None:
    text = "base: &b {lr: 1, wd: 2}\nrun:\n  <<: *b\n  lr: 3\nlist: [*b, *b]\nmore:\n  <<: [*b, {x: 1}]\n"
    assert read("yaml", text).value == yaml.safe_load(text)


def test_dates_are_no_text() -> None:
    assert read("yaml", "a: 2024-01-02").value["a"] == Special("date", "2024-01-02")
    assert read("yaml", 'a: "2024-01-02"').value["a"] == "2024-01-02"
    assert read("toml", "a = 2024-01-02").value["a"] == Special("date", "2024-01-02")
    assert read("yaml", "a: 2001-12-14t21:59:43Z").value["a"] == Special("datetime", "2001-12-14T21:59:43+00:00")


def test_keys_of_yaml_keep_their_types() -> None:
    assert read("yaml", "1: a\n'1': b\ntrue: c\n").value == {Key("integer", "1"): "a", "1": "b", Key("boolean", "true"): "c"}


@pytest.mark.parametrize("kind", ["json", "yaml"])
def test_a_key_that_stands_twice_is_said(kind: str) -> None:
    found = read(kind, '{"lr": 1, "lr": 2}')
    assert found.value == {"lr": 2}
    assert found.notes == ("a key stands more than once, and the last one counts: 'lr'",)


def test_several_values_are_a_list() -> None:
    assert read("json", '{"a": 1}\n{"a": 2}\n', name="log.jsonl").value == [{"a": 1}, {"a": 2}]
    assert read("json", "1\n2\n").notes == ("2 values behind one another, compared as a list",)
    assert read("yaml", "a: 1\n---\nb: 2\n").several


def test_numbers_are_exact() -> None:
    big = 10**40 + 1
    assert read("json", f"[{big}, 1e999, 1.0]").value == [big, Special("number", "1e999"), 1.0]
    assert read("json", "1" * 5000).value == Special("number", "1" * 5000)
    assert math.isnan(read("json", "NaN").value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_text_is_read_in_the_encoding_that_it_is_in(encoding: str) -> None:
    found = read("json", '{"name": "modèle"}'.encode(encoding))
    assert found.value == {"name": "modèle"}


def test_what_is_no_utf_8_is_read_as_latin_1_and_said() -> None:
    found = read("json", '{"name": "modèle"}'.encode("latin-1"))
    assert found.value == {"name": "modèle"}
    assert found.notes == ("is not UTF-8 (byte 13); read as Latin-1",)


LINE = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(LINE, st.dictionaries(LINE, LINE, max_size=3), max_size=3))
def test_ini_is_what_configparser_reads(sections: dict[str, dict[str, str]]) -> None:
    text = "".join(f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for name, keys in sections.items())
    parser = configparser.RawConfigParser(allow_no_value=True, comment_prefixes="#;!", default_section="\0", strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    theirs = {name: dict(parser.items(name)) for name in parser.sections()}
    assert read("ini", text).value == theirs


def test_ini_values_go_on_in_deeper_lines_and_keys_may_stand_before_sections() -> None:
    text = "top = 1\n[a]\nkey = x\n  more\n\n  last\nflag\nother: 5\n; no\n"
    assert read("ini", text).value == {"top": "1", "a": {"key": "x\nmore\n\nlast", "flag": None, "other": "5"}}


def test_env_files() -> None:
    text = "# c\nexport A=1 # one\nB=\"a\\nb $C\"\nC='x\ny'\nD=\nE\n"
    assert read("env", text).value == {"A": "1", "B": "a\nb $C", "C": "x\ny", "D": "", "E": None}


def test_xml_is_attributes_text_and_children() -> None:
    text = '<net name="a"><layer id="1"/><layer id="2">conv</layer><lr>0.1</lr></net>'
    assert read("xml", text).value == {
        "net": [{"@name": "a", "layer": [{"@id": "1"}, {"@id": "2", "#text": "conv"}], "lr": ["0.1"]}]
    }
    assert ElementTree.fromstring(text).get("name") == "a"


BOMBS = {
    "xml": '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><x>&b;</x>',
    "yaml": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)),
}
BAD: list[tuple[str, bytes, str]] = [
    ("json", b'{"a": 1,\n "b" 2}', "is not JSON: expecting ':' delimiter at line 2, column 6"),
    ("json", b"", "is empty, which is no JSON"),
    ("json", b"[1, 2", "is not JSON: "),
    ("json", b"[" * 100_000, "nested"),
    ("json", b"[" + b"1," * 2_000_000 + b"1]", "more than 1,000,000 values (limit diffai.maxValues)"),
    ("json", b"\x00\x01\x02\xff", "is binary, not text at byte 0"),
    ("yaml", b"a: [1\n", "is not YAML: did not find expected ',' or ']' at line 2, column 1"),
    ("yaml", b"a: &a [*a]\n", "alias *a stands for something that contains it, or for nothing at line 1"),
    ("yaml", b"a\x01: 1", "control characters are not allowed at byte 1"),
    ("yaml", b"[" * 5000, "nested more than 200 deep"),
    ("yaml", BOMBS["yaml"].encode(), "more than 1,000,000 values"),
    ("yaml", b"a: &a {b: 1}\nc:\n  <<: 5\n", "<< stands before what is no mapping"),
    ("yaml", b"a: !!int x", "'x' is no int at line 1"),
    ("toml", b"a = \n", "is not TOML: invalid value at line 1, column 5"),
    ("toml", b"a = 1\na = 2\n", "is not TOML: cannot overwrite a value at line 2, column 6"),
    ("toml", ".".join("a" * 5000).encode() + b" = 1", "more than 32 dotted parts at line 1"),
    ("toml", b"a = " + b"[" * 5000, "nested too deeply"),
    ("ini", b"[a\n", "has a section without a name, or without ']' at line 1"),
    ("ini", b"a = 1\n= 2\n", "has a value without a key at line 2"),
    ("env", b"A=1\nnot a name\n", "has a line that is not NAME=value at line 2"),
    ("env", b'A="x\n', "has a quote that is not closed at line 1"),
    ("xml", BOMBS["xml"].encode(), "declares a document type or entities, which are not read at line 1"),
    ("xml", b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "declares a document type"),
    ("xml", b"<a><b></a>", "is not XML: mismatched tag at line 1, column 9"),
    ("xml", b"<a>" * 5000, "nested more than 200 deep"),
    ("xml", b'<?xml version="1.0" encoding="no-such"?><a/>', "is not XML: unknown encoding"),
]


@pytest.mark.parametrize(("kind", "data", "says"), BAD, ids=[f"{kind}-{n}" for n, (kind, _, _) in enumerate(BAD)])
def test_bad_input_is_one_sentence_with_its_place(kind: str, data: bytes, says: str) -> None:
    with pytest.raises(FormatError) as error:
        read(kind, data)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_long_line_of_ini_takes_no_time_that_grows_with_its_square() -> None:
    assert read("ini", "key" + " " * 200_000 + "x = 1").value == {"key" + " " * 200_000 + "x": "1"}


def test_what_is_too_large_names_the_key_that_lifts_the_limit() -> None:
    with pytest.raises(LimitError, match=r"larger than 10 bytes \(limit diffai.maxHeader\)"):
        read("json", b"[" + b" " * 20 + b"]", Limits(max_header=10))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["json", "yaml", "toml", "ini", "env", "xml", "log"]), st.binary(max_size=60) | st.text(max_size=60))
def test_any_bytes_are_read_or_refused(kind: str, data: bytes | str) -> None:
    with contextlib.suppress(FormatError):
        read(kind, data.encode("utf-8", "replace") if isinstance(data, str) else data)
