"""ARL: encoders learn in inverse relation to the variance of what their modality predicts."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.engine.context import Context

from .gradients import scale_grads
from .multi_loss import MultiLoss


class ARL(MultiLoss):
    """Joint and unimodal losses, with larger gradients for encoders that are certain but little
    used.

    Problem: learning all modalities equally is not optimal. By the bias-variance argument, a model
    should rely on a modality in inverse proportion to the variance of its predictions.

    Formula:
        ``L = CE(f, y) + gamma * sum_m CE(u_m, y)`` (a weight of 1 in the first ``start`` epochs),
        where ``u_m`` comes from the fusion with all other features set to zero.

        From epoch ``start`` on, the gradient at the output of encoder ``m`` is multiplied by
        ``1 + w_m``, ``w = softmax(T * o_m * v_m)``:

        - ``c_m``: the share of ``m`` in ``mean_i sum_k |u_{i,m,k}|``;
          ``o_m = (1 - c_m) / (M - 1)``, the mean share of the others.
        - ``e_m``: the share of ``m`` in the mean entropy of ``u_m``'s prediction, at least
          ``0.6 / M``; ``v_m``: the share of ``m`` in ``1 / e_m``, high where the variance is low.

    Args:
        gamma: weight of the unimodal losses from epoch ``start`` on.
        T: temperature; 0 gives every modality ``w_m = 1 / M``.
        start: epochs before gradients are scaled: an absolute number, which should be small
            compared with the run's ``epochs`` (the paper: 5 of 100). 0 begins at once.

    Cost: that of joint training; fusion and head run once more for each modality.

    State: none; the weights are computed from each batch.

    Missing: losses and shares of a modality are taken over the samples that have it, and shares are
    among the modalities that occur in the batch. With fewer than two of them, nothing is scaled.

    Differs: the published code stops before training starts, and never applies the weights it
    computes to the gradients; this implementation follows the paper. With its ``start`` of 5 it
    would begin in the seventh epoch, here in the sixth. ``gamma`` / ``T`` are 4 / 8 on CREMA-D, 3 /
    4 on Kinetics-Sounds, 5 / 4 on AVE. For two modalities, ``o_m`` is the other's share and the
    smallest entropy share is 0.3, as published; the rules for more modalities are ours.
    """

    name = "arl"
    summary = "learn in inverse relation to prediction variance (ARL)"
    paper = (
        "Wei et al.: Improving Multimodal Learning via Imbalanced Learning, ICCV 2025, "
        "arXiv 2507.10203"
    )
    unimodal = "ablate"
    for_encoders = True
    tasks = (Classification, MultiLabel)

    def __init__(
        self,
        *,
        gamma: Annotated[float, Bounds(0)] = 4.0,
        T: Annotated[float, Bounds(0)] = 8.0,
        start: Annotated[int, Bounds(0)] = 5,
    ) -> None:
        super().__init__()
        self.gamma, self.T, self.start = gamma, T, start

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        self.weight = self.gamma if ctx.epoch >= self.start else 1.0
        return super().losses(out, batch, ctx)

    def modulate(self, out: Output, batch: Batch, ctx: Context) -> None:
        if ctx.epoch < self.start:
            return
        here = [m for m, mask in batch.present.items() if ctx.any(mask)]
        if len(here) < 2:
            return
        seen = []
        for name in here:
            logits = out.unimodal[name].detach()
            each = torch.stack([logits.abs().sum(1), ctx.task.entropy(logits)], 1)
            seen.append(ctx.stat(each, batch.present[name]))
        strength, entropy = torch.stack(seen, 1)
        for name, weight in zip(here, asymmetric_weights(strength, entropy, self.T), strict=True):
            # The same as scaling the gradient at the encoder's output: backward is linear in it.
            scale_grads(ctx.model.encoder_parameters(name), 1 + weight)


def asymmetric_weights(strength: Tensor, entropy: Tensor, temperature: float) -> Tensor:
    """``w`` [M], which sum to 1, from each modality's mean ``|logits|`` and mean entropy [M]."""
    count, tiny = len(strength), torch.finfo(strength.dtype).tiny
    contribution = strength / strength.sum().clamp(min=tiny)
    others = (1 - contribution) / (count - 1)
    inverse = 1 / (entropy / entropy.sum().clamp(min=tiny)).clamp(min=0.6 / count)
    return (temperature * others * inverse / inverse.sum()).softmax(0)
