"""Each promise has its page, and each test that is named there exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "guarantees.md").read_text()
PROMISES = (ROOT / "docs" / "reference" / "semantics.md").read_text().partition("## B15")[2].partition("\n## ")[0]
SECTIONS = re.split(r"^## (?=\d+\. )", PAGE.partition("## What you may not")[0], flags=re.MULTILINE)[1:]
NAMED = sorted(set(re.findall(r"`(tests/[a-z_/]+\.py)::(test_\w+)`", PAGE)))


def plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def test_every_promise_of_the_list_is_explained_in_its_own_words() -> None:
    promised = re.findall(r"^(\d+\. .+?)(?=^\d+\. |^$)", PROMISES, re.MULTILINE | re.DOTALL)
    assert [plain(section.partition("\n")[0]) for section in SECTIONS] == [plain(line) for line in promised]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition(".")[0])
def test_a_promise_says_what_it_means_why_it_holds_where_it_ends_and_what_shows_it(section: str) -> None:
    for part in ("**What it means.**", "**Why it holds.**", "**Where it ends.**", "**Shown by**"):
        assert section.count(part) == 1, part
    assert len(re.findall(r"^- `tests/", section, re.MULTILINE)) >= 3


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in found
