"""Split-conformal prediction: sets of classes and intervals that hold the truth as often as asked.

Papadopoulos et al., Inductive confidence machines for regression, 2002; for each class by itself:
Vovk, Conditional validity of inductive conformal predictors, 2012. If the n measured rows and a
new one are exchangeable, the score of the new one is at most the k-th smallest measured one,
``k = ceil((n + 1) * coverage)``, with a probability of at least ``coverage``, and of at most
``coverage + 1 / (n + 1)`` where no two scores are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .shortest import to_shortest

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]

# Of many scores, those are kept that these coverages need; others take the next higher one.
COVERAGES = (*(c / 100 for c in range(5, 80, 5)), *(c / 100 for c in range(80, 100)), 0.995, 0.999)


def find_rank(rows: Whole, coverage: float) -> Whole:
    """``ceil((n + 1) * coverage)`` of each number of rows; above it where they are too few."""
    exact = np.round((rows + 1) * coverage, 9)  # 0.07 * 100 is above 7 in floating point
    return np.maximum(np.ceil(exact).astype(np.int64), 1)


@dataclass(frozen=True, eq=False)
class Scores:
    """The measured scores of each cell, ascending: of a place, and of a class or an output in it.

    Attributes:
        shape: number of places and number of classes, or outputs; cell ``(p, k)`` is ``p * K + k``.
        cell: int64 [E], ascending.
        value: float32 [E], ascending in each cell.
        weight: int64 [E], how many scores each stands for: itself and those dropped below it.
    """

    shape: tuple[int, int]
    cell: Whole
    value: Floats
    weight: Whole

    @classmethod
    def of(cls, cell: Whole, value: Floats, shape: tuple[int, int]) -> Scores:
        """Scores [E] in any order, each of the cell of the same index.

        Of cells with many, only the ranks are kept that :data:`COVERAGES` need. A limit that is
        read from what is left is never below the exact one.
        """
        order = np.lexsort((value, cell))
        cell, value = cell[order], value[order]
        counts = np.bincount(cell, minlength=shape[0] * shape[1])
        starts = np.cumsum(counts) - counts
        keep = counts[cell] <= len(COVERAGES)
        ranks = np.stack([find_rank(counts, c) for c in (*COVERAGES, 1.0)], 1)
        ranks = np.minimum(ranks, counts[:, None])
        keep[(starts[:, None] + ranks - 1)[counts > 0].reshape(-1)] = True
        rank = (np.arange(len(cell)) - starts[cell] + 1)[keep]
        cell, value = cell[keep], value[keep]
        before = np.where(np.diff(cell, prepend=-1) != 0, 0, np.roll(rank, 1))
        return cls(shape, cell, value, rank - before)

    @property
    def rows(self) -> Whole:
        """[P, K]: how many scores each cell had."""
        size = self.shape[0] * self.shape[1]
        return np.bincount(self.cell, self.weight, size).astype(np.int64).reshape(self.shape)

    def find_pooled(self, coverage: float) -> NDArray[np.bool_]:
        """bool [P, K]: which classes have too few rows for the coverage, and share a limit.

        Where these together are still too few, the next smaller classes join them.
        """
        rows = self.rows
        order = np.argsort(rows, 1, kind="stable")
        ordered = np.take_along_axis(rows, order, 1)
        together = ordered.cumsum(1)
        few = find_rank(ordered, coverage) > ordered
        # The classes before this one are too few by themselves, or all of them together.
        before = np.concatenate([np.zeros_like(together[:, :1]), together[:, :-1]], 1)
        lacking = (find_rank(before, coverage) > before) & few[:, :1]
        pooled = np.zeros(self.shape, dtype=np.bool_)
        np.put_along_axis(pooled, order, few | lacking, 1)
        return pooled

    def find_limits(self, coverage: float, pool: bool) -> Floats:
        """float32 [P, K]: a truth whose score is above this may be left out; infinite if none may.

        Args:
            coverage: how often the truth shall be held, above 0 and below 1.
            pool: whether cells of a place that are too small share a limit.
        """
        group = np.arange(self.shape[0] * self.shape[1]).reshape(self.shape)
        if pool:  # the pool of a place is called after its first cell that is in it
            pooled = self.find_pooled(coverage)
            first = np.take_along_axis(group, pooled.argmax(1)[:, None], 1)
            group = np.where(pooled, first, group)
        mine = group.reshape(-1)[self.cell]
        order = np.lexsort((self.value, mine))
        mine, value = mine[order], self.value[order]
        counts = np.bincount(mine, self.weight[order], group.size).astype(np.int64)
        ranks, before = find_rank(counts, coverage), np.cumsum(counts) - counts
        place = np.searchsorted(np.cumsum(self.weight[order]), before + ranks)
        limits = np.full(group.size, np.inf, dtype=np.float32)
        known = ranks <= counts
        limits[known] = value[place[known]]
        return limits[group]

    def state(self, place: int) -> list[dict[str, Any]]:
        """What a place holds, for JSON: the scores of each class, and how many each stands for."""
        columns = self.shape[1]
        bounds = np.searchsorted(self.cell, place * columns + np.arange(columns + 1))
        found = []
        for low, high in pairwise(bounds.tolist()):
            weight = self.weight[low:high].tolist()
            state: dict[str, Any] = {"scores": to_shortest(self.value[low:high])}
            found.append(state if set(weight) <= {1} else state | {"each": weight})
        return found

    @classmethod
    def restore(
        cls, states: Mapping[int, list[Mapping[str, Any]]], shape: tuple[int, int]
    ) -> Scores:
        """Scores from the states of their places."""
        cell: list[int] = []
        value: list[float] = []
        weight: list[int] = []
        for place in sorted(states):
            for column, state in enumerate(states[place]):
                scores = state["scores"]
                cell += [place * shape[1] + column] * len(scores)
                value += scores
                weight += state.get("each") or [1] * len(scores)
        return cls(
            shape,
            np.array(cell, dtype=np.int64),
            np.array(value, dtype=np.float32),
            np.array(weight, dtype=np.int64),
        )


@lru_cache(maxsize=64)
def find_limits(scores: Scores, coverage: float, pool: bool) -> Floats:
    """:meth:`Scores.find_limits`, once for each coverage that is asked for."""
    return scores.find_limits(coverage, pool)
