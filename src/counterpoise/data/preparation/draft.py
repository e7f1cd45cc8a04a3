"""The rows of a table on their way to a plan: which are usable, their splits, their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.tasks import Classification, MultiLabel, Regression, Task
from counterpoise.data.readers.base import Reader
from counterpoise.data.splits import ALIASES, SPLITS, check_groups, draw, hold_out, to_groups
from counterpoise.data.target_values import read_cell
from counterpoise.data.targets import class_order, decide
from counterpoise.data.weights import Weights, to_weights
from counterpoise.errors import InputError, unknown

from .rows import ListedRows, Rows
from .table import Bad, Table


class Draft:
    """What is known of the rows so far; whatever cannot be used is dropped with a reason.

    Call :meth:`find_task`, :meth:`assign_splits` and :meth:`encode_targets` in this order.

    Args:
        table: the rows.
        readers: of the modalities that are used; a row that has none of them is dropped.

    Attributes:
        kept: int64 [n], the places in the table of the rows that can be used, ascending.
        present: modality -> bool [n], which of them have it.
        part: [n], the names of their splits, once they are assigned.
        groups: int64 [n], or None if there are no groups.
        bad: what cannot be used, and why.
        task: what is learnt; None until it is known. The table may give its word.
    """

    def __init__(self, table: Table, readers: Mapping[str, Reader]) -> None:
        self.name, self.bad = table.name, list(table.bad)
        self.task = table.task if isinstance(table.task, Task) else None
        self._asked = table.task if isinstance(table.task, str) else None
        self._names = getattr(self.task, "names", None)  # None: those of the training rows
        rows = table.rows
        self.all = rows if isinstance(rows, Rows) else ListedRows(rows, readers)
        self.kept = np.arange(len(rows))
        found = self.all.find_present(list(readers))
        self.present = {m: found[:, k] for k, m in enumerate(readers)}
        self.groups: NDArray[np.int64] | None = None
        self.part: NDArray[Any] = np.array(list(self.all.values("split")), dtype=object)
        self._values: list[NDArray[Any]] = []  # the target [n, ...], where it is no label
        self._labels: list[Any] = []  # the labels of each row, where it is
        self._targets = list(self.all.values("target"))
        self._take(np.any(found, 1))

    def drop(self, reasons: Mapping[int, str]) -> None:
        """Leave rows out.

        Args:
            reasons: place among those that are kept -> why.
        """
        if not reasons:
            return
        where = sorted(reasons)
        for place, row in zip(where, self.all.at(self.kept[where]), strict=True):
            self.bad.append(Bad(row.id, "", reasons[place]))
        stay = np.ones(len(self.kept), dtype=bool)
        stay[where] = False
        self.kept, self.part = self.kept[stay], self.part[stay]
        self.present = {m: there[stay] for m, there in self.present.items()}
        self.groups = None if self.groups is None else self.groups[stay]
        self._values = [values[stay] for values in self._values]
        for name in ("_labels", "_targets"):
            values = getattr(self, name)
            setattr(self, name, [v for v, here in zip(values, stay.tolist(), strict=False) if here])

    def _take(self, some: NDArray[np.bool_]) -> None:
        """Keep rows with an id of their own, a target, a known split and some modality."""
        repeated = find_repeated(lambda: self.all.values("id"), len(self.all))
        weights = self.all.values("weight")
        weighted = any(weight is not None for weight in self.all.values("weight"))
        given = any(self.part)
        reasons: dict[int, str] = {}
        for place, weight in enumerate(weights):
            target, split = self._targets[place], self.part[place]
            self.part[place] = split = ALIASES.get(split or "", split)
            if repeated[place]:
                reasons[place] = "the id stands for another row already"
            elif target is None or target == "" or target == []:
                reasons[place] = "has no target"
            elif given and split not in SPLITS:
                reasons[place] = f"split must be one of {', '.join(SPLITS)}, found {split!r}"
            elif not some[place]:
                reasons[place] = "has none of the modalities"
            elif weighted and (reason := _misweight(weight)):
                reasons[place] = reason
        self.drop(reasons)

    def find_task(self) -> None:
        """Decide what is learnt, and drop the rows whose target is none of that.

        Raises:
            InputError: no row is left, or no decision (:func:`counterpoise.data.targets.decide`).
        """
        if self.task is not None:
            self.drop(
                {
                    place: reason
                    for place, target in enumerate(self._targets)
                    if (reason := _misfit(target, self.task))
                }
            )
            if isinstance(self.task, Regression):
                found = [np.ravel(np.asarray(t, dtype=np.float32)) for t in self._targets]
                self._values = [np.stack(found)] if found else []
            else:
                self._labels = [_to_labels(target) for target in self._targets]
        elif self._targets:
            self._decide()
        if not len(self.kept):
            first = f"; the first: {self.bad[0].id}: {self.bad[0].reason}" if self.bad else ""
            raise InputError(f"{self.name} holds no row that can be used{first}")
        self._targets = []

    def _decide(self) -> None:
        """Tell the task from the targets."""
        written = [_as_written(target) for target in self._targets]
        found = decide(written, self._asked)
        self.task = found.task
        if isinstance(self.task, Regression) or (
            isinstance(self.task, MultiLabel) and found.names is None
        ):
            self._values = [found.target.reshape(len(found.target), -1)]
        else:
            self._labels = found.labels()
        self.drop(
            {
                place: "has no target"
                + (f", found {word!r:.40}" if (word := written[place]) else "")
                for place in np.flatnonzero(~found.given).tolist()
            }
        )

    def assign_splits(self, fractions: Sequence[float], seed: int) -> None:
        """Split the rows as they say, or by chance; groups stay together.

        Args:
            fractions: shares of train, validation and test, where they are drawn.
            seed: draws them.

        Raises:
            InputError: no row of training or test where splits are given; a group in two splits.
        """
        groups = None
        every = list(self.all.values("group"))
        written = [every[place] for place in self.kept.tolist()]
        if any(group is not None for group in written):
            # A row without a group is a group of its own.
            alone = [group is None for group in written]
            lone = iter(self.all.at(self.kept[alone]))
            labels = [f"r {next(lone).id}" if g is None else f"g {g}" for g in written]
            self.groups = groups = to_groups(labels, len(labels))
        classes = np.zeros(len(self.kept), dtype=np.int64)
        if self._labels and not isinstance(self.task, MultiLabel):
            classes = np.unique([names[0] for names in self._labels], return_inverse=True)[1]
        if any(self.part):
            self._find_splits(classes, groups, fractions, seed)
            if groups is not None:
                check_groups(written, groups, self._places())
        else:
            for name, places in draw(classes, groups, fractions, seed).items():
                self.part[places] = name

    def _find_splits(
        self,
        classes: NDArray[Any],
        groups: NDArray[np.int64] | None,
        fractions: Sequence[float],
        seed: int,
    ) -> None:
        """The splits that the rows name; the validation part is drawn where none names it."""
        for needed in ("train", "test"):
            if not (self.part == needed).any():
                raise InputError(
                    f"{self.name} names no row of the split {needed!r}; name some, or leave the "
                    "split out, to have it drawn"
                )
        if not (self.part == "validation").any():
            training = np.flatnonzero(self.part == "train")
            _, held = hold_out(training, classes, groups, fractions, seed)
            self.part[held] = "validation"

    def encode_targets(self) -> NDArray[Any]:
        """The targets of the rows, [N, ...], int64 or float32.

        The names of the classes come from the training rows, where they are not given; rows with
        other labels are dropped.

        Raises:
            InputError: fewer than two classes.
        """
        if self._values:
            values = self._values[0]
            return values[:, 0] if values.shape[1] == 1 else values
        names, several = self._names, isinstance(self.task, MultiLabel)
        if not names:
            pairs = zip(self._labels, self.part, strict=True)
            known = {v for labels, part in pairs if part == "train" for v in labels}
            names = tuple(sorted(known, key=class_order))
            if len(names) < 2:
                raise InputError(
                    f"target must hold at least 2 classes to learn, found {list(names)}"
                )
            self.task = (MultiLabel if several else Classification)(len(names), names)
        code = {name: k for k, name in enumerate(names)}
        self.drop(
            {
                place: f"its label {strange!r} is in no training row"
                for place, labels in enumerate(self._labels)
                if (strange := next((v for v in labels if v not in code), None)) is not None
            }
        )
        if not several:
            return np.array([code[labels[0]] for labels in self._labels], dtype=np.int64)
        target: NDArray[Any] = np.zeros((len(self._labels), len(names)), dtype=np.float32)
        for k, labels in enumerate(self._labels):
            target[k, [code[v] for v in labels]] = 1
        return target

    def weights(self) -> Weights | None:
        """float64 [N]: the weights of the rows, as they were given; None where there are none."""
        found = list(self.all.values("weight"))
        if not len(self.kept) or found[self.kept[0]] is None:
            return None
        numbers = [float(found[place]) for place in self.kept]
        return to_weights(numbers, len(numbers), f"the weights of {self.name}")

    def places(self) -> dict[str, NDArray[np.int64]]:
        """Split -> the places of its rows.

        Raises:
            InputError: a split is empty.
        """
        found = self._places()
        for name, places in found.items():
            if len(places) == 0:
                raise InputError(
                    f"{self.name} has no usable row in the split {name!r} of {len(self.kept)}; "
                    "give more rows or groups, or other fractions"
                )
        return found

    def _places(self) -> dict[str, NDArray[np.int64]]:
        return {name: np.flatnonzero(self.part == name) for name in SPLITS}


def find_repeated(values: Callable[[], Iterable[str]], count: int) -> NDArray[np.bool_]:
    """bool [N]: which values came up before; they are walked through once or twice, not kept."""
    hashes = np.fromiter(map(hash, values()), np.int64, count)
    _, place, times = np.unique(hashes, return_inverse=True, return_counts=True)
    found: NDArray[np.bool_] = np.zeros(count, dtype=bool)
    if len(times) == count:
        return found
    several, seen = (times[place] > 1).tolist(), set()
    for k, value in enumerate(values()):
        if several[k]:
            found[k] = value in seen
            seen.add(value)
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
