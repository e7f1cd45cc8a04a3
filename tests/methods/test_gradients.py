"""Functions on gradients against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from counterpoise.methods.gradients import flat, min_norm, scale_gradient, scale_grads


def test_scaled_gradient_and_the_same_value() -> None:
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = scale_gradient(x, torch.tensor(0.3))
    assert torch.equal(y, x)
    (2 * y).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((4, 3), 0.6))


def test_only_gradients_that_are_there_are_scaled() -> None:
    layer = nn.Linear(2, 2)
    layer.weight.grad = torch.ones(2, 2)
    scale_grads(list(layer.parameters()), torch.tensor(0.25))
    assert torch.equal(layer.weight.grad, torch.full((2, 2), 0.25))
    assert layer.bias.grad is None
    scale_grads([layer.bias], torch.tensor(0.25))  # nothing to do


def test_one_vector_of_several_gradients() -> None:
    joined = flat([torch.ones(2, 2), None, torch.zeros(1)])
    assert joined is not None and joined.tolist() == [1, 1, 1, 1, 0]
    assert flat([None]) is None


@pytest.mark.parametrize("seed", range(5))
def test_the_shortest_combination_is_the_shortest(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    a = a * (1 + seed)
    found = min_norm(a, b)
    grid = torch.linspace(0, 1, 10001, dtype=torch.float64)
    lengths = (grid[:, None] * a + (1 - grid[:, None]) * b).norm(dim=1)
    assert abs(float(found) - float(grid[lengths.argmin()])) < 1e-4


def test_the_shortest_combination_of_equal_and_of_parallel_vectors() -> None:
    x = torch.tensor([3.0, 4.0])
    assert float(min_norm(x, x)) == 0.5
    assert float(min_norm(x, 2 * x)) == 1  # the shorter of the two
    assert float(min_norm(2 * x, x)) == 0
    assert float(min_norm(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0]))) == pytest.approx(0.2)
