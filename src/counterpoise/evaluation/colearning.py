"""Did training together help a modality, or hurt it? With an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .result import Evaluation, format_value


@dataclass(frozen=True)
class Verdict:
    """One modality alone: the multimodal model against the unimodally trained one.

    Attributes:
        modality: which.
        together: the primary metric of the multimodal model with this modality alone.
        alone: of the unimodally trained model.
        low, high: 95 % interval of ``together - alone``, paired bootstrap over samples;
            infinite where nothing is known of it.
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
        signed = partial(format_value, sign="+", like=self.alone)
        return (
            f"{self.modality}: {format_value(self.together)} together, "
            f"{format_value(self.alone)} alone, {signed(self.difference)} "
            f"[{signed(self.low)}, {signed(self.high)}]: {self.verdict}"
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


def resampled_interval(
    difference: Callable[[Tensor], float],
    rows: int,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Bootstrap percentile interval of a paired difference that is no mean over samples.

    Args:
        difference: takes the numbers of the samples drawn, int64 [N]; gives the difference of
            both models' metric on them, NaN where it is not defined.
        rows: how many samples there are.
        resamples: how many times they are drawn again. Draws where the metric is not defined do
            not count; if these are more than half, nothing is known.
        level: of the interval.
        seed: of the draws.
    """
    if rows < 2:
        return -math.inf, math.inf
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randint(rows, (rows,), generator=generator) for _ in range(resamples))
    found = torch.tensor([difference(chosen) for chosen in drawn], dtype=torch.float64)
    known = found[found.isfinite()]
    if 2 * len(known) < resamples:
        return -math.inf, math.inf
    low, high = known.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2]).double()).tolist()
    return low, high


def judge(
    modality: str,
    together: Sequence[Tensor],
    alone: Sequence[Tensor],
    greater_is_better: bool = True,
) -> Verdict:
    """The verdict from outcomes [N] of each sample, one tensor a seed, in the same order.

    Args:
        modality: which.
        together: of the multimodal models with this modality alone; NaN where it is absent.
        alone: of the unimodally trained models.
        greater_is_better: whether a larger outcome is the better one.
    """
    first, second = torch.stack(list(together)).mean(0), torch.stack(list(alone)).mean(0)
    both = first.isfinite() & second.isfinite()
    first, second = first[both].double(), second[both].double()
    interval = paired_interval((first - second).numpy())
    means = float(first.mean()), float(second.mean())
    return _decide(modality, *means, interval, greater_is_better)


def _decide(
    modality: str,
    together: float,
    alone: float,
    interval: tuple[float, float],
    greater_is_better: bool,
) -> Verdict:
    low, high = interval
    direction = "positive" if (low > 0) == greater_is_better else "negative"
    verdict = direction if low > 0 or high < 0 else "undecided"
    return Verdict(modality, together, alone, low, high, verdict)


def _judge_whole(modality: str, together: Evaluation, alone: Evaluation) -> Verdict:
    """The verdict on a metric that is computed from all samples at once."""
    task, metric = together.task, together.task.metric
    first, second = together.whole(modality), alone.whole(modality)
    both = first.isfinite().all(1) & second.isfinite().all(1)
    first, second, target = first[both], second[both], together.target[both]

    def value(logits: Tensor, rows: Tensor) -> float:
        return metric.value(task, logits[rows], target[rows])

    every = torch.arange(len(target))
    both_values = [value(x, every) if len(target) else math.nan for x in (first, second)]
    # At least 200 draws, and fewer than 1000 only where each takes long.
    resamples = min(1000, max(200, 1_000_000_000 // max(1, first.numel())))
    interval = resampled_interval(
        lambda rows: value(first, rows) - value(second, rows), len(target), resamples
    )
    return _decide(modality, both_values[0], both_values[1], interval, metric.greater_is_better)


def colearning(together: Evaluation, alone: Evaluation) -> list[Verdict]:
    """The co-learning verdict for each modality, on the primary metric.

    Where this is a mean over samples (accuracy, an absolute error), the interval is of the paired
    differences. Any other (an F1 score, AUROC) is computed anew on samples drawn again, the same
    for both models.

    Args:
        together: evaluation of the multimodal model; its task says which metric is primary.
        alone: of the unimodally trained models (method ``unimodal``), on the same samples.
    """
    if not together.task.metric.has_shares:
        return [_judge_whole(m, together, alone) for m in together.modalities]
    alone = replace(alone, task=together.task)
    better = together.task.greater_is_better
    return [
        judge(m, [together.outcome(m)], [alone.outcome(m)], better) for m in together.modalities
    ]
