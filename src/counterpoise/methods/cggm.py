"""CGGM: classifiers beside the model say how strongly, and where to, each encoder should go."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Task
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.fusion import Concat

from .gradients import scale_grads


class CGGM(Method):
    """Let a classifier of each modality set the size and the direction of its encoder's gradient.

    Each modality has a linear classifier on its detached features, which is trained along with the
    model. The classifiers never train the encoders and are not used for prediction.

    Problem: the modality that improves fastest determines both the size of the fused gradient and
    its direction.

    Formula:
        ``eps_m(t)``: the task's metric of classifier ``m`` on batch ``t``,
        ``D_m = |eps_m(t) - eps_m(t-1)|``, at least ``floor``;
        ``B_m = (sum_k D_k - D_m) / sum_k D_k``; ``g_m := rho * B_m * g_m`` for encoder ``m``.

        ``q_m = dL_m/dW_m`` is the gradient of classifier ``m``'s weight (held constant), and
        ``q_fm`` that of the columns of the fused head that read ``z_m``.
        ``L = CE(f, y) + direction * (1/M) sum_m (|B_m| - B_m cos(q_m, q_fm))``.

    Args:
        rho: how much gradients are enlarged.
        direction: weight of the loss that aligns directions (``lambda``); 0 leaves it out.
        improvement: ``"absolute"`` changes of the metric, or ``"signed"`` as the paper writes it:
            their sum can be close to 0 or negative; ``B_m`` then explodes or reverses the gradient,
            and the run needs ``max_norm``.
        floor: smallest absolute change that counts, in units of the metric (of a regression: in
            standard deviations), so that noise does not pass for improvement.
        classifier_lr: factor on the learning rate of the classifiers.
        mode: ``"paper"``, or ``"released"``: as in the published code, changes are signed, the
            first one starts from a metric of 0, and the cosine is taken of the weights, not of
            their gradients (so it moves nothing but the fused head).

    Cost: that of joint training, plus two more derivatives of the loss with respect to its logits;
    nothing runs through an encoder twice.

    State: ``classifiers.*``, ``metric`` [M] (``eps`` of the last batch with the modality, NaN
    before), ``balance`` [M] (the last ``B``).

    Missing: a classifier learns from, and is judged on, the samples that have its modality. A
    modality without a change (because it is absent from the batch or seen for the first time, as
    all are in the first step) counts as the mean of the others, which gives ``B_m = (M - 1) / M``.

    Differs: the direction loss enters the step it is computed in; paper and code add it to the next
    one, with the old graph. Here, taking the columns of each modality gives ``q_fm`` the shape of
    ``q_m``; the code needs features and a fused state of equal width. The metric is that of the
    task (accuracy, sample F1, mean absolute error); the code judges regression by the sign of the
    target. The floor is ours.
    """

    name = "cggm"
    summary = "classifiers guide size and direction of gradients (CGGM)"
    paper = (
        "Guo, Jin, Chen, Zhao: Classifier-guided Gradient Modulation for Enhanced Multimodal "
        "Learning, NeurIPS 2024, arXiv 2411.01409"
    )
    fusions = (Concat,)

    metric: Tensor
    balance: Tensor

    def __init__(
        self,
        *,
        rho: Annotated[float, Bounds(0)] = 1.3,
        direction: Annotated[float, Bounds(0)] = 0.2,
        improvement: Literal["absolute", "signed"] = "absolute",
        floor: Annotated[float, Bounds(1e-8)] = 0.01,
        classifier_lr: Annotated[float, Bounds(0)] = 0.5,
        mode: Literal["paper", "released"] = "paper",
    ) -> None:
        super().__init__()
        self.rho, self.direction, self.improvement = rho, direction, improvement
        self.floor, self.classifier_lr, self.mode = floor, classifier_lr, mode

    def setup(self, ctx: Context) -> None:
        widths, device = ctx.model.fusion.widths, ctx.model.device
        self.classifiers = nn.ModuleList(nn.Linear(w, ctx.task.outputs) for w in widths.values())
        ctx.adopt(self.classifiers)
        ctx.scale_lr(self.classifiers.parameters(), self.classifier_lr)
        first = 0.0 if self.mode == "released" else torch.nan
        self.register_buffer("metric", torch.full((len(widths),), first, device=device))
        self.register_buffer("balance", torch.ones(len(widths), device=device))

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        losses = super().losses(out, batch, ctx)
        names = ctx.model.modalities
        here = [ctx.any(batch.present[m]) for m in names]
        guesses: list[Tensor] = []
        found = []
        for name, classifier, any_here in zip(names, self.classifiers, here, strict=True):
            mask = batch.present[name]
            guesses.append(classifier(out.features[name].detach()))
            outcome = ctx.stat(ctx.task.outcome(guesses[-1].detach(), batch.target), mask)
            found.append(outcome if any_here else torch.full_like(outcome, torch.nan))
            if any_here:
                losses[f"{name} classifier"] = ctx.loss(guesses[-1], batch, mask)
        self._compare(torch.stack(found))
        if self.direction > 0:
            cosines = torch.stack(self._measure_cosines(out, guesses, batch, ctx))
            gaps = self.balance.abs() - self.balance * cosines
            chosen = [gap for gap, any_here in zip(gaps, here, strict=True) if any_here]
            if chosen:
                losses["direction"] = self.direction * torch.stack(chosen).sum() / len(names)
        return losses

    def _compare(self, metric: Tensor) -> None:
        """Set ``balance`` by the change of the metrics [M] (NaN: absent) since the last ones."""
        # Whether more is better makes no difference: ``B`` is the same for the opposite change.
        signed = self.improvement == "signed" or self.mode == "released"
        self.balance.copy_(balance(metric - self.metric, None if signed else self.floor))
        self.metric.copy_(torch.where(metric.isnan(), self.metric, metric))

    def _measure_cosines(
        self, out: Output, guesses: list[Tensor], batch: Batch, ctx: Context
    ) -> list[Tensor]:
        """For each modality the cosine of ``q_m``, constant, and ``q_fm``."""
        widths = list(ctx.model.fusion.widths.values())
        if self.mode == "released":
            guides = [cast(nn.Linear, c).weight.detach() for c in self.classifiers]
            fused = list(cast(Concat, ctx.model.fusion).slices().values())
        else:
            z = torch.cat([out.features[m] for m in ctx.model.modalities], 1)
            # The weight's gradient is a sum over samples of dL/dlogits times features. Cosines do
            # not see its scale, so that a mean over the ranks serves for one over the samples.
            slope = derivative(ctx.task, out.logits, batch.target, create_graph=True)
            fused = list(torch.split(ctx.mean((slope.T @ z)[None]), widths, 1))
            own = [derivative(ctx.task, u, batch.target) for u in guesses]
            read = torch.split(z.detach(), widths, 1)
            parts = [g.T @ f for g, f in zip(own, read, strict=True)]
            guides = list(torch.split(ctx.stat(torch.cat(parts, 1)[None]), widths, 1))
        return [
            F.cosine_similarity(q.flatten(), f.flatten(), dim=0)
            for q, f in zip(guides, fused, strict=True)
        ]

    def modulate(self, out: Output, batch: Batch, ctx: Context) -> None:
        for name, factor in zip(ctx.model.modalities, self.rho * self.balance, strict=True):
            scale_grads(ctx.model.encoder_parameters(name), factor)


def balance(change: Tensor, floor: float | None) -> Tensor:
    """``B_m = (sum_k D_k - D_m) / sum_k D_k`` [M]; their sum is ``M - 1``.

    Args:
        change: [M], by how much each metric changed; NaN counts as the mean of the others.
        floor: ``D`` are absolute changes of at least this; signed changes if ``None``.
    """
    known = ~change.isnan()
    size = change if floor is None else change.abs().clamp(min=floor)
    size = torch.where(known, size, torch.zeros_like(size))
    mean = size.sum() / known.sum().clamp(min=1)
    # If none is known, all are equal, whatever their size.
    mean = torch.where(known.any(), mean, torch.ones_like(mean))
    size = torch.where(known, size, mean)
    total = size.sum() + (1e-8 if floor is None else 0.0)
    return (total - size) / total


def derivative(task: Task, logits: Tensor, target: Tensor, create_graph: bool = False) -> Tensor:
    """[B, K]: each sample's loss differentiated by its logits."""
    total = task.loss(logits, target).sum()
    return torch.autograd.grad(total, logits, create_graph=create_graph)[0]
