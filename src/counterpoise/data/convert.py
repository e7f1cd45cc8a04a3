"""What users pass in as targets and masks, as tensors and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.tasks import Classification, MultiLabel, Regression, Task
from counterpoise.errors import InputError

Mask = NDArray[np.bool_]


def to_target(value: Any, task: Task | None) -> tuple[Tensor, Task]:
    """The target as int64 or float32, and its task."""
    if task is not None and not isinstance(task, Task):
        raise InputError(
            f"task must be a Task such as Classification(10), found {type(task).__name__}"
        )
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"target must hold numbers, found {array.dtype}; np.unique(target, "
            "return_inverse=True)[1] numbers the classes of any labels"
        )
    if array.ndim == 0 or len(array) == 0:
        raise InputError(f"target must hold at least 1 sample, found shape {list(array.shape)}")
    if task is None and array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biu":
        task = MultiLabel(array.shape[1])
    whole = array.dtype.kind in "biu" and not isinstance(task, (Regression, MultiLabel))
    target = torch.from_numpy(np.array(array, dtype=np.int64 if whole else np.float32, order="C"))
    if task is None:
        if not whole:
            task = Regression(target.shape[1] if target.dim() == 2 else 1)
        elif int(target.max()) < 1:
            raise InputError(
                "target must hold classes 0..K-1 of at least 2 classes, found none above "
                f"{int(target.max())}; give task=Classification(K) or floats for regression"
            )
        else:
            task = Classification(int(target.max()) + 1)
    task.check(target)
    return target, task


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
