"""Joint training plus one loss per modality."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.mixture import Mixture
from counterpoise.core.presence import every, some
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.models.multimodal import MultimodalModel


class MultiLoss(Method):
    """The fused loss plus one loss for each modality, each with a weight of one.

    Nothing is balanced or scheduled, and yet it is hard to beat: several published gains are
    measured only against joint training, and shrink when compared with this control.

    Problem: in joint training an encoder has no loss of its own; here each one has.

    Formula:
        ``L = CE(f, y) + weight * sum_m L_m``, ``L_m`` the mean of ``CE(u_m, y)`` over the samples
        that have ``m``.

    Args:
        weight: weight of the losses of each modality.
        encoder_lr: factor on the learning rate of the encoders; this is the control for methods
            that enlarge their gradients.

    Cost: that of joint training; the extra heads are linear.

    State: none.

    Missing: with ``unimodal="aux"`` (the default) each modality has an extra linear head. The fused
    head only ever saw samples as complete as the training data, so a sample that lacks a modality
    is predicted by the mean of the present modalities' own heads. With ``slice`` and ``ablate`` the
    fused head itself was trained on the parts, so it predicts.
    """

    name = "multi-loss"
    summary = "joint, plus one loss per modality: the control"
    paper = "Control: the uniform baseline of Wei & Hu, ICML 2024 (MMPareto), and others"
    unimodal = "aux"
    reads = ()

    def __init__(
        self,
        *,
        weight: Annotated[float, Bounds(0)] = 1.0,
        encoder_lr: Annotated[float, Bounds(0)] = 1.0,
    ) -> None:
        super().__init__()
        self.weight, self.encoder_lr = weight, encoder_lr

    def setup(self, ctx: Context) -> None:
        if self.encoder_lr != 1:
            ctx.scale_lr(ctx.model.encoders.parameters(), self.encoder_lr)

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        losses = super().losses(out, batch, ctx)
        for name, mask in batch.present.items():
            if ctx.any(mask):
                losses[f"{name} alone"] = self.weight * ctx.loss(out.unimodal[name], batch, mask)
        return losses

    def predict(self, model: MultimodalModel, batch: Batch) -> Tensor:
        out: Output = model(batch)
        if model.fusion.policy != "aux" or all(map(every, batch.present.values())):
            return out.logits
        complete, device = batch.counts() == len(batch.present), out.logits.device
        used = [m for m, mask in batch.present.items() if some(mask)] or list(batch.present)
        masks = torch.stack([batch.present[m] for m in used]).to(device)[..., None]
        heads = torch.stack([out.unimodal[m] for m in used])
        mean = (heads * masks).sum(0) / masks.sum(0).clamp(min=1)
        if len(used) < len(batch.present):  # no sample is complete
            return mean
        return torch.where(complete.to(device)[:, None], out.logits, mean)

    def mixture(self, model: MultimodalModel, batch: Batch) -> Mixture | None:
        if model.fusion.policy != "aux":
            return model.mixture(batch)
        out: Output = model(batch)  # of a complete sample predict gives these logits
        names = model.modalities
        return Mixture.mean([out.unimodal[m] for m in names], [batch.present[m] for m in names])
