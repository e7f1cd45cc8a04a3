"""QMF: fusion weights by energy, made to rank samples as their loss history does."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.mixture import Mixture
from counterpoise.core.presence import some
from counterpoise.core.tasks import Classification
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.fusion import Late
from counterpoise.models.multimodal import MultimodalModel


class QMF(Method):
    """Weigh each modality of each sample by its energy, and train these weights to rank well (QMF).

    Problem: the quality of a modality differs from sample to sample, and fixed fusion weights
    cannot follow it.

    Formula:
        Each modality has a classifier with logits ``u_im``.

        1. Weight ``w_im = log sum_c exp(u_imc) / tau``; ``f_i = sum_m sg(w_im) u_im`` over the
           present modalities. The weights are not normalised, and the fused loss does not train
           them (``sg``: no gradient).
        2. History ``h_im``: the mean of ``CE(u_im, y_i)`` over all times that sample ``i`` was
           trained on, this one included; ``n_im = (h_im - min_j h_jm) / (max_j h_jm - min_j h_jm)``
           over the training samples seen so far.
        3. For sample ``i`` and the next one ``j`` of the batch (after the last, the first), where
           both have ``m``: ``t = sign(n_im - n_jm)``, ``d = |n_im - n_jm|``,
           ``R_m = mean_i [t (w_im - w_jm) + d]_+``. The sample with the greater losses should have
           the lower weight, by at least ``d``.
        4. ``L = CE(f, y) + sum_m CE(u_m, y) + ranking * sum_m R_m``.

        Prediction is ``f``.

    Args:
        tau: temperature of the weights.
        ranking: the weight ``lambda`` of the ranking losses.
        energy: whether ``log sum exp`` is taken ``"raw"``, or ``"clamped"`` to at least 0:
            otherwise, confident logits that are all far below 0 would get a negative weight.
        mode: ``"paper"``, or ``"released"``: what the published code computes.

    Cost: that of joint training, and two numbers for each training sample and modality.

    State: ``history`` [N, M] (mean losses) and ``counts`` [N, M].

    Missing: an absent modality has no weight, no loss and no history, and forms no pairs.

    Differs: in the published code (a) the margin has the wrong sign, ``[t (w_i - w_j) - d]_+``: it
    tolerates a wrong order up to ``d`` where the paper demands the right one by ``d``; (b) the
    history is a sum, so that samples seen more often count as harder, and unseen ones as the
    easiest. ``mode="released"`` computes both. In every mode, where all histories are equal there
    is nothing to rank (the published code divides 0 by 0), and pairs are taken within the global
    batch, whatever the number of processes.
    """

    name = "qmf"
    summary = "late fusion by energy weights that rank as the losses do (QMF)"
    paper = (
        "Zhang, Wu, Zhang, Hu, Fu, Zhou, Peng: Provable Dynamic Fusion for Low-Quality Multimodal "
        "Data, ICML 2023, arXiv 2306.02050"
    )
    fusions = (Late,)
    policies = ("slice",)
    tasks = (Classification,)
    reads = ()

    history: Tensor
    counts: Tensor

    def __init__(
        self,
        *,
        tau: Annotated[float, Bounds(1e-6)] = 10.0,
        ranking: Annotated[float, Bounds(0)] = 1.0,
        energy: Literal["raw", "clamped"] = "raw",
        mode: Literal["paper", "released"] = "paper",
    ) -> None:
        super().__init__()
        self.tau, self.ranking, self.energy, self.mode = tau, ranking, energy, mode

    def setup(self, ctx: Context) -> None:
        shape = len(ctx.loaders["train"].samples), len(ctx.model.modalities)
        self.register_buffer("history", torch.zeros(shape, device=ctx.model.device))
        self.register_buffer("counts", torch.zeros(shape, device=ctx.model.device))

    def weight(self, logits: Tensor) -> Tensor:
        """[B, K] -> [B]: the fusion weight of each sample."""
        energy = logits.logsumexp(1)
        return (energy if self.energy == "raw" else energy.clamp(min=0)) / self.tau

    def fused(self, out: Output, batch: Batch) -> Tensor:
        """[B, K]: the present modalities' logits, weighted."""
        total = torch.zeros_like(out.logits)
        for name, mask in batch.present.items():
            if some(mask):
                u = out.unimodal[name]
                weight = self.weight(u).detach() * mask.to(u.device, non_blocking=True)
                total = total + weight[:, None] * u
        return total

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        losses = {"fused": ctx.loss(self.fused(out, batch), batch)}
        device = out.logits.device
        rows = ctx.gather(batch.index.to(device))
        for k, (name, mask) in enumerate(batch.present.items()):
            if not ctx.any(mask):
                continue
            u, here = out.unimodal[name], mask.to(device, non_blocking=True)
            loss = ctx.task.loss(u, batch.target)
            losses[f"{name} alone"] = ctx.mean(ctx.weigh(loss, batch), mask)
            table = torch.stack([self.weight(u), loss.detach(), here.to(u.dtype)], 1)
            weight, seen, both = ctx.gather(table).unbind(1)
            self._remember(k, rows, seen.detach(), both.detach())
            harder = self._normalise(k)[rows]
            shift = -1.0 if self.mode == "released" else 1.0
            wrong = ranking_loss(weight, harder, both.detach() > 0, shift)
            losses[f"{name} ranking"] = self.ranking * wrong
        return losses

    def _remember(self, k: int, rows: Tensor, loss: Tensor, here: Tensor) -> None:
        """Add the losses [G] of the samples ``rows`` that have the ``k``-th modality."""
        counts = self.counts[rows, k] + here
        mean = self.history[rows, k]
        self.history[rows, k] = mean + here * (loss - mean) / counts.clamp(min=1)
        self.counts[rows, k] = counts

    def _normalise(self, k: int) -> Tensor:
        """[N]: the history of the ``k``-th modality between its least, 0, and its greatest, 1."""
        values, seen = self.history[:, k], self.counts[:, k] > 0
        if self.mode == "released":
            values, seen = values * self.counts[:, k], torch.ones_like(seen)
        least = values.masked_fill(~seen, torch.inf).min()
        width = values.masked_fill(~seen, -torch.inf).max() - least
        return torch.where(width > 0, (values - least) / width, torch.zeros_like(values))

    def predict(self, model: MultimodalModel, batch: Batch) -> Tensor:
        return self.fused(model(batch), batch)

    def mixture(self, model: MultimodalModel, batch: Batch) -> Mixture | None:
        found = model.mixture(batch)  # of Late: what each modality says, where it is present
        if found is None or found.weights is None:
            return None
        weights = self.weight(found.values.flatten(0, 1)).view_as(found.weights)
        return Mixture(found.values * (weights * found.weights)[..., None])


def ranking_loss(weight: Tensor, harder: Tensor, here: Tensor, shift: float = 1.0) -> Tensor:
    """Mean over the pairs of neighbours of ``[sign(n_i - n_j) (w_i - w_j) + shift |n_i - n_j|]_+``.

    Args:
        weight: [G], ``w``; receives the gradient.
        harder: [G], ``n``, how hard each sample was.
        here: bool [G]; a pair counts where both are.
        shift: 1, or -1 for a tolerance in place of a margin.

    Returns:
        []; 0 without any pair.
    """
    pairs = here & here.roll(-1)
    gap = harder - harder.roll(-1)
    wrong = (gap.sign() * (weight - weight.roll(-1)) + shift * gap.abs()).relu()
    return torch.where(pairs, wrong, torch.zeros_like(wrong)).sum() / pairs.sum().clamp(min=1)
