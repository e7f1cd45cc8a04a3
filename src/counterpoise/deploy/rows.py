"""The rows of one modality, as users bring them, as its samples."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.data.cells import Spec, blank, try_cell, try_cells
from counterpoise.data.preparation.choose import make_reading
from counterpoise.data.preparation.nested import to_array as read_nested
from counterpoise.data.preparation.rows import find_present
from counterpoise.data.readers import Text
from counterpoise.data.readers.array_file import read_lists
from counterpoise.data.readers.base import Reader
from counterpoise.data.readers.number_words import is_blank
from counterpoise.data.readers.numbers import read_rows, to_numbers
from counterpoise.data.settle import Form, fit_rows
from counterpoise.data.values import to_array, to_values
from counterpoise.errors import InputError, show

from .preprocessing import Preprocessing

Array = NDArray[Any]
Mask = NDArray[np.bool_]

BEYOND = "holds numbers that float32 cannot hold"
ENDLESS = "must be finite numbers, found an infinity"


@dataclass
class Rows:
    """N rows of a modality, read.

    Attributes:
        values: tensor -> [N, ...], zeros where absent.
        present: bool [N].
        wrong: row -> why it could not be read.
        filled: values that were not measured, which the training mean stands for.
        cropped: rows that were longer than any of training.
    """

    values: dict[str, Array]
    present: Mask
    wrong: dict[int, str] = field(default_factory=dict)
    filled: int = 0
    cropped: int = 0


def read_modality(
    value: Any, way: Preprocessing, where: str, total: int, folder: Path | None
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
    if value is None:
        return Rows(blank(way.spec, total), np.zeros(total, dtype=bool))
    if isinstance(value, Mapping):
        return _take_samples(value, way, where, total)
    array = to_array(value)
    numeric = isinstance(array, np.ndarray) and array.dtype.kind in "biufcmM"
    form = _find_form(way)
    if way.reader is not None:
        if numeric and array.dtype.kind in "biuf" and not _can_read(way.reader, array, way.spec):
            return _take_samples({"": array}, way, where, total)
        cells = array.tolist() if numeric and array.ndim < 3 else list(array)
        return _read_cells(cells, way.reader, way, folder)
    if form is None:
        return _take_samples({"": array}, way, where, total)
    if numeric:
        return _settle_array(array, form, where, total)
    return _read_lists([_to_cell(cell) for cell in array], form, where)


def _find_form(way: Preprocessing) -> Form | None:
    """How arrays become samples; None where they must be samples already."""
    if way.form is not None or set(way.spec) != {""} or way.spec[""][0] not in ("float32", "int64"):
        return way.form
    dtype, shape = way.spec[""]
    mean = np.zeros(()) if way.fill is None else way.fill.astype(np.float64)
    return Form(shape, whole=dtype == "int64", kind=way.kind or None, mean=mean)


def _can_read(reader: Reader, array: Array, spec: Spec) -> bool:
    """Whether the rows of an array are what the reader reads, as arrays in files are."""
    row = np.ones(array.shape[1:], array.dtype)
    return isinstance(try_cell(reader, row if row.ndim else row.item(), spec), dict)


def _to_cell(cell: Any) -> Any:
    """A cell in Python's own values, arrays as such; None where it stands for nothing."""
    if isinstance(cell, os.PathLike):
        return os.fspath(cell)
    cell = to_array(cell)
    if isinstance(cell, np.ndarray):
        if cell.dtype.kind in "OUS" or not cell.ndim:
            cell = cell.tolist()
    elif isinstance(cell, np.generic):
        cell = cell.item()
    gone = type(cell).__name__ in ("NAType", "NaTType", "MaskedConstant")
    return None if gone or (isinstance(cell, float) and cell != cell) else cell


def _read_cells(
    given: Sequence[Any], reader: Reader, way: Preprocessing, folder: Path | None
) -> Rows:
    """What a reader makes of cells, as :func:`counterpoise.data.prepare` does."""
    make = make_reading(reader, (folder or Path.cwd()).resolve())
    cells = [_read_written(make, cell) for cell in map(_to_cell, given)]
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
            found.wrong[place] = sample
    for key, array in found.values.items() if samples else ():
        array[found.present] = np.stack([sample[key] for sample in samples])
    return _fill(found, way.fill)


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
        _refuse(found, ~_are_finite(array), BEYOND)
    return found


def _are_finite(array: Array) -> Mask:
    """bool [N]: which rows hold finite numbers alone."""
    found: Mask = np.logical_and.reduce(np.isfinite(array), axis=tuple(range(1, array.ndim)))
    return found


def _are_endless(array: Array) -> Mask:
    """bool [N]: which rows hold an infinity."""
    return _any(np.isinf(array))


def _any(flags: Array) -> Mask:
    """[N, ...] -> bool [N]."""
    found: Mask = np.logical_or.reduce(flags, axis=tuple(range(1, flags.ndim)))
    return found


def _refuse(found: Rows, rows: Mask, reason: str) -> None:
    """Take these of the rows that are there as wrong."""
    bad = rows & found.present
    for place in np.flatnonzero(bad).tolist():
        found.wrong[place] = reason
    found.present = found.present & ~bad
    for array in found.values.values() if bad.any() else ():
        array[bad] = 0


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
            found.present &= _any(~np.isnan(array))
            _refuse(found, _are_endless(array), ENDLESS)
        with np.errstate(over="ignore", invalid="ignore"):
            found.values[key] = np.where(
                found.present.reshape(-1, *[1] * len(shape)), array, 0
            ).astype(dtype)
        if isinstance(way.reader, Text) and key == "input_ids":
            outside = _any((array < 0) | (array > way.reader.largest))
            _refuse(found, outside, f"holds a token outside 0..{way.reader.largest}")
    for array in found.values.values():
        array[~found.present] = 0
    return _fill(found, way.fill)


def _check_samples(
    array: Any, dtype: str, shape: tuple[int, ...], where: str, reader: Reader | None
) -> None:
    """Raise :class:`InputError` unless an array [N, ...] is of this shape and a type like this."""
    is_array = isinstance(array, np.ndarray)
    kinds = {"float32": "f", "int64": "iu", "uint8": "u"}.get(dtype, "")
    if reader is None and dtype == "float32":
        kinds = "biuf"
    known = is_array and array.dtype.kind in kinds and (dtype != "uint8" or array.dtype == np.uint8)
    if known and array.shape == shape:
        return
    found = f"{array.dtype} {list(array.shape[1:])}" if is_array else type(array).__name__
    others = f" what the reader {reader.name!r} reads, or" if reader is not None else ""
    raise InputError(
        f"{where} must hold{others} samples of {dtype} {list(shape[1:])}, found {found}"
    )


def _settle_array(array: Array, form: Form, where: str, total: int) -> Rows:
    """The rows of an array [N, ...] of numbers."""
    endless = np.zeros(total, dtype=bool)
    if array.dtype.kind == "f":
        endless = _are_endless(array)
    values = to_values(array, where, total, allowed=~endless, axis=form.axis)
    found = _settle(fit_rows(values.rows, where, form), values.present, form)
    found.wrong |= dict.fromkeys(np.flatnonzero(endless).tolist(), ENDLESS)
    return found


def _settle(rows: Array, present: Mask, form: Form) -> Rows:
    """Rows [N, ...], time last, as samples."""
    longest = form.shape[-1] if form.padded else rows.shape[-1]
    beyond = _any(rows[present][..., longest:] != 0)
    gaps = np.isnan(rows[present]).sum() if rows.dtype.kind == "f" else 0
    samples = form.apply(rows)
    samples = samples.copy() if np.may_share_memory(samples, rows) else samples
    samples[~present] = 0
    found = Rows({"": samples}, present, filled=int(gaps), cropped=int(beyond.sum()))
    if samples.dtype.kind == "f":
        _refuse(found, ~_are_finite(samples), BEYOND)
    return found


def _read_lists(cells: list[Any], form: Form, where: str) -> Rows:
    """Rows that are lists, arrays, numbers, or texts of numbers such as ``0.1 0.2``."""
    full = [cell for cell in cells if not _is_empty(cell)]
    if full and not form.padded and all(_is_row(x, form, full[0]) for x in full):
        return _settle_stack(full, cells, form, where)
    rows: Array = np.zeros((len(cells), *form.shape), np.int64 if form.whole else np.float64)
    present = np.zeros(len(cells), dtype=bool)
    places = [place for place, cell in enumerate(cells) if not _is_empty(cell)]
    if len(form.shape) == 1 and not form.padded and not form.whole:
        plain = [None if isinstance(c, np.ndarray) else c for c in full]
        rows[places] = read_rows(plain, ".", form.shape[0])
        present[places] = np.isfinite(rows[places]).all(1)
    wrong, cropped = {}, 0
    for place in (place for place in places if not present[place]):
        try:
            row = _fit_row(_read_row(cells[place]), form)
        except InputError as error:
            wrong[place], rows[place] = str(error), 0
            continue
        present[place] = not (row.dtype.kind == "f" and np.isnan(row).all())
        if form.padded:
            cropped += bool((row[..., form.shape[-1] :] != 0).any())
            row = row[..., : form.shape[-1]]
            rows[place][..., : row.shape[-1]] = row
        else:
            rows[place] = row
    found = _settle(rows, present, form)
    found.wrong, found.cropped = {**wrong, **found.wrong}, cropped
    return found


def _is_row(cell: Any, form: Form, first: Any) -> bool:
    """Whether this is an array that the form takes, of the type of the first."""
    if not isinstance(cell, np.ndarray) or cell.shape != form.shape or cell.dtype != first.dtype:
        return False
    return cell.dtype.kind in ("iu" if form.whole else "biuf")


def _settle_stack(full: list[Array], cells: list[Any], form: Form, where: str) -> Rows:
    """Arrays of one shape and type, and what is absent beside them."""
    array = np.stack(full)
    inside = _settle_array(array, form, where, len(full))
    places = np.array([place for place, cell in enumerate(cells) if not _is_empty(cell)])
    samples = np.zeros((len(cells), *inside.values[""].shape[1:]), inside.values[""].dtype)
    present = np.zeros(len(cells), dtype=bool)
    samples[places], present[places] = inside.values[""], inside.present
    wrong = {int(places[place]): reason for place, reason in inside.wrong.items()}
    return Rows({"": samples}, present, wrong, inside.filled, inside.cropped)


def _is_empty(cell: Any) -> bool:
    """Whether a cell of numbers holds nothing, or a word that says so."""
    if isinstance(cell, str):
        return is_blank(cell) or cell.strip() == "[]"
    return cell is None or (isinstance(cell, list | tuple) and not cell)


def _read_row(cell: Any) -> Array:
    """float64 of any axes of a cell, int64 of whole numbers in arrays; NaN for what is lacking."""
    if isinstance(cell, str):
        cell = read_nested(cell) if cell.lstrip().startswith("[") else to_numbers(cell)
    elif isinstance(cell, list | tuple):
        cell = read_lists(cell)
    elif not isinstance(cell, np.ndarray):
        cell = to_numbers(cell)
    if not isinstance(cell, np.ndarray):
        raise InputError(f"is no list of numbers: {show(cell)}")
    if cell.dtype.kind not in "biuf":
        raise InputError(f"must hold real numbers, found {cell.dtype}")
    return cell


def _fit_row(row: Array, form: Form) -> Array:
    """A row, time last, of the shape and type that the form takes."""
    wanted = form.shape
    given, known = row, row.shape == wanted or (row.size == 1 and wanted == (1,))
    if form.padded:
        if row.ndim == 1 and (form.whole or wanted[0] == 1):
            row, known = row if form.whole else row[None], True
        elif row.ndim == 2 and len(wanted) == 2:
            row = row.T if form.axis == 0 else row
            known = row.shape[0] == wanted[0]
        else:
            known = False
    gaps = row.dtype.kind == "f" and bool(np.isnan(row).all())
    if not known and not gaps:
        length = f" of {wanted[-1]} steps at most" if form.padded else ""
        real = list(wanted[:-1] if form.padded else wanted)
        raise InputError(f"must hold numbers of shape {real}{length}, found {list(given.shape)}")
    if row.dtype.kind == "f" and np.isinf(row).any():
        raise InputError(ENDLESS)
    if form.whole and not gaps and (row != np.floor(row)).any():
        raise InputError(f"must hold whole numbers, found {show(row.tolist())}")
    if gaps:
        return np.full(wanted, np.nan)
    return row if form.padded else row.reshape(wanted)
