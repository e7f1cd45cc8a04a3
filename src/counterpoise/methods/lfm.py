"""LFM: a class loss and an alignment loss, weighed so as to help on held-out data."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import combinations
from typing import Annotated, Literal

import torch
from torch import Tensor

from counterpoise.core import ranks
from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import MultiLabel, Regression, Task
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.fusion import Late
from counterpoise.models.multimodal import MultimodalModel

from .measures import info_nce, jensen_shannon

Parts = Callable[[Output, Batch, Context], tuple[Tensor, Tensor | None]]


class LFM(Method):
    """Late fusion that first aligns the modalities, then fits the labels more and more (LFM).

    Problem: labels are harder to fit for some modalities than for others. Aligning the modalities
    with each other needs no labels and narrows this gap.

    Formula:
        ``L = 2 ((1 - alpha) L_c + alpha L_a)`` with ``f = mean_m u_m``, ``L_c = CE(f, y)`` and
        ``L_a`` the mean over pairs of modalities, and over the samples that have both, of

        * ``"contrastive"``: ``-log softmax_j(cos(z_i,m, z_j,k) / temperature)`` at ``j = i``, and
          the same with ``m`` and ``k`` exchanged, averaged; ``j`` runs over the batch;
        * ``"js"``: the Jensen-Shannon divergence of ``softmax(u_m)`` and ``softmax(u_k)`` (for
          several labels: of the probabilities of each label, averaged).

        ``alpha`` at the start of epoch ``t = 1, 2, ...``:

        * ``"learned"``: one step of plain gradient descent on a training batch,
          ``theta' = theta - lr grad L``, gives the validation loss ``L_c(theta')``, whose
          derivative by ``alpha`` is ``d = -2 lr <grad L_val(theta'), grad L_a - grad L_c>``;
          ``alpha := clip(alpha - alpha_lr d, .05, .95)``, with ``alpha_lr`` halved every 20 epochs.
        * ``"heuristic"``: ``alpha = 1 - exp(-1 / t)``.

    Args:
        alpha: weight of the alignment at the start.
        schedule: ``"learned"`` or ``"heuristic"``.
        alpha_lr: how fast ``alpha`` is learned; 0 leaves it where it is. ``None`` takes 1, or 1e-4
            with ``mode="released"``.
        alignment: ``"contrastive"`` (the paper; it needs features of equal width) or ``"js"`` (the
            published code; it compares predictions).
        temperature: of the contrastive loss.
        mode: ``"paper"``, or ``"released"``: what the published code computes.

    Cost: if ``alpha`` is learned, each epoch runs one training batch and the validation split
    forward and backward through another copy of the model.

    State: ``alignment_weight`` [] (``alpha``).

    Missing: pairs are compared on the samples that have both; the mean of the logits is over the
    present.

    Differs: the paper speaks of contrastive learning, while the code compares predictions. In that
    code (a) the "gradient" of ``alpha`` is the mean of the first parameter tensor of ``H grad L_c``
    on eight held-out samples, ``H`` the Hessian of the loss on the same samples: no derivative of a
    validation loss; (b) the arguments of both divergences are exchanged, ``KL(mean || p)``, so that
    its "JS" has no upper bound. ``mode="released"`` computes (a), on the first eight validation
    samples, and (b). A script beside it uses a polynomial fitted to one data set, which is of no
    use elsewhere. Ours are: the pairs of more than two modalities, the temperature (that of CLIP),
    that the heuristic's ``alpha`` weighs the alignment (so that it falls, as in the code's
    schedules), ``alpha_lr = 1`` (with 1e-4 the true derivative moves nothing), and that gradients
    for ``alpha`` are taken in evaluation mode. Note that the validation data that learn ``alpha``
    also select the best epoch.
    """

    name = "lfm"
    summary = "align modalities, then fit labels, with a learned weight (LFM)"
    needs_whole = "it takes steps with copies of them"
    paper = (
        "Yang, Wan, Jiang, Xu: Facilitating Multimodal Classification via Dynamically Learning "
        "Modality Gap, NeurIPS 2024"
    )
    fusions = (Late,)
    policies = ("slice", "ablate")

    alignment_weight: Tensor

    def __init__(
        self,
        *,
        alpha: Annotated[float, Bounds(0, 1)] = 0.95,
        schedule: Literal["learned", "heuristic"] = "learned",
        alpha_lr: Annotated[float | None, Bounds(0)] = None,
        alignment: Literal["contrastive", "js"] = "contrastive",
        temperature: Annotated[float, Bounds(1e-3)] = 0.07,
        mode: Literal["paper", "released"] = "paper",
    ) -> None:
        super().__init__()
        self.alpha, self.schedule, self.alpha_lr = alpha, schedule, alpha_lr
        self.alignment, self.temperature, self.mode = alignment, temperature, mode

    def check(self, model: MultimodalModel, task: Task) -> None:
        super().check(model, task)
        contrastive = self.alignment == "contrastive" and self.mode == "paper"
        if contrastive and len(set(model.fusion.widths.values())) > 1:
            raise InputError(
                "alignment='contrastive' compares features, which need one width, found "
                f"{list(model.fusion.widths.values())}; pass alignment='js'"
            )
        if contrastive and model.frozen == model.modalities:
            raise InputError(
                "method 'lfm' with alignment='contrastive' moves features, and all encoders are "
                "frozen; leave one of them to be trained, or pass alignment='js'"
            )
        if not contrastive and isinstance(task, Regression):
            raise InputError("alignment='js' compares chances; pass alignment='contrastive'")

    def setup(self, ctx: Context) -> None:
        weight = torch.tensor(float(self.alpha), device=ctx.model.device)
        self.register_buffer("alignment_weight", weight)

    def epoch_start(self, ctx: Context) -> None:
        released = self.mode == "released"
        rate = (1e-4 if released else 1.0) if self.alpha_lr is None else self.alpha_lr
        if self.schedule == "heuristic":
            self.alignment_weight.fill_(1 - math.exp(-1 / (ctx.epoch + 1)))
        elif rate > 0:
            slope = released_slope if released else validation_slope
            found = slope(ctx, self.parts, self.alignment_weight)
            moved = self.alignment_weight - rate * 0.5 ** (ctx.epoch // 20) * found
            self.alignment_weight.copy_(moved.clamp(0.05, 0.95))

    def parts(self, out: Output, batch: Batch, ctx: Context) -> tuple[Tensor, Tensor | None]:
        """``L_c`` and ``L_a`` (``None`` where no sample has two modalities)."""
        aligned = []
        for m, k in combinations(batch.modalities, 2):
            both = batch.present[m] & batch.present[k]
            if not ctx.any(both):
                continue
            if self.alignment == "contrastive" and self.mode == "paper":
                # Each sample is compared with the others of the global batch.
                pair = [ctx.gather(out.features[name]) for name in (m, k)]
                rows = ctx.gather(both.to(out.logits.device, torch.float32)) > 0
                aligned.append(info_nce(pair[0], pair[1], rows, self.temperature))
            else:
                chances = [_predict_chances(out.unimodal[name], ctx.task) for name in (m, k)]
                each = jensen_shannon(chances[0], chances[1], self.mode == "released")
                aligned.append(ctx.mean(each.mean(1), both))
        loss = ctx.loss(out.logits, batch)
        return loss, torch.stack(aligned).mean() if aligned else None

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        fitted, aligned = self.parts(out, batch, ctx)
        losses = {"fused": 2 * (1 - self.alignment_weight) * fitted}
        if aligned is not None:
            losses["alignment"] = 2 * self.alignment_weight * aligned
        return losses


def validation_slope(ctx: Context, parts: Parts, weight: Tensor) -> Tensor:
    """[]: the derivative by ``alpha`` of the validation loss after one gradient step."""
    branch = ctx.branch(copy.deepcopy(ctx.model).eval())
    batch = next(iter(ctx.loaders["train"].epoch(ctx.epoch)))
    fitted, aligned = parts(branch.model(batch), batch, branch)
    if aligned is None:
        return torch.zeros_like(weight)
    first = branch.gradients(fitted, retain_graph=True)
    second = branch.gradients(aligned)
    lr = {id(p): group["lr"] for group in ctx.optimizer.param_groups for p in group["params"]}
    pairs = zip(branch.model.parameters(), ctx.model.parameters(), strict=True)
    rates = {id(copied): lr.get(id(p), 0.0) for copied, p in pairs}
    turns = []  # the change of each parameter's step with alpha
    with torch.no_grad():
        for p, c, a in zip(branch.parameters(), first, second, strict=True):
            rate = rates[id(p)]
            c = torch.zeros_like(p) if c is None else c
            a = torch.zeros_like(p) if a is None else a
            p.sub_(2 * rate * ((1 - weight) * c + weight * a))
            turns.append(-2 * rate * (a - c))
    total, held_out = torch.zeros_like(weight), ctx.loaders["validation"]
    for batch in held_out.epoch(ctx.epoch):
        each = ctx.task.loss(branch.model(batch).logits, batch.target)
        share = each.sum() * (ranks.world() / len(held_out.samples))
        for gradient, turn in zip(branch.gradients(share), turns, strict=True):
            if gradient is not None:
                total = total + (gradient * turn).sum()
    return total


def released_slope(ctx: Context, parts: Parts, weight: Tensor) -> Tensor:
    """[]: what the published code takes for the derivative."""
    held_out = ctx.loaders["validation"]
    batch = held_out.take(torch.arange(min(8, len(held_out.samples))))
    model = copy.deepcopy(ctx.model).eval()
    fitted, aligned = parts(model(batch), batch, ctx)
    total = fitted if aligned is None else (1 - weight) * fitted + weight * aligned
    asked = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(total, asked, create_graph=True, allow_unused=True)
    vector = torch.autograd.grad(fitted, asked, retain_graph=True, allow_unused=True)
    pairs = [(s, v) for s, v in zip(slopes, vector, strict=True) if s is not None]
    product = torch.autograd.grad(
        [s for s, _ in pairs], asked[:1], [v for _, v in pairs], allow_unused=True
    )[0]
    return torch.zeros_like(weight) if product is None else product.mean()


def _predict_chances(logits: Tensor, task: Task) -> Tensor:
    """[B, K] -> log-probabilities, [B, 1, K] for classes and [B, K, 2] for labels."""
    if isinstance(task, MultiLabel):
        return torch.stack([logits, torch.zeros_like(logits)], -1).log_softmax(-1)
    return logits.log_softmax(-1)[:, None]
