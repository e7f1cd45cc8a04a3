"""What every metric has: a name, a direction, and where it is a mean, each sample's share."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from .declared import Declared

if TYPE_CHECKING:
    from .task import Task


class Metric(Declared):
    """One number for the predictions of a split.

    A new metric defines :meth:`share` if it is a mean over samples, and :meth:`value` if not.

    Attributes:
        name: what records, tables and the command line call it.
        greater_is_better: whether a larger value is the better one.
        percent: whether tables show it in %.
    """

    name: ClassVar[str]
    greater_is_better: ClassVar[bool] = True
    percent: ClassVar[bool] = False

    def share(self, task: Task, logits: Tensor, target: Tensor) -> Tensor | None:
        """[N, K], [N, ...] -> [N]: what each sample contributes, so that the mean is the metric.

        ``None`` where the metric is no mean over samples.
        """
        return None

    def shares(self, task: Task, logits: Tensor, target: Tensor) -> Tensor | None:
        """[S, K, N], [N, ...] -> [S, N]: :meth:`share` of ``S`` predictions for each sample."""
        flat = logits.transpose(1, 2).flatten(0, 1)
        found = self.share(task, flat, target.repeat(len(logits), *[1] * (target.dim() - 1)))
        return None if found is None else found.view(len(logits), -1)

    def value(self, task: Task, logits: Tensor, target: Tensor) -> float:
        """The metric over all samples; NaN where it is not defined.

        Args:
            task: what was predicted.
            logits: [N, K], N at least 1, on the host.
            target: [N, ...].
        """
        share = self.share(task, logits, target)
        if share is None:
            raise NotImplementedError(f"{type(self).__name__} defines neither share nor value")
        return float(share.mean())

    @property
    def has_shares(self) -> bool:
        """Whether it is a mean over samples, so that single samples can be compared."""
        return type(self).share is not Metric.share

    @classmethod
    def summary(cls) -> str:
        """Its definition: the docstring in one line."""
        return " ".join(inspect.cleandoc(cls.__doc__ or "").split())
