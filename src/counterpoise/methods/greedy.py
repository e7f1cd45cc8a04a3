"""Greedy: keep the modality that uses the others most from hearing them for a while."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.shards import sum_squares
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.fusion import MMTM


class Greedy(Method):
    """Balance gated branches by how fast they and their gates learn (Greedy).

    Problem: a network whose modalities gate each other comes to rely on the branch that learns
    fastest, and hardly uses the others. The method measures, during training, how fast each branch
    learns compared with how fast it learns to use the others. Where modalities differ in this, the
    one ahead is trained alone for some steps.

    Formula:
        The model has a branch for each modality, gated by all of them (``MMTM``):
        ``u_m = W_m (e_m * z_m) + b_m`` with the gate ``e_m``, and ``f = mean_m u_m`` predicts. The
        loss of every step is ``sum_m CE(u_m, y)``.

        1. In regular steps, ``mu_m^g += sum ||grad||^2 / sum ||w||^2`` over the parameters of each
           of two groups ``g``: *main*, the encoder and classifier of ``m``; *byp*, the squeeze
           layer that all share and the excitation layer of ``m``.
        2. ``BDR_m = log10(mu_m^byp / mu_m^main)``, ``d_m = BDR_m - mean_{k != m} BDR_k``.
        3. If ``m* = argmax_m d_m`` has ``d_{m*} > margin``, the next ``steps`` steps are curation
           steps; then comes a regular one.
        4. In a curation step the gate of ``m*`` is held at its running mean over the regular steps:
           the branch receives nothing from the others, and its excitation layer does not change.
           ``mu`` and the means are not updated.

    Args:
        margin: the smallest ``d`` that starts a curation, in powers of ten.
        steps: how many steps a curation lasts.
        warm_up: epochs of regular steps before the first curation.
        choice: ``"guided"`` by ``d``, or ``"random"``: a uniform draw decides whether each step is
            regular or curates one of the modalities; ``margin`` and ``steps`` are then not used.

    Cost: the gates run twice in regular steps, the second time without gradients. After the
    warm-up, each step reads one number from the device (except with ``"random"``).

    State: ``speeds`` [2, M] (``mu``, *byp* and *main*), ``curation`` [2] (``m*`` and the steps that
    are left); the fusion's ``gate_mean``, ``feature_mean`` and ``tracked``.

    Missing: in the input of the gates, a missing modality is replaced by the running mean of its
    features. A branch's loss and means are taken over the samples that have it; the ``mu`` of a
    modality that no sample of the batch has is not updated.

    Differs: the paper gates feature maps after several stages of the encoders; here encoders are
    black boxes, and one module gates their last features. That is a choice of this library, as is
    the rule for more than two modalities (with two it is the paper's ``|d| > margin``). The
    published code updates the mean gate of its second modality with the gate of the first,
    allocates it with the first's width, leaves the means out of checkpoints, and updates them in
    evaluation and curation too; none of this is repeated.
    """

    name = "greedy"
    summary = "curate the branch that learns to use the others fastest (Greedy)"
    paper = "Wu, Jastrzebski, Cho, Geras: Greedy Nature of Learning, ICML 2022, arXiv 2202.05306"
    fusions = (MMTM,)
    policies = ("slice",)

    speeds: Tensor
    curation: Tensor

    def __init__(
        self,
        *,
        margin: Annotated[float, Bounds(0)] = 0.01,
        steps: Annotated[int, Bounds(1)] = 5,
        warm_up: Annotated[int, Bounds(0)] = 1,
        choice: Literal["guided", "random"] = "guided",
    ) -> None:
        super().__init__()
        self.margin, self.steps, self.warm_up, self.choice = margin, steps, warm_up, choice

    def setup(self, ctx: Context) -> None:
        self.register_buffer("speeds", torch.zeros(2, len(ctx.model.modalities)))
        self.register_buffer("curation", torch.zeros(2, dtype=torch.int64))

    def transform(self, batch: Batch, ctx: Context) -> Batch:
        cast(MMTM, ctx.model.fusion).held = self._choose_target(ctx)
        return batch

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        present = batch.present.items()
        return {
            f"{m} alone": ctx.loss(out.unimodal[m], batch, mask)
            for m, mask in present
            if ctx.any(mask)
        }

    def modulate(self, out: Output, batch: Batch, ctx: Context) -> None:
        fusion = cast(MMTM, ctx.model.fusion)
        guided = self.choice == "guided"
        if fusion.held is not None:
            fusion.held = None
            if guided:
                self.curation[1] -= 1
            return
        with torch.no_grad():
            gates = fusion.gates(out.features, batch.present)
        for k, name in enumerate(ctx.model.modalities):
            if not ctx.any(mask := batch.present[name]):
                continue
            gate, feature = ctx.stat(torch.stack([gates[name], out.features[name]], 1), mask)
            fusion.track(name, gate, feature)
            main = [*ctx.model.encoder_parameters(name), *fusion.heads[name].parameters()]
            bypass = [*fusion.squeeze.parameters(), *fusion.excitations[name].parameters()]
            self.speeds[:, k] += torch.stack([speed(bypass), speed(main)])
        if guided and ctx.epoch >= self.warm_up:
            ahead = lead(self.speeds[0], self.speeds[1])
            most, target = ahead.max(0)
            self.curation.copy_(torch.stack([target, (most > self.margin) * self.steps]))

    def _choose_target(self, ctx: Context) -> str | None:
        """The modality that this step is for, if it is one for curation."""
        names = ctx.model.modalities
        if ctx.epoch < self.warm_up:
            return None
        if self.choice == "random":
            draw = ctx.uniform(torch.tensor([ctx.batch]), "curation")
            return (None, *names)[int(draw * (len(names) + 1))]
        # The host must know whether the excitation layer gets a gradient.
        target, left = self.curation.tolist()
        return names[target] if left else None


def speed(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Squared norm of the gradients over that of the weights [], of those that have gradients."""
    moved = [(p.grad, p.detach()) for p in parameters if p.grad is not None]
    if not moved:
        return torch.zeros((), device=parameters[0].device)
    grads, weights = (sum_squares(side) for side in zip(*moved, strict=True))
    return grads / weights


def lead(bypass: Tensor, main: Tensor) -> Tensor:
    """[M], [M] -> [M]: ``d_m``, how far each modality's BDR is ahead of the others' mean.

    Minus infinity where a sum is still zero, or where there is no other to compare with.
    """
    known = (bypass > 0) & (main > 0)
    ratio = torch.where(known, (bypass / main).log10(), torch.zeros_like(main))
    others = (ratio.sum() - ratio) / (known.sum() - 1)
    ahead = torch.where(known, ratio - others, torch.full_like(ratio, -torch.inf))
    return ahead.nan_to_num(-torch.inf, neginf=-torch.inf)
