"""The tables of fusions and encoders in the documentation, which their classes make."""

from __future__ import annotations

from pathlib import Path

from counterpoise import ENCODERS, FUSIONS
from counterpoise.methods.cards import fill_tables

DOCS = Path(__file__).parents[2] / "docs"


def test_the_tables_are_those_of_the_classes() -> None:
    for page, parts in {"concepts.md": FUSIONS, "encoders.md": ENCODERS}.items():
        text = (DOCS / page).read_text()
        assert fill_tables(text) == text, "run `make cards`"
        rows = [line for line in text.splitlines() if line.startswith("| `")]
        for name in parts.own:
            row = next(row for row in rows if f"`{name}`" in row.split("|")[1])
            assert all(f"`{option}=" in row for option in parts[name].options())


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    page = "before\n<!-- fusions, by make cards -->\nold\n<!-- end -->\nafter <!-- end -->\n"
    found = fill_tables(page)
    assert found.startswith("before\n<!-- fusions, by make cards -->\n| fusion | what it does |")
    assert found.endswith("|\n<!-- end -->\nafter <!-- end -->\n") and "old" not in found
    assert "`width=null`" in found and fill_tables(found) == found
    assert fill_tables("no table") == "no table"
