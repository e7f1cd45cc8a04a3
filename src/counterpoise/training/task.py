"""The task of a run: that of its data, with the metric and the loss that the settings ask for."""

from __future__ import annotations

from counterpoise.core.task import Task
from counterpoise.data.dataset import Dataset

from .settings import Settings


def prepare_task(data: Dataset, settings: Settings) -> Task:
    """The task of the data as a run learns it, and judges it.

    Args:
        data: "balanced" weights are made from the targets of its training split.
        settings: ``metric``, ``class_weights`` and ``label_smoothing`` count.

    Raises:
        InputError: a metric that the task does not have; weights that do not fit its classes;
            weights or smoothing for a task without classes.
    """
    task, weights, smoothing = data.task, settings.class_weights, settings.label_smoothing
    if settings.metric is not None:
        task = task.with_metric(settings.metric)
    if weights is None and not smoothing:
        return task
    return task.with_loss(weights, smoothing or None, data.train.target)
