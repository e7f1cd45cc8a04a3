"""AGM: adaptive gradient modulation by Shapley values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Output
from counterpoise.core.coalitions import EXACT, ORDERS, Coalitions, warn_of_sample
from counterpoise.core.declared import Bounds
from counterpoise.core.shards import find_norm
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.models.multimodal import MultimodalModel

from .gradients import scale_gradient, scale_grads

LARGEST_LOSS = -math.log(1e-8)


class AGM(Method):
    """Scale what flows back into each modality's share of the logits, by how it competes (AGM).

    Problem: where the fusion mixes modalities, it is hard to say how far one of them is ahead, and
    some distance between them is natural. Shapley values assign each modality a share under any
    fusion, and the modulation pulls the competition back to its running average.

    Formula:
        1. ``f(A)``: the logits with only the modalities in ``A``, ``f({}) = 0``. The share of ``m``
           is its Shapley value ``v_m = sum_A |A|! (M - |A| - 1)! / M! * (f(A + m) - f(A))`` over
           the subsets without ``m``; so ``sum_m v_m = f``. With two:
           ``v_1 = (f - f({2}) + f({1})) / 2``.
        2. ``sigma_m = min(CE(v_m, y), -log 1e-8)``, the mean over the batch; ``tau_m`` is its
           running mean over the previous steps (in the first step, ``sigma_m`` itself).
        3. ``r_m = exp(mean_{k != m} sigma_k - sigma_m)``, and ``r*_m`` is the same for ``tau``.
        4. ``kappa_m = exp(alpha * min(r*_m - r_m, cap))``; the gradient that flows back into
           ``v_m`` is multiplied by it.
        5. If any entry of the fusion's gradient then exceeds ``clip``, all gradients are scaled to
           a norm of at most ``clip``.

    Args:
        alpha: strength of the modulation; with ``clip=None``, 0 is joint training (published
            values: 1, 1.5 and 2.5, by data set).
        cap: upper limit on ``r*_m - r_m``, or ``None``.
        clip: limit of entries and norm of the gradient, or ``None``.
        momentum: weight of the past in ``tau``; ``None`` takes the mean over all steps, which
            hardly moves after many steps.

    Cost: encoders run once. The fusion runs forward and backward on each of the ``2^M - 2`` smaller
    subsets and needs the memory to do so; with more than six modalities, on those that arise where
    the modalities join one by one in 8 random orders, drawn for each batch (ours), about
    ``8 (M - 1)``. The shares then are estimates without bias, which still sum to ``f``.

    State: ``tau`` [M], ``steps`` [M] (the number of steps in each average).

    Missing: a modality that a sample lacks adds nothing to any subset, so its share is 0 and the
    others share the whole. ``sigma_m`` is a mean over the samples that have ``m``. A modality that
    the whole batch lacks is neither modulated, nor compared with, nor averaged.

    Differs: the published code mutes a modality by setting its raw input to zero, and runs all
    encoders again for each subset (4 times for two modalities); here its features are set to zero
    instead. Its ``tau`` starts from 0, so the first steps are compared with a loss of zero. A
    published port inverts the sign in 3., which enlarges the gradient of the stronger modality, and
    leaves out ``f({})``. ``momentum`` is ours.
    """

    name = "agm"
    summary = "scale the gradient of each modality's Shapley share of the logits (AGM)"
    paper = (
        "Li, Li, Hu, Lei, Li, Zhou: Boosting Multi-modal Model Performance with Adaptive Gradient "
        "Modulation, ICCV 2023, arXiv 2308.07686"
    )
    policies = ("slice", "ablate")
    tasks = (Classification, MultiLabel)

    tau: Tensor
    steps: Tensor

    def __init__(
        self,
        *,
        alpha: Annotated[float, Bounds(0)] = 1.0,
        cap: Annotated[float | None, Bounds(0)] = 10.0,
        clip: Annotated[float | None, Bounds(1e-12)] = 1.0,
        momentum: Annotated[float | None, Bounds(0, 1)] = None,
    ) -> None:
        super().__init__()
        self.alpha, self.cap, self.clip, self.momentum = alpha, cap, clip, momentum

    def setup(self, ctx: Context) -> None:
        count, device = len(ctx.model.modalities), ctx.model.device
        if count > EXACT:
            warn_of_sample("agm", f"the shares of each batch are estimated by {ORDERS} orders")
        self.register_buffer("tau", torch.zeros(count, device=device))
        self.register_buffer("steps", torch.zeros(count, device=device))

    def transform(self, batch: Batch, ctx: Context) -> Batch:
        # The fusion runs many times, on what the encoders said once.
        return replace(batch, features=ctx.model.encode(batch))

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        here = [m for m in ctx.model.modalities if ctx.any(batch.present[m])]
        coalitions = Coalitions.choose(len(here), EXACT, ctx.generator())
        logits = subset_logits(ctx.model, out, batch, here, coalitions.subsets)
        shares = coalitions.shapley(logits)
        losses = [
            ctx.stat(ctx.task.loss(v, batch.target).clamp(max=LARGEST_LOSS), batch.present[m])
            for m, v in zip(here, shares, strict=True)
        ]
        factors = self.factors(torch.stack(losses), [ctx.model.modalities.index(m) for m in here])
        pairs = zip(shares, factors, strict=True)
        logits = torch.stack([scale_gradient(v, factor) for v, factor in pairs]).sum(0)
        return {"fused": ctx.loss(logits, batch)}

    def factors(self, sigma: Tensor, here: list[int]) -> Tensor:
        """``kappa`` [n] of the modalities numbered ``here``; their ``sigma`` [n] joins ``tau``."""
        steps = self.steps[here]
        tau = torch.where(steps > 0, self.tau[here], sigma)
        gap = ahead(tau).exp() - ahead(sigma).exp()
        past = steps / (steps + 1) if self.momentum is None else self.momentum
        self.tau[here] = past * tau + (1 - past) * sigma
        self.steps[here] = steps + 1
        return (self.alpha * (gap if self.cap is None else gap.clamp(max=self.cap))).exp()

    def modulate(self, out: Output, batch: Batch, ctx: Context) -> None:
        of_fusion = [p.grad for p in ctx.model.fusion.parameters() if p.grad is not None]
        if self.clip is None or not of_fusion:
            return
        largest = torch.nn.utils.get_total_norm(of_fusion, math.inf)
        every = [p.grad for p in ctx.parameters() if p.grad is not None]
        scale = (self.clip / find_norm(every)).clamp(max=1)
        scale_grads(ctx.parameters(), torch.where(largest > self.clip, scale, 1.0))


def ahead(losses: Tensor) -> Tensor:
    """[n] -> [n]: the mean loss of the others less one's own, 0 where there is no other."""
    count = len(losses)
    return (losses.mean() - losses) * count / max(count - 1, 1)


def subset_logits(
    model: MultimodalModel, out: Output, batch: Batch, players: Sequence[str], subsets: Tensor
) -> Tensor:
    """[S, B, K]: the logits of each subset of the players, 0 where it has none of a sample's.

    Args:
        model: whose fusion is run, in evaluation mode, so that no statistics of its own move.
        out: what the model says of the batch.
        batch: with ``features``.
        players: the modalities that the batch has.
        subsets: bool [S, n], of the players.
    """
    features = batch.features
    assert features is not None
    found, training = [], model.fusion.training
    model.fusion.eval()
    for flags in subsets.tolist():
        inside = {m for m, within in zip(players, flags, strict=True) if within}
        part = batch.only(*inside)
        some = part.counts() > 0
        if len(inside) == len(players):
            logits = out.logits
        elif not bool(some.any()):
            logits = torch.zeros_like(out.logits)
        else:
            muted = {m: z if m in inside else torch.zeros_like(z) for m, z in features.items()}
            logits = model.fuse(muted, part.present).logits
            if not bool(some.all()):
                rows = some.to(logits.device, logits.dtype, non_blocking=True)
                logits = logits * rows[:, None]
        found.append(logits)
    model.fusion.train(training)
    return torch.stack(found)
