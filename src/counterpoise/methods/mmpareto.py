"""MMPareto: a common descent direction of the fused and the unimodal loss, per encoder."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from counterpoise.core.declared import Bounds
from counterpoise.core.shards import share, whole
from counterpoise.engine.context import Context

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
    for_encoders = True

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
            found = combine(both, self.mode, self.gamma) if chosen else []
            for p, gradient in zip(chosen, found, strict=True):
                p.grad = share(gradient, p)
        for p, (j, u) in pairs.items():
            p.grad = j + u


def combine(
    pairs: list[tuple[Tensor, Tensor]], mode: str = "paper", gamma: float = 1.0
) -> list[Tensor]:
    """The common gradient of two losses, as long as their sum at least.

    Lengths follow from three products, so that large encoders are passed over few times.

    Args:
        pairs: the gradients of both losses for each parameter of an encoder; used up.
        mode: ``"paper"`` or ``"released"``.
        gamma: a factor on the result.
    """
    first, second = [j for j, _ in pairs], [u for _, u in pairs]
    own, other, both = dots(first, first), dots(second, second), dots(first, second)
    conflict = (both.sum() <= 0) & (own.sum() > 0) & (other.sum() > 0)
    weight = (other.sum() - both.sum()) / (own.sum() - 2 * both.sum() + other.sum())
    a = torch.where(conflict, weight.clamp(0, 1), own.new_tensor(0.5))
    for x, y in zip(first, second, strict=True):
        x.lerp_(y, (1 - a).to(x.dtype))  # a x + (1 - a) y, in one pass
    mixed = dots(first, first)
    if mode == "paper":  # on the whole vector, in place of each tensor
        own, other, both, mixed = (x.sum() for x in (own, other, both, mixed))
    factor = 2 * gamma * _find_factor(mixed, own, other, both)
    torch._foreach_mul_(first, factor if mode == "paper" else list(factor))
    return first


def dots(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """[P]: the scalar product of each pair of tensors."""
    products = [x.reshape(-1) @ y.reshape(-1) for x, y in zip(first, second, strict=True)]
    return torch.stack(products)


def _find_factor(mixed: Tensor, own: Tensor, other: Tensor, both: Tensor) -> Tensor:
    """The factor that makes twice the combination as long as the plain sum, at least 1.

    Args:
        mixed: the square of the combination's length.
        own, other, both: the scalar products of the two gradients.
    """
    length = 2 * mixed.sqrt()
    # If the gradients are opposite, only rounding is left, which must not be made longer.
    nothing = length <= 1e-6 * (own.sqrt() + other.sqrt())
    whole = (own + 2 * both + other).clamp(min=0).sqrt()
    return torch.where(nothing, torch.ones_like(length), (whole / length).clamp(min=1))
