"""What is learnt: loss per sample, score per sample, metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoise.errors import InputError, check_choice

from .registry import Registry, make


def entropy(logits: Tensor) -> Tensor:
    """[..., K] -> [...]: Shannon entropy of the softmax, in nats."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


class Task(ABC):
    """Base of all tasks.

    Attributes:
        outputs: ``K``, the width of the logits.
        primary: the metric that selects the best epoch on validation.
        greater_is_better: whether a larger ``primary`` is the better one.
    """

    outputs: int
    primary: ClassVar[str]
    greater_is_better: ClassVar[bool]

    @abstractmethod
    def check(self, target: Tensor, where: str = "target") -> None:
        """Raise :class:`InputError` if ``target`` cannot be learnt by this task."""

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """[B, K], [B, ...] -> [B]: the loss of each sample."""

    @abstractmethod
    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        """[B, K], [B, ...] -> [B]: how well each sample is predicted; higher is better."""

    def entropy(self, logits: Tensor) -> Tensor:
        """[B, K] -> [B]: how unsure a prediction is, in nats; for tasks that predict chances."""
        raise InputError(f"{type(self).__name__.lower()} predicts no chances")

    @abstractmethod
    def outcome(self, logits: Tensor, target: Tensor) -> Tensor:
        """[B]: the share of each sample in ``primary``, so that its mean is the metric."""

    @abstractmethod
    def metrics(self, logits: Tensor, target: Tensor) -> dict[str, float]:
        """Metrics over a whole split, ``primary`` among them."""

    def better(self, value: float, than: float) -> bool:
        """Whether one value of ``primary`` beats another; NaN never does."""
        return value > than if self.greater_is_better else value < than

    def state(self) -> dict[str, object]:
        """What says which task this is, in plain values (for records and fingerprints)."""
        return {"task": type(self).__name__.lower(), "outputs": self.outputs}


class Classification(Task):
    """One of ``classes`` classes, targets int64 in ``0 .. classes - 1``; cross-entropy.

    Metrics: ``accuracy``, ``macro-f1`` over the classes that occur or are predicted, ``nll``.

    Args:
        classes: at least 2.
        names: what the classes are called, for reports.
    """

    primary = "accuracy"
    greater_is_better = True

    def __init__(self, classes: int, names: tuple[str, ...] | None = None) -> None:
        if classes < 2:
            raise InputError(f"classes must be at least 2, found {classes}")
        if names is not None and len(names) != classes:
            raise InputError(f"names must hold {classes} class names, found {len(names)}")
        self.outputs = classes
        self.names = names

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
        return F.cross_entropy(logits, target, reduction="none")

    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        return logits.softmax(1).gather(1, target[:, None]).squeeze(1)

    def entropy(self, logits: Tensor) -> Tensor:
        return entropy(logits)

    def outcome(self, logits: Tensor, target: Tensor) -> Tensor:
        return (logits.argmax(1) == target).float()

    def metrics(self, logits: Tensor, target: Tensor) -> dict[str, float]:
        # Counted here: scikit-learn's f1_score takes 40 times as long, for every subset and epoch.
        k, guess = self.outputs, logits.argmax(1)
        table = torch.bincount(target * k + guess, minlength=k * k).view(k, k).double()
        hits, either = table.diagonal(), table.sum(0) + table.sum(1)
        return {
            "accuracy": float(hits.sum() / table.sum()),
            "macro-f1": float((2 * hits / either)[either > 0].mean()),
            "nll": float(self.loss(logits, target).mean()),
        }


class MultiLabel(Task):
    """Any of ``labels`` labels at once, targets 0 or 1, float [N, labels]; binary cross-entropy.

    Loss and score of a sample are means over its labels. Metrics: ``sample-f1`` (the F1 score of
    each sample's set of labels, averaged; 1 where nothing is true and nothing predicted),
    ``macro-f1`` over the labels that occur or are predicted, ``label-accuracy``, ``nll``.

    Args:
        labels: at least 2.
        names: what the labels are called, for reports.
    """

    primary = "sample-f1"
    greater_is_better = True

    def __init__(self, labels: int, names: tuple[str, ...] | None = None) -> None:
        if labels < 2:
            raise InputError(f"labels must be at least 2, found {labels}")
        if names is not None and len(names) != labels:
            raise InputError(f"names must hold {labels} label names, found {len(names)}")
        self.outputs = labels
        self.names = names

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
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)

    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        return torch.where(target > 0, logits, -logits).sigmoid().mean(1)

    def entropy(self, logits: Tensor) -> Tensor:
        # -sum p log p of a coin: softplus keeps it finite where p rounds to 0 or 1.
        p = logits.sigmoid()
        return (p * F.softplus(-logits) + (1 - p) * F.softplus(logits)).mean(1)

    def outcome(self, logits: Tensor, target: Tensor) -> Tensor:
        guess = (logits > 0).to(target.dtype)
        both, either = (guess * target).sum(1), guess.sum(1) + target.sum(1)
        return torch.where(either > 0, 2 * both / either.clamp(min=1), torch.ones_like(either))

    def metrics(self, logits: Tensor, target: Tensor) -> dict[str, float]:
        guess = (logits > 0).to(target.dtype)
        hits, either = (guess * target).sum(0), guess.sum(0) + target.sum(0)
        return {
            "sample-f1": float(self.outcome(logits, target).mean()),
            "macro-f1": float((2 * hits / either)[either > 0].mean()) if either.any() else 1.0,
            "label-accuracy": float((guess == target).float().mean()),
            "nll": float(self.loss(logits, target).mean()),
        }


class Regression(Task):
    """``outputs`` real numbers per sample, targets float [N] or [N, outputs].

    Args:
        outputs: how many numbers.
        loss: ``"mse"`` or ``"l1"``.
    """

    primary = "mae"
    greater_is_better = False

    def __init__(self, outputs: int = 1, *, loss: str = "mse") -> None:
        check_choice("loss", loss, ("mse", "l1"))
        self.outputs, self.kind = outputs, loss

    def check(self, target: Tensor, where: str = "target") -> None:
        wide = target.shape[1:] == (self.outputs,) or (target.dim() == 1 and self.outputs == 1)
        if not target.is_floating_point() or not wide:
            raise InputError(
                f"{where} must be float [N, {self.outputs}], "
                f"found {target.dtype} {list(target.shape)}"
            )
        if not bool(target.isfinite().all()):
            row = int((~target.reshape(len(target), -1).isfinite().all(1)).nonzero()[0])
            raise InputError(f"{where} must be finite, found {target[row].tolist()} in row {row}")

    def _error(self, logits: Tensor, target: Tensor) -> Tensor:
        return logits - target.reshape(logits.shape)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        error = self._error(logits, target)
        return (error.square() if self.kind == "mse" else error.abs()).mean(1)

    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        return -self._error(logits, target).abs().mean(1)

    def outcome(self, logits: Tensor, target: Tensor) -> Tensor:
        return self._error(logits, target).abs().mean(1)

    def metrics(self, logits: Tensor, target: Tensor) -> dict[str, float]:
        error = self._error(logits, target).double()
        truth = target.reshape(logits.shape).double()
        spread = (truth - truth.mean(0)).square().sum()
        return {
            "mae": float(error.abs().mean()),
            "rmse": float(error.square().mean().sqrt()),
            # A constant target has no variance to explain: R^2 is 0 by convention.
            "r2": float(1 - error.square().sum() / spread) if float(spread) > 0 else 0.0,
        }

    def state(self) -> dict[str, object]:
        return {**super().state(), "loss": self.kind}


class Sentiment(Regression):
    """One number from -3 (negative) to 3 (positive), as CMU-MOSI and CMU-MOSEI are learnt.

    The metrics of the field beside those of a regression: ``acc-2`` and ``f1`` (weighted by the
    true classes) of negative against positive, without samples whose truth is 0; ``acc-2-neutral``
    of negative against all others, with every sample; ``acc-7`` of the numbers rounded to -3 .. 3;
    ``corr``, Pearson's correlation, 0 where it is not defined.
    """

    def __init__(self, outputs: int = 1, *, loss: str = "l1") -> None:
        if outputs != 1:
            raise InputError(f"outputs of a sentiment must be 1, found {outputs}")
        super().__init__(1, loss=loss)

    def metrics(self, logits: Tensor, target: Tensor) -> dict[str, float]:
        guess, truth = logits.reshape(-1).double(), target.reshape(-1).double()
        sign, real = (guess > 0)[truth != 0], (truth > 0)[truth != 0]
        f1 = 0.0
        for side in (True, False):
            hits, either = ((sign == side) & (real == side)).sum(), (sign == side).sum()
            count = int((real == side).sum())
            f1 += float(2 * hits / (either + count)) * count / len(real) if count else 0.0
        spread = guess.std() * truth.std() if len(truth) > 1 else truth.new_zeros(())
        joint = ((guess - guess.mean()) * (truth - truth.mean())).sum() / max(len(truth) - 1, 1)
        rounded = guess.clamp(-3, 3).round(), truth.clamp(-3, 3).round()
        return {
            **super().metrics(logits, target),
            "acc-2": float((sign == real).double().mean()) if len(real) else 0.0,
            "f1": f1,
            "acc-2-neutral": float(((guess >= 0) == (truth >= 0)).double().mean()),
            "acc-7": float((rounded[0] == rounded[1]).double().mean()),
            "corr": float(joint / spread) if float(spread) > 0 else 0.0,
        }


TASKS: Registry[Task] = Registry(
    "task",
    "counterpoise.core.tasks:Task",
    {
        "classification": "counterpoise.core.tasks:Classification",
        "multilabel": "counterpoise.core.tasks:MultiLabel",
        "regression": "counterpoise.core.tasks:Regression",
        "sentiment": "counterpoise.core.tasks:Sentiment",
    },
    group="counterpoise.tasks",
)


def build_task(state: Mapping[str, Any]) -> Task:
    """The task that :meth:`Task.state` describes, with ``names`` if they are given."""
    kind = TASKS.find(str(state["task"]))
    others = {k: v for k, v in state.items() if k not in ("task", "outputs", "names")}
    if state.get("names"):
        others["names"] = tuple(map(str, state["names"]))
    return make("task", Task, kind, int(state["outputs"]), **others)
