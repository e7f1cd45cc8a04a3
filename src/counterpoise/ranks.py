"""Reductions over the processes of a distributed run; each does nothing in a single process.

There is no wrapper that must see exactly one forward and one backward pass: methods run several,
call parts of the model and read ``.grad``, so gradients are averaged once, explicitly.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, 0 to ``world() - 1``."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def all_sum(value: Tensor) -> Tensor:
    """The sum of ``value`` over all ranks, the same on each; detached."""
    value = value.detach()
    if world() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def broadcast(module: nn.Module) -> None:
    """Give every rank the parameters and buffers that rank 0 has."""
    if world() > 1:
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.detach(), src=0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every ``.grad`` by its mean over the ranks.

    A parameter that only some ranks used (a modality may be absent from a rank's whole share of
    the batch) counts as zero on the others; one that no rank used keeps ``None``, so that
    momentum and decay leave it alone.
    """
    if world() == 1:
        return
    parameters = list(parameters)
    device = parameters[0].device
    used = torch.tensor([float(p.grad is not None) for p in parameters], device=device)
    used = all_sum(used)
    active = [p for p, count in zip(parameters, used.tolist(), strict=True) if count > 0]
    if not active:
        return
    for p in active:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.reshape(-1) for p in active if p.grad is not None])
    dist.all_reduce(flat)
    flat /= world()
    for p, part in zip(active, torch.split(flat, [p.numel() for p in active]), strict=True):
        p.grad = part.view_as(p).clone()
