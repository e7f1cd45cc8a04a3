"""AMCo: mask, more and more, the modality that the prediction depends on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.presence import some
from counterpoise.core.tasks import Classification
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.fusion import Concat, Sum
from counterpoise.models.multimodal import MultimodalModel


class AMCo(Method):
    """Mask the logits of the modality that prediction depends on, more and more (AMCo).

    Problem: a model that depends on one modality has no reason to learn from the others. Once that
    modality is masked, it has to.

    Formula:
        ``u_m`` are the shares of the present modalities in the logits.

        1. Dependence ``D_im = sum_c softmax([u_i1; ...; u_iM])_mc``, where the softmax runs over
           all classes of all present modalities together; ``sum_m D_im = 1``, and ``D_m`` is its
           batch mean.
        2. ``m`` is masked in the next step if ``D_m`` exceeds ``threshold``.
        3. One mask for each batch: it is 0 at ``floor(pi C)`` of the ``C`` classes, drawn at
           random, with ``pi = sin(pi/2 * min(l, end) / end)`` at progress ``l``, the fraction of
           training that is done.
        4. ``u_m := mask * u_m`` for masked ``m``; ``f = W* (sum_m u_m) + b*``, where the method's
           own linear layer starts as the identity.
        5. ``L = CE(f, y) + sum_m CE(u_m, y)``, with the masked ``u_m``.

        Prediction is ``f`` without masks.

    Args:
        threshold: ``sigma``; ``None`` takes 1/2 for two modalities and 1/M + 0.1 for more.
        end: fraction of training after which all classes are masked.

    Cost: that of joint training.

    State: ``linear`` (``W*`` [C, C], ``b*``, trained with the model), ``masked`` [M] (which
    modalities the next step masks).

    Missing: ``D_im`` is taken over the modalities that a sample has, and compared with samples that
    have as many: ``m`` is masked if ``D_im - 1/A_i`` exceeds ``threshold - 1/M``, averaged over the
    samples that have ``m`` and at least one other modality. A sample whose present modalities would
    all be masked is left as it is.

    Differs: no code by the authors is known; a public benchmark includes the method. There,
    progress starts again in each epoch and grows by a tenth of the epoch's number per *batch*, so
    everything is masked after a few batches and the first epoch masks nothing; the mask is also cut
    in half for two devices. Masking classes, and letting the unimodal losses see the masks, follows
    the benchmark (an earlier version of it masks features, and keeps a flag until the end of the
    epoch). Progress over the whole run, dependence from unmasked logits, and the threshold for more
    than two modalities are ours.
    """

    name = "amco"
    summary = "mask the modality that prediction depends on, more and more (AMCo)"
    paper = (
        "Zhou, Liang, Zheng, Xuan, Kumada: Adaptive Mask Co-optimization for Modal Dependence in "
        "Multimodal Learning, ICASSP 2023, doi 10.1109/ICASSP49357.2023.10096641"
    )
    fusions = (Concat, Sum)
    policies = ("slice",)
    tasks = (Classification,)
    reads = ("linear",)

    linear: nn.Linear
    masked: Tensor

    def __init__(
        self,
        *,
        threshold: Annotated[float | None, Bounds(0, 1)] = None,
        end: Annotated[float, Bounds(1e-6, 1)] = 0.3,
    ) -> None:
        super().__init__()
        self.threshold, self.end = threshold, end

    def setup(self, ctx: Context) -> None:
        device, classes = ctx.model.device, ctx.task.outputs
        self.linear = nn.Linear(classes, classes)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        ctx.adopt(self.linear)
        count = len(ctx.model.modalities)
        self.register_buffer("masked", torch.zeros(count, dtype=torch.bool, device=device))

    def lead(self, count: int) -> float:
        """How far above an equal share of dependence a modality is masked."""
        if self.threshold is not None:
            return self.threshold - 1 / count
        return 0.0 if count == 2 else 0.1

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        logits, here = shares(out, batch)
        progress = (ctx.epoch + ctx.batch / ctx.batches) / ctx.epochs
        zeros = masked_classes(logits.shape[-1], progress / self.end, ctx.generator())
        hit = hits(self.masked, here)[..., None] & zeros.to(logits.device, non_blocking=True)
        seen = logits.masked_fill(hit, 0)
        losses = {"fused": ctx.loss(self.fused(seen, here), batch)}
        for u, (name, mask) in zip(seen, batch.present.items(), strict=True):
            if ctx.any(mask):
                losses[f"{name} alone"] = ctx.loss(u, batch, mask)
        self._look(logits.detach(), here, ctx)
        return losses

    def _look(self, logits: Tensor, here: Tensor, ctx: Context) -> None:
        """Decide which modalities the next step masks."""
        several = here & (here.sum(0) > 1)
        ahead = dependence(logits, here) - 1 / here.sum(0).clamp(min=1)
        number = ctx.stat(several.T.to(logits.dtype))
        mean = ctx.stat((ahead * several).T) / number
        above = mean > self.lead(len(here)) + 1e-6
        self.masked.copy_(torch.where(number > 0, above, self.masked))

    def fused(self, logits: Tensor, here: Tensor) -> Tensor:
        """[M, B, K], bool [M, B] -> [B, K]: the sum of the present through the linear layer."""
        if "linear" not in self._modules:
            raise InputError("amco predicts with a layer of its own; pass the method that trained")
        total: Tensor = self.linear((logits * here[..., None]).sum(0))
        return total

    def predict(self, model: MultimodalModel, batch: Batch) -> Tensor:
        return self.fused(*shares(model(batch), batch))

    def load_rule(self, state: Mapping[str, Tensor]) -> None:
        self.linear = nn.Linear(*state["linear.weight"].shape)
        super().load_rule(state)


def shares(out: Output, batch: Batch) -> tuple[Tensor, Tensor]:
    """The shares in the logits [M, B, K], and bool [M, B] where they are present."""
    # The head of a modality that no sample has must get no gradient, not one of zero.
    nothing = torch.zeros_like(out.logits)
    if not any(map(some, batch.present.values())):
        # Other ranks have some, and this one has to go back through the encoders with them.
        nothing = nothing + torch.stack([z[:0].sum() for z in out.features.values()]).sum()
    found = [out.unimodal[m] if some(p) else nothing for m, p in batch.present.items()]
    here = torch.stack(list(batch.present.values()))
    return torch.stack(found), here.to(nothing.device, non_blocking=True)


def dependence(logits: Tensor, present: Tensor) -> Tensor:
    """[M, B, K], bool [M, B] -> [M, B]: each modality's share of the softmax over all logits."""
    totals = logits.logsumexp(-1).masked_fill(~present, -torch.inf)
    return totals.softmax(0).nan_to_num(0.0)


def masked_classes(classes: int, progress: float, generator: torch.Generator) -> Tensor:
    """bool [K]: ``floor(K sin(pi/2 min(progress, 1)))`` random classes."""
    # The slack keeps rounding from turning a whole number into the one below.
    count = math.floor(classes * math.sin(math.pi / 2 * min(progress, 1.0)) + 1e-9)
    chosen = torch.randperm(classes, generator=generator)[:count]
    return torch.zeros(classes, dtype=torch.bool).index_fill_(0, chosen, True)


def hits(masked: Tensor, present: Tensor) -> Tensor:
    """bool [M], bool [M, B] -> bool [M, B]: what is masked, unless nothing else would be left."""
    return masked[:, None] & (present & ~masked[:, None]).any(0)
