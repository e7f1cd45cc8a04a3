"""Encoders trained by their own losses only, and a fused head on top of them."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from counterpoise.core.declared import Bounds
from counterpoise.engine.context import Context

from .multi_loss import MultiLoss


class LinearProbe(MultiLoss):
    """Unimodal training, with a fused head that learns from the features in the same steps.

    This is the control for methods that keep the fused loss away from the encoders: it shows what
    is left of their gain when only a head is learnt jointly.

    Problem: a fused loss either takes gradient away from the encoders or adds to it; here it does
    neither.

    Formula:
        ``L = CE(F(sg z_1, ..., sg z_M), y) + weight * sum_m CE(H_m z_m, y)`` (``sg``: no gradient
        flows back; each loss is a mean over the samples that have the modality). The fused head
        ``F`` learns from the first term only, each encoder and its own head ``H_m`` from the
        second, so with plain SGD the encoders are those of ``unimodal`` to the bit.

    Args:
        weight: weight of the losses of each modality; with optimisers that normalise gradients it
            has hardly any effect.

    Cost: that of joint training; the fused loss stops at the head.

    State: none.

    Missing: a modality's loss is a mean over the samples that have it; a sample that lacks a
    modality is predicted by the mean of the present modalities' own heads, as in ``multi-loss``.

    Differs: there is no paper to differ from. Where the fusion first maps features to a common
    width (``shared`` with different widths), these maps learn from both losses. With gradient
    clipping (``max_norm``) the norm is taken over encoders and fused head, which ties them.
    """

    name = "linear-probe"
    summary = "unimodal encoders, a fused head on their features: the control"
    paper = "Control: for DGL (Wei et al., ICCV 2025) and others that detach the fused loss"
    policies = ("aux",)

    def __init__(self, *, weight: Annotated[float, Bounds(0)] = 1.0) -> None:
        super().__init__(weight=weight)

    def backward(self, losses: dict[str, Tensor], ctx: Context) -> None:
        head = [p for p in ctx.model.fusion.parameters() if p.requires_grad]
        found = torch.autograd.grad(losses["fused"], head, retain_graph=True, allow_unused=True)
        alone = [loss for name, loss in losses.items() if name != "fused"]
        torch.stack(alone).sum().backward()
        for p, gradient in zip(head, found, strict=True):
            if gradient is not None:
                p.grad = gradient if p.grad is None else p.grad + gradient
        ctx.sync_grads()
