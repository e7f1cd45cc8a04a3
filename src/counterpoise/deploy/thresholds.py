"""A data set that sets thresholds in place of a half of validation, its classes as the model's."""

from __future__ import annotations

from typing import Any

import torch

from counterpoise.core.task import Task
from counterpoise.core.tasks import TASKS, Classification, MultiLabel
from counterpoise.data.dataset import Dataset, Split
from counterpoise.errors import InputError


def match_thresholds(other: Any, task: Task, data: Dataset) -> Dataset:
    """The validation split of ``other`` with its classes by their places in the model's task.

    Args:
        other: what was passed as ``thresholds``.
        task: what the model learnt.
        data: what calibrates.

    Raises:
        InputError: no data set, that of the model itself, another task, a class that the model
            does not know.
    """
    if not isinstance(other, Dataset):
        raise InputError(
            f"thresholds must be a data set, found {type(other).__name__}; load(NAME) or ArrayData "
            "makes one"
        )
    if len(other.splits.get("validation", ())) == 0:
        raise InputError("thresholds must have a validation split, found none")
    kind = type(task)
    if type(other.task) is not kind or (
        not isinstance(task, Classification) and other.task.outputs != task.outputs
    ):
        raise InputError(
            f"thresholds must be of the task of the model, {TASKS.name_of(task)} of "
            f"{task.outputs}, found {TASKS.name_of(other.task)} of {other.task.outputs}"
        )
    known, found = _names(task), _names(other.task)
    split = other.validation
    if known != found:
        strange = [name for name in found if name not in known]
        if strange or isinstance(task, MultiLabel):
            raise InputError(
                f"thresholds must have the classes of the model, {', '.join(known[:20])}, found "
                f"{', '.join(found[:20])}"
            )
        places = torch.tensor([known.index(name) for name in found])
        target = places[split.target]
        split = Split(split.inputs, split.present, target, split.groups, split.weight)
    if other.fingerprint() == data.fingerprint():
        raise InputError(
            "thresholds must be other data than those that calibrate, found the same; leave it "
            "out, and one half of validation is kept apart for them"
        )
    return Dataset(task, {"train": split, "validation": split}, other.name)


def _names(task: Task) -> list[str]:
    """Of classes or labels; empty of a regression."""
    if not isinstance(task, Classification | MultiLabel):
        return []
    return list(task.names or map(str, range(task.outputs)))
