"""Raw targets of any kind, read: which rows hold numbers, which hold words, which hold nothing."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.errors import InputError

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Cell = int | float | str | None

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# Words that say, among numbers, that there is none; among words all but the first may be classes.
HOLES = (
    "nan",
    "<na>",
    "nat",
    "na",
    "n/a",
    "#n/a",
    "null",
    "none",
    "nil",
    "inf",
    "infinity",
    "?",
    "-",
)
ALWAYS = HOLES[:3]


@dataclass(frozen=True)
class Values:
    """N raw targets.

    Attributes:
        numbers: [N], or [N, K] of rows of K numbers; 0 where there is none. Whole numbers are
            integers, of any size.
        given: bool [N], where all numbers of a row are there.
        texts: how each (the first of a row) was written, where that was as text; empty if none was.
        words: bool [N], where there is a word that may be a class.
        holes: bool [N], where there is a word that may say that there is none.
        sets: the labels of each row, where rows are lists with words in them.
    """

    numbers: Array
    given: Mask
    texts: list[str | None]
    words: Mask
    holes: Mask
    sets: list[list[str]] | None = None

    @property
    def wide(self) -> bool:
        """Whether a row holds several numbers."""
        return self.numbers.ndim == 2 and self.numbers.shape[1] > 1

    @property
    def known(self) -> Array:
        """The numbers of the rows that have all of theirs."""
        return self.numbers[self.given]

    @property
    def whole(self) -> bool:
        """Whether there are no fractions."""
        return self.numbers.dtype.kind != "f"


def read_values(value: Any, where: str) -> Values:
    """Raw targets, from an array, a tensor, a list, a Series or a frame of numbers or words.

    Raises:
        InputError: no row, no list, or one of something else.
    """
    masked = np.ma.getmaskarray(value) if isinstance(value, np.ma.MaskedArray) else None
    rows = _to_rows(value, where)
    if isinstance(rows, list):
        lists = any(_is_list(row) for row in rows)
        return _read_lists(rows, where) if lists else _read_cells(rows, where)
    given: Mask = np.ones(rows.shape, dtype=np.bool_) if masked is None else ~np.asarray(masked)
    if rows.dtype.kind == "f":
        given = given & np.isfinite(rows)
    given = np.all(given.reshape(len(rows), -1), 1)
    none = np.zeros(len(rows), dtype=np.bool_)
    filled = rows.copy()
    filled[~given] = 0
    return Values(_to_whole(filled), given, [], none, none)


def _to_rows(value: Any, where: str) -> Array | list[Any]:
    """An array of numbers, or a list of cells or of lists."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        # NumPy knows no bfloat16.
        value = (value.float() if value.is_floating_point() else value).numpy()
    # NumPy would make words of numbers that stand beside words, and floats of large integers.
    if isinstance(value, list | tuple) and not all(map(_is_number, value)):
        return list(value)
    mask = np.ma.getmaskarray(value) if isinstance(value, np.ma.MaskedArray) else None
    value = np.asarray(value)
    if value.ndim > 2 or value.dtype.kind not in "biufUSO":
        raise InputError(
            f"{where} must hold numbers or words, [N] or [N, K], "
            f"found {value.dtype} {list(value.shape)}"
        )
    if value.ndim == 0 or not len(value):
        raise InputError(f"{where} must hold at least 1 sample, found shape {list(value.shape)}")
    if value.dtype.kind in "USO":
        value = value if mask is None else np.where(mask, None, value)
        cells: list[Any] = (value[:, 0] if value.shape[1:] == (1,) else value).tolist()
        return cells
    array: Array = value.astype(np.int64) if value.dtype.kind == "b" else value
    return array


def _is_number(value: Any) -> bool:
    plain = isinstance(value, float | np.number | np.bool_)
    return plain or (isinstance(value, int) and abs(value) < 2**63)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (
        isinstance(value, np.ndarray | Tensor) and value.ndim > 0
    )


def read_cell(value: Any, where: str = "target") -> Cell:
    """A number, a word or nothing."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        text = value.strip()
        if not NUMBER.fullmatch(text):
            return text or None
        value = float(text) if not re.fullmatch(r"[+-]?\d+", text) else int(text)
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
        value = value.item()
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        if not math.isfinite(number):
            return None
        return int(number) if number.is_integer() and abs(number) < 2**63 else number
    try:
        number = float(value)  # a Decimal
    except (TypeError, ValueError):
        raise InputError(
            f"{where} must hold numbers or words, found {type(value).__name__} {value!r:.40}"
        ) from None
    return read_cell(number, where)


def _read_cells(rows: Sequence[Any], where: str) -> Values:
    cells = [read_cell(row, where) for row in rows]
    given = np.array([isinstance(cell, int | float) for cell in cells])
    holes = np.array([isinstance(cell, str) and _is_hole(cell) for cell in cells])
    words = np.array([isinstance(cell, str) for cell in cells]) & ~holes
    texts = [
        _to_text(row) if cell is not None else None for row, cell in zip(rows, cells, strict=True)
    ]
    numbers = [cell if isinstance(cell, int | float) else 0 for cell in cells]
    texts = texts if any(text is not None for text in texts) else []
    return Values(_to_array(numbers), given, texts, words, holes)


def _is_hole(word: str) -> bool:
    return word.lower().lstrip("+-") in HOLES or word == "-"


def _to_text(value: Any) -> str | None:
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return value.strip() if isinstance(value, str) else None


def _read_lists(rows: Sequence[Any], where: str) -> Values:
    """Rows of numbers, as many as most rows have; or rows of labels."""
    lists = [_to_list(row) for row in rows]
    cells = [[read_cell(v, where) for v in row] for row in lists]
    words = np.array([any(isinstance(c, str) and not _is_hole(c) for c in row) for row in cells])
    full = [len(row) for row in cells if row and not any(isinstance(c, str | None) for c in row)]
    width = Counter(full).most_common(1)[0][0] if full else 1
    given = np.array(
        [len(r) == width and all(isinstance(c, int | float) for c in r) for r in cells]
    )
    numbers = [c if ok else [0] * width for c, ok in zip(cells, given.tolist(), strict=True)]
    flat = _to_array([n for row in numbers for n in row])  # type: ignore[misc]  # all are numbers
    sets = [[str(v).strip() for v in row if v is not None] for row in lists]
    texts = [_to_text(row[0]) if row else None for row in lists]
    none = np.zeros(len(rows), dtype=np.bool_)
    texts = texts if any(text is not None for text in texts) else []
    return Values(flat.reshape(len(rows), width), given, texts, words, none, sets)


def _to_list(value: Any) -> list[Any]:
    value = value.tolist() if isinstance(value, np.ndarray | Tensor) else value
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _to_array(numbers: list[int | float]) -> Array:
    """Integers, of Python's where they are large; or float64 if there is a fraction."""
    if any(isinstance(number, float) for number in numbers):
        return np.array(numbers, dtype=np.float64)
    large = any(abs(number) >= 2**63 for number in numbers)
    return np.array(numbers, dtype=object if large else np.int64)


def _to_whole(numbers: Array) -> Array:
    """Integers where every number is whole, float64 where not."""
    if numbers.dtype.kind != "f":
        return numbers
    values = numbers.astype(np.float64)
    whole = (values == np.floor(values)) & (np.abs(values) < 2**63)
    return values.astype(np.int64) if whole.all() else values
