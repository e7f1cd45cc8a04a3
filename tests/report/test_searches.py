"""Searches on the page and in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_fakes import fakes

from counterpoise import InputError
from counterpoise.core import storage
from counterpoise.core.console import make_console
from counterpoise.report import records, write_report
from counterpoise.report.searches import best_so_far, read_searches, search_table


def trial(number: int, value: float | None, state: str = "complete", reason: str = "") -> Any:
    values = {"lr": 0.01 * (number + 1), "weight-decay": 1e-4, "ogm.end": None}
    return {
        "number": number,
        "state": state,
        "value": value,
        "values": values,
        "epochs": 4,
        "seconds": 30.0,
        "reason": reason,
    }


def write(folder: Path, **changes: Any) -> None:
    trials = [
        trial(0, 0.5),
        trial(1, 0.625),
        trial(2, None, "stopped"),
        trial(3, None, "failed", "loss 'fused' became <nan>"),
        trial(4, 0.6),
    ]
    search = {"method": "ogm<b>", "metric": "accuracy", "greater_is_better": True, "best": 1}
    search |= {"winner": "ogm:alpha=0.3", "trials": trials}
    record = {"format": 1, "data": "toy", "searches": [search], "made_with": {"command": "tune x"}}
    folder.mkdir(exist_ok=True)
    storage.write_record(folder / "searches.json", {**record, **changes})


def test_the_page_of_a_search(tmp_path: Path) -> None:
    write(tmp_path / "t")
    page = write_report(tmp_path / "t").read_text()
    assert "How settings were chosen" in page
    assert "No run has finished yet" not in page and "How to read this" not in page
    assert '<td class="best">62.5</td>' in page and "<td>50.0</td>" in page
    assert "lr 0.02, weight-decay 0.0001, ogm.end none" in page
    assert "became &lt;nan&gt;" in page and "ogm<b>" not in page
    assert page.count("<svg") == 1 and "tune x" in page
    assert not (tmp_path / "t" / "summary.csv").exists()
    assert write_report(tmp_path / "t").read_text() == page


def test_a_comparison_shows_the_searches_that_chose_its_settings(tmp_path: Path) -> None:
    lines, _ = fakes(("joint",))
    records.append(tmp_path / "records.jsonl", lines)
    without = write_report(tmp_path).read_text()
    assert "How settings were chosen" not in without
    write(tmp_path)
    page = write_report(tmp_path).read_text()
    assert page.index("How to read this") < page.index("How settings were chosen")


def test_the_terminal_has_a_line_for_each_search(tmp_path: Path) -> None:
    write(tmp_path)
    record = read_searches(tmp_path)
    assert record is not None
    console = make_console(width=100)
    with console.capture() as shown:
        console.print(search_table(record))
    last = shown.get().splitlines()[-1].split()
    assert last[:6] == ["ogm<b>", "5", "1", "1", "50.0", "62.5"]


def test_what_is_damaged_is_refused(tmp_path: Path) -> None:
    assert read_searches(tmp_path) is None
    write(tmp_path, format=2)
    with pytest.raises(InputError, match="written by a newer version"):
        read_searches(tmp_path)
    write(tmp_path, searches=[{"method": 3}])
    with pytest.raises(InputError, match=r"searches\.json is damaged: searches"):
        read_searches(tmp_path)
    write(tmp_path)
    path = tmp_path / "searches.json"
    path.write_text(path.read_text().replace("0.625", "0.925"))
    with pytest.raises(InputError, match="damaged or was changed"):
        write_report(tmp_path)


def test_the_best_so_far_never_falls() -> None:
    points = [(0, 0.5), (2, 0.7), (1, 0.6), (5, 0.1)]
    assert best_so_far(points, True) == [(0, 0.5), (1, 0.6), (2, 0.7), (5, 0.7)]
    assert best_so_far(points, False) == [(0, 0.5), (1, 0.5), (2, 0.5), (5, 0.1)]
