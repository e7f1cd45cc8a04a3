"""The rows of one modality, as users bring them, as its samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.data.cells import blank, try_cells
from counterpoise.data.preparation.choose import make_reading
from counterpoise.data.preparation.paths import Start
from counterpoise.data.preparation.rows import find_present
from counterpoise.data.readers import Text
from counterpoise.data.readers.base import Reader
from counterpoise.data.settle import Form
from counterpoise.data.values import to_array
from counterpoise.errors import InputError

from .decoded import can_read, explain, find_samples, has_type, is_picture
from .numbers import (
    BEYOND,
    ENDLESS,
    Rows,
    any_of,
    are_endless,
    are_finite,
    read_lists,
    refuse,
    settle_array,
)
from .preprocessing import Preprocessing

Array = NDArray[Any]
Mask = NDArray[np.bool_]


def read_modality(
    value: Any, way: Preprocessing, where: str, total: int, folder: Start | None
) -> Rows:
    """The samples of a modality.

    Args:
        value: array, tensor, table or list of ``total`` rows; a dict of arrays where a sample has
            several tensors; None where it is absent.
        way: how they are read.
        where: what errors call it, such as ``X['audio']``.
        total: how many rows there are.
        folder: where paths start; by default the working directory.

    Raises:
        InputError: what is wrong for all rows, such as an array of another shape.
    """
    try:
        return _read_modality(value, way, where, total, folder)
    except InputError as error:
        raise InputError(f"{error}{say_single(value, way)}") from None


def say_single(value: Any, way: Preprocessing) -> str:
    """What to do with an array that is one sample, where rows are wanted; else nothing."""
    found = tuple(getattr(value, "shape", ()))
    sample = way.spec.get("", ("", ()))[1]
    if not found or found != sample:
        return ""
    return f"; rows are [N, {', '.join(map(str, sample))}]: pass x[None] where x is a single one"


def _read_modality(
    value: Any, way: Preprocessing, where: str, total: int, folder: Start | None
) -> Rows:
    if value is None:
        return Rows(blank(way.spec, total), np.zeros(total, dtype=bool))
    if isinstance(value, Mapping):
        return _take_samples(value, way, where, total)
    array = to_array(value)
    numeric = isinstance(array, np.ndarray) and array.dtype.kind in "biufcmM"
    form = _find_form(way)
    if way.reader is not None:
        kind = array.dtype.kind if numeric else ""
        if kind == "c":
            raise InputError(f"{where} must hold real numbers, found {array.dtype}")
        shape = array.shape[1:] if numeric else ()
        if kind in tuple("biuf") and not can_read(way.reader, shape, array.dtype, way.spec):
            return _take_samples({"": array}, way, where, total)
        cells = array.tolist() if numeric and array.ndim < 3 else list(array)
        return _read_cells([_to_cell(cell) for cell in cells], way.reader, way, where, folder)
    if form is None:
        return _take_samples({"": array}, way, where, total)
    if numeric:
        return settle_array(array, form, where, total)
    return read_lists([_to_cell(cell) for cell in array], form, where)


def _find_form(way: Preprocessing) -> Form | None:
    """How arrays become samples; None where they must be samples already."""
    if way.form is not None or set(way.spec) != {""} or way.spec[""][0] not in ("float32", "int64"):
        return way.form
    dtype, shape = way.spec[""]
    mean = np.zeros(()) if way.fill is None else way.fill.astype(np.float64)
    return Form(shape, whole=dtype == "int64", kind=way.kind or None, mean=mean)


def _to_cell(cell: Any) -> Any:
    """A cell in Python's own values, arrays as such; None where it stands for nothing."""
    if isinstance(cell, os.PathLike):
        return os.fspath(cell)
    if is_picture(cell):
        return cell
    cell = to_array(cell)
    if isinstance(cell, np.ndarray):
        if cell.dtype.kind in "OUS" or not cell.ndim:
            cell = cell.tolist()
    elif isinstance(cell, np.generic):
        cell = cell.item()
    gone = type(cell).__name__ in ("NAType", "NaTType", "MaskedConstant")
    return None if gone or (isinstance(cell, float) and cell != cell) else cell


def _read_cells(
    given: Sequence[Any], reader: Reader, way: Preprocessing, where: str, folder: Start | None
) -> Rows:
    """What a reader makes of cells, as :func:`counterpoise.data.prepare` does; decoded ones too."""
    make = make_reading(reader, folder or Path.cwd())
    decoded = find_samples(given, reader, way.spec)
    cells = [None if k in decoded else _read_written(make, c) for k, c in enumerate(given)]
    found = Rows(blank(way.spec, len(cells)), find_present(cells, reader))
    places = np.flatnonzero(found.present).tolist()
    samples = []
    for place, sample in zip(
        places, try_cells(reader, [cells[place] for place in places], way.spec), strict=True
    ):
        if isinstance(sample, dict):
            samples.append(sample)
            continue
        found.present[place] = False
        if isinstance(sample, str):
            found.wrong[place] = explain(given[place], reader, way.spec) or sample
    for key, array in found.values.items() if samples else ():
        array[found.present] = np.stack([sample[key] for sample in samples])
    found = _fill(found, way.fill)
    return _put_decoded(found, decoded, way, where) if decoded else found


def _put_decoded(
    found: Rows, decoded: Mapping[int, Mapping[str, Array]], way: Preprocessing, where: str
) -> Rows:
    """The rows with the samples of others, which were decoded, at their places."""
    places = list(decoded)
    stacks: dict[str, Array] = {}
    for key, (dtype, _) in way.spec.items():
        stack = np.stack([sample[key] for sample in decoded.values()])
        stacks[key] = stack.astype(dtype) if dtype == "int64" else stack
    inside = _take_samples(stacks, way, where, len(places))
    for key, array in found.values.items():
        array[places] = inside.values[key]
    found.present[places] = inside.present
    found.wrong |= {places[k]: reason for k, reason in inside.wrong.items()}
    found.filled += inside.filled
    return found


def _read_written(make: Callable[[Any], Any], cell: Any) -> Any:
    return cell if isinstance(cell, np.ndarray) else make(cell)


def _fill(found: Rows, fill: Array | None) -> Rows:
    """The same with the training mean where a value was not measured; refuses other tensors' NaN.

    Rows that cannot be mended are wrong, and zeros.
    """
    for key, array in found.values.items():
        if array.dtype.kind != "f":
            continue
        gap = np.isnan(array)
        if key == "" and gap.any():
            found.filled += int(gap[found.present].sum())
            np.copyto(array, 0 if fill is None else fill, where=gap)
        refuse(found, ~are_finite(array), BEYOND)
    return found


def _take_samples(given: Mapping[Any, Any], way: Preprocessing, where: str, total: int) -> Rows:
    """Arrays that are samples already, of the shape and the type that the model takes."""
    if set(given) != set(way.spec):
        reads = f" what the reader {way.reader.name!r} reads, or" if way.reader else ""
        wanted = " and ".join(map(repr, way.spec)) or "arrays"
        found_keys = "an array" if set(given) == {""} else f"one of {', '.join(map(repr, given))}"
        raise InputError(f"{where} must hold{reads} a dict of {wanted}, found {found_keys}")
    found = Rows(blank(way.spec, total), np.ones(total, dtype=bool))
    for key, (dtype, shape) in way.spec.items():
        array = to_array(given[key])
        array = np.asarray(array) if isinstance(array, list | tuple) else array
        name = f"{where}[{key!r}]" if key else where
        _check_samples(array, dtype, (total, *shape), name, way.reader)
        if array.dtype.kind == "f":
            found.present &= any_of(~np.isnan(array))
            refuse(found, are_endless(array), ENDLESS)
        with np.errstate(over="ignore", invalid="ignore"):
            found.values[key] = np.where(
                found.present.reshape(-1, *[1] * len(shape)), array, 0
            ).astype(dtype)
        if isinstance(way.reader, Text) and key == "input_ids":
            outside = any_of((array < 0) | (array > way.reader.largest))
            refuse(found, outside, f"holds a token outside 0..{way.reader.largest}")
    for array in found.values.values():
        array[~found.present] = 0
    return _fill(found, way.fill)


def _check_samples(
    array: Any, dtype: str, shape: tuple[int, ...], where: str, reader: Reader | None
) -> None:
    """Raise :class:`InputError` unless an array [N, ...] is of this shape and a type like this."""
    is_array = isinstance(array, np.ndarray)
    if is_array and array.shape == shape and has_type(array, dtype, reader):
        return
    found = f"{array.dtype} {list(array.shape[1:])}" if is_array else type(array).__name__
    others = f" what the reader {reader.name!r} reads, or" if reader is not None else ""
    raise InputError(
        f"{where} must hold{others} samples of {dtype} {list(shape[1:])}, found {found}"
    )
