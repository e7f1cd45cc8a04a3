"""Joint training plus one loss per modality."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise.batch import Batch, Output
from counterpoise.context import Context
from counterpoise.errors import check_number
from counterpoise.method import Method
from counterpoise.model import MultimodalModel


class MultiLoss(Method):
    """The fused loss plus one loss per modality, ``L = CE(f, y) + weight * sum_m CE(u_m, y)``.

    The control that every published gain should be measured against. By default each modality
    has an extra linear head (``unimodal="aux"``). The fused head only ever saw samples as complete
    as the training data, so a sample that lacks a modality is predicted by the mean of the
    present modalities' own heads; with the policies ``slice`` and ``ablate`` the fused head itself
    was trained on the parts, and serves.

    Args:
        weight: of the losses per modality.
    """

    name = "multi-loss"
    summary = "joint, plus one loss per modality: the control"
    paper = "the uniform baseline of Wei & Hu, ICML 2024 (MMPareto), and others"
    unimodal = "aux"

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        check_number("weight", weight, 0)
        self.weight = weight

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        losses = super().losses(out, batch, ctx)
        for name, mask in batch.present.items():
            if ctx.any(mask):
                losses[f"{name} alone"] = self.weight * ctx.loss(out.unimodal[name], batch, mask)
        return losses

    def predict(self, model: MultimodalModel, batch: Batch) -> Tensor:
        out: Output = model(batch)
        complete = batch.counts() == len(batch.present)
        if model.fusion.policy != "aux" or bool(complete.all()):
            return out.logits
        device = out.logits.device
        masks = torch.stack(list(batch.present.values())).to(device)[..., None]
        heads = torch.stack([out.unimodal[m] for m in batch.present])
        mean = (heads * masks).sum(0) / masks.sum(0).clamp(min=1)
        return torch.where(complete.to(device)[:, None], out.logits, mean)
