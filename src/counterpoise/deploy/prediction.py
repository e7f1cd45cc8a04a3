"""What a predictor says about rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.task import Task
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.evaluation.subsets import present_name

Array = NDArray[Any]


@dataclass(frozen=True)
class Prediction:
    """What a predictor says about N rows. A row that has no modality is not answered.

    Attributes:
        task: what is predicted.
        classes: of its classes or labels, as they were called in training; empty of a regression.
        label: [N], one of ``classes`` each; of several labels at once bool [N, K]; of a
            regression float [N], or [N, K] of several numbers. Where a row was not answered it is
            ``None``, of numbers and several labels NaN.
        probabilities: [N, K], calibrated for the modalities of each row, NaN where it was not
            answered; ``None`` of a regression.
        present: modality -> bool [N].
        weights: modality -> [N]: how far the answer moves when this modality is left out, as a
            share of all such moves; 1 where there is one alone, 0 where it is absent.
        expected: [N], the primary metric as it was measured with the modalities of each row; NaN
            where it was not. Above six modalities, where some subsets were not, the mean over
            those of as many modalities.
        metric: the name of that metric.
        problems: row -> what of it could not be read.
        keeps: bool [N], where an accuracy was asked for: False where the answer is withheld.
        sets: bool [N, K], where a coverage was asked for: the classes that the truth is among; of
            a regression [N, K, 2], from and to.
    """

    task: Task
    classes: tuple[Any, ...]
    label: Array
    probabilities: Array | None
    present: dict[str, Array]
    weights: dict[str, Array]
    expected: Array
    metric: str
    problems: dict[int, str] = field(default_factory=dict)
    keeps: Array | None = None
    sets: Array | None = None

    def __len__(self) -> int:
        return len(self.label)

    def __repr__(self) -> str:
        answered = int(self.answered().sum())
        problems = f", {len(self.problems)} with problems" if self.problems else ""
        return f"Prediction({answered} of {len(self)} rows answered{problems})"

    def answered(self) -> NDArray[np.bool_]:
        """bool [N]: which rows have an answer."""
        values = self.label if self.probabilities is None else self.probabilities
        found: NDArray[np.bool_] = ~np.isnan(values.reshape(len(values), -1).astype(float)).any(1)
        return found

    def subsets(self) -> list[str]:
        """[N]: the modalities of each row, joined by ``+``; empty where there is none."""
        table = np.stack(list(self.present.values()), 1)
        kinds, places = np.unique(table, axis=0, return_inverse=True)
        names = list(self.present)
        words = [present_name(m for m, has in zip(names, row, strict=True) if has) for row in kinds]
        return [words[place] for place in places.reshape(-1)]

    def rows(self) -> list[dict[str, Any]]:
        """Each row in plain values, for JSON and tables.

        ``label`` (``None`` where there is no answer), ``probabilities`` by class, ``present``,
        ``weights`` by modality, ``expected`` with the ``metric``; where there are any ``problem``,
        ``withheld``, and ``set`` (names of classes, or from and to).
        """
        answered, subsets = self.answered(), self.subsets()
        labels, names = self._labels(), [str(c) for c in self.classes]
        found = []
        for k, subset in enumerate(subsets):
            row: dict[str, Any] = {"label": labels[k] if answered[k] else None}
            if self.probabilities is not None:
                values = self.probabilities[k].tolist() if answered[k] else [None] * len(names)
                row["probabilities"] = dict(zip(names, values, strict=True))
            row["present"] = subset
            row["weights"] = {m: float(w[k]) for m, w in self.weights.items() if self.present[m][k]}
            expected = float(self.expected[k])
            row["expected"] = None if np.isnan(expected) else expected
            row["metric"] = self.metric
            if k in self.problems:
                row["problem"] = self.problems[k]
            if self.keeps is not None:
                row["withheld"] = not bool(self.keeps[k])
            if self.sets is not None:
                row["set"] = self._set(k) if answered[k] else None
            found.append(row)
        return found

    def _labels(self) -> list[Any]:
        """The label of each row in plain values: of several at once those that are true."""
        if isinstance(self.task, MultiLabel):
            table = (self.label == 1).tolist()
            return [[c for c, on in zip(self.classes, row, strict=True) if on] for row in table]
        return list(self.label.tolist())

    def _set(self, row: int) -> Any:
        assert self.sets is not None
        if isinstance(self.task, Classification):
            here = self.sets[row].tolist()
            return [c for c, inside in zip(self.classes, here, strict=True) if inside]
        limits = [[_finite(x) for x in pair] for pair in self.sets[row].tolist()]
        return limits[0] if len(limits) == 1 else limits


def _finite(number: float) -> float | None:
    return number if np.isfinite(number) else None
