"""Functions on gradients against their definitions."""

from __future__ import annotations

import torch
from torch import nn

from counterpoise.methods.gradients import scale_gradient, scale_grads


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
