"""Encoders whose weights are split over the ranks, by PyTorch's FSDP2 (``fully_shard``).

Each encoder is one unit: its weights are put together before it runs, forward or backward, and
given back after; what its backward pass leaves is the mean over the ranks of the gradient, of
which each rank keeps its part. The encoders themselves stay as they are, with the same names and
classes, so that whoever reads their parameters finds the parts (:mod:`counterpoise.core.shards`).

Both functions are collective: every rank must call them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import nn

from counterpoise.core import ranks, shards
from counterpoise.core.batch import Input
from counterpoise.encoders.adapter import feed
from counterpoise.errors import InputError

if TYPE_CHECKING:
    from .multimodal import MultimodalModel


class Unit(nn.Module):
    """What FSDP2 wraps in place of an encoder, which it would give another class."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: Input) -> Any:
        found = feed(self.encoder, inputs)
        # Whoever changed a view in place would cut off the backward pass of the unit.
        viewed = isinstance(found, torch.Tensor) and found._is_view()
        return found.clone() if viewed else found


def shard_model(model: MultimodalModel, device: torch.device) -> None:
    """Split the weights of each encoder over the ranks; the fusion stays whole on each of them.

    One encoder after the other goes to ``device``, so that it holds no more than one whole. All
    ranks begin with the weights of rank 0.

    Raises:
        InputError: an encoder shares parameters with another part of the model.
    """
    check_apart(model)
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for name in model.modalities:
        encoder = model.encoders[name].to(device)
        ranks.broadcast(encoder)
        if any(p.dim() for p in encoder.parameters()):
            model.units[name] = _wrap(encoder, mesh)
    ranks.broadcast(model.fusion.to(device))


def _wrap(encoder: nn.Module, mesh: Any) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    scalars = {p for p in encoder.parameters() if not p.dim()}  # which cannot be split
    options: dict[str, Any] = {"ignored_params": scalars} if scalars else {}
    unit = Unit(encoder)
    # Without being told so, it would keep the outermost module whole between its passes.
    fully_shard(unit, mesh=mesh, reshard_after_forward=True, **options)
    return unit


def check_apart(model: MultimodalModel) -> None:
    """Raise :class:`InputError` where an encoder shares parameters with another part."""
    of_fusion = {id(p) for p in model.fusion.parameters()}
    for name in model.modalities:
        if any(id(p) in of_fusion for p in model.encoder_parameters(name)):
            raise InputError(
                f"shard splits encoders, and that of {name!r} shares parameters with the fusion; "
                "leave shard out"
            )


def align_gradients(units: Mapping[str, nn.Module]) -> None:
    """Give weights that only other ranks used, such as of a layer skipped by chance, zeros.

    Called where a backward pass ends, before each unit sums what it finds over the ranks: these
    must be gradients of the same weights everywhere. What no rank used keeps ``None``.
    """
    running = [
        p
        for unit in units.values()
        for p in unit.parameters()
        if p.requires_grad and p.dim() and not shards.is_shard(p)
    ]
    used = ranks.host_sum(torch.tensor([p.grad is not None for p in running], dtype=torch.int64))
    for p, number in zip(running, used.tolist(), strict=True):
        if number and p.grad is None:
            p.grad = torch.zeros_like(p)


def gather_model(model: MultimodalModel) -> None:
    """Give every rank the whole encoders again, on the device where their parts are."""
    known: dict[int, nn.Parameter] = {}
    for unit in model.units.values():
        for module in cast(Unit, unit).encoder.modules():
            for name, p in list(module._parameters.items()):
                if p is not None and shards.is_shard(p):
                    if id(p) not in known:
                        known[id(p)] = nn.Parameter(shards.whole(p), p.requires_grad)
                    module._parameters[name] = known[id(p)]
    model.units.clear()


def count_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of memory that tensors take on this rank."""
    return sum(own.numel() * own.element_size() for own in map(shards.own, tensors))
