"""Every example runs, and examples/README.md lists it; the notebook shows what it computes."""

from __future__ import annotations

import csv
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from folded import check_each

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOK = EXAMPLES / "ship.ipynb"


def run(script: str, *words: str) -> str:
    """What an example prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *words],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def texts(notebook: Any) -> list[str]:
    """What each cell of code printed or ended in, without its numbers and blanks."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            kinds = [o.output_type for o in cell.outputs]
            assert "error" not in kinds, cell.outputs
            parts = [o.get("text") or sorted(o.get("data", {})) for o in cell.outputs]
            found.append(re.sub(r"[\d.,\s]+", " ", " ".join(map(str, parts))))
    return found


def test_the_table_lists_every_example() -> None:
    text = (EXAMPLES / "README.md").read_text()
    files = {p.name for p in EXAMPLES.iterdir() if p.suffix in (".py", ".ipynb", ".sh")}
    assert set(re.findall(r"^\| \[[^]]*\]\(([^)]*)\)", text, re.MULTILINE)) == files


def test_without_the_data_three_sensors_says_so_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERPOISE_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["three_sensors_one.py"])
    with pytest.raises(SystemExit, match=r"^three_sensors_one: .*utd_mhad/Skeleton") as caught:
        runpy.run_path(str(EXAMPLES / "three_sensors_one.py"), run_name="__main__")
    assert "\n" not in str(caught.value)


def test_the_notebook_holds_what_it_gave_and_nothing_of_the_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    # The first cell only imports, the others show something.
    check_each(texts(notebook), lambda text: text or pytest.fail("a cell has no output"))
    assert not re.search(r"/(tmp|home|root|work|Users)/", NOTEBOOK.read_text())
    assert NOTEBOOK.stat().st_size < 100_000


@pytest.mark.slow
def test_the_notebook_gives_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    notebook = nbformat.read(NOTEBOOK, 4)
    saved = texts(notebook)
    more = {"metadata": {"path": str(EXAMPLES)}}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=more)
    client.coalesce_streams = True
    client.execute()
    check_each(zip(saved, texts(notebook), strict=True), _same)


def _same(saved: str, found: str) -> None:
    assert found == saved


@pytest.mark.slow
def test_a_table_becomes_answers(tmp_path: Path) -> None:
    folder = tmp_path / "machines"
    said = run("table_to_answers.py", str(folder))
    with (folder / "answers.csv").open(newline="") as file:
        answers = list(csv.DictReader(file))
    subsets = ["note+sensors+sound", "sound", "note+sensors", "note", "note+sensors", ""]
    assert [row["present"] for row in answers] == subsets
    assert [bool(row["label"]) for row in answers] == [True] * 5 + [False]
    assert answers[4]["problem"].startswith("sound: ") and answers[5]["problem"]
    assert "new 5: -" in said


@pytest.mark.slow
@pytest.mark.data
def test_three_sensors_are_trained_and_one_is_shipped(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERPOISE_DATA", str(real_data))
    said = run("three_sensors_one.py", "--epochs", "1")
    assert said.count("% to ") == 7
    whole, alone = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) kB", said))
    assert alone < whole / 2
    assert float(said.rsplit(":", 1)[1]) < 1e-4
