"""Linear heads: logits that are the sum or the mean of what each modality says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoise.core.batch import Lazy, Output
from counterpoise.core.declared import Width
from counterpoise.core.mixture import Mixture
from counterpoise.core.names import ByModality
from counterpoise.core.presence import every, is_dense, some

from .base import Fusion, weights


class Concat(Fusion):
    """One linear head on all features side by side: ``f = sum_m W_m z_m + b`` over present ``m``.

    The share of a modality is ``W_m z_m + b / A``, ``A`` the number of modalities the sample has.

    Attributes:
        order: the modalities as their columns stand in the head's weight.
    """

    def __init__(self, widths: Mapping[str, int], outputs: int, unimodal: str = "slice") -> None:
        super().__init__(widths, outputs, unimodal)
        self.order = tuple(self.widths)
        self.head = nn.Linear(sum(self.widths.values()), outputs)

    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        used = [m for m in self.order if some(present[m])] if is_dense() else []
        if 0 < len(used) < len(self.widths):  # the columns of the others are left out
            columns = self.slices()
            chosen = torch.cat([columns[m] for m in used], 1)
            return F.linear(torch.cat([features[m] for m in used], 1), chosen, self.head.bias)
        return cast(Tensor, self.head(torch.cat([features[m] for m in self.order], 1)))

    def mixture(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Mixture | None:
        columns = self.slices()
        values = [F.linear(features[m], columns[m]) for m in self.widths]
        return Mixture.sum(values, [present[m] for m in self.widths], self.head.bias)

    def slices(self) -> dict[str, Tensor]:
        """Modality -> its columns ``W_m`` [K, D] of the head's weight."""
        parts = torch.split(self.head.weight, [self.widths[m] for m in self.order], dim=1)
        columns = dict(zip(self.order, parts, strict=True))
        return {m: columns[m] for m in self.widths}

    def columns(self, name: str) -> Tensor:
        """The columns ``W_m`` [K, D] of one modality, without those of the others.

        Cut by itself: to split the whole weight for each modality would take M² pieces a step.
        """
        start = 0
        for other in self.order:
            if other == name:
                break
            start += self.widths[other]
        return self.head.weight[:, start : start + self.widths[name]]

    def share(self, name: str, features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
        z = features[name]
        bias = self.head.bias / counts.to(z.device, z.dtype, non_blocking=True)[:, None]
        return F.linear(z, self.columns(name)) + bias


class Additive(Fusion):
    """Logits that are the sum, or the mean, of what each present modality says."""

    mean = True

    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        used = [m for m in self.widths if some(present[m])]
        if not used:
            return self._say_nothing(features)
        first = shares[used[0]]
        if all(every(present[m]) for m in used):
            total = sum((shares[m] for m in used[1:]), first)
            return total / len(used) if self.mean else total
        masks = {m: weights(present[m], first) for m in used}
        total = sum((shares[m] * masks[m] for m in used[1:]), first * masks[used[0]])
        if not self.mean:
            return total
        return total / sum(masks.values(), torch.zeros_like(masks[used[0]])).clamp(min=1)

    def mixture(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Mixture | None:
        shares, make = self._shares(features, present), Mixture.mean if self.mean else Mixture.sum
        return make([shares[m] for m in self.widths], [present[m] for m in self.widths])

    def _say_nothing(self, features: Mapping[str, Tensor]) -> Tensor:
        """[B, K] zeros, where no sample has anything, such as on a rank without samples.

        No weight takes part in them: gradients of zero, instead of none, would let momentum and
        decay move classifiers that no other rank has used either.
        """
        zeros = cast(Tensor, sum(z.flatten(1)[:, :1] for z in features.values())) * 0
        if torch.is_grad_enabled():  # a loss must have something to go back to
            zeros = zeros + zeros.new_zeros(1).requires_grad_()
        return zeros.expand(-1, self.outputs)


class Late(Additive):
    """A classifier per modality, averaged over the present ones: ``f = mean_m (W_m z_m + b_m)``."""

    def __init__(self, widths: Mapping[str, int], outputs: int, unimodal: str = "slice") -> None:
        super().__init__(widths, outputs, unimodal)
        self.heads = ByModality({m: nn.Linear(w, outputs) for m, w in self.widths.items()})

    def share(self, name: str, features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
        return cast(Tensor, self.heads[name](features[name]))

    def own_parts(self, name: str) -> list[nn.Module]:
        return [self.heads[name]]


class Sum(Late):
    """A classifier per modality, summed over the present ones: ``f = sum_m (W_m z_m + b_m)``."""

    mean = False


class Shared(Additive):
    """One linear head for the features of every modality, averaged over the present ones.

    Args:
        widths: modality -> width of its features. Where they differ, each is first mapped
            linearly to the common ``width``, and ``Output.features`` holds the mapped ones.
        outputs: width of the logits, ``K``.
        unimodal: see :class:`Fusion`.
        width: the common width; the largest of ``widths`` by default.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        outputs: int,
        unimodal: str = "slice",
        *,
        width: Width | None = None,
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        self.width = max(self.widths.values()) if width is None else width
        uneven = any(w != self.width for w in self.widths.values())
        self.maps = ByModality(
            {m: nn.Linear(w, self.width) for m, w in self.widths.items()} if uneven else {}
        )
        self.head = nn.Linear(self.width, outputs)
        if unimodal == "aux" and uneven:
            self.aux = ByModality({m: nn.Linear(self.width, outputs) for m in self.widths})

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Output:
        return super().forward(self._map_all(features, present), present)

    def mixture(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Mixture | None:
        return super().mixture(self._map_all(features, present), present)

    def _map_all(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Mapping[str, Tensor]:
        if not self.maps:
            return features
        return {m: self._map(m, z, present[m]) for m, z in features.items()}

    def _map(self, name: str, features: Tensor, mask: Tensor) -> Tensor:
        mapped = cast(Tensor, self.maps[name](features))
        return mapped if every(mask) else mapped * weights(mask, mapped)

    def share(self, name: str, features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
        return cast(Tensor, self.head(features[name]))

    def own_parts(self, name: str) -> list[nn.Module]:
        return [self.maps[name]] if self.maps else []
