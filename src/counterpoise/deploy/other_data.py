"""Other data than those of training, their classes by their places in the model's task."""

from __future__ import annotations

from typing import Any

import torch

from counterpoise.core.task import Task
from counterpoise.core.tasks import TASKS, Classification, MultiLabel
from counterpoise.data.dataset import Dataset, Split
from counterpoise.errors import InputError


def match_thresholds(other: Any, task: Task, data: Dataset) -> Dataset:
    """The validation split of data that set thresholds in place of a half of validation.

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
    split = match_classes(other, "validation", task, "thresholds")
    if other.fingerprint() == data.fingerprint():
        raise InputError(
            "thresholds must be other data than those that calibrate, found the same; leave it "
            "out, and one half of validation is kept apart for them"
        )
    return Dataset(task, {"train": split, "validation": split}, other.name)


def match_classes(other: Dataset, part: str, task: Task, what: str) -> Split:
    """A split whose targets number the classes as a model does.

    Args:
        other: the data set.
        part: which split.
        task: of the model.
        what: what messages call the data.

    Raises:
        InputError: another task, or a class that the model does not know.
    """
    if type(other.task) is not type(task) or (
        not isinstance(task, Classification) and other.task.outputs != task.outputs
    ):
        raise InputError(
            f"{what} must be of the task of the model, {TASKS.name_of(task)} of {task.outputs}, "
            f"found {TASKS.name_of(other.task)} of {other.task.outputs}"
        )
    known, found, split = _names(task), _names(other.task), other.splits[part]
    if known == found:
        return split
    if isinstance(task, MultiLabel) or any(name not in known for name in found):
        raise InputError(
            f"{what} must have the classes of the model, {', '.join(known[:20])}, found "
            f"{', '.join(found[:20])}"
        )
    places = torch.tensor([known.index(name) for name in found])
    return Split(split.inputs, split.present, places[split.target], split.groups, split.weight)


def _names(task: Task) -> list[str]:
    """Of classes or labels; empty of a regression."""
    if not isinstance(task, Classification | MultiLabel):
        return []
    return list(task.names or map(str, range(task.outputs)))
