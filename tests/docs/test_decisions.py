"""Decisions: every page is in the index, and says what was found, what it costs and when to look again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fixtures.process import REPOSITORY

FOLDER = REPOSITORY / "docs" / "decisions"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
PARTS = ["**What we found.**", "**What we decided.**", "**What it costs.**", "**When to look again.**"]


def test_the_index_lists_every_page_once_and_in_order() -> None:
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (FOLDER / "README.md").read_text())
    assert listed == [page.name for page in PAGES]


def test_numbers_are_given_once_and_without_gaps() -> None:
    assert [int(page.name[:4]) for page in PAGES] == list(range(1, len(PAGES) + 1))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_its_four_parts_in_order(page: Path) -> None:
    text = page.read_text()
    where = [text.find(part) for part in PARTS]
    assert -1 not in where, f"{page.name} lacks {[part for part, at in zip(PARTS, where, strict=True) if at < 0]}"
    assert where == sorted(where)
