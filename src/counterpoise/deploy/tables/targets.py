"""The truth about new rows, where a table has it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.task import Task
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.data.readers.array_file import read_lists
from counterpoise.data.readers.numbers import to_numbers
from counterpoise.errors import InputError

Known = Mapping[str, int]


def read_targets(cells: Sequence[Any], task: Task, classes: Sequence[Any]) -> list[Any]:
    """The target of each row as a list of numbers; None where a cell holds none that is known.

    Args:
        cells: as they stand in a table: names of classes or numbers; several labels in a list, or
            joined by ``;`` or ``|``, or a list of 0 and 1.
        task: what is predicted.
        classes: of its classes or labels.
    """
    known = {str(name): k for k, name in enumerate(classes)}
    return [_read(cell, task, known) for cell in cells]


def _read(cell: Any, task: Task, known: Known) -> list[float] | None:
    if isinstance(cell, np.ndarray | np.generic):
        cell = cell.tolist()
    if cell is None or cell != cell or (isinstance(cell, str) and not cell.strip()):
        return None
    if isinstance(task, MultiLabel):
        return _read_labels(cell, known)
    if isinstance(task, Classification):
        code = known.get(_to_name(cell))
        return None if code is None else [float(code)]
    try:
        numbers = read_lists(cell) if isinstance(cell, list | tuple) else to_numbers(cell)
    except InputError:
        return None
    fits = numbers.shape == (task.outputs,) and bool(np.isfinite(numbers).all())
    return numbers.tolist() if fits else None


def _to_name(cell: Any) -> str:
    """What a class is called that a table holds as a word, a whole number or a flag."""
    if isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def _read_labels(cell: Any, known: Known) -> list[float] | None:
    """0 or 1 for each label."""
    if isinstance(cell, str):
        cell = [word.strip() for word in re.split(r"[;|]", cell) if word.strip()]
    if not isinstance(cell, list | tuple):
        cell = [cell]
    flags = len(cell) == len(known) and all(value in (0, 1) for value in cell)
    if flags and not all(str(value) in known for value in cell):
        return [float(value) for value in cell]
    names = [_to_name(value) for value in cell]
    if any(name not in known for name in names):
        return None
    return [float(name in names) for name in known]


def to_tensor(targets: NDArray[Any], task: Task) -> Tensor:
    """Targets [N, K] as the task's metrics take them."""
    values = torch.from_numpy(targets.astype(np.float32))
    if isinstance(task, Classification):
        return values[:, 0].long()
    return values if isinstance(task, MultiLabel) or task.outputs > 1 else values[:, 0]
