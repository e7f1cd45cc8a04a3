"""PMR: prototypical modal rebalance."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Classification, entropy
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.errors import check_number


class PMR(Method):
    """Draw the features of slow modalities towards the prototypes of their classes (PMR).

    Problem: the encoder of a modality that is learnt slowly gets little gradient from the joint
    loss. A prototype for each class turns the features themselves into a classifier, under any
    fusion, and its loss drives that encoder alone.

    Formula:
        1. Before each epoch, from the features of a ``share`` of the training batches:
           ``c_my := (1 - momentum) mean(z_m of class y) + momentum c_my``, the first time, the mean
           alone. A class that the share lacks keeps its prototype. For sequences, ``z`` is the mean
           of the steps.
        2. ``v_imc = -||z_im - c_mc||``, ``R_m`` the mean of ``softmax(v_im)`` at the true class.
        3. ``beta_m = clip(max_k R_k / R_m - 1, 0, 1)``: how far ``m`` is behind. Each pair is
           compared on the samples that have both, if at least 8 do.
        4. ``L = CE(f, y) + alpha * sum_m beta_m CE(v_m, y)``. Prototypes are constants: the second
           term moves encoder ``m`` only.
        5. In the first ``early`` epochs, subtract ``mu * delta_m H(softmax(v_m))`` for the modality
           that is behind no other, ``delta_m = clip(max_k R_m / R_k - 1, 0, 1)``: more entropy
           keeps it from settling too soon.

    Args:
        alpha: weight of the loss on prototypes; with ``mu=0``, 0 is joint training.
        momentum: weight of the old prototypes.
        share: share of the training batches from which prototypes are computed; other batches in
            each epoch.
        mu: weight of the entropy.
        early: number of epochs with the entropy; ``None`` is a tenth of the run, at least one.
        start: first epoch with any of these losses, from 0.
        end: last such epoch; ``None`` is two thirds of the run (the published code: 100 of 150).
        mode: ``"paper"``, or ``"released"``: what the published code computes.

    Cost: each epoch encodes a ``share`` of the training data once more, and each step computes the
    distances of its samples to all prototypes.

    State: ``prototypes_0``, ``prototypes_1`` ... [K, D] and ``known`` [M, K] (which of them exist).

    Missing: prototypes, ``R_m`` and losses are means over the samples that have ``m``. A class
    without a prototype takes no part in the softmax, and its samples take no part in the terms of
    ``m``.

    Differs: the published code weighs the prototype loss by 0 or 1 (whether the modality is behind)
    and has no entropy: ``mode="released"``. Its prototypes are NaN for a class that the share
    lacks, its distance has an infinite gradient at 0, and on two data sets it computes them from
    validation or test labels; none of this is repeated. The paper states both rules for two
    modalities; those above are ours, and are the same for two. ``mu`` and ``early`` are ours too:
    no published code has them.
    """

    name = "pmr"
    summary = "draw slow modalities' features to the prototypes of their classes (PMR)"
    paper = (
        "Fan, Xu, Wang, Wang, Guo: PMR: Prototypical Modal Rebalance for Multimodal Learning, "
        "CVPR 2023, arXiv 2211.07089"
    )
    policies = ("slice", "ablate")
    tasks = (Classification,)
    for_encoders = True

    known: Tensor

    def __init__(
        self,
        *,
        alpha: Annotated[float, Bounds(0)] = 1.0,
        momentum: Annotated[float, Bounds(0, 1)] = 0.2,
        share: Annotated[float, Bounds(0, 1)] = 0.1,
        mu: Annotated[float, Bounds(0)] = 0.1,
        early: Annotated[int | None, Bounds(0)] = None,
        start: Annotated[int, Bounds(0)] = 0,
        end: Annotated[int | None, Bounds(0)] = None,
        mode: Literal["paper", "released"] = "paper",
    ) -> None:
        super().__init__()
        if end is not None:
            check_number("end", end, start, whole=True)
        self.alpha, self.momentum, self.share, self.mu = alpha, momentum, share, mu
        self.early, self.start, self.end, self.mode = early, start, end, mode

    def setup(self, ctx: Context) -> None:
        classes, device = ctx.task.outputs, ctx.model.device
        for k, width in enumerate(ctx.model.fusion.widths.values()):
            blank = torch.zeros(classes, width, device=device)
            self.register_buffer(f"prototypes_{k}", blank)
        known = torch.zeros(len(ctx.model.modalities), classes, dtype=torch.bool, device=device)
        self.register_buffer("known", known)

    def active(self, ctx: Context) -> bool:
        """Whether there is anything but joint training in the current epoch."""
        end = round(ctx.epochs * 2 / 3) if self.end is None else self.end
        return self.start <= ctx.epoch <= end

    def epoch_start(self, ctx: Context) -> None:
        if not self.active(ctx):
            return
        found = ctx.features("train", self.share)
        for k, (features, target) in enumerate(found.values()):
            means, here = class_means(features, target, ctx.task.outputs)
            prototypes, known = self.get_buffer(f"prototypes_{k}"), self.known[k]
            weight = self.momentum * (known & here) + (known & ~here)
            prototypes.copy_(means.lerp(prototypes, weight.to(means)[:, None]))
            known |= here

    def transform(self, batch: Batch, ctx: Context) -> Batch:
        # Features as the encoders give them; a fusion may hand on others (mapped to one width).
        return replace(batch, features=ctx.model.encode(batch)) if self.active(ctx) else batch

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        losses = super().losses(out, batch, ctx)
        if not self.active(ctx):
            return losses
        features, device = ctx.model.fusion.pooled(batch.features or {}), out.logits.device
        logits, rows = {}, {}
        for k, m in enumerate(ctx.model.modalities):
            logits[m] = closeness(features[m], self.get_buffer(f"prototypes_{k}"), self.known[k])
            here = batch.present[m].to(device, non_blocking=True)
            rows[m] = here & self.known[k][batch.target]
        scores = ctx.scores(replace(out, unimodal=logits), replace(batch, present=rows))
        behind, ahead = lag(scores)
        early = max(1, round(ctx.epochs / 10)) if self.early is None else self.early
        with_entropy = ctx.epoch < early and self.mode == "paper"
        if self.mode == "released":
            behind = (behind > 0).to(behind)
        for k, m in enumerate(ctx.model.modalities):
            if not ctx.any(batch.present[m]):
                continue
            loss = ctx.weigh(ctx.task.loss(logits[m], batch.target), batch)
            pair = torch.stack([loss, entropy(logits[m])], 1)
            pull, spread = mean_of_rows(pair, rows[m], ctx)
            losses[f"{m} prototypes"] = self.alpha * behind[k] * pull
            if with_entropy:
                losses[f"{m} entropy"] = -self.mu * ahead[k] * spread
        return losses


def class_means(features: Tensor, target: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The mean feature of each class [K, D], 0 where none is there, and which are, bool [K]."""
    members = F.one_hot(target, classes).to(features)
    counts = members.sum(0)
    return members.T @ features / counts.clamp(min=1)[:, None], counts > 0


def closeness(features: Tensor, prototypes: Tensor, known: Tensor) -> Tensor:
    """[B, K]: minus the distance to each prototype; the lowest number where there is none."""
    # Exact differences: |z|^2 - 2 z c + |c|^2 would cancel where z is close to c.
    distance = torch.cdist(features, prototypes, compute_mode="donot_use_mm_for_euclid_dist")
    # A sample that is its prototype: what rounding leaves of the difference has no direction.
    near = 1e-6 * features.detach().norm(dim=1, keepdim=True)
    distance = torch.where(distance > near, distance, torch.zeros_like(distance))
    lengths = (distance.square() + 1e-12).sqrt()
    # Not minus infinity: the entropy would be NaN.
    return (-lengths).masked_fill(~known, torch.finfo(lengths.dtype).min)


def lag(scores: Tensor) -> tuple[Tensor, Tensor]:
    """How far each modality is behind the best, [M] in [0, 1], and how far the best is ahead.

    ``clip(max_k S_k / S_m - 1, 0, 1)``; and ``clip(max_k S_m / S_k - 1, 0, 1)`` for those that
    are behind none, 0 for the others.

    Args:
        scores: [M, M], see :meth:`counterpoise.Context.scores`.
    """
    gaps = (scores.T / scores - 1).nan_to_num(0.0).clamp(0, 1)
    behind, ahead = gaps.amax(1), gaps.amax(0)
    return behind, torch.where(behind > 0, torch.zeros_like(ahead), ahead)


def mean_of_rows(values: Tensor, rows: Tensor, ctx: Context) -> Tensor:
    """Mean [C] of ``values`` [B, C] over the samples of the global batch in ``rows`` [B].

    ``rows`` is on the device and stays there; with none, 0.
    """
    kept = torch.where(rows[:, None], values, torch.zeros_like(values))
    means = ctx.mean(torch.cat([kept, rows[:, None].to(values)], 1))
    return means[:-1] / means[-1].clamp(min=1e-12)
