"""The Chinese and Japanese pages have all that the English ones have, in the same words and figures."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("translate", ROOT / "docs" / "translate.py")
assert _SPEC is not None and _SPEC.loader is not None
TRANSLATE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(TRANSLATE)
CASES = [
    pytest.param(page, language, other, id=other.relative_to(ROOT).as_posix())
    for page, translations in TRANSLATE.PAGES.items()
    for language, other in translations.items()
]
_LETTERS = {"zh": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff\u4e00-\u9fff]"}


@pytest.mark.parametrize(("page", "language", "other"), CASES)
def test_no_section_is_missing(page: Path, language: str, other: Path) -> None:
    assert TRANSLATE.marked(other.read_text("utf-8")) == TRANSLATE.sections(page.read_text("utf-8"))


@pytest.mark.parametrize(("page", "language", "other"), CASES)
def test_code_and_figures_are_those_of_the_english_page(page: Path, language: str, other: Path) -> None:
    text = other.read_text("utf-8")
    assert TRANSLATE.in_step(page.read_text("utf-8"), text) == text


@pytest.mark.parametrize(("page", "language", "other"), CASES)
def test_sections_are_translated_with_the_terms_of_the_glossary(page: Path, language: str, other: Path) -> None:
    english, translated = TRANSLATE.split(page.read_text("utf-8")), TRANSLATE.split(other.read_text("utf-8"))
    wrong = []
    for name, text in english.items():
        prose = re.sub(r"`[^`]*`|\]\([^)]*\)|<!--.*?-->", "", text)
        if len(prose.split()) > 20 and len(re.findall(_LETTERS[language], translated[name])) < 20:
            wrong.append(f"{name}: not translated")
        for term, words in TRANSLATE.glossary():
            if re.search(rf"(?<![\w-]){re.escape(term)}s?(?![\w-])", prose) and words[language] not in translated[name]:
                wrong.append(f"{name}: {term} -> {words[language]}")
    assert not wrong


@pytest.mark.parametrize(("page", "language", "other"), CASES)
def test_links_lead_somewhere(page: Path, language: str, other: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", other.read_text("utf-8")):
        if "://" not in target:
            assert (other.parent / target).exists(), target


@pytest.mark.parametrize("page", list(TRANSLATE.PAGES), ids=lambda page: page.name)
def test_each_page_leads_to_its_translations(page: Path) -> None:
    text = page.read_text("utf-8")
    for other in TRANSLATE.PAGES[page].values():
        assert f"]({other.relative_to(page.parent).as_posix()})" in text


def test_what_drifts_is_found_and_mended() -> None:
    english = "# A\n\n```sh\ndiffai a\n```\n\n| x | y |\n|---|---|\n| F32 | 1.5 x |\n"
    other = "<!-- section: a -->\n# 甲\n\n```sh\ndiffai b\n```\n\n| 甲 | 乙 |\n|---|---|\n| F32 | 9 x |\n"
    mended = TRANSLATE.in_step(english, other)
    assert "diffai a" in mended and "1.5 x" in mended and "甲" in mended
    with pytest.raises(ValueError, match="code blocks"):
        TRANSLATE.in_step(english + "```\nx\n```\n", other)
    with pytest.raises(ValueError, match="rows"):
        TRANSLATE.in_step(english + "| F16 | 2 x |\n", other)
