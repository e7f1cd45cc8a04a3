"""Means and deviations, by hand; the table for the terminal."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import pytest
from report_fakes import fakes
from rich.console import Console

from counterpoise.report import summarise, text_table, write_summary
from counterpoise.report.records import RECORD
from counterpoise.report.summary import Cell, Shown, headline, metric_of, ordered, places


def line(*values: Any) -> dict[str, Any]:
    return dict(zip(RECORD, values, strict=True))


def run(
    seed: int, value: float | None, method: str = "mla", epoch: int = 3
) -> list[dict[str, Any]]:
    """A finished run: two values after epochs, one on test, seconds, done."""
    about = ("toy", method, seed)
    return [
        line(*about, 0, "validation", "epoch", "a+b", "accuracy", 0.1),
        line(*about, 1, "validation", "epoch", "a+b", "accuracy", 0.2),
        line(*about, epoch, "test", "last", "a+b", "accuracy", value),
        line(*about, epoch, "run", "run", "a+b", "seconds", 10.0 * (seed + 1)),
        line(*about, epoch, "run", "run", "a+b", "done", 1),
    ]


def test_mean_and_deviation_by_hand() -> None:
    lines = [*run(0, 0.5), *run(1, 0.7), *run(2, 0.9), *run(3, 0.6)[:-1]]
    rows = summarise(lines)  # seed 3 did not finish
    assert rows == [
        {
            "data": "toy",
            "method": "mla",
            "split": "test",
            "select": "last",
            "present": "a+b",
            "metric": "accuracy",
            "mean": pytest.approx(0.7),
            "std": pytest.approx(0.2),  # sqrt((0.04 + 0 + 0.04) / 2)
            "n": 3,
        },
        {
            **rows[1],
            "select": "run",
            "metric": "seconds",
            "mean": pytest.approx(20.0),
            "std": pytest.approx(10.0),
            "n": 3,
        },
    ]


def test_one_seed_has_no_deviation() -> None:
    assert [(r["mean"], r["std"], r["n"]) for r in summarise(run(4, 0.5))] == [
        (0.5, None, 1),
        (50.0, None, 1),
    ]


def test_a_value_that_is_not_finite_is_not_left_out_of_the_mean() -> None:
    row = summarise([*run(0, 0.5), *run(1, None)])[0]
    assert (row["mean"], row["std"], row["n"]) == (None, None, 2)


def test_a_repeated_run_whose_best_epoch_moved_counts_once() -> None:
    row = summarise([*run(0, 0.5, epoch=3), *run(0, 0.9, epoch=7)])[0]
    assert (row["mean"], row["n"]) == (0.9, 1)


def test_the_csv_holds_the_rows(tmp_path: Path) -> None:
    write_summary(tmp_path / "summary.csv", summarise([*run(0, 1 / 3), *run(0, 0.25, 'a,\n"b')]))
    first, *_, last = csv.DictReader(io.StringIO((tmp_path / "summary.csv").read_text()))
    assert float(first["mean"]) == 1 / 3
    assert first["std"] == ""
    assert first["n"] == "1"
    assert last["method"] == 'a,\n"b'
    assert [p.name for p in tmp_path.iterdir()] == ["summary.csv"]


def test_the_headline_puts_the_whole_first_and_the_references_first() -> None:
    lines, samples = fakes(modalities=("a", "b", "c"), methods=("mla", "joint", "unimodal"))
    table = headline(summarise(lines), "toy", metric_of(lines, "toy", samples))
    assert table.columns == ["a+b+c", "a+b", "a+c", "b+c", "a", "b", "c"]
    assert list(table.rows) == ["unimodal", "joint", "mla"]


@pytest.mark.parametrize(("regression", "best"), [(False, ["b", "c"]), (True, ["a"])])
def test_best_is_what_reads_best(regression: bool, best: list[str]) -> None:
    lines = [*run(0, 0.50, "a"), *run(0, 0.70004, "b"), *run(0, 0.70001, "c")]
    for record in lines:
        record["metric"] = record["metric"].replace("accuracy", "mae" if regression else "accuracy")
    table = headline(summarise(lines), "toy", metric_of(lines, "toy"))
    assert [m for m, (cell,) in table.rows.items() if cell and cell.best] == best


def test_one_method_is_not_called_the_best() -> None:
    table = headline(summarise(run(0, 0.5)), "toy", metric_of(run(0, 0.5), "toy"))
    assert [cell.best for (cell,) in table.rows.values() if cell] == [False]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Cell(0.91234, 0.0125, 5, percent=True), "91.2 ± 1.2"),
        (Cell(0.91234, None, 1, percent=True), "91.2"),
        (Cell(0.01234, 0.001, 5, percent=False), "0.0123 ± 0.0010"),
        (Cell(1234.5, 20.0, 5, percent=False), "1234 ± 20"),
        (Cell(0.0, 0.0, 5, percent=False), "0.00 ± 0.00"),
        (Cell(None, None, 5, percent=False), "not finite"),
    ],
)
def test_a_cell_in_words(cell: Cell, text: str) -> None:
    assert str(cell) == text


def test_places_show_three_digits() -> None:
    assert [places(x) for x in (0.0, 0.00123, 0.5, 1.0, 99.0, -100.0)] == [2, 5, 3, 2, 1, 0]


def test_subsets_in_order() -> None:
    assert ordered(["b", "a+b", "a", "b"]) == ["a+b", "a", "b"]


def shown(lines: list[dict[str, Any]]) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(text_table(lines))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_for_the_terminal() -> None:
    lines = [*run(0, 0.5), *run(1, 0.7), *run(0, 0.25, "[bold]x"), *run(5, 0.1, "unfinished")[:-1]]
    text = shown(lines)
    assert "accuracy in %" in text
    assert "a + b" in text
    assert f"60.0 ± {100 * math.sqrt(0.02):.1f}" in text
    assert "[bold]x" in text
    assert "unfinished" not in text


def test_many_subsets_are_named_by_first_letters() -> None:
    whole = run(0, 0.5)
    present = ["sound+skin+depth", "sound+skin", "sound+depth", "sound", "skin"]
    lines = [
        line | {"present": subset}
        for subset in present
        for line in whole
        if line["split"] == "test"
    ]
    text = shown([*lines, whole[-1]])
    assert "so+sk+de" in text and "so+sk " in text
    assert "so: sound, sk: skin, de: depth" in text


def test_the_table_for_two_data_sets_names_them() -> None:
    one, two = fakes()[0], fakes(data="tide", regression=True, modalities=("sea", "sky"))[0]
    text = shown(one + two)
    assert "accuracy in % | mae" in text
    assert "tide" in text
    assert "sea + sky" in text
    assert "tide" not in shown(two)  # one data set needs no column


def test_the_table_without_a_finished_run() -> None:
    assert "No run has finished yet" in shown(run(0, 0.5)[:-1])


def test_the_metric_is_the_one_of_every_epoch_and_says_how_it_is_shown() -> None:
    head = {"data": "toy", "method": "joint", "seed": 0, "present": "a", "value": 0.5}
    lines = [
        {**head, "epoch": 0, "split": "test", "select": "last", "metric": "accuracy"},
        {**head, "epoch": 0, "split": "validation", "select": "epoch", "metric": "auroc"},
    ]
    found = metric_of(lines, "toy")
    assert (found.name, found.greater_is_better, found.percent) == ("auroc", True, False)
    assert not found.has_shares
    assert metric_of(lines[:1], "toy").label == "accuracy in %"
    # Also a metric that this version does not know.
    old = [{**lines[1], "metric": "wer"}]
    assert metric_of(old, "toy") == Shown("wer")
    sample = {**head, "task": {"metric": "wer", "greater_is_better": False}}
    assert metric_of(old, "toy", [sample]) == Shown("wer", greater_is_better=False)
