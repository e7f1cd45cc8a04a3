"""CML: confidence must not rise when a modality is taken away."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Classification
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method


class CML(Method):
    """Train on nested subsets of the modalities, with a penalty where a smaller one is more
    confident (CML).

    Problem: a model that leans on some modalities is just as confident, or more so, when others are
    taken away. Its confidence then says nothing about what it was given.

    Formula:
        For each batch, draw a random order of the modalities. Those that a sample has are taken
        away in this order, one after the other, which gives the subsets ``T_0`` (all) to
        ``T_(A-1)`` (one is left). ``f(T_j)`` are the logits of the fusion with only ``T_j``
        present, and ``c_j = max softmax f(T_j)`` is the confidence:

        ``L = mean_i [ (1/A) sum_j CE(f(T_j), y) + weight * sum_(j>=1) right_(j-1)
        [c_j - c_(j-1) - margin]_+ ]``

        where ``right_(j-1)`` is 1 if ``f(T_(j-1))`` predicts the sample correctly, else 0. The
        paper compares all pairs of nested subsets; a random chain in each batch is the sampled
        version.

    Args:
        weight: ``lambda`` of the confidence term.
        margin: ``eps``, how much confidence may rise without a penalty.

    Cost: each modality is encoded once; the fusion runs once for each modality.

    State: none. The order depends only on seed, epoch and batch, so it is the same on every rank
    and after a resume.

    Missing: the chain of a sample starts from what it has, and its first term is a mean over its
    own ``A`` subsets; a sample with one modality has nothing to compare.

    Differs: in a public benchmark's version (a) the ReLU is applied to the sum over the batch, so
    that violations and their opposites cancel; (b) the mask of correct predictions is computed but
    not used; (c) the order changes only with the epoch. The authors' code sums the term over the
    batch, where this takes the mean, and has a second term for samples that both subsets get wrong,
    which is left out.
    """

    name = "cml"
    summary = "confidence must not rise when a modality is taken away (CML)"
    paper = (
        "Ma, Zhang, Zhang, Wu, Fu, Zhou, Hu: Calibrating Multimodal Learning, ICML 2023, "
        "arXiv 2306.01265"
    )
    policies = ("slice", "ablate")
    tasks = (Classification,)

    def __init__(
        self,
        *,
        weight: Annotated[float, Bounds(0)] = 0.1,
        margin: Annotated[float, Bounds(0, 1)] = 0.0,
    ) -> None:
        super().__init__()
        self.weight, self.margin = weight, margin

    def transform(self, batch: Batch, ctx: Context) -> Batch:
        # Encoded here, so that every subset of the batch reads the same features.
        return replace(batch, features=ctx.model.encode(batch))

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        names, present = batch.modalities, torch.stack(list(batch.present.values()))
        order = torch.randperm(len(names), generator=ctx.generator())
        counts, said = present.sum(0), [out.logits]
        # As many subsets on every rank as any sample of the global batch has.
        longest = sum(ctx.any(counts > j) for j in range(len(names)))
        for kept in chain(present, order, longest)[1:]:
            masks = dict(zip(names, kept, strict=True))
            said.append(ctx.model(replace(batch, present=masks)).logits)
        logits = torch.stack(said)
        count = counts.clamp(min=1)
        here = torch.arange(len(said))[:, None] < count
        here, count = here.to(logits.device), count.to(logits.device)
        errors = torch.stack([ctx.task.loss(each, batch.target) for each in said])
        errors = ctx.weigh(errors, batch)
        sure, guess = logits.softmax(2).max(2)
        rises = (sure[1:] - sure[:-1] - self.margin).relu()
        counted = here[1:] & (guess[:-1] == batch.target)
        return {
            "subsets": ctx.mean((here * errors).sum(0) / count),
            "confidence": self.weight * ctx.mean((counted * rises).sum(0)),
        }


def chain(present: Tensor, order: Tensor, longest: int) -> list[Tensor]:
    """The nested subsets of each sample's modalities, down to one.

    Args:
        present: bool [M, B].
        order: int64 [M], in which they are taken away.
        longest: how many modalities any sample has.

    Returns:
        As many bool [M, B], at least one; the ``j``-th leaves out the
        first ``j`` that a sample has, and is empty where it has no more than ``j``.
    """
    place = torch.empty_like(present, dtype=torch.int64)
    place[order] = present[order].cumsum(0)
    return [present & (place > j) for j in range(max(1, longest))]
