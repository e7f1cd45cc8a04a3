"""The report: one page that needs nothing but itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from counterpoise.core import storage
from counterpoise.core.paths import expand
from counterpoise.errors import InputError, printable

from . import figures
from . import records as records_
from .findings import Finding, differences, verdicts
from .folder import comparison_folder, describe_making, read_lines, read_runs
from .records import Record
from .searches import TEMPLATE as SEARCHES_TEMPLATE
from .searches import describe_searches, draw_searches, read_searches
from .summary import (
    Cell,
    Shown,
    headline,
    metric_of,
    names,
    ordered,
    places,
    references_first,
    summarise,
    write_summary,
)

TEMPLATE = Path(__file__).with_name("page.html.j2")
UNITS = {"seconds": "seconds a run", "processor": "processor seconds a run"}
WORDS = {"positive": "better", "negative": "worse", "undecided": "undecided"}


def write_report(folder: Path) -> Path:
    """Write ``summary.csv`` and ``report.html`` beside the records, and return the page's path.

    Reads ``records.jsonl``, ``samples.jsonl`` (verdicts and paired differences need it) and, where
    it is there, ``compare.json`` (:func:`comparison_folder`). The same files give the same bytes.

    Raises:
        InputError: there is no ``records.jsonl``, or a file is damaged.
    """
    folder = expand(folder)
    found = read_searches(folder)
    if not (folder / "records.jsonl").is_file() and found is None:
        raise InputError(
            f"{folder} holds no records.jsonl; name the folder that `counterpoise compare` wrote"
        )
    compare = home.read() if (home := comparison_folder(folder)).is_claimed() else found or {}
    records, samples = (read_lines(folder, f"{name}.jsonl") for name in ("records", "samples"))
    rows = summarise(records)
    page = _render(records, samples, rows, compare, found)
    if rows or found is None:
        write_summary(folder / "summary.csv", rows)
    storage.write(folder / "report.html", printable(page).encode())
    return folder / "report.html"


def _render(
    records: Sequence[Record],
    samples: Sequence[Record],
    rows: Sequence[Mapping[str, Any]],
    compare: dict[str, Any],
    found: Mapping[str, Any] | None = None,
) -> str:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    finished = records_.done(records)
    command, versions = describe_making(compare)
    missing = [r for r in read_runs(compare) if r not in finished]
    records = _show([r for r in records if records_.run_of(r) in finished])
    samples = _show([s for s in samples if records_.run_of(s) in finished])
    rows = _show(rows)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["spaced"] = lambda present: present.replace("+", " +\N{NO-BREAK SPACE}")
    # A line may end within a long label such as "mla:projector=off".
    environment.filters["breakable"] = lambda label: escape(label).replace(":", Markup(":<wbr>"))
    environment.filters["svg"] = Markup  # made here, with every name in it escaped
    searches = describe_searches(found)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        searches=searches
        and Markup(
            environment.from_string(SEARCHES_TEMPLATE.read_text(encoding="utf-8")).render(
                searches=searches, figures=draw_searches(searches)
            )
        ),
        sections=[_section(records, samples, rows, data) for data in names(rows, "data")],
        missing=missing,
        command=command,
        versions=versions,
    )


def _show(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same with printable names: neither a figure nor a page can hold others."""
    return [
        {key: printable(value) if isinstance(value, str) else value for key, value in line.items()}
        for line in lines
    ]


def _section(
    records: Sequence[Record],
    samples: Sequence[Record],
    rows: Sequence[Mapping[str, Any]],
    data: str,
) -> dict[str, Any]:
    """All that the template says about one data set."""
    records = [r for r in records if r["data"] == data]
    samples = [s for s in samples if s["data"] == data]
    rows = [r for r in rows if r["data"] == data]
    metric = metric_of(records, data, samples)
    last = headline(rows, data, metric)
    methods = references_first(names(rows, "method"))
    lines, every = _learning_curves(records, metric, methods)
    seeds = {m: sorted({r["seed"] for r in records if r["method"] == m}) for m in methods}
    return {
        "data": data,
        "metric": metric,
        "last": last,
        "best": headline(rows, data, metric, "best"),
        "methods": methods,
        "seeds": seeds,
        "same_seeds": len(set(map(tuple, seeds.values()))) == 1,
        "verdicts": _format_findings(verdicts(samples), metric, methods),
        "differences": _format_findings(differences(samples), metric, methods),
        "has_samples": bool(samples),
        "dots": figures.dots(last) if last.columns else [],
        "curves": figures.curves(lines, metric),
        "every": every,
        "all_subsets": len(figures.shown_subsets(last.columns)) == len(last.columns),
        "costs": _costs(rows, methods),
        "all": _all_metrics(rows, metric, methods),
    }


def _learning_curves(
    records: Sequence[Record], metric: Shown, methods: Sequence[str]
) -> tuple[dict[str, figures.Curves], int]:
    """Method -> subset -> mean over seeds after each epoch; and every how many epochs."""
    values: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for r in records:
        kind = (r["select"], r["split"], r["metric"])
        if kind == ("epoch", "validation", metric.name) and r["value"] is not None:
            values[r["method"], r["present"]][r["epoch"]].append(r["value"])
    subsets = figures.shown_subsets(ordered(present for _, present in values))
    last = max((epoch for found in values.values() for epoch in found), default=0)
    every = figures.thin(last + 1)
    found: dict[str, figures.Curves] = {
        method: {
            s: [
                (epoch, fmean(numbers))
                for epoch, numbers in sorted(values[method, s].items())
                if (last - epoch) % every == 0  # with the last epoch
            ]
            for s in subsets
            if (method, s) in values
        }
        for method in methods
    }
    return {method: lines for method, lines in found.items() if lines}, every


def _format_findings(
    findings: Sequence[Finding], metric: Shown, methods: Sequence[str]
) -> list[dict[str, Any]]:
    """Findings in the words and digits of the page, by method."""
    scale = 100 if metric.percent else 1
    lines = []
    for f in sorted(findings, key=lambda f: methods.index(f.method)):
        v = f.verdict
        numbers = [scale * n for n in (v.difference, v.low, v.high)]
        digits = 1 if metric.percent else places(v.together, v.alone)
        difference, low, high = (_format_signed(n, digits) for n in numbers)
        lines.append(
            {
                "method": f.method,
                "present": f.present,
                "first": f"{scale * v.together:.{digits}f}",
                "second": f"{scale * v.alone:.{digits}f}",
                "difference": difference,
                "interval": f"[{low}, {high}]",
                "verdict": v.verdict,
                "word": WORDS[v.verdict],
                "seeds": len(f.seeds),
            }
        )
    return lines


def _format_signed(number: float, digits: int) -> str:
    text = f"{number:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def _costs(rows: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> dict[str, Any]:
    found = [r for r in rows if r["select"] == "run"]
    metrics = names(found, "metric")
    cells = {(r["method"], r["metric"]): _cost(r) for r in found}
    return {
        "columns": [UNITS.get(m, m) for m in metrics],
        "rows": {m: [cells.get((m, metric)) for metric in metrics] for m in methods},
    }


def _cost(row: Mapping[str, Any]) -> str:
    mean = row["mean"]
    if mean is not None and float(mean).is_integer() and not row["std"]:
        return f"{int(mean):,}"
    return str(Cell(mean, row["std"], row["n"], percent=False))


def _all_metrics(
    rows: Sequence[Mapping[str, Any]], metric: Shown, methods: Sequence[str]
) -> dict[str, Any]:
    found = [r for r in rows if r["split"] == "test"]
    metrics = [Shown.find(m) for m in names(found, "metric")]
    metrics.sort(key=lambda m: m.name != metric.name)
    cells = {
        (r["method"], r["present"], r["select"], r["metric"]): Cell(
            r["mean"], r["std"], r["n"], Shown.find(r["metric"]).percent
        )
        for r in found
    }
    return {
        "columns": [m.label for m in metrics],
        "rows": [
            (
                method,
                present,
                select,
                [cells.get((method, present, select, m.name)) for m in metrics],
            )
            for method in methods
            for present in ordered(r["present"] for r in found)
            for select in names(found, "select")
            if any((method, present, select, m.name) in cells for m in metrics)
        ],
    }
