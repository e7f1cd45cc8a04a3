"""Several ranks as threads of one process, for tests of what they tell each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from counterpoise.core import ranks

Found = TypeVar("Found")


def on_ranks(
    monkeypatch: pytest.MonkeyPatch, world: int, compute: Callable[[int], Found]
) -> list[Found]:
    """``compute(rank)`` of each rank, all at once; a rank that waits in vain is an error."""
    own, barrier = threading.local(), threading.Barrier(world, timeout=20)
    held: list[Any] = [None] * world

    def exchange(value: Any) -> list[Any]:
        held[own.rank] = value
        barrier.wait()
        every = list(held)
        barrier.wait()
        return every

    def add(value: Tensor) -> Tensor:
        return torch.stack(exchange(value.detach())).sum(0)

    def start(rank: int) -> Found:
        own.rank = rank
        try:
            return compute(rank)
        except BaseException:
            barrier.abort()
            raise

    with monkeypatch.context() as patch:
        patch.setattr(ranks, "world", lambda: world)
        patch.setattr(ranks, "rank", lambda: own.rank)
        patch.setattr(ranks, "all_sum", add)
        patch.setattr(ranks, "host_sum", add)
        patch.setattr(ranks, "stack", lambda value: torch.stack(exchange(value.detach())))
        patch.setattr(ranks, "send", lambda value, source: exchange(value)[source])
        with ThreadPoolExecutor(world) as pool:
            return list(pool.map(start, range(world)))
