"""AUG: modalities that lag behind get more classifiers, each for what the last ones miss."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from torch import Tensor

from counterpoise.core import ranks
from counterpoise.core.batch import Batch
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Classification
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.fusion import Boosted


class AUG(Method):
    """Alternating training, with boosted classifiers for the weaker modalities (AUG).

    Problem: not only the encoder of a weak modality is too weak, its classifier is as well. A
    modality that lags behind gets another classifier on the same features, which learns what the
    earlier ones miss.

    Formula:
        ``u_m = sum_{l = 0 .. n_m} O(relu(E_{m,l} z_m))`` with one output layer ``O`` shared by all
        (``Boosted``) and ``n_m = 0`` at the start. The prediction is ``f = mean_m u_m``.

        1. For each batch and each modality ``m`` in turn, encode only ``m``, and step its encoder,
           its layers and ``O``. While ``n_m = 0``, the loss is ``CE(u_m, y)``. Later, let ``b`` be
           the sum without the last classifier, ``d`` the part of the last one, and
           ``r = softmax(b)[y]``, held constant. The loss is then
           ``CE(u_m, y) + CE(b, y) + (1 - residual * r) CE(d, y)``: the last classifier learns what
           the others do not know yet. (The published
           ``CE(d, y) - residual * CE(d, y * softmax(b))``, with soft targets, is the same.)
        2. ``S_m`` is the mean probability that ``u_m`` gives the true class over the steps of an
           epoch. Every ``every`` epochs each ``m`` with ``S_m / max_k S_k < threshold`` gets one
           more layer, as long as the fusion has any left.

    Args:
        threshold: share of the strongest modality's score below which one grows (the paper's
            ``lambda = 1`` minus its margin of 0.01).
        residual: how much the knowledge of the others reduces the last classifier's loss.
        every: epochs between growths; by default a tenth of the run.
        zero_init: start a new layer at zero, so that growth changes ``u_m`` only by the bias of
            ``O``, equally for every sample; otherwise start it at random.
        mode: ``"paper"``, or ``"released"``: what the published code computes.

    Cost: the passes run one after the other, in the memory of the largest modality; ``O`` is
    stepped once for each modality. All layers that a modality can ever get are allocated at the
    start: ten of width 256 in a default model.

    State: ``sums`` and ``seen`` [M, M] (sums of scores and numbers of samples in this epoch, over
    the samples that two modalities share), ``ratios`` [M] (``S_m / S_k`` against the strongest
    ``k``, in the last epoch); the fusion's ``grown`` [M] (``n_m``).

    Missing: a modality's step uses the samples that have it. Two modalities are compared on the
    samples that have both, or on all of their samples where fewer than eight have both.

    Differs: in the published code new layers are never given to the optimiser and keep their random
    weights; ``mode="released"`` computes that. It also grows after the first epoch whatever
    ``every`` is. Here, growth happens at the start of an epoch, so that no untrained layer is ever
    validated or kept. The rule for more than two modalities is ours. Its weights .4 and .6 in ``f``
    are left out.
    """

    name = "aug"
    summary = "boosted classifiers for modalities that lag, trained in turn (AUG)"
    paper = (
        "Jiang, Huang, Yang: Classification Ability Disproportion, NeurIPS 2025, arXiv 2502.20120"
    )
    fusions = (Boosted,)
    policies = ("slice", "ablate")
    tasks = (Classification,)

    sums: Tensor
    seen: Tensor
    ratios: Tensor

    def __init__(
        self,
        *,
        threshold: Annotated[float, Bounds(0)] = 0.99,
        residual: Annotated[float, Bounds(0)] = 0.5,
        every: Annotated[int | None, Bounds(1)] = None,
        zero_init: bool = False,
        mode: Literal["paper", "released"] = "paper",
    ) -> None:
        super().__init__()
        self.threshold, self.residual, self.every = threshold, residual, every
        self.zero_init, self.mode = zero_init, mode

    def setup(self, ctx: Context) -> None:
        count = len(ctx.model.modalities)
        self.register_buffer("sums", torch.zeros(count, count))
        self.register_buffer("seen", torch.zeros(count, count))
        self.register_buffer("ratios", torch.ones(count))

    def epoch_start(self, ctx: Context) -> None:
        every = self.every or max(1, ctx.epochs // 10)
        if ctx.epoch and ctx.epoch % every == 0:
            fusion = cast(Boosted, ctx.model.fusion)
            for name, ratio in zip(ctx.model.modalities, self.ratios.tolist(), strict=True):
                if ratio < self.threshold:
                    fusion.grow(name, self.zero_init)

    def step(self, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        fusion = cast(Boosted, ctx.model.fusion)
        losses: dict[str, Tensor] = {}
        scores = torch.zeros(len(batch.present), len(batch), device=ctx.model.device)
        for k, (name, mask) in enumerate(batch.present.items()):
            if not ctx.any(mask):
                continue
            features = ctx.model.encode(batch.only(name))[name]
            parts = torch.stack(fusion.increments(name, features))
            said = parts.sum(0)
            # Only this is shown: the other terms come with growth and would look like a rise.
            losses[name] = ctx.loss(said, batch, mask)
            loss = losses[name]
            if len(parts) > 1:
                before, last = parts[:-1].sum(0), parts[-1]
                known = ctx.task.score(before.detach(), batch.target)
                missed = (1 - self.residual * known) * ctx.task.loss(last, batch.target)
                loss = (
                    loss + ctx.loss(before, batch, mask) + ctx.mean(ctx.weigh(missed, batch), mask)
                )
            loss.backward()
            ctx.sync_grads()
            if self.mode == "released":
                for layer in fusion.added(name):
                    layer.zero_grad(set_to_none=True)
            ctx.update()
            losses[name] = losses[name].detach()
            scores[k] = ctx.task.score(said.detach(), batch.target)
        here = torch.stack(list(batch.present.values())).to(scores, non_blocking=True)
        self.sums += (scores * here) @ here.T
        self.seen += here @ here.T
        return losses

    def epoch_end(self, ctx: Context) -> None:
        sums, seen = ranks.all_sum(torch.stack([self.sums, self.seen]))
        self.ratios.copy_(behind(sums, seen))
        self.sums.zero_()
        self.seen.zero_()


def behind(sums: Tensor, seen: Tensor, least: int = 8) -> Tensor:
    """[M]: each modality's mean score over that of the one furthest ahead of it, 1 at most.

    Args:
        sums: [M, M], of ``m``'s scores over the samples that have both ``m`` and ``k``.
        seen: [M, M], the numbers of these samples.
        least: fewer are not compared; then all of each modality's samples are.
    """
    own = (sums.diagonal() / seen.diagonal())[:, None].expand_as(sums)
    means = torch.where(seen >= least, sums / seen, own)
    return (means / means.T).nan_to_num(1.0).amin(1)
