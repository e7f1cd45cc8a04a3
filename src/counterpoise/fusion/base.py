"""Fusions turn the features of all present modalities into logits, joint and unimodal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Lazy, Output
from counterpoise.core.declared import Length, Width
from counterpoise.core.mixture import Mixture, speaks_for
from counterpoise.core.names import ByModality, check_name
from counterpoise.core.presence import known
from counterpoise.core.recorded import Recorded
from counterpoise.core.registry import keyword_options
from counterpoise.errors import InputError, check_choice

UNIMODAL = ("slice", "ablate", "aux")


def weights(mask: Tensor, like: Tensor) -> Tensor:
    """A host mask [B] as a column of zeros and ones [B, 1] on the device of ``like``."""
    return mask.to(like.device, like.dtype, non_blocking=True)[:, None]


class Fusion(Recorded, nn.Module, ABC):
    """Base of all fusions.

    Attributes:
        policies: the values of ``unimodal`` that it accepts; ``"slice"`` needs a head that is a
            sum or a mean of parts, one for each modality.
        steps: whether it fuses sequences. Encoders then give [B, T, D], where ``T`` may differ
            between modalities; a modality that the whole batch lacks is [B, 1, D].

    Args:
        widths: modality -> width of its features ``D``, in the model's order.
        outputs: width of the logits, ``K``.
        unimodal: how ``Output.unimodal`` is computed. ``"slice"``: the exact share of each
            modality in the logits (their sum, or mean, over the present modalities is the logits).
            ``"ablate"``: the logits with only that modality present. ``"aux"``: an extra linear
            head per modality.
    """

    policies: tuple[str, ...] = UNIMODAL
    steps: bool = False

    def __init__(
        self, widths: Mapping[str, Width], outputs: Length, unimodal: str = "slice"
    ) -> None:
        super().__init__()
        check_choice("unimodal", unimodal, self.policies)
        if not widths:
            raise InputError("widths must name at least one modality")
        for name in widths:
            check_name(name, "widths")
        self.widths, self.outputs, self.policy = dict(widths), outputs, unimodal
        if unimodal == "aux":
            self.aux = ByModality({m: nn.Linear(w, outputs) for m, w in self.widths.items()})

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Option -> default: the keyword-only arguments, which a label may set after the name."""
        return {o: value for o, value in keyword_options(cls).items() if o != "unimodal"}

    @abstractmethod
    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        """Features [B, (T,) D] by modality, masks [B], exact shares -> logits [B, K]."""

    def share(self, name: str, features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
        """The exact share [B, K] of one modality; ``counts`` [B]: how many each sample has."""
        raise InputError(f"{type(self).__name__} has no share for each modality; pass unimodal=aux")

    def own_parts(self, name: str) -> list[nn.Module]:
        """The modules that serve the modality ``name`` alone, without its extra head."""
        return []

    def own(self, name: str) -> nn.ModuleList | None:
        """:meth:`own_parts`, then the extra head if there is one; ``None`` without any."""
        extra = [self.aux[name]] if self.policy == "aux" else []
        parts = [*self.own_parts(name), *extra]
        return nn.ModuleList(parts) if parts else None

    def pooled(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The features of each modality as one vector per sample [B, D].

        A sequence becomes the mean of its steps; steps that are all zero are padding and do not
        count. These are ``Output.features``, which extra heads (``"aux"``) and methods read.
        """
        return {m: _mean(z) if z.dim() == 3 else z for m, z in features.items()}

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Output:
        """Features [B, (T,) D], zero rows where absent, and host masks [B] -> Output."""
        shares, pooled = self._shares(features, present), self.pooled(features)
        unimodal = shares
        if self.policy == "aux":
            unimodal = Lazy(tuple(self.widths), lambda m: self.aux[m](pooled[m]))
        elif self.policy == "ablate":
            unimodal = Lazy(tuple(self.widths), lambda m: self._ablate(m, features, present))
        return Output(self.logits(features, present, shares), unimodal, pooled)

    def mixture(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Mixture | None:
        """The logits of every subset of the modalities as arithmetic; ``None`` if they are not so.

        Args:
            features: [B, (T,) D] by modality, zero rows where absent.
            present: host masks [B] by modality.
        """
        return None

    def find_mixture(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Mixture | None:
        """:meth:`mixture`, unless a derived class computes its logits in another way."""
        if not speaks_for(type(self), "mixture", ("logits", "forward", "_shares")):
            return None
        return self.mixture(features, present)

    def _shares(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Lazy:
        counts = torch.stack([present[m] for m in self.widths]).sum(0).clamp(min=1)
        return Lazy(tuple(self.widths), lambda m: self.share(m, features, counts))

    def _ablate(
        self, name: str, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Tensor:
        alone = {m: z if m == name else torch.zeros_like(z) for m, z in features.items()}
        masks = {m: mask if m == name else known(mask, False) for m, mask in present.items()}
        return self.logits(alone, masks, self._shares(alone, masks))


def _mean(steps: Tensor) -> Tensor:
    """[B, T, D] -> [B, D], the mean over the steps that are not all zero."""
    return steps.sum(1) / (steps != 0).any(2).sum(1, keepdim=True).clamp(min=1)
