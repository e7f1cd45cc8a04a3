"""How good a packed model is with each subset of its modalities, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.metric import Metric
from counterpoise.core.strict_json import strict
from counterpoise.core.task import Task
from counterpoise.evaluation import Evaluation, present_name
from counterpoise.evaluation.subsets import EACH

if TYPE_CHECKING:
    from .confidence import Confidence

Figures = Mapping[str, Mapping[str, Any]]  # subset -> "rows", metric -> value, low, high
Interval = tuple[float, float]

REACH = 0.975  # the quantile at either end of an interval of 95 %
UNKNOWN = (math.nan, math.nan)
DRAWS = 100  # of a metric that is no mean over samples
# Logits that all draws of all subsets may read: about two seconds of the slowest metric.
BUDGET = 10_000_000
SPLITS = ("test", "validation")  # the first that knows a subset counts
BEFORE = ("nll", "ece")  # that calibration is about
FEWEST, MOST = 100, 1000  # samples in a draw


def measure(
    evaluation: Evaluation, groups: Tensor | None = None, confidence: Confidence | None = None
) -> dict[str, dict[str, Any]]:
    """Every metric of the task for each subset of the modalities, in plain values.

    A subset is measured on the samples that have all of its modalities, with the others hidden:
    what is to be expected of a sample that has these and no others. :func:`evaluate` also counts
    samples that have only some of them. The two agree where nothing is missing.

    Intervals are of 95 %. That of a share (``Metric.percent``) is Wilson's, which stays within
    0 and 1 and is no point where all or none are right; that of another mean over samples is
    Student's, within the smallest and largest share of a sample. Both count groups, not samples,
    where there are groups: Wilson's has the size of sample that gives the variance between groups
    (Korn and Graubard, Survey Methodology 1998), and no more than there are: groups that are alike
    by chance say no more than independent samples. A metric that is no mean over samples has one
    only where it is primary, from draws of samples or groups.

    Args:
        evaluation: of a split.
        groups: int64 [N], which samples of the split belong together.
        confidence: calibrates the predictions first; what they were before is kept of the metrics
            in ``BEFORE``, as ``ece-uncalibrated``.

    Returns:
        subset (:func:`present_name`) -> ``rows``, how many samples, and metric -> ``value``,
        ``low``, ``high``, the primary one first; ``None`` where it is not known.
    """
    total = len(evaluation.target)
    codes = torch.arange(total) if groups is None else groups.cpu()
    has = {m: _mark(evaluation.rows[m,], total) for m in evaluation.modalities}
    size = BUDGET // (DRAWS * len(evaluation.logits) * evaluation.task.outputs)
    found = {}
    for subset, logits in evaluation.logits.items():
        every = torch.stack([has[m] for m in subset]).all(0)
        rows = evaluation.rows[subset]
        kept = every[rows]
        heat = 1.0 if confidence is None else _find_temperature(confidence, subset)
        part = _Part(evaluation.task, logits[kept] / heat, rows[kept], evaluation.target, codes)
        figures = part.figures(groups is not None, size)
        if confidence is not None and len(part.logits):
            figures |= part.before(logits[kept])
        found[present_name(subset)] = strict(figures)
    return found


def _find_temperature(confidence: Confidence, subset: Sequence[str]) -> float:
    present = torch.tensor([[m in subset for m in confidence.modalities]])
    return float(confidence.temperature(present))


def _mark(rows: Tensor, total: int) -> Tensor:
    marks = torch.zeros(total, dtype=torch.bool)
    marks[rows] = True
    return marks


class _Part:
    """The samples of one subset: logits [n, K], target [n, ...] and groups, numbered from 0 [n]."""

    def __init__(
        self, task: Task, logits: Tensor, rows: Tensor, target: Tensor, codes: Tensor
    ) -> None:
        self.task, self.logits, self.target = task, logits, target[rows]
        _, self.groups, self.sizes = codes[rows].unique(return_inverse=True, return_counts=True)

    def figures(self, grouped: bool, size: int) -> dict[str, Any]:
        metrics = self.task.find_metrics()
        count = len(self.logits)
        values = {metric.name: math.nan for metric in metrics}
        if count:
            values = self.task.metrics(self.logits, self.target, metrics)
        found: dict[str, Any] = {"rows": count}
        for place, metric in enumerate(metrics):
            value, (low, high) = values[metric.name], UNKNOWN
            if math.isfinite(value) and metric.has_shares:
                low, high = self._mean_interval(metric, value, grouped)
            elif math.isfinite(value) and place == 0:
                low, high = self._drawn_interval(metric, value, size)
            found[metric.name] = {"value": value, "low": low, "high": high}
        return found

    def before(self, logits: Tensor) -> dict[str, Any]:
        """What calibration changes, by the logits [n, K] before it."""
        names = [name for name in BEFORE if name in self.task.listed]
        values = self.task.metrics(logits, self.target, names)
        nothing = {"low": math.nan, "high": math.nan}
        return {f"{name}-uncalibrated": {"value": v, **nothing} for name, v in values.items()}

    def _mean_interval(self, metric: Metric, value: float, grouped: bool) -> Interval:
        """Of a mean over samples, by the variance between groups (a ratio of two sums)."""
        from scipy.stats import norm, t

        shares = metric.share(self.task, self.logits, self.target)
        assert shares is not None, f"{metric.name} has no shares"
        shares, count, groups = shares.double(), len(shares), len(self.sizes)
        sums = torch.zeros(groups, dtype=torch.float64).index_add(0, self.groups, shares - value)
        independent = float((shares - value).square().sum()) / count**2
        variance, quantile = float(sums.square().sum()) / count**2, float(norm.ppf(REACH))
        if grouped or not metric.percent:
            if groups < 2:  # nothing is known of the spread
                return UNKNOWN
            variance = max(variance * groups / (groups - 1), independent)
            quantile = float(t.ppf(REACH, groups - 1))
        if metric.percent:
            return wilson(value, variance, groups, quantile)
        far = quantile * math.sqrt(variance)
        least, most = float(shares.min()), float(shares.max())
        return max(value - far, min(least, value)), min(value + far, max(most, value))

    def _drawn_interval(self, metric: Metric, value: float, size: int) -> Interval:
        """Of any metric: the spread over draws of groups, brought to the number there are.

        A draw takes about ``size`` samples at most, so that many subsets do not take minutes; the
        spread falls with the root of the number of groups.
        """
        from scipy.stats import norm

        groups, count = len(self.sizes), len(self.groups)
        if groups < 2 or size < min(FEWEST, count):
            return UNKNOWN
        size = max(2, round(groups * min(1, size / count, MOST / count)))
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randint(groups, (DRAWS, size), generator=generator)
        values = torch.tensor([self._value(metric, chosen) for chosen in drawn]).double()
        known = values[values.isfinite()]
        if 2 * len(known) < DRAWS:  # it is rarely defined
            return UNKNOWN
        far = float(norm.ppf(REACH)) * float(known.std()) * math.sqrt(size / groups)
        least, most = min(float(known.min()), value), max(float(known.max()), value)
        return max(value - far, least), min(value + far, most)

    def _value(self, metric: Metric, chosen: Tensor) -> float:
        """The metric on the samples of the groups drawn, each as often as it was drawn."""
        times = chosen.bincount(minlength=len(self.sizes))
        rows = torch.arange(len(self.groups)).repeat_interleave(times[self.groups])
        return metric.value(self.task, self.logits[rows], self.target[rows])


def wilson(share: float, variance: float, groups: int, quantile: float) -> Interval:
    """Wilson's interval of a share whose estimate has this variance.

    Args:
        share: from 0 to 1.
        variance: of the estimate; of independent samples ``share * (1 - share) / N``.
        groups: how many independent ones there are: the size of the sample where the variance
            is 0 since all or none are right.
        quantile: of the normal distribution, or of Student's.
    """
    if share in (0, 1):
        variance_of_one, count = 0.0, float(groups)
    else:
        variance_of_one = share * (1 - share)
        count = variance_of_one / variance if variance else math.inf
    square = quantile**2 / count
    middle = (share + square / 2) / (1 + square)
    far = quantile * math.sqrt(variance_of_one / count + square / (4 * count)) / (1 + square)
    return max(middle - far, 0.0), min(middle + far, 1.0)


def expected(
    figures: Mapping[str, Figures], task: Task, modalities: Sequence[str], present: NDArray[Any]
) -> NDArray[np.float64]:
    """[N]: the primary metric to be expected of rows, by which modalities they have.

    Args:
        figures: split -> what :func:`measure` found; test counts where it knows a subset, else
            validation.
        task: its primary metric is looked up.
        modalities: of the columns of ``present``.
        present: bool [N, M].

    Returns:
        Above six modalities only some subsets are measured (``choose_subsets`` draws them). There
        a row with another one gets the mean over those measured that have as many modalities, as
        :func:`average` finds it. NaN for a subset that was not measured of up to six modalities,
        where none of its size was, and for rows that have nothing.
    """
    kinds, place = np.unique(present, axis=0, return_inverse=True)
    means = {}
    if len(modalities) > EACH:
        means = {split: average(figures[split]) for split in SPLITS if figures.get(split)}
    values = [_look_up(figures, means, task.primary, names) for names in _name(modalities, kinds)]
    return np.asarray(values, dtype=np.float64)[place.reshape(-1)]


def _name(modalities: Sequence[str], kinds: NDArray[Any]) -> list[list[str]]:
    """The modalities of each row of ``kinds``."""
    return [[m for m, has in zip(modalities, kind, strict=True) if has] for kind in kinds.tolist()]


def _look_up(
    figures: Mapping[str, Figures],
    means: Mapping[str, Mapping[int, Mapping[str, Any]]],
    metric: str,
    names: Sequence[str],
) -> float:
    """Of the subset itself, else of its number of modalities; test before validation."""
    found = [figures.get(split, {}).get(present_name(names), {}) for split in SPLITS]
    found += [means.get(split, {}).get(len(names), {}) for split in SPLITS]
    for values in found:
        value = (values.get(metric) or {}).get("value")
        if value is not None:
            return float(value)
    return math.nan


def average(figures: Figures) -> dict[int, dict[str, Any]]:
    """What was measured of subsets of one size, taken together.

    Args:
        figures: what :func:`measure` found of a split.

    Returns:
        number of modalities -> metric -> ``value``, the mean over the subsets of that number, each
        counting once, and ``subsets``, how many had a value; metrics that none had are left out.
    """
    values: dict[int, dict[str, list[float]]] = {}
    for subset, metrics in figures.items():
        here = values.setdefault(subset.count("+") + 1, {})
        for metric, figure in metrics.items():
            if metric != "rows" and figure.get("value") is not None:
                here.setdefault(metric, []).append(float(figure["value"]))
    return {
        size: {
            metric: {"value": sum(each) / len(each), "subsets": len(each)}
            for metric, each in metrics.items()
        }
        for size, metrics in values.items()
    }
