"""MBSD: in each sample, the modality that is surer of the truth teaches the others."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Classification
from counterpoise.engine.context import Context

from .multi_loss import MultiLoss


class MBSD(MultiLoss):
    """In each sample, the modality that is more certain of the truth teaches the other (MBSD).

    Problem: what the dominant modality knows about a sample could help the encoder of the other
    one, which the joint loss leaves behind.

    Formula:
        With unimodal logits ``u_m``, let ``p_m`` be their softmax and ``s_m`` the probability of
        the true class. For each pair of modalities ``(a, b)``, in each sample that has both,
        ``strong`` is the one with the greater ``s`` and ``weak`` the other:

        - ``w = |s_a - s_b|`` if at least one of the two predicts the sample correctly, else 0;
        - ``KD = T^2 KL(p_strong || p_weak)`` of the distributions over the classes, at temperature
          ``T``;
        - ``RS = (1/C) |u_strong - u_weak|^2``, ``C`` the number of classes.

        ``L = CE(f, y) + sum_m CE(u_m, y) + 2 / (M (M - 1)) sum_pairs mean_i w_i (distil * KD_i +
        match * RS_i)``. No gradient flows through the weights or the strong side.

    Args:
        distil: weight of ``KD``.
        match: weight of ``RS``.
        temperature: ``T`` of ``KD``.

    Cost: that of joint training; pairs are compared only by their logits.

    State: none.

    Missing: each pair is compared on the samples that have both; a pair that no sample has adds
    nothing.

    Differs: no code by the authors is known; a public benchmark has the losses for classification.
    There (a) the divergence is taken between the two probabilities of the true class only, without
    their logarithm, so it can be negative; (b) nothing is detached, so the strong side is pulled
    down; (c) ``RS`` compares logits for two modalities and probabilities for three. Here the losses
    are as the paper means them, for any number of modalities.
    """

    name = "mbsd"
    summary = "the surer modality of a sample teaches the weaker (MBSD)"
    paper = (
        "Liu, Li, Song, Yang, Zeng: Multimodal Pre-Training with Self-Distillation for Product "
        "Understanding in E-Commerce, WSDM 2023, doi 10.1145/3539597.3570423"
    )
    unimodal = "slice"
    tasks = (Classification,)

    def __init__(
        self,
        *,
        distil: Annotated[float, Bounds(0)] = 1.0,
        match: Annotated[float, Bounds(0)] = 1.0,
        temperature: Annotated[float, Bounds(1e-6)] = 1.0,
    ) -> None:
        super().__init__()
        self.distil, self.match, self.temperature = distil, match, temperature

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        losses = super().losses(out, batch, ctx)
        names = [m for m, mask in batch.present.items() if ctx.any(mask)]
        if len(names) < 2:
            return losses
        logits = torch.stack([out.unimodal[m] for m in names])
        a, b = torch.triu_indices(len(names), len(names), 1).to(logits.device)
        here = torch.stack([batch.present[m] for m in names]).to(logits.device, logits.dtype)
        both = (here[a] * here[b]).T
        gaps = both * self.gaps(logits[a], logits[b], batch.target).T
        found = ctx.mean(gaps) / ctx.stat(both).clamp(min=1e-6)  # where no sample has both, 0
        every = len(batch.present)
        losses["distillation"] = 2 / (every * (every - 1)) * found.sum()
        return losses

    def gaps(self, left: Tensor, right: Tensor, target: Tensor) -> Tensor:
        """Logits [P, B, K] of the two sides of each pair -> the weighted gaps [P, B]."""
        truth = target.expand(left.shape[:2])[..., None]
        sides = torch.stack([left, right]).detach()
        sure = sides.softmax(-1).gather(-1, truth.expand(2, *truth.shape)).squeeze(-1)
        right_one = (sides.argmax(-1) == target).any(0)
        weight = (sure[0] - sure[1]).abs() * right_one
        first = (sure[0] > sure[1])[..., None]
        strong, weak = torch.where(first, left, right).detach(), torch.where(first, right, left)
        said = (strong / self.temperature).log_softmax(-1)
        heard = (weak / self.temperature).log_softmax(-1)
        divergence = self.temperature**2 * (said.exp() * (said - heard)).sum(-1)
        distance = (strong - weak).square().mean(-1)
        return weight * (self.distil * divergence + self.match * distance)
