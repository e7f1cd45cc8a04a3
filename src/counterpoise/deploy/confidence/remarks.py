"""What calibration could not do for a model, a line each, for the command line and the card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.tasks import Classification, Task

from .conformal import Scores

_MOST = 8  # names in a line
NO_HALVES = (
    "validation holds fewer than two samples or groups, so there are no halves: all of it "
    "calibrates, and nothing was measured; name another set for thresholds"
)


def list_names(names: Iterable[str]) -> str:
    """Names with commas, the later ones counted only."""
    every = list(names)
    more = f" and {len(every) - _MOST} more" if len(every) > _MOST else ""
    return ", ".join(every[:_MOST]) + more


def on_temperatures(names: Sequence[str], rows: Mapping[int, int], least: int) -> list[str]:
    """Which places have no temperature of their own."""
    few = [
        f"{name} ({_count_rows(rows.get(place, 0))})"
        for place, name in enumerate(names)
        if name and rows.get(place, 0) < least
    ]
    if not few:
        return []
    if len(few) == len(names) - 1:
        return [f"temperature 1 everywhere: no subset has {least} calibrating rows"]
    return [
        f"fewer than {least} calibrating rows, so the temperature of the nearest subsets: "
        f"{list_names(few)}"
    ]


def _count_rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"


def on_answers(names: Sequence[str], best: NDArray[np.int64], accuracy: float) -> list[str]:
    """Where a wanted accuracy cannot be had."""
    lacking = [name for name, step in zip(names, best.tolist(), strict=True) if name and step < 0]
    if not lacking:
        return []
    return [
        f"accuracy {accuracy:g} cannot be shown on the measured rows, so every row is withheld: "
        f"{list_names(lacking)}"
    ]


def on_sets(names: Sequence[str], scores: Scores, coverage: float, task: Task) -> list[str]:
    """Where sets hold everything, and which classes share a limit."""
    pooling = isinstance(task, Classification)
    infinite = np.isinf(scores.find_limits(coverage, pooling))
    lacking = [name for place, name in enumerate(names) if name and infinite[place].any()]
    kind = "sets hold every class" if pooling else "intervals hold every number"
    lines = []
    if lacking:
        lines = [f"too few rows for coverage {coverage:g}, so {kind}: {list_names(lacking)}"]
    if pooling:
        lines += _on_pools(names, lacking, scores, coverage, task)
    return lines


def _on_pools(
    names: Sequence[str], lacking: Sequence[str], scores: Scores, coverage: float, task: Task
) -> list[str]:
    """Which classes share a limit, in one line: places with the same classes stand together."""
    titles = getattr(task, "names", None) or [str(k) for k in range(task.outputs)]
    where: dict[tuple[str, ...], list[str]] = {}
    for name, pooled in zip(names, scores.find_pooled(coverage).tolist(), strict=True):
        few = tuple(title for title, small in zip(titles, pooled, strict=True) if small)
        if name and few and name not in lacking:
            where.setdefault(few, []).append(name)
    if not where:
        return []
    parts = [
        f"classes {list_names(few)} (with {list_names(places)})" for few, places in where.items()
    ]
    more = f"; and {len(parts) - _MOST} more such groups" if len(parts) > _MOST else ""
    return [
        f"too few rows of some classes for coverage {coverage:g} of each, so it holds for these "
        f"together: {'; '.join(parts[:_MOST])}{more}"
    ]
