"""ReconBoost: one modality at a time learns what the others do not know yet."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.loader import mix
from counterpoise.core.mixture import Mixture
from counterpoise.core.tasks import Classification
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.fusion import Sum
from counterpoise.models.multimodal import MultimodalModel


class ReconBoost(Method):
    """Boost in stages, each of one modality against the residual of the others (ReconBoost).

    Problem: modalities that learn at once compete. Here one learns at a time, from targets reduced
    by what the others already know, and after each such stage all are adjusted together.

    Formula:
        ``f = eta sum_m u_m`` with a learnable rate ``eta`` that starts at 1. Stage ``t`` belongs to
        ``m = t mod M``:

        1. Boosting, for some epochs: ``r = softmax(eta sum_{k != m} u_k)[y]`` and
           ``L = (weight - discount * r) CE(u_m, y)``; only the encoder and head of ``m`` move,
           while the ``u_k`` and ``eta`` are held constant. Where there is nothing to go by (in the
           first stage, and for samples that have only ``m``), ``r = 1 / C``.
        2. Memory, from the second stage on: ``L += memory * MSE(softmax(u_m), softmax(u_k))``,
           ``k`` the last other modality that had a stage, a constant.
        3. Rectification, for some epochs: ``CE(f, y)`` moves everything, ``eta`` included.

        Boosting and rectification each begin with a fresh optimiser state for what moves. The
        others compute ``u_k`` in evaluation mode, as they will when they predict: without dropout,
        and without changing their BatchNorm statistics.

    Args:
        boost_epochs: epochs of boosting in a stage.
        rectify_epochs: epochs of rectification in a stage.
        weight: weight of the cross-entropy in boosting.
        discount: how much the knowledge of the others reduces that weight.
        memory: weight of the memory term.
        order: of the modalities: ``"cycle"``, or ``"random"`` after each has had one stage.
        mode: ``"paper"``, or ``"released"``: what the published code computes.

    Cost: a boosting step encodes the others without gradients and trains one. A stage takes
    ``boost_epochs + rectify_epochs`` epochs, and a run should have at least one for each modality.

    State: the parameter ``rate`` (``eta``); the stage follows from the epoch.

    Missing: boosting of ``m`` uses the samples that have it, and the memory term those that have
    both; sums are over the present modalities.

    Differs: in the published code (a) both sides of the memory term are detached, so it has no
    gradient; (b) the loss of boosting is a mean over the classes, which divides it by ``C``; (c) in
    the first stage ``r = 1``, the softmax of a single number. ``mode="released"`` computes these
    three. The released commands also start from encoders trained alone, which is left to the user.
    Their ensemble grows by one modality in each stage; here rectification trains all of them from
    the start, and without rectification the ensemble consists of those that have had a stage.
    """

    name = "reconboost"
    summary = "boost one modality at a time against what the others know (ReconBoost)"
    paper = "Hua, Xu, Bao, Yang, Huang: ReconBoost, ICML 2024, arXiv 2405.09321"
    fusions = (Sum,)
    policies = ("slice",)
    tasks = (Classification,)
    reads = ("rate",)

    def __init__(
        self,
        *,
        boost_epochs: Annotated[int, Bounds(1)] = 4,
        rectify_epochs: Annotated[int, Bounds(0)] = 4,
        weight: Annotated[float, Bounds(0)] = 5.0,
        discount: Annotated[float, Bounds(0)] = 1.0,
        memory: Annotated[float, Bounds(0)] = 0.5,
        order: Literal["cycle", "random"] = "cycle",
        mode: Literal["paper", "released"] = "paper",
    ) -> None:
        super().__init__()
        self.boost_epochs, self.rectify_epochs = boost_epochs, rectify_epochs
        self.weight, self.discount, self.memory = weight, discount, memory
        self.order, self.mode = order, mode
        self.rate = nn.Parameter(torch.ones(()))

    def stage(self, ctx: Context) -> tuple[int, int]:
        """The number of the current stage, and of the epoch in it."""
        return divmod(ctx.epoch, self.boost_epochs + self.rectify_epochs)

    def active(self, stage: int, ctx: Context) -> str:
        """The modality of a stage."""
        names = ctx.model.modalities
        drawn = self.order == "random" and stage >= len(names)
        return names[(mix(ctx.seed, stage) if drawn else stage) % len(names)]

    def epoch_start(self, ctx: Context) -> None:
        stage, epoch = self.stage(ctx)
        moved: list[nn.Parameter] = []
        if epoch == 0:
            moved = ctx.model.own_parameters(self.active(stage, ctx))
        elif epoch == self.boost_epochs:
            moved = ctx.parameters()
        for parameter in moved:
            ctx.optimizer.state.pop(parameter, None)

    def step(self, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        stage, epoch = self.stage(ctx)
        if epoch >= self.boost_epochs:
            return super().step(batch, ctx)
        name = self.active(stage, ctx)
        if not ctx.any(batch.present[name]):
            return {}
        losses = self._boost(name, stage, batch, ctx)
        self.backward(losses, ctx)
        ctx.update()
        return {key: loss.detach() for key, loss in losses.items()}

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        return {"fused": ctx.loss(self.rate * out.logits, batch)}

    def _boost(self, name: str, stage: int, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        model, names, mask = ctx.model, ctx.model.modalities, batch.present[name]
        trained = names if stage and self.rectify_epochs else names[:stage]
        others = said(model, batch.only(*(k for k in trained if k != name)))
        known = ctx.task.score(self.rate.detach() * others.logits, batch.target)
        if stage == 0 and self.mode == "released":
            known = torch.ones_like(known)
        u = model(batch.only(name)).unimodal[name]
        loss = (self.weight - self.discount * known) * ctx.task.loss(u, batch.target)
        if self.mode == "released":
            loss, u = loss / ctx.task.outputs, u.detach()
        losses = {f"{name} boosting": ctx.mean(ctx.weigh(loss, batch), mask)}
        before = [k for t in range(stage) if (k := self.active(t, ctx)) != name]
        if before:
            gap = (u.softmax(1) - others.unimodal[before[-1]].softmax(1)).square().mean(1)
            both = mask & batch.present[before[-1]]
            losses[f"{name} memory"] = self.memory * ctx.mean(gap, both)
        return losses

    def predict(self, model: MultimodalModel, batch: Batch) -> Tensor:
        return self.rate * super().predict(model, batch)

    def mixture(self, model: MultimodalModel, batch: Batch) -> Mixture | None:
        found = model.mixture(batch)
        return None if found is None else found.scaled(self.rate)


@torch.no_grad()
def said(model: MultimodalModel, batch: Batch) -> Output:
    """What a model says of a batch in evaluation mode; it is left as it was."""
    encoders = [e for e in model.encoders.values() if e.training]
    for encoder in encoders:
        encoder.eval()
    out: Output = model(batch)
    for name in batch.modalities:
        out.unimodal[name]  # computed here, without gradients
    for encoder in encoders:
        encoder.train()
    return out
