"""From a table to what can be decoded: targets, splits, readers that are settled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from counterpoise.core.tasks import Classification, MultiLabel, Regression, Task
from counterpoise.data.columns import Decoded, Spec, spec_of
from counterpoise.data.dataset import ArrayData, Split, check_name
from counterpoise.data.kinds import KINDS
from counterpoise.data.readers.base import Reader
from counterpoise.data.splits import SPLITS, by_class, by_group, check_groups, draw, to_groups
from counterpoise.errors import InputError, unknown

from .table import Bad, Row, Table

FRACTIONS = (0.7, 0.15, 0.15)
ALIASES = {"val": "validation", "valid": "validation", "dev": "validation", "training": "train"}
TRIED = 50  # cells that may fail before a modality counts as unreadable


@dataclass(frozen=True)
class Plan:
    """A data set that is ready to be decoded.

    Attributes:
        name: what records call it.
        task: what is learnt.
        rows: those that can be used, split by split, each in the order of the table.
        target: [N, ...], int64 or float32, of these rows.
        splits: split -> places in ``rows``.
        groups: int64 [N] or None.
        readers: modality -> its reader, settled.
        specs: modality -> type and shape of a sample's tensors.
        bad: what cannot be used, and why.
        total: rows of the table, the bad among them.
        units: see :class:`Table`.
    """

    name: str
    task: Task
    rows: list[Row]
    target: NDArray[Any]
    splits: dict[str, NDArray[np.int64]]
    groups: NDArray[np.int64] | None
    readers: dict[str, Reader]
    specs: dict[str, Spec]
    bad: list[Bad]
    total: int
    units: Mapping[str, tuple[str, ...]]

    @property
    def kinds(self) -> dict[str, str]:
        """Modality -> which small encoder suits it, where its reader knows."""
        return {m: reader.kind for m, reader in self.readers.items() if reader.kind in KINDS}

    def bytes(self) -> int:
        """Size of all samples, decoded."""
        return len(self.rows) * sample_bytes(self.specs)

    def identity(self) -> dict[str, Any]:
        """What makes this preparation this one, in plain values."""
        digest = hashlib.sha256(self.target.tobytes())
        for part, places in self.splits.items():
            digest.update(part.encode() + places.tobytes())
        for row in self.rows:
            cells = [[m, repr(row.cells.get(m))] for m in self.readers]
            digest.update(json.dumps([row.id, row.split, row.group, cells]).encode())
            for m in self.readers:
                if isinstance(cell := row.cells.get(m), np.ndarray):  # repr leaves numbers out
                    digest.update(np.ascontiguousarray(cell).tobytes())
        return {
            "name": self.name,
            "task": self.task.state() | {"names": list(getattr(self.task, "names", None) or [])},
            "readers": {m: reader.settings() for m, reader in self.readers.items()},
            "tensors": {
                m: {key: [dtype, list(shape)] for key, (dtype, shape) in spec.items()}
                for m, spec in self.specs.items()
            },
            "splits": {part: len(rows) for part, rows in self.splits.items()},
            "rows": digest.hexdigest(),
        }

    def live(self) -> ArrayData:
        """The data set, decoded on the fly: slower than what was prepared, and the same samples.

        A cell that cannot be read raises :class:`InputError` when its row is asked for.
        """
        splits = {}
        for part, places in self.splits.items():
            rows = [self.rows[k] for k in places]
            names = [row.id for row in rows]
            inputs = {
                m: Decoded([row.cells.get(m) for row in rows], reader, self.specs[m], names)
                for m, reader in self.readers.items()
            }
            present = {
                m: torch.tensor([cell is not None for cell in column.cells])
                for m, column in inputs.items()
            }
            groups = None if self.groups is None else torch.from_numpy(self.groups[places])
            splits[part] = Split(inputs, present, torch.from_numpy(self.target[places]), groups)
        return ArrayData.of(self.task, splits, self.name, kinds=self.kinds, readers=self.readers)


def sample_bytes(specs: Mapping[str, Spec]) -> int:
    """Size of one sample with all its modalities."""
    return sum(
        int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        for spec in specs.values()
        for dtype, shape in spec.values()
    )


def settle(
    table: Table,
    *,
    fractions: tuple[float, float, float] | None = None,
    seed: int = 0,
    modalities: Sequence[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Plan:
    """Decide all that decoding needs: who is in which split, classes, lengths, vocabularies.

    Only the training split decides anything. Where no row says its split, all are drawn, by group
    and in proportion of the classes; where only the validation part is missing, it is taken from
    the training rows in the same way, never from the test rows.

    Args:
        table: the rows.
        fractions: shares of the splits, where they are drawn; by default the table's own, or
            0.7, 0.15 and 0.15.
        seed: draws them.
        modalities: some of the table's; all by default.
        options: modality -> options of its reader.

    Raises:
        InputError: no usable row, an unknown modality or option, a group in two splits, a modality
            of which nothing can be read.
    """
    readers = _readers(table, modalities, options or {})
    rows, bad = _usable(table, list(readers))
    task, rows = _learnt(table, rows, bad)
    if not rows:
        first = f"; the first: {bad[0].id}: {bad[0].reason}" if bad else ""
        raise InputError(f"{table.name} holds no row that can be used{first}")
    groups = _groups(rows)
    shares = fractions or table.fractions or FRACTIONS
    rows, groups, splits = _split(table, task, rows, groups, shares, seed, bad)
    task, rows, groups, splits, target = _targets(task, rows, groups, splits, bad)
    for part in SPLITS:
        if len(splits[part]) == 0:
            raise InputError(
                f"{table.name} has no usable row in the split {part!r} of {len(rows)}; give more "
                "rows or groups, or other fractions"
            )
    training = [rows[k] for k in splits["train"]]
    specs: dict[str, Spec] = {}
    for modality, reader in readers.items():
        cells = [c for row in training if (c := row.cells.get(modality)) is not None]
        if not cells:
            raise InputError(f"modality {modality!r} is missing in every training row")
        readers[modality] = reader = reader.fitted(cells)
        specs[modality] = _spec(modality, reader, cells)
    return Plan(
        table.name,
        task,
        rows,
        target,
        splits,
        groups,
        readers,
        specs,
        bad,
        len(table.rows) + len({b.id for b in table.bad}),
        table.units,
    )


def _readers(
    table: Table,
    modalities: Sequence[str] | None,
    options: Mapping[str, Mapping[str, Any]],
) -> dict[str, Reader]:
    chosen = list(table.readers) if modalities is None else list(modalities)
    for name in (*chosen, *options):
        if name not in table.readers:
            raise unknown(f"modality of {table.name}", name, table.readers)
    for name in chosen:
        check_name(name)
    return {
        m: reader.changed(m, **options.get(m, {}))
        for m, reader in table.readers.items()
        if m in chosen
    }


def _usable(table: Table, modalities: Sequence[str]) -> tuple[list[Row], list[Bad]]:
    """Rows with an id of their own, a target, a known split and at least one modality."""
    rows, bad, seen = [], list(table.bad), set()
    given = any(row.split for row in table.rows)
    for row in table.rows:
        split = ALIASES.get(row.split or "", row.split)
        reason = ""
        if row.id in seen:
            reason = "the id stands for another row already"
        elif row.target is None or row.target == "" or row.target == []:
            reason = "has no target"
        elif given and split not in SPLITS:
            reason = f"split must be one of {', '.join(SPLITS)}, found {row.split!r}"
        elif all(row.cells.get(m) is None for m in modalities):
            reason = "has none of the modalities"
        if reason:
            bad.append(Bad(row.id, "", reason))
        else:
            rows.append(Row(row.id, row.target, row.cells, split, row.group))
        seen.add(row.id)
    return rows, bad


def _learnt(table: Table, rows: list[Row], bad: list[Bad]) -> tuple[Task | None, list[Row]]:
    """The task, where it is known before the splits are, and the rows whose target fits it."""
    task = table.task
    if task is None and any(_number(row.target) is None for row in rows):
        return None, rows
    if task is None:
        numbers = [_number(row.target) for row in rows]
        if all(n == int(n) for n in numbers if n is not None):  # whole: classes
            return None, rows
        task = Regression()
    names = getattr(task, "names", None)
    kept = []
    for row in rows:
        reason = _misfit(row.target, task, names)
        if reason:
            bad.append(Bad(row.id, "", reason))
        else:
            kept.append(row)
    return task, kept


def _misfit(target: Any, task: Task, names: tuple[str, ...] | None) -> str:
    if isinstance(task, Regression):
        values = target if isinstance(target, (list, tuple)) else [target]
        if len(values) != task.outputs or any(_number(v) is None for v in values):
            return f"target must be {task.outputs} finite number(s), found {target!r}"
    elif names:
        labels = target if isinstance(target, (list, tuple)) else [target]
        for label in labels:
            if str(label) not in names:
                return str(unknown("label", str(label), names[:20]))
    return ""


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _groups(rows: list[Row]) -> NDArray[np.int64] | None:
    if all(row.group is None for row in rows):
        return None
    # A row without a group is a group of its own.
    return to_groups(
        [f"g {row.group}" if row.group is not None else f"r {row.id}" for row in rows], len(rows)
    )


def _split(
    table: Table,
    task: Task | None,
    rows: list[Row],
    groups: NDArray[np.int64] | None,
    fractions: tuple[float, float, float],
    seed: int,
    bad: list[Bad],
) -> tuple[list[Row], NDArray[np.int64] | None, dict[str, NDArray[np.int64]]]:
    classes = np.zeros(len(rows), dtype=np.int64)
    if not isinstance(task, (Regression, MultiLabel)):
        classes = np.unique([str(row.target) for row in rows], return_inverse=True)[1]
    if not any(row.split for row in rows):
        return rows, groups, draw(classes, groups, fractions, seed)
    part = np.array([row.split for row in rows])
    for needed in ("train", "test"):
        if not (part == needed).any():
            raise InputError(
                f"{table.name} names no row of the split {needed!r}; name some, or leave the "
                "split out, to have it drawn"
            )
    if not (part == "validation").any():
        training = np.flatnonzero(part == "train")
        held = fractions[1] / (fractions[0] + fractions[1])
        shares, generator = np.array([1 - held, held]), np.random.default_rng(seed)
        if groups is None:
            chosen = by_class(classes[training], shares, generator)
        else:
            chosen = by_group(classes[training], groups[training], shares, generator)
        part = part.astype("<U10")
        part[training[chosen == 1]] = "validation"
    splits = {name: np.flatnonzero(part == name) for name in SPLITS}
    if groups is not None:
        check_groups([row.group for row in rows], groups, splits)
    return rows, groups, splits


def _targets(
    task: Task | None,
    rows: list[Row],
    groups: NDArray[np.int64] | None,
    splits: dict[str, NDArray[np.int64]],
    bad: list[Bad],
) -> tuple[Task, list[Row], NDArray[np.int64] | None, dict[str, NDArray[np.int64]], NDArray[Any]]:
    """Names of the classes from the training rows, where they are not given; targets as arrays."""
    if isinstance(task, Regression):
        wide = [np.ravel(np.asarray(row.target, dtype=np.float32)) for row in rows]
        values = np.stack(wide)
        return task, rows, groups, splits, values[:, 0] if task.outputs == 1 else values
    several = isinstance(task, MultiLabel)
    labels = [
        [str(v) for v in row.target] if isinstance(row.target, (list, tuple)) else [str(row.target)]
        for row in rows
    ]
    names = getattr(task, "names", None)
    if not names:
        names = tuple(sorted({v for k in splits["train"] for v in labels[k]}, key=class_order))
        if len(names) < 2:
            raise InputError(f"target must hold at least 2 classes to learn, found {list(names)}")
        task = MultiLabel(len(names), names) if several else Classification(len(names), names)
    code = {name: k for k, name in enumerate(names)}
    fits = np.array([all(v in code for v in values) for values in labels])
    for k in np.flatnonzero(~fits):
        strange = next(v for v in labels[k] if v not in code)
        bad.append(Bad(rows[k].id, "", f"its label {strange!r} is in no training row"))
    if several:
        target: NDArray[Any] = np.zeros((len(rows), len(names)), dtype=np.float32)
        for k in np.flatnonzero(fits):
            target[k, [code[v] for v in labels[k]]] = 1
    else:
        target = np.array([code.get(values[0], -1) for values in labels], dtype=np.int64)
    moved = np.cumsum(fits) - 1
    splits = {part: moved[places[fits[places]]] for part, places in splits.items()}
    kept = [row for row, good in zip(rows, fits, strict=True) if good]
    assert task is not None  # given, or made of the names
    return task, kept, None if groups is None else groups[fits], splits, target[fits]


def class_order(name: str) -> tuple[float, str]:
    """Numbers by size, then words by letter."""
    number = _number(name)
    return (float("inf") if number is None else number, name)


def _spec(modality: str, reader: Reader, cells: Sequence[Any]) -> Spec:
    """Types and shapes, from the first training cell that can be read."""
    tried = cells[:TRIED]
    reasons = []
    for cell in tried:
        found = _tried(reader, cell)
        if isinstance(found, dict):
            return found
        reasons.append(f"{cell!r:.80}: {found}")
    raise InputError(
        f"modality {modality!r}: none of the first {len(tried)} cells can be read as "
        f"{reader.name}; the first, {reasons[0]}"
    )


def _tried(reader: Reader, cell: Any) -> Spec | str:
    try:
        return spec_of(reader.read(cell))
    except Exception as error:  # a damaged file can break its library anywhere
        return str(error) or type(error).__name__
