"""What users pass in as targets and masks, as tensors and arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
