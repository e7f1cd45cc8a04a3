"""Means and standard deviations over seeds, and the headline table made of them."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoise.core import storage
from counterpoise.core.metrics import METRICS
from counterpoise.evaluation.subsets import EACH

from . import records as records_
from .records import Record

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("data", "method", "split", "select", "present", "metric", "mean", "std", "n")
REFERENCES = ("unimodal", "joint")  # what the other methods are compared with: first in tables


@dataclass(frozen=True)
class Shown:
    """A metric as tables and figures show it; also one that is only known from its records.

    Attributes:
        name: as records write it.
        greater_is_better: whether a larger value is the better one.
        percent: whether it is shown in %.
        has_shares: whether it is a mean over samples, so that verdicts can be made of these.
    """

    name: str
    greater_is_better: bool = True
    percent: bool = False
    has_shares: bool = True

    @classmethod
    def find(cls, name: str, greater_is_better: bool = True) -> Shown:
        """The metric of this name in ``METRICS``; else one with this direction."""
        if name not in METRICS:
            return cls(name, greater_is_better)
        metric = METRICS[name]()
        return cls(name, metric.greater_is_better, metric.percent, metric.has_shares)

    @property
    def label(self) -> str:
        return f"{self.name} in %" if self.percent else self.name


@dataclass(frozen=True)
class Cell:
    """Mean and standard deviation over ``n`` seeds, and whether no method's mean is better."""

    mean: float | None
    std: float | None
    n: int
    percent: bool
    best: bool = False

    @property
    def middle(self) -> str:
        return "not finite" if self.mean is None else f"{self._scale * self.mean:.{self._places}f}"

    @property
    def spread(self) -> str:
        return "" if self.std is None else f"{self._scale * self.std:.{self._places}f}"

    def __str__(self) -> str:
        return f"{self.middle} ± {self.spread}" if self.spread else self.middle

    @property
    def _scale(self) -> int:
        return 100 if self.percent else 1

    @property
    def _places(self) -> int:
        return 1 if self.percent else places(self.mean or 0.0)


@dataclass(frozen=True)
class Headline:
    """The primary metric of every method (rows) for every subset (columns), on test.

    Attributes:
        data: name of the data set.
        metric: which metric.
        columns: subsets as records write them, all modalities first.
        rows: method -> a cell for each column, None where it was not measured.
    """

    data: str
    metric: Shown
    columns: list[str]
    rows: dict[str, list[Cell | None]]


def summarise(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Mean and standard deviation over the seeds of the finished runs, in a row for each number.

    Rows have the keys ``data, method, split, select, present, metric, mean, std, n``. ``std`` has
    ``n - 1`` in the denominator and is None for one seed. Where a seed's value is not finite, mean
    and ``std`` are None too: leaving that seed out would flatter the method. Values after each
    epoch (``select`` is ``"epoch"``) are left out.

    Of more than six modalities, further rows hold the mean over the measured subsets of each size
    (``present`` is ``mean of 3 of 12``).
    """
    records = list(records)
    finished = records_.done(records)
    groups: dict[tuple[str, ...], dict[int, float | None]] = {}
    for record in records:
        if (
            records_.run_of(record) in finished
            and record["select"] != "epoch"
            and record["metric"] != "done"
        ):
            key = tuple(record[name] for name in COLUMNS[:6])
            groups.setdefault(key, {})[record["seed"]] = record["value"]
    groups |= _average_sizes(groups)
    return [
        dict(zip(COLUMNS, (*key, *_moments(list(values.values())), len(values)), strict=True))
        for key, values in groups.items()
    ]


def _average_sizes(
    groups: Mapping[tuple[str, ...], Mapping[int, float | None]],
) -> dict[tuple[str, ...], dict[int, float | None]]:
    """The mean over the subsets of each size, of each seed, where there are many modalities."""
    most: dict[str, int] = {}
    for data, *_, present, _ in groups:
        most[data] = max(most.get(data, 0), present.count("+") + 1)
    found: dict[tuple[str, ...], dict[int, list[float | None]]] = {}
    for (data, method, split, select, present, metric), values in groups.items():
        size, count = present.count("+") + 1, most[data]
        if count <= EACH or size == count:
            continue
        key = (data, method, split, select, name_size(size, count), metric)
        for seed, value in values.items():
            found.setdefault(key, {}).setdefault(seed, []).append(value)
    return {
        key: {seed: _moments(values)[0] for seed, values in seeds.items()}
        for key, seeds in found.items()
    }


def name_size(size: int, count: int) -> str:
    """What rows call the mean over the subsets of ``size`` of ``count`` modalities."""
    return f"mean of {size} of {count}"


def write_summary(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the rows of :func:`summarise` as CSV, atomically; None becomes an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    storage.write(path, text.getvalue().encode("utf-8", "backslashreplace"))


def text_table(records: Iterable[Record]) -> Table:
    """The headline table for the terminal: test, last epoch, mean ± standard deviation."""
    from rich.table import Table
    from rich.text import Text  # not str: a name in brackets is no markup, whatever prints it

    records = list(records)
    rows = summarise(records)
    tables = [headline(rows, data, metric_of(records, data)) for data in names(rows, "data")]
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    labels = " | ".join(dict.fromkeys(table.metric.label for table in tables))
    title = f"Test {labels}, last epoch" if tables else "No run has finished yet"
    table = Table(title=Text(title, "table.title"), min_width=len(title))
    if len(tables) > 1:
        table.add_column("data")
    table.add_column("method", no_wrap=True)
    short = _short(columns)
    if short:
        table.caption = Text(
            ", ".join(f"{start}: {whole}" for whole, start in short.items()), "table.caption"
        )
    for column in columns:
        table.add_column(Text(_head(column, short)), justify="right")
    for found in tables:
        for method, cells in found.rows.items():
            of = dict(zip(found.columns, cells, strict=True))
            start = [Text(found.data)] if len(tables) > 1 else []
            shown = [
                Text(str(cell or "-"), style="bold" if cell and cell.best else "")
                for cell in map(of.get, columns)
            ]
            table.add_row(*start, Text(method), *shown)
        table.add_section()
    return table


def _head(column: str, short: Mapping[str, str]) -> str:
    words = [short.get(name, name) for name in column.split("+")]
    if len(words) > EACH:
        return f"all {len(words)}"
    return ("+" if short else " + ").join(words)


def _short(columns: Sequence[str]) -> dict[str, str]:
    """Modality -> its first letters, as few as tell them apart, where there are
    more than two at once, and so many columns."""
    names = list(dict.fromkeys(name for column in columns for name in column.split("+")))
    if all(column.count("+") < 2 for column in columns) or columns[0].count("+") >= EACH:
        return {}
    longest = max(map(len, names))
    wide = next(n for n in range(1, longest + 1) if len({name[:n] for name in names}) == len(names))
    return {name: name[:wide] for name in names}


def headline(
    rows: Iterable[Mapping[str, Any]], data: str, metric: Shown, select: str = "last"
) -> Headline:
    """The headline table of one data set from the rows of :func:`summarise`."""
    here = [
        row
        for row in rows
        if (row["data"], row["split"], row["select"], row["metric"])
        == (data, "test", select, metric.name)
    ]
    columns = _choose_columns({row["present"] for row in here})
    cells = {
        (row["method"], row["present"]): Cell(row["mean"], row["std"], row["n"], metric.percent)
        for row in here
    }
    methods = references_first(row["method"] for row in here)
    if len(methods) > 1:
        for column in columns:
            _mark_best(cells, [(m, column) for m in methods if (m, column) in cells], metric)
    return Headline(
        data, metric, columns, {m: [cells.get((m, column)) for column in columns] for m in methods}
    )


def _choose_columns(known: set[str]) -> list[str]:
    """All subsets; of more than six modalities the whole, and means over subsets of some sizes."""
    columns = ordered(known)
    count = columns[0].count("+") + 1 if columns else 0
    if count <= EACH:
        return columns
    sizes = (count - 1, count // 2, 1)
    return [columns[0], *(name for size in sizes if (name := name_size(size, count)) in known)]


def metric_of(records: Iterable[Record], data: str, samples: Iterable[Record] = ()) -> Shown:
    """The primary metric of a data set: as its samples say, or the one measured every epoch."""
    for sample in samples:
        if sample["data"] == data:
            task = sample["task"]
            return Shown.find(task["metric"], bool(task["greater_is_better"]))
    here = [r for r in records if r["data"] == data and r["select"] != "run"]
    every_epoch = [r for r in here if r["select"] == "epoch"]
    measured = names(every_epoch or here, "metric")
    return Shown.find(measured[0] if measured else "accuracy")


def names(rows: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    """The values of a key, each once, in the order of their first appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def references_first(methods: Iterable[str]) -> list[str]:
    """Each method once: the references, then the others as they appear."""
    found = list(dict.fromkeys(methods))
    return [m for m in REFERENCES if m in found] + [m for m in found if m not in REFERENCES]


def ordered(subsets: Iterable[str]) -> list[str]:
    """Each subset once: the whole first, then smaller ones, by name."""
    return sorted(set(subsets), key=lambda present: (-present.count("+"), present))


def spaced(present: str) -> str:
    """A subset with room to break the line, ``a + b`` for ``a+b``; of very many their number."""
    count = present.count("+") + 1
    return f"{count} modalities" if count > 2 * EACH else present.replace("+", " + ")


def places(*values: float) -> int:
    """How many decimals show the largest of these with three digits."""
    largest = max(map(abs, values))
    return min(9, max(0, 2 - math.floor(math.log10(largest)))) if largest > 0 else 2


def _moments(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None, None
    return statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None


def _mark_best(
    cells: dict[tuple[str, str], Cell], column: Sequence[tuple[str, str]], metric: Shown
) -> None:
    known = {key: mean for key in column if (mean := cells[key].mean) is not None}
    if not known:
        return
    top = max(known, key=lambda key: known[key] if metric.greater_is_better else -known[key])
    for key in known:
        cell = cells[key]
        if cell.middle == cells[top].middle:  # what reads the same is equally good
            cells[key] = replace(cell, best=True)
