"""Did training together help a modality, or hurt it? With an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoise.core.tasks import Task

from .subsets import Evaluation


@dataclass(frozen=True)
class Verdict:
    """One modality alone: the multimodal model against the unimodally trained one.

    Attributes:
        modality: which.
        together: the primary metric of the multimodal model with this modality alone.
        alone: of the unimodally trained model.
        low, high: 95 % interval of ``together - alone``, paired bootstrap over samples.
        verdict: ``"positive"`` or ``"negative"`` co-learning, or ``"undecided"`` where the
            interval holds 0. A smaller error counts as positive.
    """

    modality: str
    together: float
    alone: float
    low: float
    high: float
    verdict: str

    @property
    def difference(self) -> float:
        return self.together - self.alone

    def __str__(self) -> str:
        return (
            f"{self.modality}: {self.together:.4f} together, {self.alone:.4f} alone, "
            f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]: {self.verdict}"
        )


def paired_interval(
    differences: np.ndarray[Any, Any], resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean of paired differences [N].

    Args:
        differences: one per sample (the mean over seeds, where there are several).
        resamples: how many times the samples are drawn again.
        level: of the interval.
        seed: of the draws.
    """
    from scipy.stats import bootstrap

    if len(differences) < 2:
        return -math.inf, math.inf  # nothing is known of the spread
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    found = bootstrap(
        (differences,),
        np.mean,
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        vectorized=True,
        batch=max(1, 10_000_000 // len(differences)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def judge(
    modality: str, together: Sequence[Tensor], alone: Sequence[Tensor], task: Task
) -> Verdict:
    """The verdict from outcomes [N] of each sample, one tensor a seed, in the same order.

    Args:
        modality: which.
        together: of the multimodal models with this modality alone; NaN where it is absent.
        alone: of the unimodally trained models.
        task: says whether more is better.
    """
    first, second = torch.stack(list(together)).mean(0), torch.stack(list(alone)).mean(0)
    both = first.isfinite() & second.isfinite()
    first, second = first[both].double(), second[both].double()
    low, high = paired_interval((first - second).numpy())
    sign = 1 if task.greater_is_better else -1
    direction = "positive" if sign * low > 0 else "negative"
    verdict = direction if low > 0 or high < 0 else "undecided"
    return Verdict(modality, float(first.mean()), float(second.mean()), low, high, verdict)


def colearning(together: Evaluation, alone: Evaluation) -> list[Verdict]:
    """The co-learning verdict for each modality.

    Args:
        together: evaluation of the multimodal model.
        alone: of the unimodally trained models (method ``unimodal``), on the same samples.
    """
    return [
        judge(m, [together.outcome(m)], [alone.outcome(m)], together.task)
        for m in together.modalities
    ]
