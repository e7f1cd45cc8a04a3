"""Arrays that stand in a cell: lists of lists of numbers, also where they are written as text."""

from __future__ import annotations

import json
from typing import Any

from counterpoise.data.readers.array_file import read_lists
from counterpoise.data.readers.number_words import to_number
from counterpoise.errors import InputError


def to_array(cell: Any) -> Any:
    """float64 [T, C] (or of other axes) of a list of lists, NaN for what was not measured.

    Lists that are no array, since their rows differ in length, come back as lists, so that the
    reader says so; and what is no list of numbers as it is.
    """
    values = cell
    if isinstance(cell, str):
        if not cell.lstrip().startswith("["):
            return cell
        try:
            values = json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    if not holds_numbers(values):
        return cell
    try:
        return read_lists(values)
    except InputError:
        return values


def holds_numbers(values: Any) -> bool:
    """Whether this is a list of numbers, or of such lists."""
    if not isinstance(values, list | tuple):
        return False
    try:
        return all(holds_numbers(x) if isinstance(x, list | tuple) else _is_one(x) for x in values)
    except RecursionError:
        return False


def _is_one(value: Any) -> bool:
    try:
        to_number(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
