"""The task of a run: that of its data, with the metric and the loss that the settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoise.core.task import Task
from counterpoise.core.tasks import Regression
from counterpoise.data.dataset import Dataset

from .settings import Settings


def prepare_task(data: Dataset, settings: Settings, known: Mapping[str, Any] | None = None) -> Task:
    """The task of the data as a run learns it, and judges it.

    Args:
        data: "balanced" weights, and the scale of a regression, are made from the targets of its
            training split.
        settings: ``metric``, ``class_weights`` and ``label_smoothing`` count.
        known: the state of the task in the record of a run that goes on. Its scale is kept; runs
            of before regressions had one learnt the target as it is.

    Raises:
        InputError: a metric that the task does not have; weights that do not fit its classes;
            weights or smoothing for a task without classes.
    """
    task, weights, smoothing = data.task, settings.class_weights, settings.label_smoothing
    if isinstance(task, Regression) and known and known.get("outputs") == task.outputs:
        task = task.with_scale(known.get("mean", 0.0), known.get("scale", 1.0))
    task = task.fit(data.train.target, data.train.weight)
    if settings.metric is not None:
        task = task.with_metric(settings.metric)
    if weights is None and not smoothing:
        return task
    return task.with_loss(weights, smoothing or None, data.train.target)
