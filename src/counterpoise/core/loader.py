"""Batches of a split, in an order that depends on the seed and the epoch only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from counterpoise.errors import check_number

from . import ranks
from .batch import Batch

_MASK = (1 << 64) - 1
AHEAD = 2  # batches that are read from files while another one is trained on


def mix(*numbers: int) -> int:
    """One 63-bit number from several, well spread (splitmix64)."""
    state = 0
    for number in numbers:
        state = (state ^ (number & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state >> 1


def uniform(index: Tensor, *key: int) -> Tensor:
    """float64 [B] in [0, 1): a draw for each entry of ``index``, a function of it and ``key``."""
    state = index.numpy().astype(np.uint64) ^ np.uint64(mix(*key))
    with np.errstate(over="ignore"):
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            state += np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    state ^= state >> np.uint64(31)
    return torch.from_numpy((state >> np.uint64(11)).astype(np.float64) * 2.0**-53)


class Samples(Protocol):
    """A split of a data set: its number of samples, and the batch of any rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Batch: ...


class Loader:
    """Batches of a split; each rank gets its share of each global batch.

    Args:
        samples: the split.
        batch_size: samples in a global batch; the last one of an epoch may be smaller.
        seed: seed of the order.
        shuffle: use a new order in each epoch instead of the split's own.
        device: the device of inputs and targets.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.batch_size: int = check_number("batch_size", batch_size, 1, whole=True)
        self.samples, self.seed = samples, check_number("seed", seed, whole=True)
        self.shuffle, self.device = shuffle, torch.device(device)

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def order(self, epoch: int, count: int | None = None) -> Tensor:
        """int64 [N]: the rows of the split in the order of ``epoch`` (or of ``count`` entries)."""
        count = len(self.samples) if count is None else count
        if not self.shuffle:
            return torch.arange(count)
        generator = torch.Generator().manual_seed(mix(self.seed, epoch))
        return torch.randperm(count, generator=generator)

    def shares(self, epoch: int, count: int | None = None) -> Iterator[Tensor]:
        """This rank's share of each batch of an epoch, as places in the split.

        Args:
            epoch: number of the epoch.
            count: number of places to draw from, for a method's list longer than the split.
        """
        rank, world = ranks.rank(), ranks.world()
        for places in torch.split(self.order(epoch, count), self.batch_size):
            yield places[rank::world]

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, this rank's share of each."""
        yield from self._load(self.shares(number))

    def _read(self, rows: Tensor) -> Batch:
        batch = self.samples[rows]
        return batch.pinned() if self.device.type == "cuda" else batch

    def take(self, rows: Tensor) -> Batch:
        """The samples at ``rows``, int64 [B], on the device."""
        return self.samples[rows].to(self.device)

    def whole(self, shuffled: int | None = None) -> Iterator[Batch]:
        """Every sample once, the same on every rank, in the split's order or that of an epoch."""
        order = torch.arange(len(self.samples)) if shuffled is None else self.order(shuffled)
        yield from self.read(order)

    def read(self, rows: Tensor) -> Iterator[Batch]:
        """The batches of these rows, int64 [N], in their order."""
        yield from self._load(torch.split(rows, self.batch_size))

    def _load(self, parts: Iterable[Tensor]) -> Iterator[Batch]:
        """The batches of these rows; if they lie in files, the next ones are read ahead."""
        if not getattr(self.samples, "stored", False):
            yield from map(self.take, parts)
            return
        with ThreadPoolExecutor(AHEAD, "counterpoise-read") as pool:
            waiting: deque[Future[Batch]] = deque()
            try:
                for rows in parts:
                    waiting.append(pool.submit(self._read, rows))
                    if len(waiting) > AHEAD:
                        yield waiting.popleft().result().to(self.device)
                while waiting:
                    yield waiting.popleft().result().to(self.device)
            finally:  # the consumer of these batches may stop early
                pool.shutdown(wait=True, cancel_futures=True)
