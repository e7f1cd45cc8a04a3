"""Reductions over the processes of a distributed run; each does nothing in a single process.

Gradients are averaged once, explicitly, not by a wrapper that expects exactly one forward and one
backward pass: methods run several, call parts of the model, and read ``.grad``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")
_alone: ContextVar[bool] = ContextVar("alone", default=False)


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized() and not _alone.get()


def world() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if _is_joined() else 1


def rank() -> int:
    """The number of this process, 0 to ``world() - 1``."""
    return dist.get_rank() if _is_joined() else 0


@contextmanager
def alone() -> Iterator[None]:
    """What every rank computes alike, from the same whole batches: as if it were the only one."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def all_sum(value: Tensor) -> Tensor:
    """The sum of ``value`` over all ranks, the same on each; detached."""
    value = value.detach()
    if world() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def stack(value: Tensor) -> Tensor:
    """[...], of one shape on all ranks -> [world(), ...], the same on each; detached."""
    value = value.detach().contiguous()
    parts = [torch.empty_like(value) for _ in range(world())]
    if world() == 1:
        return value[None]
    dist.all_gather(parts, value)
    return torch.stack(parts)


def host_sum(numbers: Tensor) -> Tensor:
    """The sum of whole numbers, a tensor on the host, over all ranks: for the host's decisions.

    A process group that has a backend for the host uses it, so that a GPU is not waited for.
    """
    if world() == 1:
        return numbers
    if "cpu:" in dist.get_backend_config():
        return all_sum(numbers)
    return all_sum(numbers.to(torch.device("cuda", torch.cuda.current_device()))).cpu()


def send(value: Any, source: int) -> Any:
    """What the rank ``source`` passes, on every rank; it must be on the host."""
    held = [value]
    dist.broadcast_object_list(held, src=source)
    return held[0]


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
    sizes = torch.zeros(world(), dtype=torch.int64)
    sizes[rank()] = len(values)
    counts = host_sum(sizes).tolist()
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
    used = host_sum(torch.tensor([g is not None for g in gradients], dtype=torch.int64))
    active = [count > 0 for count in used.tolist()]
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


@contextmanager
def one_voice() -> Iterator[None]:
    """Rank 0 warns; what it warns of is left unsaid by the others."""
    if rank() == 0:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def ask_first(question: Callable[[], T]) -> T:
    """What rank 0 finds, on every rank; what it raises is raised on every rank.

    For what only rank 0 may touch, or only it can see, such as the folder of a run.
    """
    if world() == 1:
        return question()
    found: Any = None
    failed: Exception | None = None
    if rank() == 0:
        try:
            found = question()
        except Exception as error:
            failed = error
    found, failed = send((found, failed), 0)
    if failed is not None:
        raise failed
    return cast("T", found)


def collect(value: T) -> list[T]:
    """What each rank passes, in their order, on every rank; tensors in it must be on the host."""
    found: list[Any] = [value] * world()
    if world() > 1:
        dist.all_gather_object(found, value)
    return found
