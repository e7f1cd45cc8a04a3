"""Rows of numbers, as arrays or as lists and texts of them, as samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.data.preparation.nested import to_array as read_nested
from counterpoise.data.readers.array_file import read_lists as to_lists
from counterpoise.data.readers.number_words import is_blank
from counterpoise.data.readers.numbers import read_rows, to_numbers
from counterpoise.data.settle import Form, fit_rows
from counterpoise.data.values import to_values
from counterpoise.errors import InputError, show

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


def are_finite(array: Array) -> Mask:
    """bool [N]: which rows hold finite numbers alone."""
    found: Mask = np.logical_and.reduce(np.isfinite(array), axis=tuple(range(1, array.ndim)))
    return found


def are_endless(array: Array) -> Mask:
    """bool [N]: which rows hold an infinity."""
    return any_of(np.isinf(array))


def any_of(flags: Array) -> Mask:
    """[N, ...] -> bool [N]."""
    found: Mask = np.logical_or.reduce(flags, axis=tuple(range(1, flags.ndim)))
    return found


def refuse(found: Rows, rows: Mask, reason: str) -> None:
    """Take these of the rows that are there as wrong."""
    bad = rows & found.present
    for place in np.flatnonzero(bad).tolist():
        found.wrong[place] = reason
    found.present = found.present & ~bad
    for array in found.values.values() if bad.any() else ():
        array[bad] = 0


def settle_array(array: Array, form: Form, where: str, total: int) -> Rows:
    """The rows of an array [N, ...] of numbers."""
    endless = np.zeros(total, dtype=bool)
    if array.dtype.kind == "f":
        endless = are_endless(array)
    values = to_values(array, where, total, allowed=~endless, axis=form.axis)
    found = _settle(fit_rows(values.rows, where, form), values.present, form)
    found.wrong |= dict.fromkeys(np.flatnonzero(endless).tolist(), ENDLESS)
    return found


def _settle(rows: Array, present: Mask, form: Form) -> Rows:
    """Rows [N, ...], time last, as samples."""
    longest = form.shape[-1] if form.padded else rows.shape[-1]
    beyond = any_of(rows[present][..., longest:] != 0)
    gaps = np.isnan(rows[present]).sum() if rows.dtype.kind == "f" else 0
    samples = form.apply(rows)
    samples = samples.copy() if np.may_share_memory(samples, rows) else samples
    samples[~present] = 0
    found = Rows({"": samples}, present, filled=int(gaps), cropped=int(beyond.sum()))
    if samples.dtype.kind == "f":
        refuse(found, ~are_finite(samples), BEYOND)
    return found


def read_lists(cells: list[Any], form: Form, where: str) -> Rows:
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
    inside = settle_array(array, form, where, len(full))
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
        cell = to_lists(cell)
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
