"""What users pass in as the values of a modality, arrays and lists of all kinds, as arrays."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.errors import InputError

Array = NDArray[Any]
Mask = NDArray[np.bool_]

_ADVICE = {
    "c": "pass real and imaginary part, or magnitude and angle, as channels of their own",
    "M": "pass seconds since some day as float64, such as (x - x.min()) / np.timedelta64(1, 's')",
    "m": "pass seconds as float64, such as x / np.timedelta64(1, 's')",
    "U": "pass classes as columns of 0 and 1, numbers as floats, and texts as tokens",
}


@dataclass(frozen=True)
class Values:
    """The rows of one tensor, as they were given.

    Attributes:
        rows: float32, float64 or int64 [N, ...], NaN where a value was not measured, time last and
            zeros at the end where lengths differ. May share memory with what was passed: read only.
        present: which rows are there.
        axis: of time in a row as it was passed, where lengths differ; else None.
        lengths: of the rows, where they differ.
    """

    rows: Array
    present: Mask
    axis: int | None = None
    lengths: NDArray[np.int64] | None = None


def count_rows(value: Any, where: str) -> int:
    """How many rows somebody's array, tensor, table or list has."""
    shape = getattr(value, "shape", None)  # of sparse matrices len() is ambiguous
    try:
        return int(shape[0]) if isinstance(shape, tuple) and shape else len(value)
    except TypeError:
        raise InputError(f"{where} must hold rows, found {type(value).__name__}") from None


def to_values(
    value: Any, where: str, total: int, allowed: Mask | None = None, axis: int | None = None
) -> Values:
    """The rows of one tensor.

    A row that is None or all NaN is missing; some NaN is a value that was not measured, and so is
    what a masked array masks, or None among numbers. Rows of one or two axes whose lengths differ
    in one are filled up with zeros at the end: [T] becomes [1, T] (whole numbers stay [T]),
    [T, C] becomes [C, T], and [C, T] stays.

    Args:
        value: array, tensor, table or list of rows; dense, sparse or masked.
        where: what errors call it.
        total: rows that there must be.
        allowed: bool [N], rows that count; all by default.
        axis: of time in a row, where lengths are known to differ.

    Raises:
        InputError: no rows of numbers, or an infinity.
    """
    array, lengths = to_array(value), None
    given: Mask = np.ones(total, dtype=np.bool_)
    if not isinstance(array, np.ndarray) or _is_list(array):
        if not isinstance(array, (np.ndarray, Sequence)) or isinstance(array, str):
            raise InputError(
                f"{where} must be an array, a tensor or a list of rows, "
                f"found {type(value).__name__}"
            )
        _check_length(len(array), total, where)
        array, given, axis, lengths = _stack(array, where, axis)
    _check_length(len(array) if array.ndim else 0, total, where)
    rows = _to_numbers(array, where)
    if rows.ndim == 1:
        rows = rows[:, None]
    if 0 in rows.shape[1:]:
        raise InputError(f"{where} must hold numbers in each row, found shape {list(rows.shape)}")
    if axis is not None:
        rows = _time_last(rows, axis)
    mask = given if allowed is None else allowed & given
    if rows.dtype.kind == "f":
        mask = _check_finite(rows, mask, where)
    return Values(rows, mask, axis, lengths)


def to_array(value: Any) -> Any:
    """An array of what is none, but holds one: tensors, tables, sparse and masked arrays.

    Masked and missing values become NaN. Anything else is returned as it is.
    """
    if isinstance(value, Tensor):
        return _from_tensor(value)
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(value):
        return value.toarray()
    if isinstance(value, np.ma.MaskedArray):
        return _unmask(value)
    if not isinstance(value, (np.ndarray, np.generic, str)) and hasattr(value, "__array__"):
        return np.asarray(value)
    return value


def _from_tensor(value: Tensor) -> Any:
    value = value.detach().cpu()
    if value.is_nested:
        return [_from_tensor(row) for row in value.unbind()]
    if value.layout is not torch.strided:
        value = value.to_dense()
    value = value.resolve_conj().resolve_neg()
    if value.is_floating_point() and value.dtype != torch.float64:
        value = value.float()  # NumPy knows no bfloat16
    return value.numpy()


def _unmask(value: Any) -> Array:
    """NaN where a masked array is masked; whole numbers become floats if part of a row is."""
    mask, data = np.ma.getmaskarray(value), np.asarray(value.data)
    if not mask.any() or data.dtype.kind not in "biuf":
        return data
    kind = data.dtype if data.dtype.kind == "f" else np.float64
    return np.where(mask, np.nan, data.astype(kind))


def _check_length(found: int, total: int, where: str) -> None:
    if found != total:
        raise InputError(
            f"{where} must hold one row per target, found {found} rows and {total} targets; "
            "give None or NaN for a missing row"
        )


def _is_list(array: Array) -> bool:
    """Whether an array holds rows as Python objects."""
    return array.dtype == object and array.ndim == 1


def _is_gone(x: Any) -> bool:
    """Whether this stands for nothing: None, pandas' NA, a masked constant."""
    return x is None or type(x).__name__ in ("NAType", "MaskedConstant")


def _to_numbers(array: Array, where: str) -> Array:
    """float32, float64 or int64 of any real numbers."""
    kind = array.dtype.kind
    if kind == "O":
        array = _from_objects(array, where)
        kind = array.dtype.kind
    if kind not in "biuf":
        advice = _ADVICE.get(kind, _ADVICE["U"])
        raise InputError(f"{where} must hold numbers, found {array.dtype}; {advice}")
    if kind == "u" and array.dtype.itemsize == 8 and array.size:
        most = int(array.max())
        if most > np.iinfo(np.int64).max:
            raise InputError(f"{where} must fit int64, found {most}; pass floats")
    if kind == "f":
        small = array.dtype.itemsize <= 4
        # The long double has a wider range: what leaves float64's is reported as infinite.
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, dtype=np.float32 if small else np.float64)
    pixels = array.dtype in (np.uint8, np.bool_)
    return np.ascontiguousarray(array, dtype=np.float32 if pixels else np.int64)


def _from_objects(array: Array, where: str) -> Array:
    """Numbers among Python objects: int64, or float64 with NaN for None."""
    flat = array.ravel().tolist()
    whole = True
    for place, x in enumerate(flat):
        if _is_gone(x):
            flat[place], whole = np.nan, False
        elif isinstance(x, str | bytes):
            raise InputError(f"{where} must hold numbers, found {x!r:.40}; {_ADVICE['U']}")
        elif isinstance(x, int | np.integer):
            if not -(2**63) <= x < 2**63:
                raise InputError(f"{where} must fit int64, found {x}; pass floats")
        else:
            whole = False
    try:
        numbers = np.array(flat, dtype=np.int64 if whole else np.float64)
    except (TypeError, ValueError, OverflowError):
        strange = next((x for x in flat if not isinstance(x, int | float)), flat[0])
        raise InputError(
            f"{where} must hold numbers, found {type(strange).__name__}; None marks what is missing"
        ) from None
    return numbers.reshape(array.shape)


def _check_finite(rows: Array, mask: Mask, where: str) -> Mask:
    """The rows of ``mask`` that hold any number; raises where one of these is infinite."""
    flat = rows.reshape(len(rows), -1)
    if np.isfinite(flat).all():
        return mask
    mask = mask & ~np.isnan(flat).all(1)
    endless = np.flatnonzero(mask & np.isinf(flat).any(1))
    if len(endless):
        raise InputError(
            f"{where} must be finite in float32, found an infinity in row {endless[0]} "
            f"({len(endless)} such rows); mark a missing row by None or NaN"
        )
    return mask


def check_samples(samples: Array, where: str) -> None:
    """Raise :class:`InputError` where float32 made an infinity of a value."""
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        count = int((~np.isfinite(samples)).reshape(len(samples), -1).any(1).sum())
        raise InputError(
            f"{where} must be finite in float32, found {count} row(s) far beyond the training rows "
            "and float32's range; mark a missing row by None or NaN"
        )


def _stack(
    rows: Any, where: str, axis: int | None
) -> tuple[Array, Mask, int | None, NDArray[np.int64] | None]:
    """A list of rows as one array, which of them are there, and the axis and lengths of time.

    Rows that are not there are zeros, and so is what a shorter one lacks.
    """
    found: dict[int, Array] = {}
    blank: dict[int, Array] = {}
    for i, row in enumerate(rows):
        if _is_gone(row):
            continue
        array = _to_row(row, where, i)
        # A row without any number, which may have any shape.
        empty = array.size == 0 or (array.dtype.kind == "f" and bool(np.isnan(array).all()))
        (blank if empty else found)[i] = array
    given = np.zeros(len(rows), dtype=np.bool_)
    given[list(found)] = True
    found = found or blank
    if not found:
        raise InputError(f"{where} must hold at least one row that is not None, found none")
    kind = np.result_type(*{array.dtype for array in found.values()})
    shapes = [array.shape for array in found.values()]
    if len(set(shapes)) > 1:
        axis = _find_axis(dict(zip(found, shapes, strict=True)), where, axis)
    stacked = np.zeros((len(rows), *map(max, zip(*shapes, strict=True))), dtype=kind)
    if len(set(shapes)) == 1:
        stacked[list(found)] = np.stack(list(found.values()))
        return stacked, given, axis, None
    assert axis is not None
    for i, array in found.items():
        stacked[i][tuple(map(slice, array.shape))] = array
    return stacked, given, axis, np.array([shape[axis] for shape in shapes])


def _to_row(row: Any, where: str, number: int) -> Array:
    """One row of a list."""
    array = to_array(row)
    try:
        array = np.asarray(array)
        if array.dtype.kind == "O" and any(np.ndim(x) for x in array.ravel()):
            raise ValueError
    except ValueError:  # nested lists of unequal lengths
        array = np.array("")
    if array.dtype.kind not in "biufOcmM":
        raise InputError(
            f"{where} must hold rows of numbers, found {type(row).__name__} "
            f"that is no such array in row {number}"
        )
    return _to_numbers(array, where)


def _find_axis(shapes: dict[int, tuple[int, ...]], where: str, axis: int | None) -> int:
    """The one axis in which rows differ, which is time.

    Where most rows are vectors of one length they are no sequences, as in files.
    """
    counts = Counter(shapes.values())
    usual, count = counts.most_common(1)[0]
    first, shape = next(iter(shapes.items()))
    row, other = next((i, s) for i, s in shapes.items() if s != shape)
    differing: set[int] = set()
    if {len(s) for s in counts} == {len(shape)}:
        differing = {k for k, sizes in enumerate(zip(*counts, strict=True)) if len(set(sizes)) > 1}
    vectors = axis is None and len(usual) == 1 and 2 * count > len(shapes)
    known = axis is None or differing == {axis}
    if vectors or len(shape) > 2 or len(differing) != 1 or not known:
        raise InputError(
            f"{where} must hold rows of one shape, found {list(shape)} in row {first} "
            f"but {list(other)} in row {row}; pad or crop them"
        )
    return differing.pop()


def _time_last(rows: Array, axis: int) -> Array:
    """Rows [N, T], [N, T, C] or [N, C, T] with time as the last axis: real numbers as [N, C, T]."""
    if rows.ndim == 2:
        return rows[:, None] if rows.dtype.kind == "f" else rows
    return np.swapaxes(rows, 1, 2) if axis == 0 and rows.ndim == 3 else rows
