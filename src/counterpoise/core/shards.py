"""Tensors of which each rank holds a part: PyTorch's ``DTensor``, along one dimension.

Encoders that are split over the ranks (:mod:`counterpoise.models.sharded`) have such parameters,
gradients and moments. Every function here takes plain tensors too, and leaves them as they are.
What says so is collective: every rank must call it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from . import ranks


def is_shard(value: object) -> bool:
    """Whether a value is a tensor of which this rank holds a part."""
    # Where the module was never imported, nothing can be one; it takes long to import.
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(value, module.DTensor)


def own(tensor: Tensor) -> Tensor:
    """This rank's part, which shares its memory, detached; a plain tensor is all its own."""
    return cast(Tensor, cast(Any, tensor.detach()).to_local()) if is_shard(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All parts of a tensor as one, on every rank; detached. Collective."""
    return cast(Tensor, cast(Any, tensor.detach()).full_tensor()) if is_shard(tensor) else tensor


def share(full: Tensor, like: Tensor) -> Tensor:
    """This rank's part of ``full``, split as ``like`` is; ``full`` where ``like`` is plain."""
    if not is_shard(like) or is_shard(full):
        return full
    made = torch.empty_like(like.detach())
    (placement,), mesh, part = cast(Any, made).placements, cast(Any, made).device_mesh, own(made)
    axis = placement.dim
    size = -(-full.shape[axis] // mesh.size())  # as torch.chunk splits
    start = min(size * mesh.get_local_rank(), full.shape[axis])
    part.copy_(full.detach().narrow(axis, start, part.shape[axis]))
    return made


def sum_squares(tensors: Sequence[Tensor]) -> Tensor:
    """[]: the sum of the squares of all entries of tensors, one at least. Collective."""
    parts = [own(t) for t in tensors if is_shard(t)]
    plain = [t for t in tensors if not is_shard(t)]
    sums = [torch.stack(torch._foreach_norm(s)).square().sum() for s in (plain, parts) if s]
    if parts:
        sums[-1] = ranks.all_sum(sums[-1])
    return torch.stack(sums).sum() if len(sums) > 1 else sums[0]


def find_norm(tensors: Sequence[Tensor]) -> Tensor:
    """[]: the Euclidean norm of all tensors as one vector. Collective."""
    if any(is_shard(t) for t in tensors):
        return sum_squares(tensors).sqrt()
    return torch.nn.utils.get_total_norm(tensors)


def clip_gradients(parameters: Iterable[Tensor], most: float) -> None:
    """Scale all gradients, so that their common norm is ``most`` at most. Collective."""
    parameters = list(parameters)
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not any(is_shard(g) for g in gradients):
        torch.nn.utils.clip_grad_norm_(parameters, most)
        return
    factor = (most / (find_norm(gradients) + 1e-6)).clamp(max=1)
    torch._foreach_mul_([own(g) for g in gradients], factor)


def map_nested(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """Apply ``function`` to each tensor of nested dicts, lists and tuples, in their order."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_nested(held, function) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map_nested(held, function) for held in value)
    return value


def gather_state(state: Any) -> Any:
    """A nested state with whole tensors, those that were split on the host of rank 0. Collective.

    One tensor after the other is put together, so that a device holds no more than one of them.
    On the other ranks, empty tensors take their places.
    """
    first = ranks.rank() == 0

    def gather(tensor: Tensor) -> Tensor:
        if not is_shard(tensor):
            return tensor
        full = whole(tensor)
        return full.cpu() if first else full.new_empty(0, device="cpu")

    return map_nested(state, gather)


def share_state(state: Mapping[str, Any], like: Mapping[str, Tensor]) -> dict[str, Any]:
    """This rank's part of a state with whole tensors, split as the tensors of ``like`` are."""
    return {k: share(v, like[k]) if k in like else v for k, v in state.items()}


def share_moments(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """This rank's part of what an optimiser keeps of each weight in the weight's own shape."""
    weights = [w for group in optimizer.param_groups for w in group["params"]]

    def share_one(number: int, held: Mapping[str, Any]) -> dict[str, Any]:
        shape = weights[number].shape
        return {
            k: share(v, weights[number]) if isinstance(v, Tensor) and v.shape == shape else v
            for k, v in held.items()
        }

    return {**state, "state": {n: share_one(n, held) for n, held in state["state"].items()}}


def take_step(optimizer: torch.optim.Optimizer) -> None:
    """``optimizer.step()``, also where a group holds split parameters beside plain ones.

    Kernels that take many tensors at once (``foreach``, ``fused``) refuse to mix them.
    """
    changed: list[tuple[dict[str, Any], str, Any]] = []
    for group in optimizer.param_groups:
        if len({is_shard(p) for p in group["params"]}) == 2:
            changed += [(group, key, group[key]) for key in ("foreach", "fused") if key in group]
    for group, key, _ in changed:
        group[key] = False
    try:
        optimizer.step()
    finally:
        for group, key, value in changed:
            group[key] = value
