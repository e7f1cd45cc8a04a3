"""Each data set of the field has a page that says everything, and stands in the index."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasheets import PAGES, index, page_of
from folded import check_each

from counterpoise import DATASETS
from counterpoise.cli.arguments import ready_configs
from counterpoise.cli.main import main

PREPARED = [name for name, entry in DATASETS.items() if entry.can_prepare()]
SECTIONS = (
    *("Source", "Licence", "Size", "What to download and where to put it", "Splits"),
    *("Preprocessing", "Command lines", "Known problems"),
)


def check_page(name: str) -> None:
    text = page_of(name).read_text()
    parts = dict.fromkeys(SECTIONS, "")
    for part in text.split("\n## ")[1:]:
        title, _, words = part.partition("\n")
        parts[title] = words.strip()
    assert all(parts[title] for title in SECTIONS), [t for t in SECTIONS if not parts[t]]
    assert text.count("```") % 2 == 0
    assert f"counterpoise prepare {name} RAW" in text
    entry = DATASETS[name]
    for modality in entry.modalities:
        assert f"`{modality}`" in text
    assert entry.name == name and entry.summary and entry.licence and entry.source and entry.size


def test_a_page_says_everything() -> None:
    check_each(PREPARED, check_page)


def test_what_is_missing_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()

    def check(name: str) -> None:
        assert main(["prepare", name, str(raw), str(out)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and ("RAW" in lines[0] or str(tmp_path) in lines[0])
        assert not out.exists()
        assert main(["prepare", name, str(tmp_path / "nowhere"), str(out)]) == 2
        assert "found no" in capsys.readouterr().err
        assert main(["data", name]) == 0
        assert "prepare" in capsys.readouterr().out

    check_each(PREPARED, check)


def test_the_index_names_every_configuration() -> None:
    text = (PAGES / "README.md").read_text()
    assert ready_configs() and all(f"`{path.stem}`" in text for path in ready_configs())


def test_the_table_is_made_from_the_catalogue() -> None:
    assert index() == (PAGES / "README.md").read_text(), "the table is old: run `make cards`"
