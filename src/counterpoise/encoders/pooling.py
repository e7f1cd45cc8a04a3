"""From the steps of a sequence to one vector, without the steps that are padding."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Pool = Literal["mean", "max", "first", "last"]
POOLS = get_args(Pool)


def real_steps(sequences: Tensor) -> Tensor:
    """[B, C, T] -> bool [B, T]: the steps that are not all zeros; the first if all are."""
    return some_step((sequences != 0).any(1))


def some_step(real: Tensor) -> Tensor:
    """The same mask [B, T], with the first step where a row has none: attention needs one."""
    first = torch.zeros_like(real)
    first[:, 0] = ~real.any(1)
    return real | first


def pool(steps: Tensor, real: Tensor, how: str) -> Tensor:
    """Steps [B, T, D] and a mask of the real ones, bool [B, T] -> [B, D].

    Args:
        steps: the steps of each sequence.
        real: at least one step per row.
        how: ``"mean"`` or ``"max"`` over the real steps, or the ``"first"`` or ``"last"`` of them.
    """
    gone = ~real[:, :, None]
    if how == "mean":
        return steps.masked_fill(gone, 0).sum(1) / real.sum(1, keepdim=True)
    if how == "max":
        return steps.masked_fill(gone, -torch.inf).amax(1)
    places = real.int().argmax(1) if how == "first" else last_step(real)
    return steps[torch.arange(steps.shape[0], device=steps.device), places]


def last_step(real: Tensor) -> Tensor:
    """bool [B, T] -> int64 [B]: the last real step."""
    return real.shape[1] - 1 - real.int().flip(1).argmax(1)


def put_first(real: Tensor) -> Tensor:
    """bool [B, T] -> int64 [B, T]: the place of each step where the real ones come first, in order.

    Counted, since ONNX has no stable sort.
    """
    ahead, behind = real.long().cumsum(1), (~real).long().cumsum(1)
    return torch.where(real, ahead, ahead[:, -1:] + behind) - 1


def blank(steps: Tensor, real: Tensor) -> Tensor:
    """[B, T, D] with zeros where there is no real step."""
    return steps.masked_fill(~real[:, :, None], 0)
