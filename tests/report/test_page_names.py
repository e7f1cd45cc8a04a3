"""A page, a figure and a table with names that are markup somewhere."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from report_fakes import fakes, folder_of
from rich.console import Console

from counterpoise.report import text_table, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
MODALITIES = ("<script>document.title='hacked'</script>", "_x $y_1$", "acc [/m/s2] :smile:")
METHODS = ("joint", 'm<b>"&[/red]', "unimodal")
DATA = "toy</title><script>document.title='hacked'</script>"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return write_report(folder_of(tmp_path, *fakes(METHODS, modalities=MODALITIES, data=DATA)))


def test_nothing_in_a_page_is_taken_for_markup(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text and "m<b>" not in text
    assert "acc [/m/s2] :smile:" in text and "_x $y_1$" in text


def test_the_legend_holds_what_begins_with_an_underscore(page: Path) -> None:
    """Matplotlib before 3.10 leaves such a label out, and only warns."""
    figures = page.read_text(encoding="utf-8").split("<svg")
    assert ">_x $y_1$</text>" in figures[-1]


def test_nothing_in_a_table_is_taken_for_markup() -> None:
    for options in ({}, {"markup": True, "emoji": True}):
        console = Console(file=io.StringIO(), width=400, **options)  # type: ignore[arg-type]  # a dict of booleans
        console.print(text_table(fakes(METHODS, modalities=MODALITIES[1:], data="d[/x]")[0]))
        shown = console.file.getvalue()  # type: ignore[attr-defined]  # of a StringIO
        assert all(name in shown for name in (*MODALITIES[1:], *METHODS))


def test_long_names_that_begin_alike_are_told_apart() -> None:
    names = [f"{'x' * 150}{k}" for k in range(3)]
    console = Console(file=io.StringIO(), width=4000)
    console.print(text_table(fakes(modalities=names)[0]))


# The page has no script of its own; this one is added to the copy that is measured.
MEASURE = """<script>
document.body.dataset.wide = [...document.querySelectorAll("th, td")]
  .filter(cell => cell.scrollWidth > cell.clientWidth + 1).length;
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium on the path")
def test_a_browser_runs_no_name_and_shows_it_whole(tmp_path: Path, page: Path) -> None:
    words = ("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom")
    copy, text = tmp_path / "measured.html", page.read_text(encoding="utf-8")
    copy.write_text(text.replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    dom = subprocess.run(
        [str(CHROMIUM), *words, f"--user-data-dir={tmp_path / 'profile'}", copy.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert dom.count("<script") == 1 and "<title>Counterpoise report" in dom
    assert "&lt;script&gt;document.title='hacked'&lt;/script&gt;" in dom
    assert 'data-wide="0"' in dom  # no cell's text runs into the next one
