"""What users pass in, arrays and lists of all kinds, as tensors and masks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.batch import Input
from counterpoise.core.tasks import Task
from counterpoise.errors import InputError

from .targets import decide

Mask = NDArray[np.bool_]


def to_target(value: Any, task: Task | str | None) -> tuple[Tensor, Mask, Task, str]:
    """The target as int64 or float32, which rows have one, the task, and a line about it.

    It is decided by :func:`counterpoise.data.targets.decide`; rows without a target are counted in
    a warning.
    """
    found = decide(value, task)
    lacking = int((~found.given).sum())
    if lacking:
        warnings.warn(
            f"target: {lacking} of {len(found.given)} rows have none and are left out, the first "
            f"is row {int(np.argmin(found.given))}",
            UserWarning,
            stacklevel=3,
        )
    return torch.from_numpy(found.target), found.given, found.task, found.note


def _flags(value: Any, total: int, where: str) -> Mask:
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.shape != (total,) or array.dtype != np.bool_:
        raise InputError(
            f"{where} must hold one bool per sample ([{total}]), "
            f"found {array.dtype} {list(array.shape)}"
        )
    return array


def allowed_rows(present: Mapping[str, Any] | None, modality: str, total: int) -> Mask:
    if present is None or modality not in present:
        return np.ones(total, dtype=np.bool_)
    return _flags(present[modality], total, f"present[{modality!r}]")


def to_input(value: Any, modality: str, total: int, allowed: Mask) -> tuple[Input, Mask]:
    """One modality's tensors, and which samples have it."""
    where = f"inputs[{modality!r}]"
    if not isinstance(value, Mapping):
        return to_tensor(value, where, total, allowed)
    if not value:
        raise InputError(f"{where} must hold at least one array, found an empty dict")
    tensors: dict[str, Tensor] = {}
    mask = allowed
    for key, part in value.items():
        tensors[key], known = to_tensor(part, f"{where}[{key!r}]", total, allowed)
        mask = mask & known
    return tensors, mask


def to_tensor(value: Any, where: str, total: int, allowed: Mask) -> tuple[Tensor, Mask]:
    """float32 or int64 [N, ...], and which rows are there.

    The tensor may share memory with ``value``: read it only.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        # NumPy knows no bfloat16.
        value = (value.float() if value.is_floating_point() else value).numpy()
    given = np.ones(total, dtype=np.bool_)
    if not isinstance(value, np.ndarray) or value.dtype == object:
        if not isinstance(value, (np.ndarray, Sequence)) or isinstance(value, str):
            raise InputError(
                f"{where} must be an array, a tensor or a list of rows, "
                f"found {type(value).__name__}"
            )
        _check_length(len(value), total, where)
        value, given = _stack(value, where)
    _check_length(len(value) if value.ndim else 0, total, where)
    if value.dtype.kind not in "biuf":
        raise InputError(f"{where} must hold numbers, found {value.dtype}")
    if value.ndim == 1:
        value = value[:, None]
    whole = value.dtype.kind in "iu" and value.dtype != np.uint8
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, reported below
        array = np.ascontiguousarray(value, dtype=np.int64 if whole else np.float32)
    if not array.flags.writeable:  # a tensor over read-only memory is refused by PyTorch
        array = array.copy()
    mask = allowed & given
    if not whole:
        flat = array.reshape(total, -1)
        if not np.isfinite(flat).all():
            mask &= ~np.isnan(flat).any(1)
            endless = np.flatnonzero(mask & np.isinf(flat).any(1))
            if len(endless):
                raise InputError(
                    f"{where} must be finite in float32, found an infinity in row {endless[0]} "
                    f"({len(endless)} such rows); mark a missing row by None or NaN"
                )
    return torch.from_numpy(array), mask


def _check_length(found: int, total: int, where: str) -> None:
    if found != total:
        raise InputError(
            f"{where} must hold one row per target, found {found} rows and {total} targets; "
            "give None or NaN for a missing row"
        )


def _stack(rows: Any, where: str) -> tuple[NDArray[Any], Mask]:
    """A list of rows, some None, as one array (zeros for None) and which rows are there."""
    given = np.array([row is not None for row in rows], dtype=np.bool_)
    if not given.any():
        raise InputError(f"{where} must hold at least one row that is not None, found none")
    arrays: dict[int, NDArray[Any]] = {}
    for i, row in enumerate(rows):
        if row is None:
            continue
        try:
            array = row.detach().cpu().numpy() if isinstance(row, Tensor) else np.asarray(row)
        except ValueError:  # nested lists of unequal lengths
            array = np.empty(0, dtype=object)
        if array.dtype.kind not in "biuf":
            raise InputError(
                f"{where} must hold rows of numbers, found {type(row).__name__} "
                f"that is no such array in row {i}"
            )
        arrays[i] = array
    first = int(np.argmax(given))
    shape = arrays[first].shape
    for i, array in arrays.items():
        if array.shape != shape:
            raise InputError(
                f"{where} must hold rows of one shape, found {list(shape)} in row {first} "
                f"but {list(array.shape)} in row {i}; pad or crop them"
            )
    kind = np.result_type(*{array.dtype for array in arrays.values()})
    stacked = np.zeros((len(rows), *shape), dtype=kind)
    stacked[given] = np.stack(list(arrays.values()))
    return stacked, given
