"""Which steps are padding, and in which order tokens are read, counted as ONNX can count."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from folded import check_each
from torch import Tensor

from counterpoise.encoders import Standardize
from counterpoise.encoders.pooling import put_first


def drawn(length: int) -> Tensor:
    """bool [200, T]: gaps, rows of nothing and of everything."""
    source = torch.Generator().manual_seed(length)
    real = torch.rand(200, length, generator=source) < torch.rand(200, 1, generator=source)
    real[0], real[1] = False, True
    return real


def check_places(length: int, find: Callable[[Tensor], Tensor] = put_first) -> None:
    real = drawn(length)
    order = (~real).int().argsort(dim=1, stable=True)
    places = find(real)
    assert places.dtype == torch.int64
    assert torch.equal(places, order.argsort(1))
    tokens = torch.arange(length).expand_as(real)
    assert torch.equal(torch.zeros_like(tokens).scatter(1, places, tokens), order)


def test_real_steps_come_first_as_a_stable_sort_puts_them() -> None:
    check_each((1, 2, 7, 30), check_places)


def test_another_order_would_be_seen() -> None:
    def turn(real: Tensor) -> Tensor:
        return put_first(real.flip(1)).flip(1)

    with pytest.raises(AssertionError):
        check_places(7, turn)


@pytest.mark.parametrize("inner", [False, True])
def test_zeros_at_the_end_stay_zeros_and_those_inside_do_if_asked(inner: bool) -> None:
    real = drawn(9)
    x = torch.where(real[:, None], torch.full((200, 3, 9), -2.0), 0)
    x[:, 1:] = 0  # one channel is enough to be real
    found = Standardize(torch.ones(3, 1), torch.full((3, 1), 2.0), padding=True, inner=inner)(x)
    last = real.int().flip(1).cummax(1).values.flip(1).bool()
    kept = (real if inner else last)[:, None].expand_as(x)
    assert torch.equal(found, torch.where(kept, (x - 1) / 2, 0))
