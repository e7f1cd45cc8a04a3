"""The tasks: one class of several, several labels at once, numbers (:mod:`.regression`)."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoise.errors import InputError, check_number, unknown

from .declared import Bounds
from .registry import make
from .regression import Regression as Regression
from .regression import Sentiment as Sentiment
from .task import TASKS as TASKS
from .task import Task as Task
from .task import Weights

LARGEST_WEIGHT = 1e9  # infinite ones would leave no loss
Several = Annotated[int, Bounds(2, 2**20)]


def entropy(logits: Tensor) -> Tensor:
    """[..., K] -> [...]: Shannon entropy of the softmax, in nats."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


class _Labelled(Task):
    """What classes and labels share: names, weights and smoothing."""

    kinds: ClassVar[tuple[str, str]]  # what one and several of them are called

    def __init__(
        self,
        outputs: int,
        names: tuple[str, ...] | None,
        weights: Sequence[float] | None,
        smoothing: float,
    ) -> None:
        one = self.kinds[0]
        if names is not None and len(names) != outputs:
            raise InputError(f"names must hold {outputs} {one} names, found {len(names)}")
        self.outputs, self.names = outputs, names
        self._set_loss(weights, smoothing)

    def _set_loss(self, weights: Sequence[float] | None, smoothing: float) -> None:
        smoothing = check_number("smoothing", smoothing, 0, below=1)
        if weights is not None:
            if len(weights) != self.outputs:
                raise InputError(f"weights must hold {self.outputs} numbers, found {len(weights)}")
            for weight in weights:
                check_number("weights", weight, 0, LARGEST_WEIGHT)
        self.smoothing = float(smoothing)
        self.weights = None if weights is None else tuple(map(float, weights))
        self._table = None if weights is None else torch.tensor(self.weights)

    @abstractmethod
    def _balance(self, truth: Tensor) -> Tensor:
        """Weights [K] that make up for how often each occurs in training, [N, K] of 0 and 1."""

    def _scale(self, weights: Tensor, truth: Tensor) -> Tensor:
        """Given weights [K] in the scale that the loss needs."""
        return weights

    def with_loss(
        self,
        weights: Weights | None = None,
        smoothing: float | None = None,
        target: Tensor | None = None,
    ) -> Task:
        chosen: Sequence[float] | None = self.weights
        if weights is not None and target is None:
            raise InputError("target must hold the targets of the training split, found None")
        if weights is not None and target is not None:
            truth = self.truth(target).double()
            if not isinstance(weights, str):
                chosen = self._scale(self._in_order(weights).double(), truth).tolist()
            elif weights == "balanced":
                chosen = self._balance(truth).tolist()
            else:
                raise unknown("value for class_weights", weights, ("balanced",))
        made = copy.copy(self)
        made._set_loss(chosen, self.smoothing if smoothing is None else smoothing)
        return made

    def _in_order(self, weights: Mapping[str, float] | Sequence[float]) -> Tensor:
        """[K], one for each class or label."""
        one, several = self.kinds
        if isinstance(weights, Mapping):
            names = self.names or tuple(map(str, range(self.outputs)))
            given = {str(name): weight for name, weight in weights.items()}
            for name in given:
                if name not in names:
                    raise unknown(f"{one} in class_weights", name, names)
            if lacking := [name for name in names if name not in given]:
                raise InputError(
                    f"class_weights must name every {one}, found none for {', '.join(lacking)}"
                )
            weights = [given[name] for name in names]
        if len(weights) != self.outputs:
            raise InputError(
                f"class_weights must hold a number for each of the {self.outputs} {several}, "
                f"found {len(weights)}"
            )
        for weight in weights:
            check_number("class_weights", weight, 0, LARGEST_WEIGHT)
        return torch.tensor([float(weight) for weight in weights])

    def _weights(self, like: Tensor) -> Tensor:
        """[K] on the device of ``like``, where it stays for the next call."""
        assert self._table is not None
        self._table = self._table.to(like.device)
        return self._table.to(like.dtype)

    def state(self) -> dict[str, object]:
        more: dict[str, object] = {}
        if self.weights is not None:
            more["weights"] = list(self.weights)
        if self.smoothing:
            more["smoothing"] = self.smoothing
        return super().state() | more


class Classification(_Labelled):
    """One of ``classes`` classes, targets int64 in ``0 .. classes - 1``; cross-entropy.

    Args:
        classes: at least 2.
        names: what the classes are called, for reports.
        weights: factor of the loss of each class's samples. The loss of a batch is the plain
            mean over its samples, so weights whose mean over the training samples is 1 keep the
            learning rate's meaning; those of :meth:`with_loss` do. They change no metric.
        smoothing: share of the target that is spread evenly over all classes, below 1.
    """

    listed = (
        *("accuracy", "balanced-accuracy", "macro-f1", "auroc", "average-precision"),
        *("nll", "brier", "ece"),
    )
    kinds = ("class", "classes")

    def __init__(
        self,
        classes: Several,
        names: tuple[str, ...] | None = None,
        *,
        weights: Annotated[Sequence[float] | None, Bounds(0, LARGEST_WEIGHT)] = None,
        smoothing: Annotated[float, Bounds(0, below=1)] = 0.0,
    ) -> None:
        super().__init__(classes, names, weights, smoothing)

    def check(self, target: Tensor, where: str = "target") -> None:
        if target.dim() != 1 or target.is_floating_point() or target.dtype == torch.bool:
            raise InputError(
                f"{where} must hold one class number per sample (int64 [N]), "
                f"found {target.dtype} {list(target.shape)}"
            )
        if len(target) and not (int(target.min()) >= 0 and int(target.max()) < self.outputs):
            bad = target[(target < 0) | (target >= self.outputs)][0].item()
            raise InputError(
                f"{where} must lie in 0..{self.outputs - 1} ({self.outputs} classes), found {bad}"
            )

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = F.cross_entropy(logits, target, reduction="none", label_smoothing=self.smoothing)
        return loss if self.weights is None else loss * self._weights(loss)[target]

    def nll(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, reduction="none")

    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        return logits.softmax(1).gather(1, target[:, None]).squeeze(1)

    def entropy(self, logits: Tensor) -> Tensor:
        return entropy(logits)

    def chances(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)

    def truth(self, target: Tensor) -> Tensor:
        return F.one_hot(target, self.outputs).double()

    def guess(self, logits: Tensor) -> Tensor:
        return F.one_hot(logits.argmax(1), self.outputs).double()

    def counts(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        guess = logits.argmax(1)
        hits, predicted, true = (
            torch.bincount(x, minlength=self.outputs).double()
            for x in (target[guess == target], guess, target)
        )
        return hits, predicted, true

    def _balance(self, truth: Tensor) -> Tensor:
        # N / (classes that occur * samples of the class): the mean over the samples is 1.
        counts = truth.sum(0)
        return torch.where(counts > 0, counts.sum() / ((counts > 0).sum() * counts), 1.0)

    def _scale(self, weights: Tensor, truth: Tensor) -> Tensor:
        mean = (truth * weights).sum(1).mean()
        if not mean > 0:
            raise InputError("class_weights must not be 0 for every class of the training samples")
        return weights / mean


class MultiLabel(_Labelled):
    """Any of ``labels`` labels at once, targets 0 or 1, float [N, labels]; binary cross-entropy.

    Loss and score of a sample are means over its labels.

    Args:
        labels: at least 2.
        names: what the labels are called, for reports.
        weights: factor of the loss where a label is 1 (PyTorch's ``pos_weight``), one for each
            label. They change no metric.
        smoothing: moves targets from 0 and 1 to half of it and 1 less half of it; below 1.
    """

    listed = (
        *("sample-f1", "macro-f1", "label-accuracy", "auroc", "average-precision"),
        *("nll", "brier"),
    )
    kinds = ("label", "labels")

    def __init__(
        self,
        labels: Several,
        names: tuple[str, ...] | None = None,
        *,
        weights: Annotated[Sequence[float] | None, Bounds(0, LARGEST_WEIGHT)] = None,
        smoothing: Annotated[float, Bounds(0, below=1)] = 0.0,
    ) -> None:
        super().__init__(labels, names, weights, smoothing)

    def check(self, target: Tensor, where: str = "target") -> None:
        if not target.is_floating_point() or target.shape[1:] != (self.outputs,):
            raise InputError(
                f"{where} must hold 0 or 1 for each label (float [N, {self.outputs}]), "
                f"found {target.dtype} {list(target.shape)}"
            )
        wrong = target[(target != 0) & (target != 1)]
        if len(wrong):
            raise InputError(f"{where} must hold 0 or 1 for each label, found {wrong[0].item()}")

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.smoothing:
            target = target * (1 - self.smoothing) + self.smoothing / 2
        weights = None if self.weights is None else self._weights(logits)
        return F.binary_cross_entropy_with_logits(
            logits, target, reduction="none", pos_weight=weights
        ).mean(1)

    def nll(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)

    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        return torch.where(target > 0, logits, -logits).sigmoid().mean(1)

    def entropy(self, logits: Tensor) -> Tensor:
        # -sum p log p of a coin: softplus keeps it finite where p rounds to 0 or 1.
        p = logits.sigmoid()
        return (p * F.softplus(-logits) + (1 - p) * F.softplus(logits)).mean(1)

    def chances(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def truth(self, target: Tensor) -> Tensor:
        return target

    def guess(self, logits: Tensor) -> Tensor:
        return (logits > 0).to(logits.dtype)

    def _balance(self, truth: Tensor) -> Tensor:
        # Negatives / positives of each label: both sides weigh the same.
        positives = truth.sum(0)
        negatives = len(truth) - positives
        return torch.where((positives > 0) & (negatives > 0), negatives / positives, 1.0)


def build_task(state: Mapping[str, Any]) -> Task:
    """The task that :meth:`Task.state` describes, with ``names`` if they are given."""
    kind = TASKS.find(str(state["task"]))
    others = {k: v for k, v in state.items() if k not in ("task", "outputs", "names", "metric")}
    if state.get("names"):
        others["names"] = tuple(map(str, state["names"]))
    task = make("task", Task, kind, int(state["outputs"]), **others)
    return task.with_metric(state["metric"]) if "metric" in state else task
