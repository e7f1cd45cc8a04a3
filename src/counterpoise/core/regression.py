"""The tasks of numbers: a regression that standardises its target, and sentiment."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from counterpoise.errors import InputError, check_number

from .declared import FLOAT64, Bounds, Width
from .task import Task


class Regression(Task):
    """``outputs`` real numbers per sample, targets float [N] or [N, outputs].

    A model learns ``(target - mean) / scale``, which is of the size that learning rates are meant
    for; :meth:`decode` turns what it gives into the units of the target. A subclass with a loss of
    its own learns the target as it is, unless it defines :meth:`fit` too.

    Args:
        outputs: how many numbers.
        loss: ``"mse"`` or ``"l1"``, of the standardised target.
        mean: of the target, a number or one for each output; by default :meth:`fit` takes that of
            the training samples. 0 and a ``scale`` of 1 leave targets as they are.
        scale: its standard deviation, in the same way.
    """

    listed: ClassVar[tuple[str, ...]] = ("mae", "rmse", "r2", "corr")

    def __init__(
        self,
        outputs: Width = 1,
        *,
        loss: Literal["mse", "l1"] = "mse",
        mean: Annotated[float | Sequence[float] | None, Bounds(-FLOAT64, FLOAT64)] = None,
        scale: Annotated[float | Sequence[float] | None, Bounds(most=FLOAT64, above=0)] = None,
    ) -> None:
        self.outputs, self.kind = outputs, loss
        self._set_scale(_numbers("mean", mean, outputs), _numbers("scale", scale, outputs))

    def _set_scale(self, mean: list[float] | None, scale: list[float] | None) -> None:
        for number in scale or ():
            if number <= 0:
                raise InputError(f"scale must be above 0, found {number}")
        self.mean, self.scale = mean, scale
        means, scales = mean or [0.0] * self.outputs, scale or [1.0] * self.outputs
        self._plain = not any(means) and all(number == 1 for number in scales)
        self._table = torch.tensor([means, scales], dtype=torch.float64)
        # The gradient of a square grows with the error and with the width of the features: with
        # five modalities the usual learning rate diverged. 0.3 did best of 1, 0.3 and 0.1.
        self.max_norm = None if self._plain else 0.3
        self._there: Tensor | None = None

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

    def fit(self, target: Tensor, weight: Tensor | None = None) -> Task:
        """The same task with mean and standard deviation of ``target``, where none are given.

        An output that does not vary gets a scale of 1.
        """
        if self.fitted or not len(target):
            return self
        values = target.detach().cpu().reshape(len(target), -1).double().numpy()
        if weight is None:
            mean, spread = values.mean(0), values.std(0)
        else:
            shares = weight.detach().cpu().double().numpy()
            values, shares = values[shares > 0], shares[shares > 0]
            mean = np.average(values, 0, shares)
            spread = np.sqrt(np.average((values - mean) ** 2, 0, shares))
        spread = np.where(np.ptp(values, 0) > 0, spread, 1.0)
        return self.with_scale(mean.tolist(), spread.tolist())

    @property
    def fitted(self) -> bool:
        own = type(self).loss is not Regression.loss or type(self).score is not Regression.score
        return own or (self.mean is not None and self.scale is not None)

    def with_scale(
        self, mean: float | Sequence[float], scale: float | Sequence[float]
    ) -> Regression:
        """The same task with this mean and scale, each where none was given."""
        made, count = copy.copy(self), self.outputs
        made._set_scale(
            _numbers("mean", mean, count) if self.mean is None else self.mean,
            _numbers("scale", scale, count) if self.scale is None else self.scale,
        )
        return made

    def decode(self, logits: Tensor) -> Tensor:
        if self._plain:
            return logits
        mean, scale = self._scales(logits).unbind()
        return logits * scale + mean

    def _scales(self, like: Tensor) -> Tensor:
        """[2, K], mean and scale on the device of ``like``, where they stay for the next call."""
        there = self._there
        if there is None or there.device != like.device or there.dtype != like.dtype:
            self._there = there = self._table.to(like.dtype).to(like.device)
        return there

    def _error(self, logits: Tensor, target: Tensor) -> Tensor:
        target = target.reshape(logits.shape)
        if not self._plain:
            mean, scale = self._scales(logits).unbind()
            target = (target - mean) / scale
        return logits - target

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        error = self._error(logits, target)
        return (error.square() if self.kind == "mse" else error.abs()).mean(1)

    def score(self, logits: Tensor, target: Tensor) -> Tensor:
        """[B, K], [B, ...] -> [B]: the absolute error in standard deviations, negated."""
        return -self._error(logits, target).abs().mean(1)

    def outcome(self, logits: Tensor, target: Tensor) -> Tensor:
        return self._error(logits, target).abs().mean(1)

    def state(self) -> dict[str, object]:
        fitted = {} if self._plain else {"mean": self._table[0].tolist()}
        fitted |= {} if self._plain else {"scale": self._table[1].tolist()}
        return {**super().state(), "loss": self.kind, **fitted}


def _numbers(name: str, given: float | Sequence[float] | None, outputs: int) -> list[float] | None:
    """One for each output."""
    if given is None:
        return None
    numbers = list(given) if isinstance(given, Sequence) else [given] * outputs
    if len(numbers) != outputs:
        raise InputError(f"{name} must hold {outputs} numbers, found {len(numbers)}")
    for number in numbers:
        check_number(name, number, -sys.float_info.max, sys.float_info.max)
    return [float(number) for number in numbers]


class Sentiment(Regression):
    """One number from -3 (negative) to 3 (positive), as CMU-MOSI and CMU-MOSEI are learnt.

    It has the metrics of the field beside those of a regression. It is learnt as it is, not
    standardised, since the papers' learning rates are for this scale.
    """

    listed = (*Regression.listed, "acc-2", "f1", "acc-2-neutral", "acc-7")

    def __init__(self, outputs: int = 1, *, loss: Literal["mse", "l1"] = "l1") -> None:
        if outputs != 1:
            raise InputError(f"outputs of a sentiment must be 1, found {outputs}")
        super().__init__(1, loss=loss, mean=0.0, scale=1.0)
