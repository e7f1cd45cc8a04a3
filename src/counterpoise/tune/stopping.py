"""When a trial is stopped early: by the median of those that were trained to their end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

AFTER = 5  # trials that are trained to their end before any is stopped
WARM_UP = 2  # epochs that every trial has


@dataclass(frozen=True)
class Bar:
    """What a trial has to reach, epoch by epoch: Optuna's median rule, in numbers.

    They are sent with the trial, so that it needs nobody to ask where it is trained.

    Attributes:
        heights: of each epoch the median of the values of complete trials after it; None where
            nothing is asked.
        greater_is_better: of the values.
    """

    heights: tuple[float | None, ...] = ()
    greater_is_better: bool = True

    @classmethod
    def of(cls, curves: Sequence[Sequence[float | None]], greater_is_better: bool) -> Bar:
        """The bar that complete trials set, by their values after each epoch."""
        if len(curves) < AFTER:
            return cls((), greater_is_better)
        longest = max(map(len, curves))
        heights: list[float | None] = [None] * min(WARM_UP, longest)
        for epoch in range(WARM_UP, longest):
            values = [c[epoch] for c in curves if epoch < len(c)]
            known = [v for v in values if v is not None and not math.isnan(v)]
            heights.append(median(known) if known else None)
        return cls(tuple(heights), greater_is_better)

    def stops(self, curve: Sequence[float | None]) -> bool:
        """Whether the best value so far is worse than the bar of the last epoch."""
        epoch = len(curve) - 1
        height = self.heights[epoch] if epoch < len(self.heights) else None
        known = [v for v in curve if v is not None and not math.isnan(v)]
        if height is None or not known:
            return False
        return max(known) < height if self.greater_is_better else min(known) > height
