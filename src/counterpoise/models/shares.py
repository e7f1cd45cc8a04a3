"""How the rows of a batch lie on the ranks, for encoders that must run on all of them together.

So must those that take statistics over all rows, and those whose weights are split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from counterpoise.core import ranks
from counterpoise.core.batch import Batch, Input, map_tensors
from counterpoise.core.names import ByModality

from .batch_norm import list_layers


@dataclass(frozen=True)
class Part:
    """A run of the rows that have a modality.

    Attributes:
        start, stop: this rank's, among its own such rows.
        total: their number over all ranks.
    """

    start: int
    stop: int
    total: int


def split_rows(count: int, parts: int) -> list[Part]:
    """``count`` rows of a single process in so many parts, as even as possible."""
    found = torch.arange(count).tensor_split(min(parts, count))
    return [Part(int(rows[0]), int(rows[-1]) + 1, len(rows)) for rows in found]


class Shares:
    """The numbers of rows that each rank has of a batch.

    Args:
        batch: this rank's share.
        names: the modalities whose encoders run on all ranks together.
        joined: of these, the ones that take statistics over all ranks.
        split: the ones whose weights are split, which a single row needs too.
    """

    def __init__(
        self,
        batch: Batch,
        names: Sequence[str],
        joined: Sequence[str] = (),
        split: Sequence[str] = (),
    ) -> None:
        self.names, self.masks = tuple(names), batch.present
        self.joined, self.parted = frozenset(joined), frozenset(split)
        own = [len(batch), *(int(batch.present[name].sum()) for name in names)]
        table = torch.zeros(ranks.world(), len(own), dtype=torch.int64)
        table[ranks.rank()] = torch.tensor(own)
        self.sizes, *columns = ranks.host_sum(table).T.tolist()
        self.counts: dict[str, list[int]] = dict(zip(names, columns, strict=True))

    def total(self, name: str) -> int:
        """Rows of the global batch that have a modality."""
        return sum(self.counts[name])

    def runs(self, name: str) -> bool:
        """Whether all ranks encode a modality, those without a row of it a row of another."""
        return name in self.names and self.total(name) > (0 if name in self.parted else 1)

    def fill(self, name: str, rows: Input | None, device: torch.device) -> Input:
        """This rank's rows, or where it has none, the first row of a rank that has some.

        A row made up, such as zeros, may be none that an encoder can take.
        """
        counts = self.counts[name]
        if min(counts):
            assert rows is not None
            return rows
        source = next(k for k, count in enumerate(counts) if count)
        first = None
        if ranks.rank() == source:
            assert rows is not None
            first = map_tensors(rows, lambda x: x[:1].detach().cpu())
        sent: Input = ranks.send(first, source)
        return map_tensors(sent, lambda x: x.to(device)) if rows is None else rows

    def split(self, name: str, parts: int) -> list[Part]:
        """The parts in which one process would take the rows of the global batch."""
        longest, world, rank = max(self.sizes), ranks.world(), ranks.rank()
        table = torch.zeros(longest, world, dtype=torch.int64)
        table[: self.sizes[rank], rank] = self.masks[name].long()
        here = ranks.host_sum(table)  # row k of rank r is row k * world + r of the global batch
        places = (here.flatten().cumsum(0) - 1).view_as(here)[: self.sizes[rank], rank]
        own = places[self.masks[name]]
        found = []
        for part in split_rows(self.total(name), parts):
            start, stop = torch.searchsorted(own, torch.tensor([part.start, part.stop])).tolist()
            found.append(Part(start, stop, part.total))
        return found


def list_joined(encoders: ByModality) -> list[str]:
    """The modalities whose encoders take batch statistics, where there are several ranks."""
    if ranks.world() == 1:
        return []
    return [name for name, encoder in encoders.items() if list_layers(encoder)]
