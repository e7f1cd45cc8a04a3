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


def flat(gradients: Sequence[Tensor | None]) -> Tensor | None:
    """One vector of several gradients; ``None`` if there is none."""
    found = [g.reshape(-1) for g in gradients if g is not None]
    return torch.cat(found) if found else None


def min_norm(first: Tensor, second: Tensor) -> Tensor:
    """The weight ``a`` in [0, 1] for which ``a first + (1 - a) second`` is shortest.

    Args:
        first, second: vectors [N].

    Returns:
        []; 1/2 where the two are equal.
    """
    difference = first - second
    length = difference @ difference
    weight = ((second @ second - first @ second) / length).clamp(0, 1)
    return torch.where(length > 0, weight, torch.full_like(weight, 0.5))
