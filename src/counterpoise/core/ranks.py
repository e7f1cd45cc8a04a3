"""Reductions over the processes of a distributed run; each does nothing in a single process.

Gradients are averaged once, explicitly, not by a wrapper that expects exactly one forward and one
backward pass: methods run several, call parts of the model, and read ``.grad``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> int:
    """The number of processes that train together."""
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


def from_first(value: float, device: torch.device) -> float:
    """The number of rank 0, on every rank, for decisions that all must make alike."""
    if world() == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(shared, src=0)
    return float(shared)


def gather(values: Tensor) -> Tensor:
    """[B, ...] of each rank -> [G, ...], the global batch in its order; detached.

    Each rank holds every ``world()``-th row (:class:`counterpoise.Loader`), and some may hold one
    row less than others.
    """
    values = values.detach()
    if world() == 1:
        return values
    sizes = torch.zeros(world(), device=values.device)
    sizes[rank()] = len(values)
    counts = [int(size) for size in all_sum(sizes).tolist()]
    padded = values.new_zeros(max(counts), *values.shape[1:])
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.stack(parts, 1).flatten(0, 1)[: sum(counts)]


def average(
    gradients: Sequence[Tensor | None], parameters: Sequence[nn.Parameter]
) -> list[Tensor | None]:
    """The mean over the ranks of each parameter's gradient.

    A parameter that only some ranks used (a modality may be absent from a rank's whole share of
    the batch) counts as zero on the others; one that no rank used keeps ``None``, so that
    momentum and decay leave it alone.
    """
    if world() == 1 or not parameters:
        return list(gradients)
    device = parameters[0].device
    used = torch.tensor([float(g is not None) for g in gradients], device=device)
    active = [count > 0 for count in all_sum(used).tolist()]
    filled = [
        torch.zeros_like(p) if g is None else g
        for g, p, some in zip(gradients, parameters, active, strict=True)
        if some
    ]
    if not filled:
        return list(gradients)
    flat = torch.cat([g.reshape(-1) for g in filled])
    dist.all_reduce(flat)
    flat /= world()
    parts = iter(torch.split(flat, [g.numel() for g in filled]))
    return [
        next(parts).view_as(p).clone() if some else None
        for p, some in zip(parameters, active, strict=True)
    ]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every ``.grad`` by its mean over the ranks."""
    if world() == 1:
        return
    parameters = list(parameters)
    found = average([p.grad for p in parameters], parameters)
    for p, gradient in zip(parameters, found, strict=True):
        p.grad = gradient
