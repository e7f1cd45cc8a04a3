"""Abstention: answer only where the model is sure enough for an accuracy that is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .shortest import to_shortest

Floats = NDArray[np.float32]
Whole = NDArray[np.int64]

STEPS = 40  # thresholds are tried that answer 1/40, 2/40, ... of the rows
DOUBT = 0.1  # a promise of accuracy may be broken in one of ten calibrations
# Of the doubt, the first threshold gets most; so many later ones share the rest. Of the divisions
# that were tried in simulations these answer most rows (tests/deploy/test_abstention.py).
_FIRST, _STARTS = 0.8, 2


@dataclass(frozen=True)
class Answers:
    """What answering only the surest rows of a subset gives, as measured on the second half.

    Attributes:
        threshold: the least chance of the predicted class; ``None`` where the wanted accuracy
            cannot be had, and every row is withheld.
        share: of the rows, those that are answered (the coverage).
        accuracy: of these; ``None`` where there are none.
        rows: how many were measured.
    """

    threshold: float | None
    share: float
    accuracy: float | None
    rows: int


@dataclass(frozen=True, eq=False)
class Steps:
    """How many rows each of a fixed series of thresholds answers, and how many of them rightly.

    Attributes:
        thresholds: float32 [P, STEPS], falling, the last one 0; for each place. They come from
            the calibrating half, so that the rows counted here have not chosen them.
        kept: int64 [P, STEPS], rows whose largest chance is at least the threshold.
        right: int64 [P, STEPS], those of them that were answered rightly.
        rows: int64 [P], all rows of the measuring half; 0 where nothing is known of a place.
    """

    thresholds: Floats
    kept: Whole
    right: Whole
    rows: Whole

    @classmethod
    def empty(cls, places: int) -> Steps:
        """No rows at any place."""
        shape = places, STEPS
        kept, right = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        rows = np.zeros(places, dtype=np.int64)
        return cls(np.zeros(shape, dtype=np.float32), kept, right, rows)

    def count(self, place: int, sure: Floats, measured: Floats, right: NDArray[np.bool_]) -> None:
        """Fill in one place.

        Args:
            place: which.
            sure: [A], the largest chance of each row of the calibrating half; A at least 1.
            measured: [B], of the measuring half.
            right: bool [B], which of these were answered rightly.
        """
        shares = np.arange(STEPS - 1, -1, -1) / STEPS
        found = np.quantile(sure.astype(np.float64), shares, method="lower")
        found = np.floor(found * 1e6) / 1e6  # short in JSON; they may be any numbers
        found[-1] = 0.0
        self.thresholds[place] = found
        order = np.sort(measured), np.sort(measured[right])
        ranks = [len(x) - np.searchsorted(x, self.thresholds[place]) for x in order]
        self.kept[place], self.right[place] = ranks
        self.rows[place] = len(measured)

    def choose(self, accuracy: float) -> Whole:
        """int64 [P]: the last threshold that keeps the accuracy, or -1 where none does.

        With a probability of at least 90 % over the measuring half, the rows of this place that
        will be answered are right with a probability of at least ``accuracy``, if they come from
        where the measured ones came from, each by itself. Each threshold is a hypothesis, "the
        accuracy is lower", with the exact binomial test (Clopper and Pearson, 1934). Testing all
        of them would find a good one by luck; so they are tested in an order that is fixed
        before, from the strictest to the most lenient, by the fallback procedure: thresholds that
        pass hand their share of the 10 % on to the next, and three of them have a share of their
        own (Wiens, Pharmaceutical Statistics 2, 2003; for calibration: Angelopoulos et al., Learn
        then test, 2021). Those with too few rows to pass are left out.

        Args:
            accuracy: above 0 and below 1.
        """
        from scipy.special import betainc

        wrong = self.kept - self.right
        # P(at least so many right of those kept), were each right with this probability.
        chance = np.where(
            self.right > 0, betainc(np.maximum(self.right, 1), wrong + 1.0, accuracy), 1.0
        )
        shares = self._share_out(accuracy)
        best, hand = np.full(len(self.rows), -1), np.zeros(len(self.rows))
        for step in range(STEPS):
            hand = hand + shares[:, step]
            passes = chance[:, step] <= hand
            best = np.where(passes, step, best)
            hand = np.where(passes, hand, 0.0)
        return np.where(self.rows > 0, best, -1)

    def _share_out(self, accuracy: float) -> NDArray[np.float64]:
        """[P, STEPS]: of the doubt, most to the first threshold to try, the rest to later ones.

        It depends on the number of rows only, not on what was measured with them.
        """
        first = _find_first(self.rows, accuracy)
        shares, every = np.zeros(self.thresholds.shape), np.arange(len(self.rows))
        shares[every, first] = DOUBT * _FIRST
        for start in range(1, _STARTS + 1):
            step = first + (STEPS - 1 - first) * start // _STARTS
            np.add.at(shares, (every, step), DOUBT * (1 - _FIRST) / _STARTS)
        return shares

    def describe(self, best: Whole) -> dict[int, Answers]:
        """Measured place -> what its threshold gives, of those that :meth:`choose` found."""
        found = {}
        for place in np.flatnonzero(self.rows).tolist():
            step, rows = int(best[place]), int(self.rows[place])
            kept = int(self.kept[place, step]) if step >= 0 else 0
            found[place] = Answers(
                float(self.thresholds[place, step]) if step >= 0 else None,
                kept / rows,
                int(self.right[place, step]) / kept if kept else None,
                rows,
            )
        return found

    def state(self, place: int) -> dict[str, Any]:
        """What a place holds, for JSON."""
        return {
            "rows": int(self.rows[place]),
            "thresholds": to_shortest(self.thresholds[place]),
            "kept": self.kept[place].tolist(),
            "right": self.right[place].tolist(),
        }

    def restore(self, place: int, state: Mapping[str, Any]) -> None:
        """Fill in a place from its state."""
        self.rows[place] = state["rows"]
        for name in ("thresholds", "kept", "right"):
            getattr(self, name)[place] = state[name]


def _find_first(rows: Whole, accuracy: float) -> Whole:
    """[P]: the first threshold to try, which answers enough rows to pass with some wrong answers.

    Four, two or one where that takes no more than half of the rows, else none.
    """
    from scipy.special import betainc

    sizes = np.arange(int(rows.max(initial=0)) + 1)
    need = np.full(len(rows), len(sizes))
    for wrong, share in ((0, 1.0), (1, 0.5), (2, 0.5), (4, 0.5)):
        right = np.maximum(sizes - wrong, 1)
        enough = (sizes > wrong) & (betainc(right, wrong + 1.0, accuracy) <= DOUBT * _FIRST)
        least = int(np.argmax(enough)) if enough.any() else len(sizes)
        need = np.where(least <= share * rows, least, need)
    step = np.ceil(need * STEPS / np.maximum(rows, 1)).astype(np.int64) - 1
    return np.clip(step, 0, STEPS - 1)


@lru_cache(maxsize=64)
def find_steps(steps: Steps, accuracy: float) -> Whole:
    """:meth:`Steps.choose`, once for each accuracy that is asked for."""
    return steps.choose(accuracy)
