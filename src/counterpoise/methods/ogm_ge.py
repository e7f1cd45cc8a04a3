"""OGM-GE: gradient modulation with noise."""

from __future__ import annotations

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Output
from counterpoise.core.shards import share, whole
from counterpoise.engine.context import Context

from .ogm import OGM


class OGMGE(OGM):
    """Damp the gradients of the encoders that are ahead, and add noise to all (OGM-GE).

    Problem: as in OGM. In addition, a smaller gradient has less noise of its own, which costs
    generalisation; the added noise makes up for it.

    Formula:
        ``g := kappa_m g + n`` for each tensor in scope, with ``kappa_m`` as in OGM and ``n`` normal
        with mean 0 and the standard deviation of the entries of ``g`` before it was scaled. Every
        encoder gets noise, even one that is not ahead.

    Args:
        alpha: strength of the damping; with 0 only the noise is left.
        onset: ``"jump"`` (the paper) or ``"continuous"``, see OGM.
        start: first epoch with modulation and noise, from 0.
        end: last such epoch; ``None`` is half the run (the paper: 50 of 100).
        scope: ``"all"`` parameters of an encoder, its ``"matrices"`` (two dimensions or more), or
            ``"conv4d"``, the weights of its 2-D convolutions only (the published code).
        mode: ``"paper"``, or ``"released"``: what the published code computes at equal scores.

    Cost: that of OGM, plus a normal draw for each parameter in scope.

    State: none. The noise depends only on seed, epoch and batch, so it is the same on every rank
    and after a resume.

    Missing: an encoder that took no part in a batch gets no noise either; otherwise as in OGM.

    Differs: the paper derives the noise from the covariance of the gradient over batches; the
    published code takes one standard deviation for each tensor (and adds 1e-8 to it), and so does
    this implementation. A tensor with a single entry gets no noise. For the rest see OGM.
    """

    name = "ogm-ge"
    summary = "damp the gradients of the encoders that are ahead, and add noise (OGM-GE)"

    def modulate(self, out: Output, batch: Batch, ctx: Context) -> None:
        if not self.active(ctx):
            return
        model, generator = ctx.model, ctx.generator(ctx.model.device)
        chosen = [p for name in model.modalities for p in self.in_scope(model, name)]
        gradients = [p.grad for p in chosen if p.grad is not None]
        # Of an encoder that is split over the ranks, each draws the noise of all its parts.
        noise = [share(noise_like(whole(g), generator), g) for g in gradients]
        super().modulate(out, batch, ctx)
        for gradient, extra in zip(gradients, noise, strict=True):
            gradient.add_(extra)


def noise_like(gradient: Tensor, generator: torch.Generator) -> Tensor:
    """Normal noise with the standard deviation of a gradient's entries."""
    if gradient.numel() < 2:
        return torch.zeros_like(gradient)
    draw = torch.randn(
        gradient.shape, generator=generator, device=gradient.device, dtype=gradient.dtype
    )
    return draw * gradient.std()
