"""MLA: alternating unimodal adaptation of encoders that share one head."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Output
from counterpoise.core.loader import mix
from counterpoise.core.mixture import Mixture
from counterpoise.core.presence import refuse_dense, some
from counterpoise.core.tasks import Classification, Task, entropy
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.fusion import Shared
from counterpoise.models.multimodal import MultimodalModel

from .measures import entropy_weights, rls_update


class MLA(Method):
    """Train one modality at a time through a shared head whose gradient is projected (MLA).

    Problem: in a joint loss, one modality takes the gradient away from the others. Here no loss
    mixes modalities; what they share is the head, and a projector keeps one modality's step from
    undoing what the head learnt before.

    Formula:
        Features have a common width ``d``; the head is ``H`` [K, d] with bias ``b``, and the
        projector ``P`` [d, d] starts as ``I``. For each batch and each modality ``m`` in turn:

        1. ``u = H z_m + b``, ``L_m = CE(u, y)`` over the samples that have ``m``; only ``m`` is
           encoded.
        2. The gradient of ``H`` becomes ``g P``.
        3. Only ``m``'s encoder, ``H`` and ``b`` are stepped.
        4. With ``r`` the mean of ``z_m`` over the batch: ``k = P r``,
           ``P := P - k k^T / (alpha + r^T k)``, where ``alpha`` falls from 0.1 to 0.01 in each
           epoch.

        With constant ``alpha``, ``n`` such steps give ``P = (I + sum_t r_t r_t^T / alpha)^-1``: the
        head hardly moves along mean features that were seen before. Momentum and weight decay act
        after the projection, as any optimiser's do.

        Prediction weighs the present modalities of each sample by the entropy ``e`` of what they
        say: ``f = sum_m softmax_m(-e_m) u_m``.

    Args:
        projector: ``"on"`` (the paper's recursive least squares), ``"off"``, or ``"normalised"``
            (divided by its Frobenius norm after each update, as in the published code; this
            shrinks the head's gradient by about ``1 / sqrt(d)``).
        update_order: add the mean feature of a step to ``P`` ``"after"`` projecting its gradient
            (the paper), or ``"before"`` (the published code), which also removes the step's own.
        order: modalities in ``"fixed"`` order, or a new ``"shuffle"`` for each batch.
        reset_every: start again from ``P = I`` ``"never"`` (the paper) or each ``"epoch"``; ``P``
            only ever shrinks.
        fusion: ``"entropy"`` of each sample, or plain ``"mean"`` of the logits (needed for
            regression and several labels).
        mode: ``"paper"``, or ``"released"``: what the published code computes.

    Cost: the passes run one after the other, in the memory of the largest modality, not of the sum;
    the head is stepped once for each modality, and the projector takes ``d^2`` numbers.

    State: ``projector_matrix`` [d, d].

    Missing: a modality's step uses the samples that have it; prediction weighs the modalities that
    are present.

    Differs: in the published code (a) the projector never acts: it looks for a parameter called
    ``module.weight`` and is handed a module whose parameters are ``weight`` and ``bias``; (b) if it
    acted, its update would divide by a *matrix*, ``alpha + k r^T`` entry by entry, where the
    derivation has the scalar ``alpha + r^T k``; (c) it would then divide ``P`` by its Frobenius
    norm at every call; (d) the mean feature of a step is added before its own gradient is
    projected; (e) entropies are taken over the batch, one weight for all its samples, so a
    prediction depends on the other samples. What therefore runs is ``mode="released"``: no
    projector, and weights per batch. ``projector="normalised"`` is (c) on top of the correct
    update, ``update_order="before"`` is (d); (b) is of no use.
    """

    name = "mla"
    summary = "alternate between modalities through one shared head (MLA)"
    paper = "Zhang, Yoon, Bansal, Yao: Alternating Unimodal Adaptation, CVPR 2024, arXiv 2311.10707"
    fusions = (Shared,)
    policies = ("slice", "ablate")
    reads = ()

    projector_matrix: Tensor

    def __init__(
        self,
        *,
        projector: Literal["on", "off", "normalised"] = "on",
        update_order: Literal["after", "before"] = "after",
        order: Literal["fixed", "shuffle"] = "fixed",
        reset_every: Literal["never", "epoch"] = "never",
        fusion: Literal["entropy", "mean"] = "entropy",
        mode: Literal["paper", "released"] = "paper",
    ) -> None:
        super().__init__()
        self.projector, self.update_order, self.order = projector, update_order, order
        self.reset_every, self.fusion, self.mode = reset_every, fusion, mode
        self.stacks = mode == "paper" or fusion == "mean"

    def check(self, model: MultimodalModel, task: Task) -> None:
        super().check(model, task)
        if self.fusion == "entropy" and not isinstance(task, Classification):
            raise InputError(
                "mla weighs modalities by entropy, which needs classification; set its option "
                "fusion=mean (--set fusion=mean, build_method('mla', fusion='mean'))"
            )

    def setup(self, ctx: Context) -> None:
        width = cast(Shared, ctx.model.fusion).width
        self.register_buffer("projector_matrix", torch.eye(width, device=ctx.model.device))

    def epoch_start(self, ctx: Context) -> None:
        if self.reset_every == "epoch":
            self.projector_matrix.copy_(torch.eye(len(self.projector_matrix)))

    def step(self, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        names = list(batch.modalities)
        if self.order == "shuffle":
            generator = torch.Generator().manual_seed(mix(ctx.seed, ctx.epoch, ctx.batch))
            names = [names[k] for k in torch.randperm(len(names), generator=generator)]
        for name in names:
            mask = batch.present[name]
            if not ctx.any(mask):
                continue
            out: Output = ctx.model(batch.only(name))
            loss = ctx.loss(out.unimodal[name], batch, mask)
            loss.backward()
            ctx.sync_grads()
            if self.projector != "off" and self.mode == "paper":
                mean = ctx.stat(out.features[name], mask)
                first = (ctx.epoch, ctx.batch) == (0, 0) and not losses
                self._project(mean, ctx, first)
            ctx.update()
            losses[name] = loss.detach()
        return losses

    def _project(self, mean: Tensor, ctx: Context, first: bool) -> None:
        """Replace the head's gradient ``g`` by ``g P``, and update ``P`` by the mean feature."""
        alpha = 0.1 ** (1 + ctx.batch / ctx.batches)
        gradient = cast(Tensor, cast(Shared, ctx.model.fusion).head.weight.grad)
        if self.update_order == "after" and not first:
            gradient.copy_(gradient @ self.projector_matrix)
        updated = rls_update(self.projector_matrix, mean, alpha)
        if self.projector == "normalised":
            updated = updated / updated.norm()
        self.projector_matrix.copy_(updated)
        if self.update_order == "before" and not first:
            gradient.copy_(gradient @ self.projector_matrix)

    def predict(self, model: MultimodalModel, batch: Batch) -> Tensor:
        out: Output = model(batch)
        names = [m for m in batch.modalities if some(batch.present[m])]
        if self.fusion == "mean" or not names:
            return out.logits
        logits = torch.stack([out.unimodal[m] for m in names])
        present = torch.stack([batch.present[m] for m in names]).to(logits.device)
        if self.mode == "released":
            if len(names) > 1:
                refuse_dense(
                    "mla with mode=released weighs modalities by all samples of a batch, so it "
                    "cannot be exported; train with mode=paper, or export a single modality"
                )
            # softmax over the samples, summed over samples and classes: one weight per batch
            whole = entropy(logits.transpose(1, 2)).sum(1)
            share = (-whole).softmax(0)[:, None] * present
            mixing = share / share.sum(0).clamp(min=torch.finfo(share.dtype).tiny)
        else:
            mixing = entropy_weights(logits, present)
        return (mixing[..., None] * logits).sum(0)

    def mixture(self, model: MultimodalModel, batch: Batch) -> Mixture | None:
        found = model.mixture(batch)
        if self.fusion == "mean" or found is None:
            return found
        if not self.stacks or found.weights is None:
            return None
        # Weighing by exp(-entropy), normalised over a subset, is the softmax of predict.
        weights = (-entropy(found.values)).exp() * found.weights
        return Mixture(found.values * weights[..., None], weights)
