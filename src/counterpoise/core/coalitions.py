"""Shapley values: all coalitions of a few players, a sample of those of many."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

EXACT = 6  # of up to so many players, methods value all coalitions
ORDERS = 8  # in which many players join, if nobody says how many


@dataclass(frozen=True)
class Coalitions:
    """The coalitions of ``M`` players whose values are needed, and what follows from these.

    Attributes:
        subsets: bool [S, M], each once, the empty one first and the whole last.
        weights: float64 [R, M, S]: the contributions in each of ``R`` independent estimates. One,
            which is exact; or of pairs of an order and its reverse.
        exact: whether all coalitions are among them.
    """

    subsets: Tensor
    weights: Tensor
    exact: bool

    @classmethod
    def all(cls, count: int) -> Coalitions:
        """All ``2^M``, subset ``A`` at the row ``sum_{m in A} 2^m``.

        ``phi_m = sum_A |A|! (M - |A| - 1)! / M! (v(A + m) - v(A))`` over subsets ``A`` without
        ``m``; the values sum to ``v(all) - v(none)``.
        """
        subsets = (torch.arange(2**count)[:, None] >> torch.arange(count)) & 1 > 0
        shares = [1 / (count * math.comb(count - 1, size)) for size in range(count)]
        table = torch.tensor(shares, dtype=torch.float64)
        sizes = subsets.sum(1, keepdim=True)
        joined = table[(sizes - 1).clamp(min=0)].expand(-1, count)
        left = table[sizes.clamp(max=count - 1)].expand(-1, count)
        return cls(subsets, torch.where(subsets, joined, -left).T[None], True)

    @classmethod
    def sample(cls, count: int, orders: int, generator: torch.Generator) -> Coalitions:
        """Those that arise where the players join one by one, in so many orders.

        Each order comes with its reverse, so that half of them are drawn. The values still sum to
        ``v(all) - v(none)``, and their mean over many draws is the Shapley value.

        Args:
            count: ``M``.
            orders: an even number.
            generator: draws them.
        """
        pairs = orders // 2
        drawn = torch.stack([torch.randperm(count, generator=generator) for _ in range(pairs)])
        both = torch.stack([drawn, drawn.flip(1)], 1)  # [R, 2, M]
        places = torch.empty_like(both).scatter_(2, both, torch.arange(count).expand_as(both))
        # The coalition after k players have joined holds those whose place is below k.
        grown = places[:, :, None, :] < torch.arange(count + 1)[:, None]
        subsets, row = grown.flatten(0, 2).unique(dim=0, return_inverse=True)
        row = row.view(pairs, 2, count + 1)
        weights = torch.zeros(pairs, count, len(subsets), dtype=torch.float64)
        half = torch.full((), 0.5, dtype=torch.float64)
        for k in range(2):
            before, after = row[:, k, :-1], row[:, k, 1:]  # by place
            for step, sign in ((after, half), (before, -half)):
                index = torch.arange(pairs)[:, None].expand(-1, count), both[:, k], step
                weights.index_put_(index, sign, accumulate=True)
        return cls(subsets, weights, False)

    @classmethod
    def choose(
        cls, count: int, most: int, generator: torch.Generator, orders: int = ORDERS
    ) -> Coalitions:
        """All of up to ``most`` players; a sample of those of more."""
        return cls.all(count) if count <= most else cls.sample(count, orders, generator)

    def shapley(self, values: Tensor) -> Tensor:
        """[S, ...] values of the subsets -> [M, ...], the mean of the estimates."""
        found: Tensor = torch.tensordot(self.weights.mean(0).to(values), values, 1)
        return found

    def errors(self, values: Tensor) -> Tensor:
        """[S] -> [M]: standard errors of :meth:`shapley`; 0 where it is exact."""
        each = self.weights.to(values) @ values
        if self.exact:
            return torch.zeros_like(each[0])
        if len(each) == 1:
            return torch.full_like(each[0], torch.nan)
        spread: Tensor = each.std(0) / math.sqrt(len(each))
        return spread


def warn_of_sample(method: str, what: str) -> None:
    """Say that coalitions are sampled."""
    warnings.warn(
        f"{method} samples the coalitions of more than {EXACT} modalities: {what}",
        UserWarning,
        stacklevel=4,
    )
