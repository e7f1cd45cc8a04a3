"""A head that compares directions only, so that long features give a modality no advantage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoise.core.batch import Lazy
from counterpoise.core.declared import Bounds
from counterpoise.core.mixture import Mixture
from counterpoise.core.names import ByModality

from .linear import Additive


def direction(vectors: Tensor, least: float = 1e-12) -> Tensor:
    """[..., D] scaled to length 1; 0, with gradient 0, for those shorter than ``least``."""
    length = vectors.norm(dim=-1, keepdim=True)
    scaled = vectors / length.clamp(min=least)
    return torch.where(length >= least, scaled, torch.zeros_like(scaled))


class Cosine(Additive):
    """Scaled cosines between features and classes: ``f = M * mean_m u_m`` over present ``m``.

    The share of a modality is ``u_mc = scale * cos(W_mc, z_m)``, without bias; features of zero
    give 0. On a complete sample ``f`` is the sum of the shares, and its range is
    ``-scale * M .. scale * M`` on every sample.

    Attributes:
        scale: [], a buffer, since it belongs to the trained weights.
    """

    scale: Tensor

    def __init__(
        self,
        widths: Mapping[str, int],
        outputs: int,
        unimodal: str = "slice",
        *,
        scale: Annotated[float, Bounds(1e-6)] = 10.0,
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        self.heads = ByModality(
            {m: nn.Linear(w, outputs, bias=False) for m, w in self.widths.items()}
        )
        self.register_buffer("scale", torch.tensor(float(scale)))

    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        return super().logits(features, present, shares) * len(self.widths)

    def mixture(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Mixture | None:
        found = super().mixture(features, present)
        return None if found is None else found.scaled(len(self.widths))

    def share(self, name: str, features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
        rows = cast(Tensor, self.heads[name].weight)
        return self.scale * F.linear(direction(features[name]), direction(rows))

    def own_parts(self, name: str) -> list[nn.Module]:
        return [self.heads[name]]
