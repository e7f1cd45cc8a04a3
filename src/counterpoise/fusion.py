"""From the features of all present modalities to logits, and to what each modality says alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .batch import Lazy, Output
from .errors import InputError, check_choice

UNIMODAL = ("slice", "ablate", "aux")


def weights(mask: Tensor, like: Tensor) -> Tensor:
    """A host mask [B] as a column of zeros and ones [B, 1] on the device of ``like``."""
    return mask.to(like.device, like.dtype, non_blocking=True)[:, None]


class Fusion(nn.Module, ABC):
    """Base of all fusions.

    Args:
        widths: modality -> width of its features, in the model's order.
        outputs: width of the logits, ``K``.
        unimodal: how ``Output.unimodal`` is had. ``"slice"``: the exact share of each modality in
            the logits (their sum, or mean, over the present modalities is the logits).
            ``"ablate"``: the logits with only that modality present. ``"aux"``: an extra linear
            head per modality.
    """

    def __init__(self, widths: Mapping[str, int], outputs: int, unimodal: str = "slice") -> None:
        super().__init__()
        check_choice("unimodal", unimodal, UNIMODAL)
        if not widths:
            raise InputError("widths must name at least one modality")
        for name in widths:
            if not name or "." in name or hasattr(nn.ModuleDict(), name):
                raise InputError(f"a modality cannot be called {name!r}; choose another name")
        self.widths, self.outputs, self.policy = dict(widths), outputs, unimodal
        if unimodal == "aux":
            self.aux = nn.ModuleDict({m: nn.Linear(w, outputs) for m, w in self.widths.items()})

    @abstractmethod
    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        """Features [B, D] by modality, masks [B], exact shares -> logits [B, K]."""

    @abstractmethod
    def share(self, name: str, features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
        """The exact share [B, K] of one modality; ``counts`` [B]: how many each sample has."""

    def own(self, name: str) -> nn.Module | None:
        """The parts that serve the modality ``name`` alone, if any."""
        return self.aux[name] if self.policy == "aux" else None

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Output:
        """Features [B, D] (zero rows where absent) and host masks [B] by modality -> Output."""
        shares = self._shares(features, present)
        unimodal = shares
        if self.policy == "aux":
            unimodal = Lazy(tuple(self.widths), lambda m: self.aux[m](features[m]))
        elif self.policy == "ablate":
            unimodal = Lazy(tuple(self.widths), lambda m: self._ablated(m, features, present))
        return Output(self.logits(features, present, shares), unimodal, features)

    def _shares(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Lazy:
        counts = torch.stack([present[m] for m in self.widths]).sum(0).clamp(min=1)
        return Lazy(tuple(self.widths), lambda m: self.share(m, features, counts))

    def _ablated(
        self, name: str, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Tensor:
        alone = {m: z if m == name else torch.zeros_like(z) for m, z in features.items()}
        masks = {m: mask if m == name else torch.zeros_like(mask) for m, mask in present.items()}
        return self.logits(alone, masks, self._shares(alone, masks))


class Concat(Fusion):
    """One linear head on all features side by side: ``f = sum_m W_m z_m + b`` over present ``m``.

    The share of a modality is ``W_m z_m + b / A``, ``A`` the number of modalities the sample has.
    """

    def __init__(self, widths: Mapping[str, int], outputs: int, unimodal: str = "slice") -> None:
        super().__init__(widths, outputs, unimodal)
        self.head = nn.Linear(sum(self.widths.values()), outputs)

    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        return cast(Tensor, self.head(torch.cat([features[m] for m in self.widths], 1)))

    def share(self, name: str, features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
        parts = torch.split(self.head.weight, list(self.widths.values()), dim=1)
        slices = dict(zip(self.widths, parts, strict=True))
        z = features[name]
        bias = self.head.bias / counts.to(z.device, z.dtype, non_blocking=True)[:, None]
        return F.linear(z, slices[name]) + bias


class _Additive(Fusion):
    """Logits that are the sum, or the mean, of what each present modality says."""

    mean = True

    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        used = [m for m in self.widths if bool(present[m].any())] or list(self.widths)
        first = shares[used[0]]
        if all(bool(present[m].all()) for m in used):
            total = sum((shares[m] for m in used[1:]), first)
            return total / len(used) if self.mean else total
        masks = {m: weights(present[m], first) for m in used}
        total = sum((shares[m] * masks[m] for m in used[1:]), first * masks[used[0]])
        if not self.mean:
            return total
        return total / sum(masks.values(), torch.zeros_like(masks[used[0]])).clamp(min=1)


class Late(_Additive):
    """A classifier per modality, averaged over the present ones: ``f = mean_m (W_m z_m + b_m)``."""

    def __init__(self, widths: Mapping[str, int], outputs: int, unimodal: str = "slice") -> None:
        super().__init__(widths, outputs, unimodal)
        self.heads = nn.ModuleDict({m: nn.Linear(w, outputs) for m, w in self.widths.items()})

    def share(self, name: str, features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
        return cast(Tensor, self.heads[name](features[name]))

    def own(self, name: str) -> nn.Module | None:
        parts = [self.heads[name], super().own(name)]
        return nn.ModuleList([part for part in parts if part is not None])


class Sum(Late):
    """A classifier per modality, summed over the present ones: ``f = sum_m (W_m z_m + b_m)``."""

    mean = False


class Shared(_Additive):
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
        width: int | None = None,
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        self.width = width or max(self.widths.values())
        uneven = any(w != self.width for w in self.widths.values())
        self.maps = nn.ModuleDict(
            {m: nn.Linear(w, self.width) for m, w in self.widths.items()} if uneven else {}
        )
        self.head = nn.Linear(self.width, outputs)
        if unimodal == "aux" and uneven:
            self.aux = nn.ModuleDict({m: nn.Linear(self.width, outputs) for m in self.widths})

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Output:
        if self.maps:
            features = {m: self._map(m, z, present[m]) for m, z in features.items()}
        return super().forward(features, present)

    def _map(self, name: str, features: Tensor, mask: Tensor) -> Tensor:
        mapped = cast(Tensor, self.maps[name](features))
        return mapped if bool(mask.all()) else mapped * weights(mask, mapped)

    def share(self, name: str, features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
        return cast(Tensor, self.head(features[name]))

    def own(self, name: str) -> nn.Module | None:
        parts = [self.maps[name] if self.maps else None, super().own(name)]
        return nn.ModuleList([part for part in parts if part is not None])


FUSIONS: dict[str, type[Fusion]] = {"concat": Concat, "sum": Sum, "shared": Shared, "late": Late}
