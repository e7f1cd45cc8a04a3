"""What every task has: loss per sample, score per sample, metrics."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from counterpoise.errors import InputError, unknown

from .declared import Declared
from .metric import Metric
from .metrics import METRICS
from .registry import Registry

Weights = str | Mapping[str, float] | Sequence[float]
Which = str | Iterable[str | type[Metric] | Metric] | None


class Task(Declared, ABC):
    """Base of all tasks.

    Attributes:
        outputs: ``K``, the width of the logits.
        max_norm: to which the norm of the whole gradient is clipped unless a run says otherwise.
        listed: the names of its metrics; the first is the primary one, unless
            :meth:`with_metric` chooses another.
    """

    outputs: int
    max_norm: float | None = None
    listed: ClassVar[tuple[str, ...]]
    _metric: Metric | None = None

    @abstractmethod
    def check(self, target: Tensor, where: str = "target") -> None:
        """Raise :class:`InputError` if ``target`` cannot be learnt by this task."""

    def fit(self, target: Tensor, weight: Tensor | None = None) -> Task:
        """The same task with what it takes from the training split.

        Args:
            target: [N, ...].
            weight: [N], how much each sample counts.
        """
        return self

    @property
    def fitted(self) -> bool:
        """Whether it has what :meth:`fit` takes."""
        return True

    def decode(self, logits: Tensor) -> Tensor:
        """[B, K] -> [B, K]: what the model gives, as metrics and users read it."""
        return logits

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """[B, K], [B, ...] -> [B]: the loss of each sample."""

    @abstractmethod
    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        """[B, K], [B, ...] -> [B]: how well each sample is predicted; higher is better."""

    def outcome(self, logits: Tensor, target: Tensor) -> Tensor:
        """[B, K], [B, ...] -> [B]: whether (or how far) each sample is predicted right.

        The share of each sample in the first of ``listed``, whichever metric is primary; of logits
        as the model gives them. A regression's is in standard deviations.
        """
        share = METRICS[self.listed[0]]().share(self, logits, target)
        assert share is not None, f"{self.listed[0]} has no shares"
        return share

    def chances(self, logits: Tensor) -> Tensor:
        """[B, K] -> [B, K]: the probability of each class or label."""
        raise self._no_chances()

    def truth(self, target: Tensor) -> Tensor:
        """[B, ...] -> [B, K]: 1 for each class or label that is true, else 0."""
        raise self._no_chances()

    def guess(self, logits: Tensor) -> Tensor:
        """[B, K] -> [B, K]: 1 for each class or label that is predicted, else 0."""
        raise self._no_chances()

    def counts(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[N, K], [N, ...] -> three [K]: how often each is predicted rightly, predicted, true."""
        guess, truth = self.guess(logits), self.truth(target)
        return (guess * truth).sum(0), guess.sum(0), truth.sum(0)

    def nll(self, logits: Tensor, target: Tensor) -> Tensor:
        """[B, K], [B, ...] -> [B]: the negative log-likelihood of the truth, in nats.

        Of one class also [S, K, B], [S, B] -> [S, B].
        """
        raise self._no_chances()

    def entropy(self, logits: Tensor) -> Tensor:
        """[B, K] -> [B]: how unsure a prediction is, in nats; for tasks that predict chances."""
        raise self._no_chances()

    def _no_chances(self) -> InputError:
        return InputError(f"{TASKS.name_of(self)} predicts no chances")

    @property
    def metric(self) -> Metric:
        """The primary metric: it selects the best epoch, and stands first in tables."""
        return self._metric or METRICS[self.listed[0]]()

    @property
    def primary(self) -> str:
        """The name of the primary metric."""
        return self.metric.name

    @property
    def greater_is_better(self) -> bool:
        """Whether a larger value of the primary metric is the better one."""
        return self.metric.greater_is_better

    def with_metric(self, metric: str | type[Metric] | Metric) -> Task:
        """The same task with another primary metric.

        Args:
            metric: a name in ``listed`` or of an installed metric; or a metric or its class.

        Raises:
            InputError: a metric that the task does not have, with the nearest.
        """
        made, found = copy.copy(self), self._find(metric)
        made._metric = None if found.name == self.listed[0] else found
        return made

    def _find(self, metric: str | type[Metric] | Metric) -> Metric:
        known = (*self.listed, *METRICS.added)
        if isinstance(metric, str) and metric not in known:
            raise unknown(f"metric of {TASKS.name_of(self)}", metric, known)
        return METRICS.build(metric)

    def find_metrics(self, which: Which = None) -> list[Metric]:
        """Metrics of the task.

        Args:
            which: ``None`` for all, the primary one first; ``"primary"``; a name, or several.

        Raises:
            InputError: a metric that the task does not have, with the nearest.
        """
        if which is None:
            others = [METRICS[name]() for name in self.listed if name != self.primary]
            return [self.metric, *others]
        if which == "primary":
            return [self.metric]
        several = which if isinstance(which, Iterable) and not isinstance(which, str) else [which]
        return [self._find(metric) for metric in several]

    def metrics(self, logits: Tensor, target: Tensor, which: Which = None) -> dict[str, float]:
        """Name -> value over a whole split, of those that :meth:`find_metrics` finds.

        Args:
            logits: [N, K] on the host, N at least 1; as :meth:`decode` gives them.
            target: [N, ...].
            which: ``None`` for all, the primary one first; ``"primary"``; a name, or several.

        Where a prediction is NaN, so is every metric.
        """
        found = self.find_metrics(which)
        if bool(logits.isnan().any()):  # an order or a maximum of NaN would pass for a result
            return {metric.name: math.nan for metric in found}
        return {metric.name: metric.value(self, logits, target) for metric in found}

    def better(self, value: float, than: float) -> bool:
        """Whether one value of the primary metric beats another; NaN never does."""
        return value > than if self.greater_is_better else value < than

    def with_loss(
        self,
        weights: Weights | None = None,
        smoothing: float | None = None,
        target: Tensor | None = None,
    ) -> Task:
        """The same task with class weights and label smoothing in its loss.

        Args:
            weights: ``"balanced"``; or a weight for each class or label, by name or in order;
                ``None`` keeps those of the task.
            smoothing: from 0, and below 1; ``None`` keeps that of the task.
            target: [N, ...], of the training split; needed for weights.

        Raises:
            InputError: a task without classes; weights that do not fit its classes.
        """
        raise InputError(
            "class_weights and label_smoothing need a task of classes or labels, found "
            f"{TASKS.name_of(self)}; leave them out"
        )

    def state(self) -> dict[str, object]:
        """What says which task this is, in plain values (for records and fingerprints).

        A primary metric, class weights and smoothing are in it only where they were chosen.
        """
        chosen = {} if self._metric is None else {"metric": self.primary}
        return {"task": TASKS.name_of(self), "outputs": self.outputs, **chosen}


TASKS: Registry[Task] = Registry(
    "task",
    f"{__name__}:Task",
    {
        "classification": "counterpoise.core.tasks:Classification",
        "multilabel": "counterpoise.core.tasks:MultiLabel",
        "regression": "counterpoise.core.regression:Regression",
        "sentiment": "counterpoise.core.regression:Sentiment",
    },
    group="counterpoise.tasks",
)
