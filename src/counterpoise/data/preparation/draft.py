"""The rows of a table on their way to a plan: which are usable, their splits, their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.tasks import Classification, MultiLabel, Regression, Task
from counterpoise.data.splits import ALIASES, SPLITS, check_groups, draw, hold_out, to_groups
from counterpoise.data.target_values import read_cell
from counterpoise.data.targets import class_order, decide
from counterpoise.data.weights import Weights, to_weights
from counterpoise.errors import InputError, unknown

from .table import Bad, Row, Table


class Draft:
    """What is known of each row so far; whatever cannot be used is dropped with a reason.

    Call :meth:`find_task`, :meth:`assign_splits` and :meth:`encode_targets` in this order.

    Args:
        table: the rows.
        modalities: that are used; a row that has none of them is dropped.

    Attributes:
        rows: id -> row, those that can be used, in the order of the table.
        bad: what cannot be used, and why.
        task: what is learnt; None until it is known. The table may give its word.
        split: id -> the name of its split.
        group: id -> the number of its group; None if there are no groups.
    """

    def __init__(self, table: Table, modalities: Sequence[str]) -> None:
        self.name, self.bad = table.name, list(table.bad)
        self.task = table.task if isinstance(table.task, Task) else None
        self._asked = table.task if isinstance(table.task, str) else None
        self._names = getattr(self.task, "names", None)  # None: those of the training rows
        self._numbers: dict[str, NDArray[Any]] = {}  # id -> target, where it is no class's name
        self._labels: dict[str, list[str]] = {}  # id -> names of classes or labels, where it is
        self.rows: dict[str, Row] = {}
        self.split: dict[str, str] = {}
        self.group: dict[str, int] | None = None
        self._take(table.rows, modalities)

    def drop(self, row: Row, reason: str) -> None:
        """Leave a row out."""
        self.bad.append(Bad(row.id, "", reason))
        if self.rows.get(row.id) is row:
            del self.rows[row.id]

    def _take(self, rows: Sequence[Row], modalities: Sequence[str]) -> None:
        """Keep rows with an id of their own, a target, a known split and some modality."""
        seen = set()
        given = any(row.split for row in rows)
        weighted = any(row.weight is not None for row in rows)
        for row in rows:
            split = ALIASES.get(row.split or "", row.split)
            if row.id in seen:
                self.drop(row, "the id stands for another row already")
            elif row.target is None or row.target == "" or row.target == []:
                self.drop(row, "has no target")
            elif given and split not in SPLITS:
                self.drop(row, f"split must be one of {', '.join(SPLITS)}, found {row.split!r}")
            elif all(row.cells.get(m) is None for m in modalities):
                self.drop(row, "has none of the modalities")
            elif weighted and (reason := _misweight(row.weight)):
                self.drop(row, reason)
            else:
                self.rows[row.id] = replace(row, split=split)
            seen.add(row.id)

    def find_task(self) -> None:
        """Decide what is learnt, and drop the rows whose target is none of that.

        Raises:
            InputError: no row is left, or no decision (:func:`counterpoise.data.targets.decide`).
        """
        if self.task is not None:
            for row in list(self.rows.values()):
                if reason := _misfit(row.target, self.task):
                    self.drop(row, reason)
                elif isinstance(self.task, Regression):
                    self._numbers[row.id] = np.ravel(np.asarray(row.target, dtype=np.float32))
                else:
                    self._labels[row.id] = _to_labels(row.target)
        elif self.rows:
            self._decide()
        if not self.rows:
            first = f"; the first: {self.bad[0].id}: {self.bad[0].reason}" if self.bad else ""
            raise InputError(f"{self.name} holds no row that can be used{first}")

    def _decide(self) -> None:
        """Tell the task from the targets."""
        rows = list(self.rows.values())
        found = decide([_as_written(row.target) for row in rows], self._asked)
        self.task = found.task
        numbers = isinstance(self.task, Regression) or (
            isinstance(self.task, MultiLabel) and found.names is None
        )
        labels = [] if numbers else found.labels()
        for k, row in enumerate(rows):
            if not found.given[k]:
                written = _as_written(row.target)
                self.drop(row, "has no target" + (f", found {written!r:.40}" if written else ""))
            elif numbers:
                self._numbers[row.id] = np.ravel(found.target[k])
            else:
                self._labels[row.id] = labels[k]

    def assign_splits(self, fractions: Sequence[float], seed: int) -> None:
        """Split the rows as they say, or by chance; groups stay together.

        Args:
            fractions: shares of train, validation and test, where they are drawn.
            seed: draws them.

        Raises:
            InputError: no row of training or test where splits are given; a group in two splits.
        """
        rows = list(self.rows.values())
        groups = None
        if any(row.group is not None for row in rows):
            # A row without a group is a group of its own.
            labels = [f"r {r.id}" if r.group is None else f"g {r.group}" for r in rows]
            groups = to_groups(labels, len(rows))
            self.group = dict(zip(self.rows, groups.tolist(), strict=True))
        classes = np.zeros(len(rows), dtype=np.int64)
        if not isinstance(self.task, (Regression, MultiLabel)):
            labels = [self._labels[row.id][0] for row in rows]
            classes = np.unique(labels, return_inverse=True)[1]
        if any(row.split for row in rows):
            splits = self._find_splits(rows, classes, groups, fractions, seed)
        else:
            splits = draw(classes, groups, fractions, seed)
        ids = list(self.rows)
        self.split = {ids[k]: part for part, places in splits.items() for k in places}

    def _find_splits(
        self,
        rows: list[Row],
        classes: NDArray[Any],
        groups: NDArray[np.int64] | None,
        fractions: Sequence[float],
        seed: int,
    ) -> dict[str, NDArray[np.int64]]:
        """The splits that the rows name; the validation part is drawn where none names it."""
        part = np.array([row.split for row in rows])
        for needed in ("train", "test"):
            if not (part == needed).any():
                raise InputError(
                    f"{self.name} names no row of the split {needed!r}; name some, or leave the "
                    "split out, to have it drawn"
                )
        if not (part == "validation").any():
            training = np.flatnonzero(part == "train")
            _, held = hold_out(training, classes, groups, fractions, seed)
            part = part.astype("<U10")
            part[held] = "validation"
        splits = {name: np.flatnonzero(part == name) for name in SPLITS}
        if groups is not None:
            check_groups([row.group for row in rows], groups, splits)
        return splits

    def encode_targets(self) -> NDArray[Any]:
        """The targets of the rows, [N, ...], int64 or float32.

        The names of the classes come from the training rows, where they are not given; rows with
        other labels are dropped.

        Raises:
            InputError: fewer than two classes.
        """
        if self._numbers:
            values = np.stack([self._numbers[name] for name in self.rows])
            return values[:, 0] if values.shape[1] == 1 else values
        labels, names = self._labels, self._names
        several = isinstance(self.task, MultiLabel)
        if not names:
            known = {
                v for name, part in self.split.items() if part == "train" for v in labels[name]
            }
            names = tuple(sorted(known, key=class_order))
            if len(names) < 2:
                raise InputError(
                    f"target must hold at least 2 classes to learn, found {list(names)}"
                )
            self.task = (MultiLabel if several else Classification)(len(names), names)
        code = {name: k for k, name in enumerate(names)}
        for row in list(self.rows.values()):
            strange = next((v for v in labels[row.id] if v not in code), None)
            if strange is not None:
                self.drop(row, f"its label {strange!r} is in no training row")
        if not several:
            return np.array([code[labels[name][0]] for name in self.rows], dtype=np.int64)
        target: NDArray[Any] = np.zeros((len(self.rows), len(names)), dtype=np.float32)
        for k, name in enumerate(self.rows):
            target[k, [code[v] for v in labels[name]]] = 1
        return target

    def weights(self) -> Weights | None:
        """float64 [N]: the weights of the rows, as they were given; None where there are none."""
        found = [row.weight for row in self.rows.values()]
        if not found or found[0] is None:
            return None
        return to_weights([float(w) for w in found], len(found), f"the weights of {self.name}")

    def places(self) -> dict[str, NDArray[np.int64]]:
        """Split -> the places of its rows.

        Raises:
            InputError: a split is empty.
        """
        part = np.array([self.split[name] for name in self.rows])
        found = {name: np.flatnonzero(part == name) for name in SPLITS}
        for name, places in found.items():
            if len(places) == 0:
                raise InputError(
                    f"{self.name} has no usable row in the split {name!r} of {len(self.rows)}; "
                    "give more rows or groups, or other fractions"
                )
        return found


def _misfit(target: Any, task: Task) -> str:
    """Why a target does not fit the task; empty if it does."""
    names = getattr(task, "names", None)
    if isinstance(task, Regression):
        values = np.ravel(np.asarray(target, dtype=object)).tolist()
        numbers = [v for v in values if isinstance(_read(v), int | float)]
        if not len(numbers) == len(values) == task.outputs:
            return f"target must be {task.outputs} finite number(s), found {target!r}"
    elif names:
        for label in _to_labels(target):
            if label not in names:
                return str(unknown("label", label, names[:20]))
    return ""


def _misweight(weight: Any) -> str:
    """Why a weight is none; empty if it is one."""
    if weight is None:
        return "has no weight"
    number = None if isinstance(weight, list) else read_cell(weight)
    if not isinstance(number, int | float) or number < 0:
        return f"weight must be a finite number, at least 0, found {weight!r:.60}"
    return ""


def _to_labels(target: Any) -> list[str]:
    return [str(v) for v in (target if isinstance(target, (list, tuple)) else [target])]


def _read(value: Any) -> int | float | str | None:
    try:
        return read_cell(value)
    except InputError:
        return None


def _as_written(target: Any) -> Any:
    """A target as text, as the names of classes are; numbers in a list stay numbers."""
    if isinstance(target, (list, tuple, np.ndarray)):
        return list(target)
    return None if target is None or target != target else str(target).strip()
