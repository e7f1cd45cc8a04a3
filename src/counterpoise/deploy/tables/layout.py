"""Answers as the columns of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.task import Task
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.data.readers.base import need
from counterpoise.deploy.answer import has_chances
from counterpoise.deploy.prediction import Prediction
from counterpoise.errors import InputError

from .source import Chunk

Array = NDArray[Any]

MOST = 20  # classes that have a column each
BEST = 5  # of more, the most probable
HIDDEN = ":"  # columns that begin so are not written
TARGET, VALUES = f"{HIDDEN}target", f"{HIDDEN}values"


class Layout:
    """Which columns answers have, and of which type; the same for every part of a table.

    Args:
        task: what is predicted.
        classes: of its classes or labels, as they were called in training.
        modalities: of the model.
        id: what the column of ids is called; None: rows are numbered in ``row``.
        accuracy: whether answers may be withheld.
        coverage: whether there are sets of classes, or intervals.
        scored: whether targets and values are kept, for the metrics.
    """

    def __init__(
        self,
        task: Task,
        classes: Sequence[Any],
        modalities: Sequence[str],
        *,
        id: str | None = None,
        accuracy: bool = False,
        coverage: bool = False,
        scored: bool = False,
    ) -> None:
        self.task, self.classes = task, [str(c) for c in classes]
        self.modalities, self.id = tuple(modalities), id
        self.accuracy, self.coverage, self.scored = accuracy, coverage, scored
        names = self.schema.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"two columns would be called {twice!r}; name another --id, or ''")

    @property
    def _numbers(self) -> list[str]:
        """What the numbers of a regression are called."""
        count = self.task.outputs
        return ["prediction"] if count == 1 else [f"prediction_{k}" for k in range(count)]

    @cached_property
    def schema(self) -> Any:
        """pyarrow's, with the hidden columns."""
        arrow = need("pyarrow", "stream")
        word, real, flag = arrow.string(), arrow.float32(), arrow.bool_()
        fields: list[tuple[str, Any]] = [(self.id or "row", word if self.id else arrow.int64())]
        if not has_chances(self.task):
            fields += [(name, arrow.float64()) for name in self._numbers]
        elif isinstance(self.task, MultiLabel):
            fields += [("labels", arrow.list_(word))]
        else:
            fields += [("label", word), ("probability", real)]
        if has_chances(self.task) and len(self.classes) <= MOST:
            fields += [(f"p_{name}", real) for name in self.classes]
        elif has_chances(self.task):
            fields += [(f"best_{k}", word) for k in range(1, BEST + 1)]
            fields += [(f"p_best_{k}", real) for k in range(1, BEST + 1)]
        fields += [("present", word), *((f"weight_{m}", real) for m in self.modalities)]
        fields += [(f"expected_{self.task.primary}", arrow.float64())]
        if self.accuracy:
            fields += [("abstain", flag)]
        if self.coverage and isinstance(self.task, Classification):
            fields += [("set", arrow.list_(word))]
        elif self.coverage:
            ends = [(f"{name}_low", f"{name}_high") for name in self._numbers]
            fields += [(name, arrow.float64()) for pair in ends for name in pair]
        fields += [("problem", word)]
        if self.scored:
            fields += [(TARGET, arrow.list_(arrow.float64())), (VALUES, arrow.list_(real))]
        return arrow.schema(fields)

    def make(self, found: Prediction, chunk: Chunk, targets: Sequence[Any] = ()) -> Any:
        """The record batch of some rows.

        Args:
            found: the answers.
            chunk: the rows.
            targets: of each row, a list of numbers or None; only where they are scored.
        """
        arrow = need("pyarrow", "stream")
        there = found.answered()
        columns: dict[str, Any] = {"row": chunk.numbers}
        if self.id:
            pairs = zip(chunk.cells[self.id], chunk.numbers.tolist(), strict=True)
            columns = {self.id: [_to_id(cell, number) for cell, number in pairs]}
        columns |= self._answers(found, there)
        columns["present"] = found.subsets()
        for name, weights in found.weights.items():
            columns[f"weight_{name}"] = np.where(there, weights, np.nan)
        columns[f"expected_{self.task.primary}"] = found.expected
        columns |= self._promises(found, there)
        columns["problem"] = [found.problems.get(k) for k in range(len(found))]
        if self.scored:
            columns[TARGET] = list(targets)
            values = found.label if found.probabilities is None else found.probabilities
            columns[VALUES] = list(values.reshape(len(found), -1).astype(np.float32))
        arrays = [
            arrow.array(columns[field.name], field.type, from_pandas=True) for field in self.schema
        ]
        return arrow.RecordBatch.from_arrays(arrays, schema=self.schema)

    def _answers(self, found: Prediction, there: NDArray[np.bool_]) -> dict[str, Any]:
        values = found.probabilities
        if values is None:
            numbers = found.label.reshape(len(found), -1)
            return {name: numbers[:, k] for k, name in enumerate(self._numbers)}
        columns: dict[str, Any] = {}
        if isinstance(self.task, MultiLabel):
            table = zip(found.label.tolist(), there.tolist(), strict=True)
            columns["labels"] = [self._name(row) if here else None for row, here in table]
        else:
            words = found.label.astype(str).tolist()
            columns["label"] = [w if here else None for w, here in zip(words, there, strict=True)]
            columns["probability"] = values.max(1)
        if len(self.classes) <= MOST:
            return columns | {f"p_{name}": values[:, k] for k, name in enumerate(self.classes)}
        best = np.argsort(-np.nan_to_num(values), axis=1, kind="stable")[:, :BEST]
        chances = np.take_along_axis(values, best, 1)
        for k in range(BEST):
            names = [self.classes[place] for place in best[:, k].tolist()]
            columns[f"best_{k + 1}"] = [
                n if here else None for n, here in zip(names, there, strict=True)
            ]
            columns[f"p_best_{k + 1}"] = chances[:, k]
        return columns

    def _promises(self, found: Prediction, there: NDArray[np.bool_]) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        if found.keeps is not None:
            keeps = zip(found.keeps.tolist(), there.tolist(), strict=True)
            columns["abstain"] = [not keep if here else None for keep, here in keeps]
        if found.sets is None:
            return columns
        if isinstance(self.task, Classification):
            sets = zip(found.sets.tolist(), there.tolist(), strict=True)
            return columns | {"set": [self._name(row) if here else None for row, here in sets]}
        for k, name in enumerate(self._numbers):
            for end, word in enumerate(("low", "high")):
                limits = found.sets.reshape(len(found), -1, 2)[:, k, end]
                columns[f"{name}_{word}"] = np.where(there, limits, np.nan)
        return columns

    def _name(self, flags: Sequence[Any]) -> list[str]:
        return [name for name, on in zip(self.classes, flags, strict=True) if on]

    def logits(self, values: Array) -> Tensor:
        """[N, K] of the kept values, as the task's metrics take them."""
        given = torch.from_numpy(values)
        if not has_chances(self.task):
            return given
        least = float(np.finfo(np.float32).tiny)
        if isinstance(self.task, MultiLabel):
            return given.double().clamp(least, 1 - 1e-12).logit()
        return given.clamp_min(least).log()


def _to_id(cell: Any, number: int) -> str:
    """An id as text; the number of the row where it has none."""
    empty = cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())
    return f"row {number}" if empty else str(cell).strip().encode("utf-8", "replace").decode()


def flatten(batch: Any, classes: Sequence[str]) -> Any:
    """A record batch for CSV: lists of classes joined by ``;``, or JSON where one holds it."""
    arrow = need("pyarrow", "stream")
    join = json.dumps if any(";" in name for name in classes) else ";".join
    arrays, fields = [], []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if not arrow.types.is_list(field.type):
            arrays.append(column)
            fields.append(field)
            continue
        words = [None if row is None else join(row) for row in column.to_pylist()]
        arrays.append(arrow.array(words, arrow.string()))
        fields.append(arrow.field(field.name, arrow.string()))
    return arrow.RecordBatch.from_arrays(arrays, schema=arrow.schema(fields))
