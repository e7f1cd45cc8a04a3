"""What readers share: a part of a recording, which frames stand for it, which cells to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from counterpoise.core.declared import Bounds
from counterpoise.errors import InputError

from .base import existing, some

MOST = 1000  # cells that are looked at to fit a reader
Count = Annotated[int, Bounds(1, 4096)]
Pick = Literal["even", "first"]

Found = TypeVar("Found")


def span(cell: Any) -> tuple[Path, float, float | None]:
    """The file of a cell, and from which second to which: (path, start, end), or a path alone."""
    if not isinstance(cell, (tuple, list)):
        return existing(cell), 0.0, None
    if len(cell) != 3:
        raise InputError(f"must be a path, or (path, start, end), found {len(cell)} values")
    path, start, end = cell
    try:
        first, last = float(start), float(end)
    except (TypeError, ValueError):
        raise InputError(f"start and end must be seconds, found {start!r} and {end!r}") from None
    if not 0 <= first < last < float("inf"):
        raise InputError(f"start must be before end, found {first:g} and {last:g} s")
    return existing(path), first, last


def pick(total: int, wanted: int, how: str = "even") -> list[int]:
    """Which ``wanted`` of ``total`` frames stand for all.

    ``"even"``: the centres of equal segments; fewer frames than segments are repeated.
    ``"first"``: those at the beginning; the last one is repeated where there are too few.
    """
    if how == "first":
        return [min(i, total - 1) for i in range(wanted)]
    return [(2 * i + 1) * total // (2 * wanted) for i in range(wanted)]


def look(cells: Sequence[Any], at: Callable[[Any], Found]) -> list[Found]:
    """``at`` of at most 1000 evenly chosen cells, without those that cannot be read.

    Raises:
        InputError: none of them can.
    """
    found: list[Found] = []
    reasons: list[str] = []

    def attempt(cell: Any) -> None:
        try:
            found.append(at(cell))
        except Exception as error:  # a damaged file can break its library anywhere
            reasons.append(str(error))

    for cell in some(cells, MOST):
        attempt(cell)
    if found:
        return found
    what = f"none of {len(reasons)} can be read; the first: {reasons[0]}" if reasons else "has none"
    raise InputError(f"training samples: {what}")
