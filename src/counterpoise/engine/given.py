"""Batches of a user's own: what they must be, before a step fails somewhere inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from counterpoise.core.batch import Batch
from counterpoise.errors import InputError, unknown

if TYPE_CHECKING:
    from .context import Context


def check_batch(batch: Batch, ctx: Context) -> None:
    """Raise :class:`InputError` where a batch does not fit together, or the model.

    Values of targets and weights are read on the host only: a GPU would make each step wait.
    """
    names = ctx.model.modalities
    for name in (*batch.inputs, *batch.present):
        if name not in names:
            raise unknown("modality in a batch", name, names)
    _check_inputs(batch)
    _check_host("index", batch.index, torch.int64, len(batch))
    for name, mask in batch.present.items():
        _check_host(f"present[{name!r}]", mask, torch.bool, len(batch))
    if not isinstance(batch.target, Tensor):
        raise InputError(f"target of a batch must be a tensor, found {type(batch.target).__name__}")
    if batch.target.device.type == "cpu":
        ctx.task.check(batch.target, "target of a batch")
    _check_weight(batch)


def _check_inputs(batch: Batch) -> None:
    for name, value in batch.inputs.items():
        for tensor in value.values() if isinstance(value, dict) else [value]:
            if not isinstance(tensor, Tensor) or len(tensor) != len(batch):
                found = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                raise InputError(
                    f"inputs[{name!r}] of a batch must be a tensor of {len(batch)} rows, as many "
                    f"as there are targets, found {found}"
                )
            if tensor.dtype == torch.float64:
                raise InputError(
                    f"inputs[{name!r}] of a batch must be float32, found float64; call .float()"
                )


def _check_host(what: str, value: object, kind: torch.dtype, size: int) -> None:
    """Masks and row numbers are tensors of one type, [B], on the host."""
    found = type(value).__name__
    if isinstance(value, Tensor):
        if (value.dtype, value.shape, value.device.type) == (kind, (size,), "cpu"):
            return
        found = f"{value.dtype} {list(value.shape)} on {value.device}"
    raise InputError(f"{what} of a batch must be {kind} [{size}] on the host, found {found}")


def _check_weight(batch: Batch) -> None:
    weight = batch.weight
    if weight is None:
        return
    if not isinstance(weight, Tensor) or weight.shape != (len(batch),):
        raise InputError(f"weight of a batch must be a tensor of floats [{len(batch)}]")
    if weight.device.type == "cpu" and not bool((weight.isfinite() & (weight >= 0)).all()):
        raise InputError("weight of a batch must be finite and at least 0 for every sample")
