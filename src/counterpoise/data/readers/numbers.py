"""Numbers in a cell."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterpoise.errors import InputError

from .base import Array, Reader

if TYPE_CHECKING:
    from typing_extensions import Self


def to_numbers(cell: Any) -> Array:
    """float32 [F] of a number, ``1.5 2 3`` (blanks, commas, semicolons) or a list.

    Raises:
        InputError: something else, or a number that is not finite.
    """
    values = cell
    if isinstance(cell, str):
        text = cell.strip()
        try:
            values = json.loads(text) if text.startswith("[") else re.split(r"[\s,;]+", text)
        except ValueError:
            raise InputError(f"is no list of numbers: {text!r:.60}") from None
    try:
        array = np.atleast_1d(np.asarray(values, dtype=np.float32))
    except (TypeError, ValueError):
        raise InputError(f"is no number: {cell!r:.60}") from None
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"must be numbers side by side, found shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise InputError(f"must be finite numbers, found {cell!r:.60}")
    return array


@dataclass(frozen=True)
class Numbers(Reader):
    """Numbers as they stand in a cell: float32 [F].

    Args:
        count: ``F``; None takes what most training cells have.
    """

    name = "numbers"
    kind = "vector"
    count: int | None = None

    def fit(self, cells: Sequence[Any]) -> Self:
        if self.count is not None:
            return self
        counts = [count for cell in cells if (count := _count(cell))]
        return self.changed(self.name, count=int(np.bincount(counts).argmax()) if counts else 1)

    def read(self, cell: Any) -> Array:
        array = to_numbers(cell)
        if self.count is not None and len(array) != self.count:
            raise InputError(f"must hold {self.count} numbers, found {len(array)}")
        return array


def _count(cell: Any) -> int:
    try:
        return len(to_numbers(cell))
    except InputError:
        return 0
