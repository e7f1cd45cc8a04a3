"""Pure functions on gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise.core.shards import own


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.saved_tensors[0], None


def scale_gradient(x: Tensor, factor: Tensor) -> Tensor:
    """``x`` unchanged; the gradient that flows back into it is multiplied by ``factor`` []."""
    scaled: Tensor = _Scale.apply(x, factor)  # type: ignore[no-untyped-call]  # torch has no types here
    return scaled


def scale_grads(parameters: Sequence[nn.Parameter], factor: Tensor) -> None:
    """Multiply ``.grad`` of the parameters that have one by ``factor`` [], in place."""
    found = [own(p.grad) for p in parameters if p.grad is not None]
    if found:
        torch._foreach_mul_(found, factor)
