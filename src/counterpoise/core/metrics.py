"""Metrics: how good the predictions for a split are, in one number each.

Each is a class, found by name in ``METRICS``; a task lists those it has (``Task.listed``). All are
computed by torch, even those that scikit-learn has: any of them may be asked for after every epoch
or in every resample of an interval. The tests compare them with scikit-learn's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .metric import Metric
from .registry import Registry

if TYPE_CHECKING:
    from .tasks import Task


class Accuracy(Metric):
    """Share of samples whose most probable class is the true one."""

    name = "accuracy"
    percent = True

    def share(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        return (logits.argmax(1) == target).float()

    def shares(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        # A maximum over classes that lie apart is many times as fast as an argmax.
        own = logits.gather(1, target.expand(len(logits), 1, -1))
        as_good = (logits >= own).sum(1)
        hits, tied = as_good == 1, (as_good > 1) & (own[:, 0] >= logits.amax(1))
        if bool(tied.any()):  # the first of equals is the one that is predicted
            which, sample = tied.nonzero(as_tuple=True)
            hits[which, sample] = logits[which, :, sample].argmax(1) == target[sample]
        return hits.float()

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        return float(self.share(task, logits, target).double().mean())


class BalancedAccuracy(Metric):
    """Share of the samples of a class that are recognised, averaged over the classes that occur."""

    name = "balanced-accuracy"
    percent = True

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        hits, _, true = task.counts(logits, target)
        return float((hits / true)[true > 0].mean())


class MacroF1(Metric):
    """F1 score of each class or label, averaged over those that occur or are predicted.

    Where nothing is true and nothing predicted, 1.
    """

    name = "macro-f1"
    percent = True

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        hits, predicted, true = task.counts(logits, target)
        either = predicted + true
        return float((2 * hits / either)[either > 0].mean()) if bool(either.any()) else 1.0


class SampleF1(Metric):
    """F1 score of each sample's set of labels, averaged over samples.

    Of a sample with no true and no predicted label, 1.
    """

    name = "sample-f1"
    percent = True

    def share(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        guess, truth = task.guess(logits), task.truth(target)
        both, either = (guess * truth).sum(1), guess.sum(1) + truth.sum(1)
        return torch.where(either > 0, 2 * both / either.clamp(min=1), torch.ones_like(either))


class LabelAccuracy(Metric):
    """Share of labels that are predicted rightly, over all labels of all samples."""

    name = "label-accuracy"
    percent = True

    def share(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        return (task.guess(logits) == task.truth(target)).float().mean(1)

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        return float((task.guess(logits) == task.truth(target)).float().mean())


class AUROC(Metric):
    """Area under the ROC curve of each class or label against the rest, averaged.

    Only those count that some samples have and others lack; NaN where there is none.
    """

    name = "auroc"

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        ranks = _Ranks(task, logits, target)
        middle = (ranks.below + ranks.up_to + 1) / 2  # ties share the mean of their places
        sums = (middle * ranks.truth).sum(1) - ranks.positives * (ranks.positives + 1) / 2
        return ranks.macro(sums / (ranks.positives * ranks.negatives))


class AveragePrecision(Metric):
    """Average precision of each class or label against the rest, averaged.

    The sum over thresholds of precision times the gain in recall. Only those classes and labels
    count that some samples have and others lack; NaN where there is none.
    """

    name = "average-precision"

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        ranks = _Ranks(task, logits, target)
        hits = ranks.positives[:, None] - ranks.positives_below
        precision = hits / (ranks.truth.shape[1] - ranks.below)
        return ranks.macro((precision * ranks.truth).sum(1) / ranks.positives)


class _Ranks:
    """The samples ordered by the probability of each class or label, ties included.

    Attributes:
        truth: double [K, N], 0 or 1.
        below, up_to: [K, N], how many samples have a lower, or no higher, probability.
        positives, negatives: double [K].
        positives_below: [K, N], how many of those below are positive.
    """

    def __init__(self, task: Task, logits: Tensor, target: Tensor) -> None:
        chances = task.chances(logits.double()).T.contiguous()
        self.truth = task.truth(target).double().T.contiguous()
        ordered, order = chances.sort(1)
        self.below = torch.searchsorted(ordered, chances)
        self.up_to = torch.searchsorted(ordered, chances, right=True)
        self.positives = self.truth.sum(1)
        self.negatives = self.truth.shape[1] - self.positives
        counted = torch.nn.functional.pad(self.truth.gather(1, order).cumsum(1), (1, 0))
        self.positives_below = counted.gather(1, self.below)

    def macro(self, values: Tensor) -> float:
        """Mean over the classes for which there are positives and negatives."""
        return float(values[(self.positives > 0) & (self.negatives > 0)].mean())


class NLL(Metric):
    """Negative log-likelihood of the truth in nats; of several labels, their mean.

    Always without class weights and label smoothing.
    """

    name = "nll"
    greater_is_better = False

    def share(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        return task.nll(logits, target)

    def shares(self, task: Task, logits: Tensor, target: Tensor) -> Tensor | None:
        if target.dim() > 1:  # labels, not a class
            return super().shares(task, logits, target)
        return task.nll(logits, target.expand(len(logits), -1))


class Brier(Metric):
    """Squared differences of the probabilities from the truth (1 or 0).

    Summed over classes (from 0 to 2), or averaged over labels (from 0 to 1).
    """

    name = "brier"
    greater_is_better = False

    def share(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        squares = (task.chances(logits.double()) - task.truth(target)).square()
        return squares.sum(1) if target.dim() == 1 else squares.mean(1)  # one class, or labels


class ECE(Metric):
    """Expected calibration error of the predicted class's probability, in 15 bins of equal width.

    The gap between accuracy and mean probability in each bin, averaged over samples.
    """

    name = "ece"
    greater_is_better = False
    bins = 15

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        sure, guess = task.chances(logits.double()).max(1)
        place = (sure * self.bins).ceil().long().clamp(1, self.bins) - 1  # (lower, upper]
        gaps = sure.new_zeros(self.bins).index_add(0, place, sure - (guess == target).double())
        return float(gaps.abs().sum() / len(target))


class MAE(Metric):
    """Mean absolute error."""

    name = "mae"
    greater_is_better = False

    def share(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        return _error(logits, target).abs().mean(1)

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        return float(_error(logits, target).double().abs().mean())


class RMSE(Metric):
    """Root of the mean squared error."""

    name = "rmse"
    greater_is_better = False

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        return float(_error(logits, target).double().square().mean().sqrt())


class R2(Metric):
    """Coefficient of determination: 1 less the squared errors over those of the target's mean.

    Of several outputs, the sums go over all of them. NaN where the target is constant.
    """

    name = "r2"

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        error, truth = _error(logits, target).double(), target.reshape(logits.shape).double()
        if not bool(_varies(truth).any()):
            return math.nan
        return float(1 - error.square().sum() / (truth - truth.mean(0)).square().sum())


class Correlation(Metric):
    """Pearson's correlation of prediction and target; of several outputs, the mean of theirs.

    Only outputs where both vary count; NaN where there is none.
    """

    name = "corr"

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        guess, truth = logits.double(), target.reshape(logits.shape).double()
        known = _varies(guess) & _varies(truth)
        guess, truth = (x[:, known] - x[:, known].mean(0) for x in (guess, truth))
        spread = (guess.square().sum(0) * truth.square().sum(0)).sqrt()
        return float(((guess * truth).sum(0) / spread).mean())


class Acc2(Metric):
    """Accuracy of negative against positive, without samples whose truth is 0; NaN if all are."""

    name = "acc-2"
    percent = True

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        guess, truth = _signs(logits, target)
        return float((guess == truth).double().mean())


class SentimentF1(Metric):
    """F1 score of negative and of positive, weighted by how many samples are either.

    Without samples whose truth is 0; NaN if all are.
    """

    name = "f1"
    percent = True

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        guess, truth = _signs(logits, target)
        if not len(truth):
            return math.nan
        total = 0.0
        for side in (True, False):
            hits, count = ((guess == side) & (truth == side)).sum(), int((truth == side).sum())
            if count:
                total += float(2 * hits / ((guess == side).sum() + count)) * count / len(truth)
        return total


class Acc2Neutral(Metric):
    """Accuracy of negative against all others, over every sample."""

    name = "acc-2-neutral"
    percent = True

    def share(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        return ((logits.reshape(-1) >= 0) == (target.reshape(-1) >= 0)).double()


class Acc7(Metric):
    """Accuracy of the numbers rounded to -3 .. 3."""

    name = "acc-7"
    percent = True

    def share(self, task: Task, logits: Tensor, target: Tensor) -> Tensor:
        guess, truth = (x.reshape(-1).double().clamp(-3, 3).round() for x in (logits, target))
        return (guess == truth).double()


def _error(logits: Tensor, target: Tensor) -> Tensor:
    return logits - target.reshape(logits.shape)


def _varies(values: Tensor) -> Tensor:
    """[N, K] -> bool [K]; a spread would be above 0 for equal values, too, by rounding."""
    return values.amax(0) > values.amin(0)


def _signs(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the samples whose truth is not 0 are predicted, and are, positive."""
    guess, truth = logits.reshape(-1), target.reshape(-1)
    return (guess > 0)[truth != 0], (truth > 0)[truth != 0]


METRICS: Registry[Metric] = Registry(
    "metric",
    "counterpoise.core.metric:Metric",
    {
        kind.name: f"{__name__}:{kind.__qualname__}"
        for kind in (
            *(Accuracy, BalancedAccuracy, MacroF1, SampleF1, LabelAccuracy, AUROC),
            *(AveragePrecision, NLL, Brier, ECE, MAE, RMSE, R2, Correlation),
            *(Acc2, SentimentF1, Acc2Neutral, Acc7),
        )
    },
    group="counterpoise.metrics",
)
