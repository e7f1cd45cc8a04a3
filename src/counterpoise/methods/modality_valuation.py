"""Modality valuation: samples come again with only the modality that contributes too little."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from counterpoise.core import ranks
from counterpoise.core.batch import Batch
from counterpoise.core.coalitions import EXACT, ORDERS, Coalitions, warn_of_sample
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method


class ModalityValuation(Method):
    """Re-sample by how much each modality contributes to each prediction.

    Problem: which modality is too weak differs from sample to sample. The method values the
    contribution of each modality to each prediction; one that contributes little is trained more,
    on its own.

    Formula:
        At the start of each epoch after the warm-up, in evaluation mode, with ``c(A)`` = 1 where
        the prediction from the modalities ``A`` is correct (for several labels, its F1 score) and
        the benefit ``v(A) = |A| c(A)``:

        ``phi_m = sum_{A without m} |A|! (M - |A| - 1)! / M! (v(A + m) - v(A))``, which is the
        Shapley value. ``sum_m phi_m = M c(all)``; where every subset is correct, each
        ``phi_m = 1``. A modality that never changes a prediction still shares in the benefit, which
        grows with ``|A|``.

        - ``level="sample"``: besides the originals, the epoch holds
          ``round(most * clip((1 - phi_m) / (1 - phi_min), 0, 1))`` copies of each sample with ``m``
          alone, where ``phi_min = -(M - 1) / 2`` is the smallest possible value. For two modalities
          and ``most=3``: 3 copies for ``phi_m = -1/2``, 2 for 0, 1 for 1/2, none from 1.
        - ``level="modality"``: with ``phi_m`` the mean over a random ``share`` of the samples,
          ``floor(strength * 2/3 * [mean_{k != m} phi_k - phi_m]_+ * N_m)`` of the ``N_m`` samples
          with ``m``, drawn at random, are repeated with ``m`` alone.

    Args:
        level: whether copies are decided for each ``"sample"`` or for each ``"modality"``.
        warm_up: epochs before the first valuation.
        most: the largest number of copies of a sample with one modality (``level="sample"``).
        share: share of the training samples that are valued (``level="modality"``).
        strength: strength of the re-sampling (``level="modality"``).

    Cost: the copies make an epoch up to ``1 + M * most`` times as long. Besides the steps, after
    the warm-up, each valued sample is encoded once in each epoch, and fused for all ``2^M - 1``
    subsets; with more than six modalities, for those that arise where they join one by one in 8
    random orders (ours), about ``8 (M - 1)``.

    State: ``valuations`` [M], the mean ``phi_m`` of the last valuation; the copies follow from the
    weights at the start of an epoch.

    Missing: subsets and copies are of the present modalities only; a missing one has no value. A
    sample with one modality is repeated as it is.

    Differs: the formula for copies holds for any ``M`` (ours) and gives the paper's table for two;
    at modality level the difference to the mean of the others (ours) is the paper's ``|g_a - g_b|``
    for two. The published code draws copies and the share with replacement, and values all samples
    even where it uses only a share; here no sample is drawn twice before all have been drawn, and
    only the share is valued.
    """

    name = "modality-valuation"
    summary = "train again, alone, what contributes little to a sample (modality valuation)"
    paper = "Wei, Feng, Wang, Hu: Sample-level Modality Valuation, CVPR 2024, arXiv 2309.06255"
    tasks = (Classification, MultiLabel)
    further = 1.0

    valuations: Tensor

    def __init__(
        self,
        *,
        level: Literal["sample", "modality"] = "sample",
        warm_up: Annotated[int, Bounds(0)] = 5,
        most: Annotated[int, Bounds(0)] = 3,
        share: Annotated[float, Bounds(0, 1)] = 0.2,
        strength: Annotated[float, Bounds(0)] = 1.0,
    ) -> None:
        super().__init__()
        self.level, self.warm_up, self.most = level, warm_up, most
        self.share, self.strength = share, strength

    def setup(self, ctx: Context) -> None:
        if len(ctx.model.modalities) > EXACT:
            warn_of_sample("modality-valuation", f"each valuation takes {ORDERS} orders")
        self._copies = torch.zeros(2, 0, dtype=torch.int64)
        self._present: Tensor | None = None
        self.register_buffer("valuations", torch.full((len(ctx.model.modalities),), torch.nan))

    def epoch_start(self, ctx: Context) -> None:
        if ctx.epoch < self.warm_up:
            return
        loader = ctx.loaders["train"]
        rows, size = torch.arange(len(loader.samples)), len(loader.samples)
        if self.level == "modality":
            rows = loader.order(ctx.epoch)[: max(1, math.ceil(self.share * size))]
        values, here = self.value(rows, ctx)
        means = torch.where(here, values, torch.zeros_like(values)).sum(1) / here.sum(1)
        self.valuations.copy_(means)
        if self.level == "sample":
            self._copies = listed(copies(values, self.most) * here, rows)
        else:
            self._copies = self._draw(means, ctx)

    def batches(self, ctx: Context) -> Iterator[Batch]:
        loader, names = ctx.loaders["train"], ctx.model.modalities
        size = len(loader.samples)
        originals = torch.stack([torch.arange(size), torch.full((size,), -1)])
        rows, alone = torch.cat([originals, self._copies], 1)
        for places in loader.shares(ctx.epoch, len(rows)):
            batch, only = loader.take(rows[places]), alone[places]
            masks = {
                m: mask & ((only < 0) | (only == names.index(m)))
                for m, mask in batch.present.items()
            }
            yield replace(batch, present=masks)

    def value(self, rows: Tensor, ctx: Context) -> tuple[Tensor, Tensor]:
        """The valuation of training samples, on the host and the same on every rank.

        Args:
            rows: int64 [n], which.
            ctx: with the model and the data.

        Returns:
            float64 [M, n]: ``phi`` of each modality in each sample, 0 where it is missing; and
            bool [M, n]: where it is present.
        """
        model, loader, names = ctx.model, ctx.loaders["train"], ctx.model.modalities
        coalitions = Coalitions.choose(len(names), EXACT, ctx.generator())
        some = [[m for m, k in zip(names, flags, strict=True) if k] for flags in coalitions.subsets]
        table = torch.zeros(len(some) + len(names), len(rows), device=model.device)
        benefits, here = table[: len(some)], table[len(some) :]
        training = model.training
        model.eval()
        with torch.no_grad():
            places = torch.split(torch.arange(len(rows)), loader.batch_size)
            world = ranks.world()
            own = list(places[ranks.rank() :: world])
            # All ranks run an encoder that is split over them, also those with a part less.
            for part in own + [places[0][:0]] * (-(-len(places) // world) - len(own)):
                batch = loader.take(rows[part]).among(names)
                known = replace(batch, features=model.encode(batch))
                here[:, part] = torch.stack(list(batch.present.values())).to(table)
                for a, subset in enumerate(some[1:], start=1):
                    only = known.only(*subset)
                    outcome = ctx.task.outcome(self.predict(model, only), batch.target)
                    benefits[a, part] = outcome * only.counts().to(outcome)
        model.train(training)
        found = ranks.all_sum(table).cpu().double()
        return coalitions.shapley(found[: len(benefits)]), found[len(benefits) :] > 0

    def _draw(self, means: Tensor, ctx: Context) -> Tensor:
        """Rows and modalities [2, n] of the copies at modality level."""
        present = self._read_presence(ctx)
        numbers = wanted(means, present.sum(1), self.strength).tolist()
        generator = ctx.generator()
        found = [torch.zeros(2, 0, dtype=torch.int64)]
        for k, (mask, number) in enumerate(zip(present, numbers, strict=True)):
            rows = mask.nonzero().squeeze(1)
            # Every sample is drawn once before any is drawn a second time.
            turns = -(-number // max(len(rows), 1))
            order = [rows[torch.randperm(len(rows), generator=generator)] for _ in range(turns)]
            drawn = torch.cat([rows[:0], *order])[:number]
            found.append(torch.stack([drawn, torch.full_like(drawn, k)]))
        return torch.cat(found, 1)

    def _read_presence(self, ctx: Context) -> Tensor:
        """bool [M, N] on the host, read once: which training samples have which modality."""
        if self._present is None:
            loader, names = ctx.loaders["train"], ctx.model.modalities
            parts = torch.split(torch.arange(len(loader.samples)), loader.batch_size)
            masks = [loader.samples[rows].among(names).present for rows in parts]
            self._present = torch.cat([torch.stack([m[k] for k in names]) for m in masks], 1)
        return self._present


def copies(values: Tensor, most: int) -> Tensor:
    """[M, N] Shapley values -> int64 [M, N]: copies with that modality alone."""
    least = -(len(values) - 1) / 2
    number = most * ((1 - values) / (1 - least)).clamp(0, 1)
    return (number + 0.5 + 1e-6).floor().long()  # halves are rounded up, whatever the last bit


def wanted(means: Tensor, counts: Tensor, strength: float) -> Tensor:
    """[M] mean values, [M] numbers of samples -> int64 [M]: copies at modality level.

    None of a modality whose mean is NaN, and none where there is no other.
    """
    known = ~means.isnan()
    plain = means.nan_to_num()
    gap = ((plain.sum() - plain) / (known.sum() - 1) - plain).clamp(min=0)
    gap = torch.where(known & (known.sum() > 1), gap, torch.zeros_like(gap))
    return (strength * 2 / 3 * gap * counts + 1e-9).floor().long()


def listed(numbers: Tensor, rows: Tensor) -> Tensor:
    """int64 [M, n] copies of each of ``rows`` [n] -> int64 [2, copies]: row, modality."""
    which, place = numbers.nonzero(as_tuple=True)
    pairs = torch.stack([rows[place], which])
    return pairs.repeat_interleave(numbers[which, place], 1)
