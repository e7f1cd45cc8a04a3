"""Shapley values of all coalitions, and of a sample of them."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from counterpoise.core.coalitions import Coalitions

NUMBERS = torch.tensor([3.0, -1.0, 0.5, 2.0, 7.0, 0.0, 1.0, -2.0, 4.0])


def value(subsets: Tensor) -> Tensor:
    """[S, M] -> [S]: numbers that help, and pairs of neighbours that help more."""
    here = subsets.double()
    numbers = NUMBERS[: here.shape[1]].double()
    return here @ numbers + 2 * (here[:, 1:] * here[:, :-1]).sum(1) + 5


def by_hand(count: int) -> Tensor:
    phi = torch.zeros(count, dtype=torch.float64)
    orders = list(permutations(range(count)))
    for order in orders:
        here = torch.zeros(1, count, dtype=torch.bool)
        before = value(here)
        for player in order:
            here[0, player] = True
            after = value(here)
            phi[player] += float(after - before) / len(orders)
            before = after
    return phi


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_all_coalitions_give_the_mean_contribution_over_all_orders(count: int) -> None:
    coalitions = Coalitions.all(count)
    values = value(coalitions.subsets)
    torch.testing.assert_close(coalitions.shapley(values), by_hand(count))
    assert not coalitions.errors(values).any()
    numbers = (coalitions.subsets.long() << torch.arange(count)).sum(1)
    assert torch.equal(numbers, torch.arange(2**count))


def test_a_sample_is_without_bias_and_knows_how_far_it_is_off() -> None:
    def game(subsets: Tensor) -> Tensor:
        return value(subsets) + 3 * (subsets.double() @ NUMBERS.double().abs()).sqrt()

    every = Coalitions.all(9)
    wanted, found, errors = every.shapley(game(every.subsets)), [], []
    for seed in range(60):
        some = Coalitions.sample(9, 16, torch.Generator().manual_seed(seed))
        values = game(some.subsets)
        found.append(some.shapley(values))
        errors.append(some.errors(values))
        torch.testing.assert_close(found[-1].sum(), wanted.sum())  # whatever was drawn
    each, spread = torch.stack(found), torch.stack(found).std(0)
    torch.testing.assert_close(each.mean(0), wanted, atol=0.05, rtol=0.01)
    typical = torch.stack(errors).square().mean(0).sqrt()
    far = spread > 1e-6
    assert ((typical / spread)[far] - 1).abs().max() < 0.4


def test_of_additive_games_every_order_is_exact() -> None:
    some = Coalitions.sample(9, 2, torch.Generator().manual_seed(0))
    found = some.shapley(some.subsets.double() @ NUMBERS.double())
    torch.testing.assert_close(found, NUMBERS.double())
    assert len(some.subsets) <= 18 and not some.subsets[0].any()
    assert some.subsets.all(1).any()
