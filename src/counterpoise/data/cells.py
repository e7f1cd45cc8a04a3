"""Cells of a table as samples: what a reader makes of one, and what it has to look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from counterpoise.core.batch import Input
from counterpoise.errors import InputError

from .readers.base import Reader, Unmeasured, Value

Array = NDArray[Any]
Spec = dict[str, tuple[str, tuple[int, ...]]]  # tensor ("" if only one) -> type, shape of a sample

# By tensor; None: it was not measured; else why it cannot be read.
Sample = dict[str, Array] | str | None

TRIES = 50  # cells that may fail before a modality counts as unreadable


def split_tensors(value: Value) -> dict[str, Array]:
    """What a reader returned, by tensor."""
    return value if isinstance(value, dict) else {"": value}


def join_tensors(tensors: Mapping[str, Array]) -> Input:
    """Arrays by tensor as a batch holds them."""
    found = {key: torch.from_numpy(array) for key, array in tensors.items()}
    return found[""] if set(found) == {""} else found


def spec_of(value: Value) -> Spec:
    """The type and the shape of each tensor of a sample."""
    return {key: (array.dtype.name, array.shape) for key, array in split_tensors(value).items()}


def blank(spec: Spec, count: int) -> dict[str, Array]:
    """Zeros for ``count`` samples."""
    return {key: np.zeros((count, *shape), dtype) for key, (dtype, shape) in spec.items()}


def sample_bytes(specs: Mapping[str, Spec]) -> int:
    """The size of one sample with all its modalities."""
    return sum(
        int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        for spec in specs.values()
        for dtype, shape in spec.values()
    )


def read_cell(reader: Reader, cell: Any, spec: Spec) -> dict[str, Array]:
    """One sample by tensor.

    Raises:
        Unmeasured: nothing of it was measured.
        InputError: the cell cannot be read, or differs from ``spec``; why, in a few words.
    """
    try:
        value: Value | Exception = reader.read(cell)
    except Exception as error:  # a damaged file can break its library anywhere
        value = error
    return _check(value, reader, spec)


def try_cells(reader: Reader, cells: Sequence[Any], spec: Spec) -> list[Sample]:
    """What :func:`try_cell` finds in each cell."""
    return [_try(value, reader, spec) for value in reader.read_many(cells)]


def try_cell(reader: Reader, cell: Any, spec: Spec) -> Sample:
    """One sample by tensor, None if it was not measured, or the reason why it cannot be read."""
    return try_cells(reader, [cell], spec)[0]


def _try(value: Value | Exception, reader: Reader, spec: Spec) -> Sample:
    try:
        return _check(value, reader, spec)
    except Unmeasured:
        return None
    except InputError as error:
        return str(error)


def _check(value: Value | Exception, reader: Reader, spec: Spec) -> dict[str, Array]:
    """What a reader returned, by tensor, if it is what the others are."""
    if isinstance(value, InputError):
        raise value
    if isinstance(value, Exception):
        reason = str(value).splitlines()[0] if str(value) else ""
        raise InputError(f"cannot be read ({type(value).__name__}: {reason})") from value
    found = split_tensors(value)
    if len(found) != len(spec) or not all(
        key in spec and (array.dtype, array.shape) == (np.dtype(spec[key][0]), spec[key][1])
        for key, array in found.items()
    ):
        other = spec_of(value)
        advice = _advise(reader, other, spec)
        raise InputError(f"is {_format(other)}, where the others are {_format(spec)}{advice}")
    return found


def _advise(reader: Reader, found: Spec, spec: Spec) -> str:
    """What to do where samples differ in their type alone, as fractions and whole numbers do."""
    shapes = [{key: shape for key, (_, shape) in each.items()} for each in (found, spec)]
    mixed = shapes[0] == shapes[1] and "real" in reader.options()
    return "; --set COLUMN.real=true reads both alike" if mixed else ""


def find_spec(modality: str, reader: Reader, cells: Sequence[Any]) -> Spec:
    """Types and shapes, from the first training cell that can be read.

    Raises:
        InputError: none of the first 50 can be read.
    """
    reasons: list[str] = []
    for cell in cells:
        found = _try_spec(reader, cell)
        if isinstance(found, dict):
            return found
        if found is not None:
            reasons.append(f"{cell!r:.80}: {found}")
        if len(reasons) == TRIES:
            break
    if not reasons:
        raise InputError(f"modality {modality!r}: no training cell holds a value that was measured")
    raise InputError(
        f"modality {modality!r}: none of the first {len(reasons)} cells can be read as "
        f"{reader.name}; the first, {reasons[0].replace('COLUMN', modality)}"
    )


def _try_spec(reader: Reader, cell: Any) -> Spec | str | None:
    try:
        return spec_of(reader.read(cell))
    except Unmeasured:
        return None
    except Exception as error:  # a damaged file can break its library anywhere
        return str(error) or type(error).__name__


def _format(spec: Spec) -> str:
    return ", ".join(f"{k} {d} {list(s)}".strip() for k, (d, s) in spec.items())
