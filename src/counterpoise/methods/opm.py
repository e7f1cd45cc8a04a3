"""OPM: on-the-fly prediction modulation, dropping the features of who is ahead."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.fusion import Concat

from .measures import dominance


class OPM(Method):
    """Drop the features of the modality that is ahead, more often the further it is ahead (OPM).

    Problem: the head leans on the modality that is learnt fastest. Where its features are dropped,
    the others have to do, and they get the whole gradient.

    Formula:
        After ``warm_up`` epochs, with probability ``p_exe`` for each batch:

        1. ``rho_m = S_m / mean_{k != m} S_k``, ``S_m`` the mean probability of the true class in
           the logits of ``m`` alone. Each pair is compared on the samples that have both, if at
           least 8 do.
        2. ``q_m = clip(q_base * (1 + strength * tanh(rho_m - 1)), 0, 1)`` where ``rho_m > 1``,
           else 0.
        3. ``z_im := k_im z_im / r_im`` with ``k_im`` 0 with probability ``q_m``, else 1, for each
           sample. If that leaves a sample with nothing, its present modality with the highest
           ``S_m`` stays. So ``m`` is kept with probability ``c_im = 1 - q_m``, to which that
           modality adds ``prod_k q_k``, the product over those that are present.
        4. ``r_im = sum_k d_k c_ik / sum_k d_k``, with ``d_k`` the width of the features, again over
           the present modalities. This is the expected share that is kept,
           ``1 - sum_m d_m q_m / sum_m d_m`` for a complete sample. With ``rescale="per_modality"``,
           ``r_im = c_im``.

        Other batches are used as they are, and prediction drops nothing.

    Args:
        q_base: probability of dropping a modality that is barely ahead.
        strength: how much more often one that is far ahead is dropped (``lambda``).
        p_exe: share of the batches in which features are dropped.
        warm_up: epochs without dropping; ``None`` is 6 % of the run (the published code: 6 of 100).
        rescale: ``"common"``, one factor for all features of a sample (the paper), or
            ``"per_modality"``, with which the expected logits of a linear head are those without
            dropping.

    Cost: that of joint training; the head runs twice.

    State: none. Every draw depends only on seed, epoch and batch (or sample), so it is the same on
    every rank and after a resume.

    Missing: only present modalities can be dropped; a sample with one modality keeps it unchanged.

    Differs: the published code removes samples that lost all modalities from the batch; here one
    modality is kept, and the factor takes that into account. It needs equal widths, gives the
    rescaling a wrong gradient, and cannot be imported because of a stray bracket; a published port
    divides one score by the other's ratio, so that it drops the *weak* modality. The ratio for more
    than two modalities is ours.
    """

    name = "opm"
    summary = "drop the features of the modality that is ahead (OPM)"
    paper = (
        "Wei, Hu, Du, Wen: On-the-fly Modulation for Balanced Multimodal Learning, TPAMI 2024, "
        "arXiv 2410.11582"
    )
    fusions = (Concat,)
    policies = ("slice", "ablate")
    tasks = (Classification, MultiLabel)

    def __init__(
        self,
        *,
        q_base: Annotated[float, Bounds(0, 1)] = 0.5,
        strength: Annotated[float, Bounds(0)] = 0.5,
        p_exe: Annotated[float, Bounds(0, 1)] = 0.7,
        warm_up: Annotated[int | None, Bounds(0)] = None,
        rescale: Literal["common", "per_modality"] = "common",
    ) -> None:
        super().__init__()
        self.q_base, self.strength, self.p_exe = q_base, strength, p_exe
        self.warm_up, self.rescale = warm_up, rescale

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        first = round(0.06 * ctx.epochs) if self.warm_up is None else self.warm_up
        draw = float(ctx.uniform(torch.tensor([ctx.batch]), "opm"))
        if ctx.epoch < first or draw >= self.p_exe:
            return super().losses(out, batch, ctx)
        names, widths = ctx.model.modalities, ctx.model.fusion.widths
        scores = ctx.scores(out, batch)
        rates = drop_rates(scores, self.q_base, self.strength)
        present = torch.stack([batch.present[m] for m in names]).to(rates.device, non_blocking=True)
        draws = torch.stack([ctx.uniform(batch.index, f"opm {k}") for k in range(len(names))])
        # Not float64, which some devices lack; rounding must not reach 1.
        draws = draws.float().clamp(max=1 - 2**-24).to(rates.device, non_blocking=True)
        kept, chances = keep(present, scores.diagonal(), rates, draws)
        if self.rescale == "common":
            sizes = present * rates.new_tensor([widths[m] for m in names])[:, None]
            chances = ((sizes * chances).sum(0) / sizes.sum(0)).expand_as(chances)
        factors = torch.where(kept, 1 / chances, torch.zeros_like(chances))
        features = {
            m: out.features[m] * factor[:, None] for m, factor in zip(names, factors, strict=True)
        }
        return super().losses(ctx.model.fuse(features, batch.present), batch, ctx)


def drop_rates(scores: Tensor, q_base: float, strength: float) -> Tensor:
    """[M]: the probability ``q`` of dropping each modality's features.

    Args:
        scores: [M, M], see :meth:`counterpoise.Context.scores`.
        q_base: the probability where the ratio barely exceeds 1.
        strength: ``lambda``.
    """
    ratio = dominance(scores)
    rates = (q_base * (1 + strength * torch.tanh(ratio - 1))).clamp(0, 1)
    return torch.where(ratio > 1, rates, torch.zeros_like(rates))


def keep(present: Tensor, scores: Tensor, rates: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Which features stay, bool [M, B], and how probable that was, [M, B].

    Args:
        present: bool [M, B].
        scores: [M]; of the present modalities the one with the highest is kept if none would be.
        rates: [M], the probability of dropping each.
        draws: [M, B] in [0, 1).
    """
    kept = present & (draws >= rates[:, None])
    strongest = scores[:, None].expand_as(draws).masked_fill(~present, -torch.inf).argmax(0)
    last = torch.zeros_like(present).scatter_(0, strongest[None], True)
    kept = torch.where(kept.any(0), kept, last)
    all_dropped = torch.where(present, rates[:, None], torch.ones_like(draws)).prod(0)
    chances = 1 - rates[:, None] + last * all_dropped
    return kept, chances
