"""Predictions for any subset of modalities as arithmetic on what each of them says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """Logits of ``N`` samples with any subset ``A`` of their modalities.

    ``f(A) = sum_{m in A} values_m / sum_{m in A} weights_m + bias``; without weights, no division.

    Attributes:
        values: [M, N, K], what each modality adds; 0 where a sample lacks it.
        weights: [M, N], not negative, 0 where a sample lacks it; or ``None``.
        bias: [K] or ``None``.
    """

    values: Tensor
    weights: Tensor | None = None
    bias: Tensor | None = None

    @classmethod
    def mean(
        cls, values: Iterable[Tensor], masks: Iterable[Tensor], bias: Tensor | None = None
    ) -> Mixture:
        """The mean over the present modalities.

        Args:
            values: [N, K] of each modality.
            masks: host masks [N] of each.
            bias: [K].
        """
        return cls.weighted(values, masks, None, bias)

    @classmethod
    def weighted(
        cls,
        values: Iterable[Tensor],
        masks: Iterable[Tensor],
        weights: Tensor | None,
        bias: Tensor | None = None,
    ) -> Mixture:
        """The mean with weights [M, N]; ``None`` weighs all present modalities alike."""
        said = torch.stack(list(values))
        here = torch.stack(list(masks)).to(said.device, said.dtype, non_blocking=True)
        share = here if weights is None else weights * here
        return cls(said * share[..., None], share, bias)

    @classmethod
    def sum(
        cls, values: Iterable[Tensor], masks: Iterable[Tensor], bias: Tensor | None = None
    ) -> Mixture:
        """The sum over the present modalities."""
        said = torch.stack(list(values))
        here = torch.stack(list(masks)).to(said.device, said.dtype, non_blocking=True)
        return cls(said * here[..., None], None, bias)

    def logits(self, subsets: Tensor) -> Tensor:
        """bool [S, M] -> [S, N, K]; meaningless for samples that have none of a subset."""
        return self.by_class(subsets).transpose(1, 2)

    def by_class(self, subsets: Tensor) -> Tensor:
        """bool [S, M] -> [S, K, N], the same in an order in which classes are quickly compared."""
        chosen = subsets.to(self.values)
        _, size, outputs = self.values.shape
        found = (chosen @ self._flat).view(-1, outputs, size)
        if self.weights is not None:
            total = chosen @ self.weights
            found /= total.clamp(min=torch.finfo(total.dtype).tiny)[:, None]
        return found if self.bias is None else found.add_(self.bias[:, None])

    @cached_property
    def _flat(self) -> Tensor:
        """[M, K * N]"""
        return self.values.transpose(1, 2).flatten(1)

    def cpu(self) -> Mixture:
        """The same on the host, which stays as it is when the model is trained on."""
        weights = None if self.weights is None else self.weights.detach().cpu()
        bias = None if self.bias is None else self.bias.detach().cpu().clone()
        return Mixture(self.values.detach().cpu(), weights, bias)

    def scaled(self, factor: float | Tensor) -> Mixture:
        """The mixture whose logits are ``factor`` times these."""
        bias = None if self.bias is None else self.bias * factor
        return Mixture(self.values * factor, self.weights, bias)

    @classmethod
    def join(cls, parts: Sequence[Mixture]) -> Mixture:
        """One mixture of the samples of several, which share their bias."""
        values = torch.cat([part.values for part in parts], 1)
        weights = [part.weights for part in parts if part.weights is not None]
        return cls(values, torch.cat(weights, 1) if weights else None, parts[0].bias)


def speaks_for(kind: type, hook: str, others: Sequence[str]) -> bool:
    """Whether ``hook`` was written for ``others`` as they are.

    It was not if a class that is derived from the one that defines it has replaced one of them.
    """
    classes = kind.__mro__

    def place(name: str) -> int:
        return next(k for k, known in enumerate(classes) if name in vars(known))

    return all(place(hook) <= place(other) for other in others)
