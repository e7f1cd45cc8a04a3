"""Arrays that stand in a cell: lists of lists of numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from counterpoise.data.readers.measured import is_blank


def to_array(cell: Any) -> Any:
    """float64 [T, C] (or of other axes) of a list of lists, also where it is written as text.

    Null and words such as ``NA`` are NaN. Rows of different lengths give an array of objects, which
    the reader refuses; what is no list of numbers comes back as it is.
    """
    values = cell
    if isinstance(cell, str):
        if not cell.lstrip().startswith("["):
            return cell
        try:
            values = json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    if not isinstance(values, list | tuple):
        return cell
    try:
        values = _fill(values)
    except (TypeError, RecursionError):
        return cell
    try:
        return np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        ragged = np.empty(len(values), dtype=object)
        ragged[:] = values
        return ragged


def _fill(values: Any) -> Any:
    """The list with NaN for what was not measured; a TypeError for what is no number."""
    if isinstance(values, list | tuple):
        return [_fill(value) for value in values]
    if is_blank(values):
        return float("nan")
    if isinstance(values, str | bytes | dict):
        raise TypeError
    return values
