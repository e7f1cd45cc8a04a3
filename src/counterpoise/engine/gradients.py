"""The gradients of one loss, averaged over the ranks, that leave ``.grad`` alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from counterpoise.core import ranks, shards

if TYPE_CHECKING:
    from .context import Context


def find_gradients(ctx: Context, loss: Tensor, retain_graph: bool) -> list[Tensor | None]:
    """The gradient of ``loss`` for each parameter, as :meth:`Context.gradients` says."""
    parameters = ctx.parameters()
    if any(map(shards.is_shard, parameters)):
        return pass_back(ctx, loss, retain_graph, parameters)
    if not loss.requires_grad:  # nothing of it is on this rank, or all of it is frozen
        return ranks.average([None] * len(parameters), parameters)
    asked = [p for p in parameters if p.requires_grad]
    found = iter(torch.autograd.grad(loss, asked, retain_graph=retain_graph, allow_unused=True))
    every = [next(found) if p.requires_grad else None for p in parameters]
    return ranks.average(every, parameters)


def pass_back(
    ctx: Context, loss: Tensor, retain_graph: bool, parameters: list[nn.Parameter]
) -> list[Tensor | None]:
    """The same by a whole backward pass, from which alone split parameters get theirs."""
    every = list({id(p): p for p in (*ctx.model.parameters(), *parameters)}.values())
    before = [p.grad for p in every]
    for p in every:
        p.grad = None
    if loss.requires_grad:
        loss.backward(retain_graph=retain_graph)
    ctx.sync_grads()
    found = [p.grad for p in parameters]
    for p, gradient in zip(every, before, strict=True):
        p.grad = gradient
    return found
