"""Numbers in a cell."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from counterpoise.errors import InputError

from .base import Array
from .measured import Measured, is_blank

if TYPE_CHECKING:
    from typing_extensions import Self

SEPARATOR = re.compile(r"\s*[,;]\s*|\s+")


def to_numbers(cell: Any) -> Array:
    """float64 [F] of a number, ``1.5 2 3`` (blanks, commas, semicolons) or a list.

    Nothing between commas, None and words such as ``NA`` are NaN: a value that was not measured.

    Raises:
        InputError: something else, or an infinity.
    """
    values = cell
    if isinstance(cell, str):
        text = cell.strip()
        try:
            values = json.loads(text) if text.startswith("[") else SEPARATOR.split(text)
        except ValueError:
            raise InputError(f"is no list of numbers: {text!r:.60}") from None
    if isinstance(values, list | tuple):
        values = [np.nan if is_blank(value) else value for value in values]
    try:
        array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"is no number: {cell!r:.60}") from None
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"must be numbers side by side, found shape {list(array.shape)}")
    if np.isinf(array).any():
        raise InputError(f"must be finite numbers, found {cell!r:.60}")
    return array


@dataclass(frozen=True)
class Numbers(Measured):
    """Numbers as they stand in a cell: float32 [F].

    A value that was not measured (``1.5,,3``, ``NA``, null) is NaN, and the training mean where
    batches are read. With ``indicators``: [2F].

    Args:
        count: ``F``; None takes what most training cells have.
        indicators: beside each number stands another, 1 where it was measured and 0 where not.
        center: of each number, taken off in float64; empty where float32 holds how values vary.
        spread: of each number, by which it is divided then.
    """

    name = "numbers"
    kind = "vector"
    count: int | None = None

    def fit(self, cells: Sequence[Any]) -> Self:
        arrays = [array for cell in cells if (array := _try(cell)) is not None]
        reader, count = self, self.count
        if count is None:
            counts = [len(array) for array in arrays]
            count = int(np.bincount(counts).argmax()) if counts else 1
            reader = self.changed(self.name, count=count)
        return reader.find_center([array for array in arrays if len(array) == count])

    def lacks(self, cell: Any) -> bool:
        array = _try(cell)
        return array is not None and bool(np.isnan(array).all())

    def read(self, cell: Any) -> Array:
        array = to_numbers(cell)
        if self.count is not None and len(array) != self.count and not np.isnan(array).all():
            raise InputError(f"must hold {self.count} numbers, found {len(array)}")
        return self.finish(array)


def _try(cell: Any) -> Array | None:
    try:
        return to_numbers(cell)
    except InputError:
        return None
