"""Numbers in a cell."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.declared import Length
from counterpoise.errors import InputError, show

from .base import Array, Value, some
from .measured import Measured
from .number_words import (
    DecimalSign,
    find_decimal,
    refuse_word,
    split_numbers,
    to_float,
    to_number,
)

if TYPE_CHECKING:
    from typing_extensions import Self

FITTED = 100_000  # cells that tell how many numbers there are, and how they vary
# A sign between blanks alone: 18 - 25 are no three numbers. Between commas it is one not measured.
LONE = re.compile(r"[^\s,;][ \t]+[-?](?![^\s,;])|(?<![^\s,;])[-?][ \t]+[^\s,;]")
DIGIT = re.compile("[0-9]")

__all__ = ["Numbers", "find_decimal", "to_numbers"]


def to_numbers(cell: Any, decimal: str = ".") -> Array:
    """float64 [F] of a number, ``1.5 2 3`` (blanks, commas, semicolons) or a list.

    Nothing between commas, None and words such as ``NA`` are NaN: a value that was not measured.
    Booleans are 0 and 1.

    Args:
        cell: what stands in the table.
        decimal: ``","`` where commas are decimal and only blanks and semicolons part numbers; in
            ``[1.5, 2]`` commas always do.

    Raises:
        InputError: something else, or an infinity.
    """
    values = cell
    if isinstance(cell, str):
        text = cell.strip()
        if text.startswith("["):
            try:
                values = json.loads(text)
            except (ValueError, RecursionError):
                raise InputError(f"is no list of numbers: {show(text)}") from None
            decimal = "."
        else:
            values = split_numbers(text, decimal)
            if LONE.search(text):
                raise refuse_word(cell)
    elif hasattr(cell, "__array__") and not isinstance(cell, np.generic):
        values = np.asarray(cell)
        if values.dtype.kind not in "biuf":
            raise InputError(f"must be real numbers, found {values.dtype}")
        values = np.atleast_1d(values).astype(np.float64)
    elif not isinstance(cell, list | tuple):
        values = [cell]
    shape = _find_shape(values)
    if len(shape) != 1 or shape[0] == 0:
        raise InputError(f"must be numbers side by side, found shape {list(shape)}")
    try:
        array = np.array([to_number(value, decimal) for value in values], dtype=np.float64)
    except (TypeError, ValueError):
        raise refuse_word(cell) from None
    except OverflowError:
        raise InputError(f"must be finite numbers, found {show(cell)}") from None
    if np.isinf(array).any():
        raise InputError(f"must be finite numbers, found {show(cell)}")
    return array


def _find_shape(values: Any) -> tuple[int, ...]:
    """The lengths of lists in lists, by the first of each."""
    if isinstance(values, np.ndarray):
        return tuple(values.shape)
    if not isinstance(values, list | tuple):
        return ()
    inner = next((value for value in values if isinstance(value, list | tuple)), None)
    return (len(values), *_find_shape(inner))


@dataclass(frozen=True)
class Numbers(Measured):
    """Numbers as they stand in a cell: float32 [F].

    A value that was not measured (``1.5,,3``, ``NA``, null) is NaN, and the training mean where
    batches are read. With ``indicators``: [2F].

    Args:
        count: ``F``; None takes what most training cells have (of at most 100,000).
        decimal: ``","``: commas are decimal signs, and ``0,1;1,5`` are two numbers.
        indicators: beside each number stands another, 1 where it was measured and 0 where not.
        center: of each number, taken off in float64; empty where float32 holds how values vary.
        spread: of each number, by which it is divided then.
    """

    name = "numbers"
    kind = "vector"
    young: ClassVar[Mapping[str, Any]] = {**Measured.young, "decimal": "."}
    count: Length | None = None
    decimal: DecimalSign = "."

    def fit(self, cells: Sequence[Any]) -> Self:
        arrays = [array for cell in some(cells, FITTED) if (array := self._try(cell)) is not None]
        reader, count = self, self.count
        if count is None:
            counts = [len(array) for array in arrays]
            count = int(np.bincount(counts).argmax()) if counts else 1
            reader = self.changed(self.name, count=count)
        return reader.find_center([array for array in arrays if len(array) == count])

    def lacks(self, cell: Any) -> bool:
        if _holds_number(cell):
            return False
        array = self._try(cell)
        return array is not None and bool(np.isnan(array).all())

    def find_lacking(self, cells: Sequence[Any]) -> NDArray[np.bool_]:
        return np.array([not _holds_number(c) and self.lacks(c) for c in cells], dtype=bool)

    def read(self, cell: Any) -> Array:
        array = to_numbers(cell, self.decimal)
        if self.count is not None and len(array) != self.count and not np.isnan(array).all():
            raise InputError(f"must hold {self.count} numbers, found {len(array)}")
        return self.finish(array)

    def read_many(self, cells: Sequence[Any]) -> list[Value | Exception]:
        """:meth:`read` of each; those of finite numbers, as most are, together."""
        count = self.count or 1
        if len(self.center) not in (0, 1, count):
            return super().read_many(cells)
        wide = read_rows(cells, self.decimal, count)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = self.scale(wide.T).T if self.center else wide
            narrow = np.ascontiguousarray(scaled, dtype=np.float32)
        quick = np.isfinite(narrow).all(1)
        if self.indicators:
            narrow = np.concatenate([narrow, np.ones_like(narrow)], axis=1)
        found: list[Value | Exception] = list(narrow)
        for place in np.flatnonzero(~quick).tolist():
            found[place] = self._attempt(cells[place])
        return found

    def _try(self, cell: Any) -> Array | None:
        try:
            return to_numbers(cell, self.decimal)
        except InputError:
            return None


def _holds_number(cell: Any) -> bool:
    """Whether a cell surely holds a number, or cannot be read: it lacks nothing."""
    if isinstance(cell, str):
        return DIGIT.search(cell) is not None  # no word for nothing has one
    if isinstance(cell, list | tuple):
        return any(isinstance(value, int | float) and value == value for value in cell)
    return isinstance(cell, int | float) and cell == cell


def read_rows(cells: Sequence[Any], decimal: str, count: int) -> Array:
    """float64 [N, count] of cells of so many numbers; NaN in rows that are not quickly told."""
    with contextlib.suppress(ValueError, OverflowError):
        found = _read_at_once(cells, decimal, count)
        if found is not None:
            return found.reshape(len(cells), count)
    blank = [math.nan] * count
    rows = [_to_row(cell, decimal, count) or blank for cell in cells]
    return np.array(rows, dtype=np.float64).reshape(len(cells), count)


def _read_at_once(cells: Sequence[Any], decimal: str, count: int) -> Array | None:
    """:func:`read_rows` where all cells are of one form; ValueError where a word is no number."""
    kinds = set(map(type, cells))
    if kinds == {list} and set(map(len, cells)) == {count}:
        plain = set(map(type, chain.from_iterable(cells))) <= {float, int}
        return np.array(cells, dtype=np.float64) if plain else None
    if count == 1 and kinds <= {float, int}:
        return np.array(cells, dtype=np.float64)
    if count == 1 and kinds == {str}:
        text = "".join(cells)
        if text.isascii() and "_" not in text and decimal == ".":
            return np.array(list(map(float, cells)))
    return None


def _to_row(cell: Any, decimal: str, count: int) -> Sequence[float] | None:
    """So many numbers that a cell holds, where that is quickly told; else None."""
    try:
        if isinstance(cell, list | tuple):
            plain = len(cell) == count and all(type(value) in (float, int) for value in cell)
            return [float(value) for value in cell] if plain else None
        if not isinstance(cell, str):
            plain = count == 1 and type(cell) in (float, int, bool)
            return [float(cell)] if plain else None
        if cell[:1] == "[":
            return None
        text = cell.strip()
        words = [text] if count == 1 else split_numbers(text, decimal)
        return [to_float(word, decimal) for word in words] if len(words) == count else None
    except (ValueError, OverflowError):
        return None
