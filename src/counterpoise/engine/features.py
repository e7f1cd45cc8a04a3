"""What the encoders of a run make of a split."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .context import Context


def collect_features(ctx: Context, split: str, share: float) -> dict[str, tuple[Tensor, Tensor]]:
    """Features and targets by modality, as :meth:`Context.features` says."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {m: [] for m in ctx.model.modalities}
    loader, training = ctx.loaders[split], ctx.model.training
    wanted = max(1, math.ceil(share * len(loader)))
    batches = loader.whole(shuffled=None if share >= 1 else ctx.epoch)
    ctx.model.eval()
    with torch.no_grad():
        for batch in islice(batches, wanted):
            encoded = ctx.model.fusion.pooled(ctx.model.encode(batch))
            for name, features in encoded.items():
                rows = batch.present[name].to(features.device)
                found[name].append((features[rows], batch.target[rows]))
    ctx.model.train(training)
    return {
        m: (torch.cat([z for z, _ in parts]), torch.cat([y for _, y in parts]))
        for m, parts in found.items()
    }
