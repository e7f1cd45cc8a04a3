"""Every promise of ``docs/guarantees.md`` names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

from folded import check_each

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "guarantees.md").read_text()


def rows() -> list[list[str]]:
    """The cells of each promise."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0] != "promise"]


def check(promise: str, held: str) -> None:
    tests = re.findall(r"`(tests/[^`]+)`", held)
    assert tests, "no test holds it"
    for test in tests:
        place, _, name = test.partition("::")
        path = ROOT / place
        assert path.exists(), f"{place} is not there"
        if name:
            found = re.search(rf"^(?:class|def) {name}\b", path.read_text(), re.MULTILINE)
            assert found, f"{place} has no {name}"


def test_each_promise_is_held_by_tests_that_are_there() -> None:
    assert len(rows()) > 20
    check_each(((promise, held) for promise, held in rows()), check)


def test_a_promise_without_a_test_would_be_seen() -> None:
    for held in ("we are sure", "`tests/no.py`", "`tests/test_guarantees.py::test_nothing`"):
        try:
            check("a promise", held)
        except AssertionError:
            continue
        raise AssertionError(f"{held} passed")
