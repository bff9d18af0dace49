"""Keep the Chinese and Japanese pages in step with the English ones: ``python docs/translate.py [--check]``.

A translated page has the sections of its English one, in their order, each heading below ``<!-- section: SLUG -->``
with the slug of the English heading. Its code blocks and transcripts, its HTML comments and the columns of figures in
its tables are those of the English page: this script writes them, so that they cannot drift. Terms are those of
``docs/glossary.md``: where a section uses a term in English, its translation uses the term of the glossary.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = ("zh", "ja")
PAGES: dict[Path, dict[str, Path]] = {
    ROOT / "README.md": {lang: ROOT / f"README.{lang}.md" for lang in LANGUAGES},
    ROOT / "docs" / "guide.md": {lang: ROOT / "docs" / lang / "guide.md" for lang in LANGUAGES},
    ROOT / "docs" / "workflows.md": {lang: ROOT / "docs" / lang / "workflows.md" for lang in LANGUAGES},
}
"""The English pages and where their translations are."""

_FENCE = re.compile(r"(?:^<!-- (?!section:)[^\n]*-->\n)?^```[^\n]*\n.*?^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+)$", re.MULTILINE)
_MARK = re.compile(r"^<!-- section: (\S+) -->\n#{1,6} ", re.MULTILINE)
_TABLE = re.compile(r"(?:^\|.*\|$\n?)+", re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def without_code(text: str) -> str:
    """A page without its code blocks, in which ``#`` begins no heading."""
    return _FENCE.sub("", text)


def sections(text: str) -> list[str]:
    """Slugs of the headings of an English page."""
    return [slug(heading) for heading in _HEADING.findall(without_code(text))]


def marked(text: str) -> list[str]:
    """Slugs of the English headings that a translated page names."""
    return _MARK.findall(without_code(text))


def split(text: str) -> dict[str, str]:
    """The text of each section of a page, English or translated, by slug; code blocks left out."""
    text = without_code(text)
    found = list(_MARK.finditer(text)) or list(_HEADING.finditer(text))
    names = marked(text) or sections(text)
    ends = [one.start() for one in found[1:]] + [len(text)]
    return {name: text[one.start() : end] for name, one, end in zip(names, found, ends, strict=True)}


def glossary() -> list[tuple[str, dict[str, str]]]:
    """(English term, its translations by language) of docs/glossary.md."""
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return [(row[0], dict(zip(LANGUAGES, row[1:], strict=True))) for row in rows[1:] if not row[0].startswith("-")]


def in_step(english: str, translated: str) -> str:
    """A translated page with the code blocks and the figures of the English one.

    Raises:
        ValueError: it has another number of code blocks or tables, or a table of other size.
    """
    blocks, tables = _FENCE.findall(english), _TABLE.findall(without_code(english))
    theirs = _TABLE.findall(without_code(translated))
    if len(blocks) != len(_FENCE.findall(translated)):
        raise ValueError(f"{len(_FENCE.findall(translated))} code blocks, {len(blocks)} in the English page")
    if len(tables) != len(theirs):
        raise ValueError(f"{len(theirs)} tables, {len(tables)} in the English page")
    for ours, other in zip(theirs, tables, strict=True):
        translated = translated.replace(ours, _with_figures(ours, other))
    rest = iter(blocks)
    return _FENCE.sub(lambda _: next(rest), translated)


def _with_figures(table: str, english: str) -> str:
    """A table in which the columns that hold figures, one in every row of the English one, are the English ones."""
    rows = [line.split("|") for line in table.rstrip("\n").split("\n")]
    wanted = [line.split("|") for line in english.rstrip("\n").split("\n")]
    if [len(row) for row in rows] != [len(row) for row in wanted]:
        raise ValueError(f"a table has other rows or columns than in English: {rows[0]}")
    figures = {at for at in range(len(wanted[0])) if all(re.search(r"\d", row[at]) for row in wanted[2:])}
    cells = rows[:2] + [
        [b if at in figures else a for at, (a, b) in enumerate(zip(row, want, strict=True))]
        for row, want in zip(rows[2:], wanted[2:], strict=True)
    ]
    return "\n".join("|".join(row) for row in cells) + table[len(table.rstrip("\n")) :]


def main() -> int:
    """Write all translated pages anew, or say which are out of step."""
    check, wrong = "--check" in sys.argv[1:], 0
    for page, translations in PAGES.items():
        english = page.read_text("utf-8")
        for translation in translations.values():
            before = translation.read_text("utf-8")
            try:
                after = in_step(english, before)
            except ValueError as error:
                print(f"{translation.relative_to(ROOT)}: {error}")
                wrong = 1
                continue
            if after != before and check:
                print(f"{translation.relative_to(ROOT)}: not in step with {page.name}; run docs/translate.py")
                wrong = 1
            elif after != before:
                translation.write_text(after, "utf-8")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
