"""A browser shows the page: tables are in it, figures have a size, nothing overflows."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from report_fakes import fakes, folder_of

from counterpoise.report import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)

# The page has no script of its own; this one is added to the copy that is measured.
MEASURE = """<script>
const sizes = [...document.querySelectorAll("svg")].map(s => s.getBoundingClientRect())
  .map(r => Math.round(r.width) + "x" + Math.round(r.height));
const colour = getComputedStyle(document.querySelector("svg use")).stroke;
document.body.dataset.measured = [
  "svg " + sizes.join(" "),
  "overflow " + (document.documentElement.scrollWidth > innerWidth),
  "rows " + document.querySelectorAll("table.headline tbody tr").length,
  "stroke " + colour,
].join("; ");
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium on the path")
@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_shows_it(tmp_path: Path, width: int) -> None:
    page = write_report(folder_of(tmp_path, *fakes(modalities=("audio", "image", "touch"))))
    copy = tmp_path / "measured.html"
    copy.write_text(page.read_text().replace("</body>", f"{MEASURE}</body>"))
    dom = subprocess.run(
        [
            str(CHROMIUM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900",
            copy.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    for name in ("headline", "verdicts", "differences", "costs", "all"):
        assert f'<table class="{name}">' in dom
    measured = dict(
        part.split(" ", 1) for part in dom.split('data-measured="')[1].split('"')[0].split("; ")
    )
    sizes = [tuple(map(int, size.split("x"))) for size in measured["svg"].split()]
    assert len(sizes) == 2
    assert all(wide >= 600 and high >= 100 for wide, high in sizes)
    assert measured["overflow"] == "false"
    assert measured["rows"] == "6"  # last and best epoch
    assert measured["stroke"] == "rgb(0, 114, 178)"  # the variable of the style sheet was found
