"""The truth about new rows, where a table has it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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

LONGEST = 60  # letters of a target that is told
WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0*)?")  # a whole number, as 1, 1. or 1.0


@dataclass(frozen=True)
class Known:
    """The names of the classes or labels.

    Attributes:
        codes: name -> code.
        whole: whole number, without its point -> the only name that is this number.
    """

    codes: dict[str, int]
    whole: dict[str, str]

    @classmethod
    def of(cls, classes: Sequence[Any]) -> Known:
        """Those of a model."""
        names = [str(name) for name in classes]
        numbers = [_to_whole(name) for name in names]
        counts = Counter(numbers)
        pairs = zip(numbers, names, strict=True)
        whole = {number: name for number, name in pairs if number and counts[number] == 1}
        return cls({name: k for k, name in enumerate(names)}, whole)

    def name(self, cell: Any) -> str:
        """What a class is called that a table holds as a word, a number or a flag.

        A whole number may be written in another way than the class, as ``1.0`` for ``1``, which
        is what columns of whole numbers with gaps become, if it is that of one class alone.
        """
        word = str(cell).strip()
        return self.whole.get(_to_whole(word) or "", word)


def read_targets(cells: Sequence[Any], task: Task, classes: Sequence[Any]) -> list[Any]:
    """The target of each row as a list of numbers; None where a cell holds none that is known.

    Args:
        cells: as they stand in a table: names of classes or numbers; several labels in a list, or
            joined by ``;`` or ``|``, or a list of 0 and 1.
        task: what is predicted.
        classes: of its classes or labels.
    """
    known = Known.of(classes)
    return [None if _is_empty(cell) else _read(_to_plain(cell), task, known) for cell in cells]


def count_unknown(cells: Sequence[Any], targets: Sequence[Any]) -> dict[str, int]:
    """What cells hold that is no target -> how many do; empty cells are none of them.

    Args:
        cells: as they stand in a table.
        targets: what :func:`read_targets` made of them.
    """
    pairs = zip(cells, targets, strict=True)
    return Counter(
        _shorten(cell) for cell, target in pairs if target is None and not _is_empty(cell)
    )


def _shorten(cell: Any) -> str:
    words = " ".join(str(_to_plain(cell)).split())
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 3]}..."


def _to_plain(cell: Any) -> Any:
    return cell.tolist() if isinstance(cell, np.ndarray | np.generic) else cell


def _is_empty(cell: Any) -> bool:
    cell = _to_plain(cell)
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())


def _read(cell: Any, task: Task, known: Known) -> list[float] | None:
    if isinstance(task, MultiLabel):
        return _read_labels(cell, known)
    if isinstance(task, Classification):
        code = known.codes.get(known.name(cell))
        return None if code is None else [float(code)]
    try:
        numbers = read_lists(cell) if isinstance(cell, list | tuple) else to_numbers(cell)
    except InputError:
        return None
    fits = numbers.shape == (task.outputs,) and bool(np.isfinite(numbers).all())
    return numbers.tolist() if fits else None


def _to_whole(word: str) -> str | None:
    """A whole number without its point; None for anything else, such as ``01``."""
    match = WHOLE.fullmatch(word)
    return None if match is None else match[1]


def _read_labels(cell: Any, known: Known) -> list[float] | None:
    """0 or 1 for each label."""
    if isinstance(cell, str):
        cell = [word.strip() for word in re.split(r"[;|]", cell) if word.strip()]
    if not isinstance(cell, list | tuple):
        cell = [cell]
    flags = len(cell) == len(known.codes) and all(value in (0, 1) for value in cell)
    if flags and not all(str(value) in known.codes for value in cell):
        return [float(value) for value in cell]
    names = [known.name(value) for value in cell]
    if any(name not in known.codes for name in names):
        return None
    return [float(name in names) for name in known.codes]


def to_tensor(targets: NDArray[Any], task: Task) -> Tensor:
    """Targets [N, K] as the task's metrics take them."""
    values = torch.from_numpy(targets.astype(np.float32))
    if isinstance(task, Classification):
        return values[:, 0].long()
    return values if isinstance(task, MultiLabel) or task.outputs > 1 else values[:, 0]
