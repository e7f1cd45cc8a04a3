"""Any module as an encoder: what is picked of its output, and how it is pooled."""

from __future__ import annotations

import doctest
from collections import namedtuple
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from counterpoise import ArrayData, InputError, build_model, fit
from counterpoise.encoders import Adapter, adapter

Pair = namedtuple("Pair", ["steps", "last"])


class Gives(nn.Module):
    """Gives what a function makes of its input."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


X = torch.arange(24.0).view(2, 3, 4)  # [B, T, D]


@pytest.mark.parametrize(
    ("function", "pick"),
    [
        (lambda x: x, None),
        (lambda x: (x, 1), None),
        (lambda x: [0, x], 1),
        (lambda x: (0, x), -1),
        (lambda x: {"a": 0, "b": x}, "b"),
        (lambda x: SimpleNamespace(a=0, b=x), "b"),
        (lambda x: Pair(0, x), "last"),
        (lambda x: {"a": [x]}, lambda found: found["a"][0]),
    ],
)
def test_what_is_picked(function: Callable[[Tensor], Any], pick: Any) -> None:
    torch.testing.assert_close(Adapter(Gives(function), pick)(X), X.mean(1))


@pytest.mark.parametrize(
    ("pool", "wanted"),
    [
        ("mean", X.mean(1)),
        ("max", X.amax(1)),
        ("first", X[:, 0]),
        ("last", X[:, 2]),
        ("steps", X),
        (lambda found: found[:, 1], X[:, 1]),
    ],
)
def test_how_steps_are_pooled(pool: Any, wanted: Tensor) -> None:
    torch.testing.assert_close(Adapter(nn.Identity(), pool=pool)(X), wanted)


def test_maps_are_sequences_of_places() -> None:
    maps = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(Adapter(nn.Identity())(maps), maps.mean((2, 3)))
    steps = Adapter(nn.Identity(), pool="steps")(maps)
    assert steps.shape == (2, 12, 5)
    torch.testing.assert_close(steps[:, 4], maps[:, :, 1, 0])
    vectors = torch.randn(2, 5)
    assert Adapter(nn.Identity(), pool="max")(vectors) is vectors


@pytest.mark.parametrize(
    ("function", "pick", "said"),
    [
        (lambda x: {"last": x}, "lost", "pick 'lost'; did you mean 'last'.*known: last"),
        (lambda x: SimpleNamespace(last=x), "lost", "known: last"),
        (lambda x: Pair(x, x), "lost", "known: steps, last"),
        (lambda x: (x, x), 2, "pick is 2, which an output of type tuple does not have"),
        (lambda x: {"a": x}, None, "found dict with a; say with pick"),
        (lambda x: "word", None, "must be a tensor, found str"),
    ],
)
def test_what_is_refused(function: Callable[[Tensor], Any], pick: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Adapter(Gives(function), pick)(X)
    data = ArrayData({"x": np.zeros((40, 3, 4))}, np.arange(40) % 2)
    with pytest.raises(InputError, match=f"encoder of 'x' does not take .*{said}"):
        build_model(data, encoders={"x": Adapter(Gives(function), pick)})


def test_an_unknown_pool_is_refused() -> None:
    with pytest.raises(InputError, match="unknown value for pool 'sum'"):
        Adapter(nn.Identity(), pool="sum")


def test_a_recurrent_network_of_pytorch_trains() -> None:
    rng = np.random.default_rng(0)
    data = ArrayData({"x": rng.normal(size=(40, 7, 3))}, np.arange(40) % 2)
    gru = nn.GRU(3, 8, batch_first=True)
    model = build_model(data, encoders={"x": Adapter(gru, pick=0, pool="last")})
    before = gru.weight_ih_l0.detach().clone()
    fit(model, data, epochs=1)
    assert not torch.equal(before, gru.weight_ih_l0)


def test_the_example() -> None:
    assert doctest.testmod(adapter).failed == 0 < doctest.testmod(adapter).attempted
