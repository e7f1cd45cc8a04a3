"""OGM: on-the-fly gradient modulation of the encoders."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Classification, MultiLabel, Task
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_number
from counterpoise.models.multimodal import MultimodalModel

from .gradients import scale_grads
from .measures import dominance

LEAST_DIMENSIONS = {"all": 0, "matrices": 2, "conv4d": 4}


class OGM(Method):
    """Damp the gradients of the encoders that are ahead of the others (OGM).

    It changes the length of gradients, which SGD follows and Adam largely undoes: use SGD.

    Problem: the modality that is learnt fastest brings down the joint loss, and with it the
    gradient of all others.

    Formula:
        After the backward pass of the joint loss, with ``S_m`` the mean probability of the true
        class in the logits of ``m`` alone:

        1. ``rho_m = S_m / mean_{k != m} S_k``, which with two modalities is the ratio of their
           scores. Each pair is compared on the samples that have both, if at least 8 do.
        2. ``kappa_m = 1 - tanh(alpha * rho_m)`` where ``rho_m > 1``, else 1. As soon as ``m`` is
           ahead this is at most ``1 - tanh(alpha)``. With ``onset="continuous"``, it is
           ``1 - tanh(alpha * (rho_m - 1))``, which starts from 1.
        3. In the epochs ``start`` to ``end``, ``g := kappa_m g`` for the parameters of encoder
           ``m`` that are in ``scope``. The fusion is left alone.

    Args:
        alpha: strength of the damping; 0 is joint training.
        onset: ``"jump"`` (the paper) or ``"continuous"``, see above.
        start: first epoch with modulation, from 0.
        end: last epoch with modulation; ``None`` is half the run (the paper: 50 of 100).
        scope: ``"all"`` parameters of an encoder, its ``"matrices"`` (two dimensions or more), or
            ``"conv4d"``, the weights of its 2-D convolutions only (the published code).
        mode: ``"paper"``, or ``"released"``: what the published code computes at equal scores.

    Cost: that of joint training, plus the logits of each modality alone.

    State: none.

    Missing: a modality that a batch lacks is not modulated, nor is one that no other can be
    compared with.

    Differs: in the published code the second of two modalities is damped if its ratio exceeds 1,
    and *otherwise* the first, so at exactly equal scores the first is damped although the formula
    leaves both alone; ``mode="released"`` does that (for more than two: if none is ahead). It
    cuts the head's weight in halves, which needs equal widths, and does not run with gated or FiLM
    fusion; here unimodal logits follow the fusion. It scales the weights of 2-D convolutions only:
    ``scope="conv4d"``. The ratio for more than two modalities is ours; published extensions divide
    by the sum of the others, which hardly ever exceeds 1, or by the smallest.
    """

    name = "ogm"
    summary = "damp the gradients of the encoders that are ahead (OGM)"
    paper = (
        "Peng, Wei, Deng, Wang, Hu: Balanced Multimodal Learning via On-the-fly Gradient "
        "Modulation, CVPR 2022, arXiv 2203.15332"
    )
    policies = ("slice", "ablate")
    tasks = (Classification, MultiLabel)
    for_encoders = True

    def __init__(
        self,
        *,
        alpha: Annotated[float, Bounds(0)] = 0.8,
        onset: Literal["jump", "continuous"] = "jump",
        start: Annotated[int, Bounds(0)] = 0,
        end: Annotated[int | None, Bounds(0)] = None,
        scope: Literal["all", "matrices", "conv4d"] = "all",
        mode: Literal["paper", "released"] = "paper",
    ) -> None:
        super().__init__()
        if end is not None:
            check_number("end", end, start, whole=True)
        self.alpha, self.onset, self.start, self.end = alpha, onset, start, end
        self.scope, self.mode = scope, mode

    def check(self, model: MultimodalModel, task: Task) -> None:
        super().check(model, task)
        names = [name for name in model.modalities if name not in model.frozen]
        if not [p for name in names for p in self.in_scope(model, name)]:
            raise InputError(f"scope={self.scope!r} finds no parameter in any encoder")

    def in_scope(self, model: MultimodalModel, name: str) -> list[nn.Parameter]:
        """The parameters of an encoder that are modulated."""
        least = LEAST_DIMENSIONS[self.scope]
        return [p for p in model.encoder_parameters(name) if p.dim() >= least]

    def active(self, ctx: Context) -> bool:
        """Whether gradients are modulated in the current epoch."""
        end = round(ctx.epochs / 2) if self.end is None else self.end
        return self.start <= ctx.epoch <= end

    def modulate(self, out: Output, batch: Batch, ctx: Context) -> None:
        if not self.active(ctx):
            return
        factors = damping(ctx.scores(out, batch), self.alpha, self.onset, self.mode)
        for name, factor in zip(ctx.model.modalities, factors, strict=True):
            scale_grads(self.in_scope(ctx.model, name), factor)


def damping(scores: Tensor, alpha: float, onset: str = "jump", mode: str = "paper") -> Tensor:
    """[M]: ``kappa``, the factor on each encoder's gradient.

    Args:
        scores: [M, M], see :meth:`counterpoise.Context.scores`.
        alpha: strength of the damping.
        onset: ``"jump"`` or ``"continuous"``.
        mode: ``"released"``: if none is ahead, the first that is there is damped.
    """
    ratio = dominance(scores)
    ahead = ratio > 1
    if mode == "released":
        here = ~scores.diagonal().isnan()
        first = here & (here.cumsum(0) == 1) & (here.sum() > 1)
        ahead = ahead | (first & ~ahead.any())
    offset = 1 if onset == "continuous" else 0
    return torch.where(ahead, 1 - torch.tanh(alpha * (ratio - offset)), torch.ones_like(ratio))
