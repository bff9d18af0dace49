"""TOML of a clone takes no time and memory beyond its length."""

from __future__ import annotations

import pytest
from runaway import ends

from diffai.config.toml import parse_toml
from diffai.errors import UsageError

MANY = ".".join("a" * 20_000)


@pytest.mark.parametrize(
    "text",
    [
        f"{MANY} = 1",
        f"[{MANY}]",
        f"[[{MANY}]]",
        f"x = {{{MANY} = 1}}",
        'x = [\n  {' + " . ".join(["'a'", '"b"'] * 9_000) + " = 1}]",
        '"\\"" . ' + MANY + " = 1",
        'x = """\n""""\n' + MANY + "=1",
        "[" * 100_000,
        "x = " + "[" * 100_000,
        "x = " + "{a=" * 100_000,
        "\xff",
        "x",
    ],
)
def test_a_bomb_is_an_error(text: str) -> None:
    with ends(), pytest.raises(UsageError, match=r"^\.diffai\.toml"):
        parse_toml(text.encode("latin-1"), ".diffai.toml")


@pytest.mark.parametrize(
    "text",
    [
        'x = "' + "a." * 1000 + '"',
        "x = '''" + "a.\n" * 1000 + "'''",
        'x = """' + '\\"' * 300_000 + '"""',
        "# " + "a." * 1000 + "\nx = 1",
        "x = [" + "1.5, " * 1000 + "]",
        " " * 400_000,
        "x" + " " * 400_000 + "= 1",
        "x = '" + '"' * 1000 + "'",
    ],
)
def test_text_that_only_looks_like_one_is_read(text: str) -> None:
    with ends():
        assert isinstance(parse_toml(text.encode(), ".diffai.toml"), dict)


def test_the_line_is_named() -> None:
    with pytest.raises(UsageError, match=r"^\.diffai\.toml:3: a key of more than 32 dotted parts"):
        parse_toml(f"# a.b\nx = '''\n'''.{MANY}".encode(), ".diffai.toml")
    with pytest.raises(UsageError, match="larger than"):
        parse_toml(b" " * (1 << 20) + b" ", ".diffai.toml")
