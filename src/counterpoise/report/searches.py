"""The searches of ``counterpoise tune``: read, and shown on the page and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoise.core import storage
from counterpoise.core.console import make_table
from counterpoise.core.schema import Shape, check
from counterpoise.errors import InputError

from .figures import ACCENT, MOST_PANELS, MUTED, PAPER, WIDTH, _figure, _short, _style, _svg
from .summary import Shown, places

if TYPE_CHECKING:
    from rich.table import Table

SEARCHES = "searches.json"
FORMAT = 1
TEMPLATE = Path(__file__).with_name("searches.html.j2")
MOST_TRIALS = 200  # of a method, in the table of the page


class Trial(Shape):
    """A trial; ``values`` are by the names of flags and options."""

    number: int
    state: str
    value: float | None
    values: dict[str, Any]
    epochs: int
    seconds: float
    reason: str


class Search(Shape):
    """The search for one method."""

    method: str
    metric: str
    greater_is_better: bool
    best: int | None
    winner: str
    trials: list[Trial]


class RecordOfSearches(Shape):
    """``searches.json``."""

    format: int
    data: str
    searches: list[Search]
    made_with: dict[str, Any]


def read_searches(folder: Path) -> dict[str, Any] | None:
    """What ``searches.json`` says; ``None`` where there is none.

    Raises:
        InputError: it is damaged, or of a newer version.
    """
    path = folder / SEARCHES
    if not path.is_file():
        return None
    record, fits = storage.read_record(path)
    check(record, RecordOfSearches, path, "repeat the search, which writes it again")
    if record["format"] > FORMAT or not fits:
        raise InputError(
            f"{path} was written by a newer version, or was changed; repeat the search, which "
            "writes it again"
        )
    return dict(record)


def describe_searches(record: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Of each search what the page and the terminal say."""
    return [_describe(search) for search in (record or {"searches": []})["searches"]]


def _describe(search: Mapping[str, Any]) -> dict[str, Any]:
    metric = Shown.find(search["metric"], search["greater_is_better"])
    trials = search["trials"]
    by_number = {trial["number"]: trial for trial in trials}
    best = by_number.get(search["best"])
    states = [trial["state"] for trial in trials]
    known = [t["value"] for t in trials if t["value"] is not None]
    digits = 1 if metric.percent else places(*known or [0.0])

    def show(value: float | None) -> str:
        scale = 100 if metric.percent else 1
        return "\N{EN DASH}" if value is None else f"{scale * value:.{digits}f}"

    return {
        "method": search["method"],
        "winner": search["winner"],
        "metric": metric,
        "count": len(trials),
        **{state: states.count(state) for state in ("complete", "stopped", "failed", "running")},
        "default": show(by_number[0]["value"] if 0 in by_number else None),
        "best": show(best and best["value"]),
        "number": search["best"],
        "values": "" if best is None else _join(best["values"]),
        "minutes": f"{sum(t['seconds'] for t in trials) / 60:.1f}",
        "trials": [
            {**t, "value": show(t["value"]), "values": _join(t["values"])}
            for t in trials[:MOST_TRIALS]
        ],
        "points": [(t["number"], t["value"]) for t in trials if t["value"] is not None],
    }


def _join(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_write(value)}" for name, value in values.items())


def _write(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value).lower()


def best_so_far(
    points: Sequence[tuple[int, float]], greater_is_better: bool
) -> list[tuple[int, float]]:
    """The best value up to each trial."""
    found: list[tuple[int, float]] = []
    for number, value in sorted(points):
        last = found[-1][1] if found else value
        found.append((number, max(last, value) if greater_is_better else min(last, value)))
    return found


def draw_searches(searches: Sequence[Mapping[str, Any]]) -> list[str]:
    """A panel for each search: a dot for each trial that was trained to its end, and the best."""
    shown = [search for search in searches if search["points"]]
    return [_draw(shown[k : k + MOST_PANELS]) for k in range(0, len(shown), MOST_PANELS)]


def _draw(searches: Sequence[Mapping[str, Any]]) -> str:
    metric: Shown = searches[0]["metric"]
    scale = 100 if metric.percent else 1
    across = min(3, len(searches))
    down = -(-len(searches) // across)
    with _style():
        figure = _figure(WIDTH, down * 1.75 + 0.3)
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for axes, search in zip(grid.flat, searches, strict=False):
            best = best_so_far(search["points"], metric.greater_is_better)
            axes.plot(
                [number for number, _ in search["points"]],
                [scale * value for _, value in search["points"]],
                "o",
                markersize=3.5,
                color=MUTED,
                markerfacecolor=PAPER,
            )
            axes.step(
                [number for number, _ in best],
                [scale * value for _, value in best],
                where="post",
                color=ACCENT,
                linewidth=1.6,
            )
            axes.grid(axis="y")
            axes.locator_params(axis="x", nbins=4, integer=True, min_n_ticks=1)
            axes.locator_params(axis="y", nbins=4)
            axes.set_title(_short(search["method"], 28), loc="left")
            axes.set_xlabel("trial")
        for axes in list(grid.flat)[len(searches) :]:
            axes.remove()
        figure.supylabel(f"validation {metric.label}", fontsize=8.5)
        names = ", ".join(search["method"] for search in searches)
        return _svg(
            figure, f"Validation {metric.label} of each trial, and the best so far, of {names}"
        )


def search_table(record: Mapping[str, Any]) -> Table:
    """The searches for the terminal: a line for each method."""
    from rich.text import Text

    searches = describe_searches(record)
    label = searches[0]["metric"].label if searches else ""
    table = make_table(title=Text(f"Best validation {label} of each search", "table.title"))
    table.add_column("method", no_wrap=True)
    for name in ("trials", "stopped", "failed", "defaults", "best"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("values")
    for s in searches:
        counts = (str(s[name]) for name in ("count", "stopped", "failed"))
        table.add_row(
            Text(s["method"]), *counts, s["default"], Text(s["best"], "bold"), Text(s["values"])
        )
    return table
