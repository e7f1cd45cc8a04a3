"""What a model predicts with each subset of its modalities, and how good that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoise.core.task import Task
from counterpoise.errors import InputError

from .subsets import Subset, present_name


@dataclass(frozen=True)
class Evaluation:
    """What a model predicts on a split with each subset of its modalities.

    Attributes:
        task: what was predicted.
        split: which split.
        logits: subset -> [N_s, K], for the samples that have at least one of its modalities; of a
            regression in the units of the target.
        target: [N, ...], of the whole split.
        rows: subset -> int64 [N_s], which samples these are.
        metrics: subset -> metric -> value, the primary one first; NaN where it is not defined.
    """

    task: Task
    split: str
    logits: Mapping[Subset, Tensor]
    target: Tensor
    rows: Mapping[Subset, Tensor]
    metrics: dict[Subset, dict[str, float]]

    @property
    def modalities(self) -> Subset:
        return max(self.logits, key=len)

    def outcome(self, *names: str) -> Tensor:
        """[N] with only ``names`` present: each sample's share in the primary metric.

        Correct or not, or the error; NaN for samples that have none of them.

        Raises:
            InputError: unknown modalities, or a metric that is no mean over samples.
        """
        subset = self._subset(names)
        rows, metric = self.rows[subset], self.task.metric
        shares = metric.share(self.task, self.logits[subset], self.target[rows])
        if shares is None:
            raise InputError(
                f"the metric {metric.name} is no mean over samples, so no sample has an outcome"
            )
        values = torch.full((len(self.target),), torch.nan)
        values[rows] = shares.to(values)
        return values

    def whole(self, *names: str) -> Tensor:
        """[N, K], the logits with only ``names`` present; NaN for samples that have none."""
        subset = self._subset(names)
        logits = torch.full((len(self.target), self.task.outputs), torch.nan)
        logits[self.rows[subset]] = self.logits[subset].to(logits)
        return logits

    def _subset(self, names: tuple[str, ...]) -> Subset:
        subset = tuple(m for m in self.modalities if m in names)
        if len(subset) != len(names):
            raise InputError(f"names must be modalities of {list(self.modalities)}, found {names}")
        return subset

    def __str__(self) -> str:
        names = list(next(iter(self.metrics.values()), ()))
        titles = [column_title(name).split("\n") for name in names]
        depth = max(map(len, titles), default=1)
        titles = [[""] * (depth - len(title)) + title for title in titles]
        table = [["", *line] for line in zip(*titles, strict=True)]
        for subset, values in self.metrics.items():
            table.append([present_name(subset), *(_show(values.get(name)) for name in names)])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])])
            for first, *rest in table
        )


def _show(value: float | None) -> str:
    return "" if value is None else format_value(value)


def format_value(value: float, sign: str = "", like: float | None = None) -> str:
    """A metric with four decimals, or four digits where these would be too few or too many.

    Args:
        value: the metric.
        sign: ``"+"`` shows it of positive ones, too.
        like: by whose size it is decided; by default the value's.
    """
    size = abs(value if like is None else like)
    form = ".3e" if 0 < size < 1e-3 or 1e7 <= size < float("inf") else ".4f"
    text = format(value, sign + form)
    return text if float(text) else text.replace("-", "+" if sign else "", 1)  # no -0.0000


def column_title(metric: str) -> str:
    """The name of a metric for the head of a column, in two lines if it is long."""
    start, dash, end = metric.rpartition("-")
    return f"{start}-\n{end}" if dash and len(metric) > 10 else metric
