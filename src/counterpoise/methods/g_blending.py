"""G-Blending: loss weights by how much each loss overfits for what it generalises."""

from __future__ import annotations

import copy
from typing import Annotated, Literal

import torch
from torch import Tensor

from counterpoise.core import ranks
from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.mixture import Mixture
from counterpoise.engine.context import Context
from counterpoise.engine.loop import train_beside
from counterpoise.engine.method import Method
from counterpoise.models.multimodal import MultimodalModel

from .measures import ogr_weights
from .multi_loss import MultiLoss


class GBlending(MultiLoss):
    """Multi-loss with weights from the overfitting-to-generalisation ratio (G-Blending).

    Problem: modalities overfit and generalise at different rates, so a single schedule for all of
    them suits none.

    Formula:
        There are ``M + 1`` losses: that of each modality's own head and that of the fused head. For
        each of them, a copy of the model is trained on that loss alone for ``n`` epochs. Let ``T``
        and ``V`` be its mean loss on training and validation data in evaluation mode, before (0)
        and after (n) that training. Then ``G = V_0 - V_n``, ``O = (V_n - T_n) - (V_0 - T_0)``, and
        ``w_k = (G_k / O_k^2) / sum_j (G_j / O_j^2)``. Then ``L = sum_k w_k L_k``.

        ``"offline"``: once, from the initial weights, with ``n`` the whole run. ``"online"``: every
            ``super_epoch`` epochs, from the current weights, with ``n`` as many (or what is left of
            the run). The fused head predicts, also for incomplete samples, since a loss of small
            weight leaves a modality's own head nearly untrained.

        Guards (ours): ``G`` is at least 0 and ``|O|`` at least ``eps V_0``; if nothing generalises,
        all weights are equal.

    Args:
        when: whether weights are estimated ``"offline"`` or ``"online"``.
        super_epoch: epochs between two estimates, if online.
        eps: the smallest overfitting that counts, as a share of the first validation loss.

    Cost: each estimate trains a model of each modality and a joint one for as many epochs as the
    weights are used, which in all is twice the encoder work of these epochs, and evaluates training
    and validation data before and after. It holds one more model in memory at a time.

    State: ``loss_weights`` [M + 1], the modalities in order and the fused loss last.

    Missing: a modality's losses, ``T`` and ``V`` are means over the samples that have it; a
    modality that no validation sample has gets weight 0.

    Differs: the authors' code contains only the weighted training. A public port estimates with
    slices of the fused head on zeroed inputs, sums losses over batches (so that ``O`` measures the
    sizes of the splits), takes training losses in training mode, inverts the sign of ``G`` and then
    takes its absolute value, and estimates on the test split. The paper holds out a part of the
    training data; here, the validation split takes its place.
    """

    name = "g-blending"
    summary = "weigh losses by how they overfit and generalise (G-Blending)"
    needs_whole = "it trains copies of them"
    paper = (
        "Wang, Tran, Feiszli: What Makes Training Multi-Modal Classification Networks Hard?, "
        "CVPR 2020, arXiv 1905.12681"
    )
    policies = ("aux",)
    further = 2.0
    reads = ()

    loss_weights: Tensor

    def __init__(
        self,
        *,
        when: Literal["offline", "online"] = "offline",
        super_epoch: Annotated[int, Bounds(1)] = 10,
        eps: Annotated[float, Bounds(0)] = 1e-3,
    ) -> None:
        super().__init__()
        self.when, self.super_epoch, self.eps = when, super_epoch, eps

    def setup(self, ctx: Context) -> None:
        count = len(ctx.model.modalities) + 1
        even = torch.full((count,), 1 / count, device=ctx.model.device)
        self.register_buffer("loss_weights", even)

    def epoch_start(self, ctx: Context) -> None:
        length = self.super_epoch if self.when == "online" else ctx.epochs
        if ctx.epoch % length == 0:
            epochs = min(length, ctx.epochs - ctx.epoch)
            tasks = [*ctx.model.modalities, None]
            found = torch.stack([_try(OneLoss(task), ctx, epochs) for task in tasks])
            train, held_out = found[:, :, 0].T, found[:, :, 1].T
            self.loss_weights.copy_(
                ogr_weights((train[0], train[1]), (held_out[0], held_out[1]), self.eps)
            )

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        names = [f"{m} alone" for m in batch.modalities] + ["fused"]
        weights = dict(zip(names, self.loss_weights, strict=True))
        return {n: weights[n] * loss for n, loss in super().losses(out, batch, ctx).items()}

    def predict(self, model: MultimodalModel, batch: Batch) -> Tensor:
        return Method.predict(self, model, batch)

    def mixture(self, model: MultimodalModel, batch: Batch) -> Mixture | None:
        return model.mixture(batch)


class OneLoss(Method):
    """Train on the loss of one modality's own head, or (``None``) on the fused loss."""

    def __init__(self, modality: str | None) -> None:
        super().__init__()
        self.modality = modality

    def transform(self, batch: Batch, ctx: Context) -> Batch:
        return batch if self.modality is None else batch.only(self.modality)

    def rows(self, batch: Batch) -> Tensor:
        """bool [B]: the samples that count."""
        everything = torch.ones(len(batch), dtype=torch.bool)
        return everything if self.modality is None else batch.present[self.modality]

    def each(self, out: Output, batch: Batch, ctx: Context) -> Tensor:
        """[B]: the loss of each sample."""
        logits = out.logits if self.modality is None else out.unimodal[self.modality]
        return ctx.weigh(ctx.task.loss(logits, batch.target), batch)

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        return {"alone": ctx.mean(self.each(out, batch, ctx), self.rows(batch))}

    def step(self, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        # A step on no sample would still let momentum and weight decay act.
        return super().step(batch, ctx) if ctx.any(self.rows(batch)) else {}

    @torch.no_grad()
    def whole(self, model: MultimodalModel, ctx: Context, split: str) -> Tensor:
        """[]: the mean loss over a split, in evaluation mode; NaN where no sample counts."""
        model.eval()
        sums = torch.zeros(2, device=model.device)
        for batch in ctx.loaders[split].epoch(ctx.epoch):
            batch = self.transform(batch, ctx)
            rows = self.rows(batch).to(model.device)
            sums += torch.stack([self.each(model(batch), batch, ctx)[rows].sum(), rows.sum()])
        sums = ranks.all_sum(sums)
        return sums[0] / sums[1]


def _try(task: OneLoss, ctx: Context, epochs: int) -> Tensor:
    """[2, 2]: mean loss before and after training a copy (rows), on train and validation."""
    model = copy.deepcopy(ctx.model)
    before = [task.whole(model, ctx, split) for split in ("train", "validation")]
    train_beside(task, ctx, model, epochs, ctx.epoch)
    after = [task.whole(model, ctx, split) for split in ("train", "validation")]
    return torch.stack([torch.stack(before), torch.stack(after)])
