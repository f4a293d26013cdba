"""docs/security.md: each promise names tests, and each test that it names is there."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import attrs
import pytest

from tests.docs.blocks import ROOT

PAGE = ROOT / "docs/security.md"
HEAD = "| promise | test |"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@attrs.frozen
class Promise:
    """A row of one of the tables; ``tests`` are file and name."""

    section: str
    text: str
    tests: tuple[tuple[str, str], ...]
    rest: str


def promises(page: str) -> list[Promise]:
    """All rows below a head of promises."""
    found, section, inside = [], "", False
    for line in page.splitlines():
        if line.startswith("#"):
            section, inside = line.strip("# "), False
        elif line == HEAD:
            inside = True
        elif inside and line.startswith("|") and not line.startswith("|---"):
            text, _, shown = line.strip("|").partition(" | ")
            rest = NAMED.sub("", shown).replace(",", "").strip()
            found.append(Promise(section, text.strip(), tuple(NAMED.findall(shown)), rest))
        elif not line.startswith("|"):
            inside = False
    return found


PROMISES = promises(PAGE.read_text("utf-8"))


@lru_cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.text[:60])
def test_each_promise_names_tests_that_are_there(promise: Promise) -> None:
    assert promise.tests, "no test is named"
    assert promise.rest == "", "something beside the names of tests"
    for file, name in promise.tests:
        assert name.startswith("test_")
        assert name in names_in(ROOT / file), f"{file} has no {name}"


def test_every_table_has_rows() -> None:
    sections = {promise.section for promise in PROMISES}
    assert len(sections) == PAGE.read_text("utf-8").count(HEAD) >= 7


def test_no_promise_is_made_twice() -> None:
    texts = [promise.text for promise in PROMISES]
    assert len(texts) == len(set(texts))


def test_rows_are_read() -> None:
    rows = "| x | `tests/a.py::test_b`, `tests/c.py::d` |\n| y | later |\n"
    page = f"## A\n{HEAD}\n|---|---|\n{rows}\n| z | w |\n"
    first, second = promises(page)
    assert first == Promise("A", "x", (("tests/a.py", "test_b"), ("tests/c.py", "d")), "")
    assert (second.text, second.tests, second.rest) == ("y", (), "later")
