"""MMPareto: a common descent direction of the fused and the unimodal loss, per encoder."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn

from counterpoise.core.declared import Bounds
from counterpoise.core.shards import share, whole
from counterpoise.engine.context import Context

from .gradients import flat, min_norm
from .multi_loss import MultiLoss


class MMPareto(MultiLoss):
    """Two losses per encoder, fused and unimodal, combined so that neither is descended backwards.

    Problem: in an encoder the gradients of the fused and the unimodal loss may point against each
    other. Their sum then serves only one of them. The shortest combination (Pareto) serves both,
    but it leans on the smaller gradient and is short, and short steps lose the noise that helps
    generalisation.

    Formula:
        For each modality ``m`` on its own (any number of them), over all parameters of its encoder,
        with ``g_J`` the gradient of the fused loss and ``g_U`` that of ``CE(u_m, y)``:

        1. ``a = 1/2`` if ``<g_J, g_U> > 0``, else the ``a`` in [0, 1] for which
           ``a g_J + (1 - a) g_U`` is shortest:
           ``a = (|g_U|^2 - <g_J, g_U>) / |g_J - g_U|^2``.
        2. ``h = 2 a g_J + 2 (1 - a) g_U``, and the encoder's gradient becomes
           ``gamma max(1, |g_J + g_U| / |h|) h``.

        The heads keep the plain sum of all gradients.

    Args:
        gamma: factor on the encoders' gradients. With 1, and as long as the gradients agree, this
            is ``multi-loss``. The control for the factor is ``multi-loss`` with the same
            ``encoder_lr``.
        mode: ``"paper"``: the length is restored over the whole encoder; or ``"released"``: for
            each parameter tensor, as in the published code, which changes the direction.

    Cost: one backward for the fused loss and one for all unimodal losses (they reach different
    encoders), and three vectors as long as the model.

    State: none.

    Missing: each loss is a mean over the samples that have the modality; an encoder whose modality
    no sample of the batch has is left alone. Prediction is that of ``multi-loss``.

    Differs: the published code takes norms for each parameter tensor (``mode="released"``), so that
    its step is not a combination of the two gradients. It runs four backward passes; its inner
    products count every entry twice, which changes nothing; it limits ``a`` to .001 to .999, which
    acts only where one gradient is zero, and the restored length then makes it the plain sum: here
    a zero gradient counts as no conflict. Where the shortest combination vanishes (opposite
    gradients) it divides 0 by 0; here the encoder then gets (almost) no gradient. ``gamma = 1.5``
    also multiplies gradients that agree, so part of a gain may be that of a larger learning rate.
    """

    name = "mmpareto"
    summary = "combine fused and unimodal gradients of an encoder without conflict (MMPareto)"
    paper = "Wei, Hu: MMPareto, ICML 2024, arXiv 2405.17730"
    passes = (1, 2)

    def __init__(
        self,
        *,
        gamma: Annotated[float, Bounds(0)] = 1.5,
        mode: Literal["paper", "released"] = "paper",
    ) -> None:
        super().__init__()
        self.gamma, self.mode = gamma, mode

    def backward(self, losses: dict[str, Tensor], ctx: Context) -> None:
        alone = [loss for name, loss in losses.items() if name != "fused"]
        fused = ctx.gradients(losses["fused"], retain_graph=True)
        own = ctx.gradients(torch.stack(alone).sum())
        pairs: dict[nn.Parameter, tuple[Tensor, Tensor]] = {}
        for p, j, u in zip(ctx.parameters(), fused, own, strict=True):
            if j is not None or u is not None:
                j = torch.zeros_like(p) if j is None else j
                u = torch.zeros_like(p) if u is None else u
                pairs[p] = (j, u)
        for name in ctx.model.modalities:
            chosen = [p for p in ctx.model.encoder_parameters(name) if p in pairs]
            both = [(whole(j), whole(u)) for j, u in map(pairs.pop, chosen)]
            found = combine(both, self.mode) if chosen else []
            for p, gradient in zip(chosen, found, strict=True):
                p.grad = share(gradient.mul_(self.gamma), p)
        for p, (j, u) in pairs.items():
            p.grad = j + u


def combine(pairs: list[tuple[Tensor, Tensor]], mode: str = "paper") -> list[Tensor]:
    """The common gradient of two losses, as long as their sum at least.

    Args:
        pairs: the gradients of both losses for each parameter of an encoder.
        mode: ``"paper"`` or ``"released"``.
    """
    first = cast(Tensor, flat([j for j, _ in pairs]))
    second = cast(Tensor, flat([u for _, u in pairs]))
    conflict = (first @ second <= 0) & (first.norm() > 0) & (second.norm() > 0)
    a = torch.where(conflict, min_norm(first, second), first.new_tensor(0.5))
    if mode == "paper":
        # On whole vectors, since encoders are large and each pass over them costs time.
        mixed = a * first + (1 - a) * second
        mixed.mul_(2 * _find_factor(mixed, first, second))
        parts = torch.split(mixed, [j.numel() for j, _ in pairs])
        return [part.view_as(j) for part, (j, _) in zip(parts, pairs, strict=True)]
    every = [(a * j + (1 - a) * u, j, u) for j, u in pairs]
    return [2 * _find_factor(mixed, j, u) * mixed for mixed, j, u in every]


def _find_factor(mixed: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """[]: the factor that makes twice the combination as long as the plain sum, at least 1."""
    length = 2 * mixed.norm()
    # If the gradients are opposite, only rounding is left, which must not be made longer.
    nothing = length <= 1e-6 * (first.norm() + second.norm())
    factor = ((first + second).norm() / length).clamp(min=1)
    return torch.where(nothing, torch.ones_like(factor), factor)
