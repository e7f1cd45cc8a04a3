"""From a table to what can be decoded: targets, splits, readers with all their settings."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from counterpoise.core.names import check_name
from counterpoise.core.presence import check_trained
from counterpoise.core.tasks import Task
from counterpoise.data.cells import Spec, find_spec, sample_bytes
from counterpoise.data.columns import Decoded, TrainingMean
from counterpoise.data.dataset import Dataset, Split
from counterpoise.data.kinds import KINDS
from counterpoise.data.readers.array import ArrayFile
from counterpoise.data.readers.base import Reader
from counterpoise.data.readers.measured import Measured
from counterpoise.data.readers.text import LONGEST, Text
from counterpoise.data.targets import describe_target
from counterpoise.data.weights import Weights, normalise_splits
from counterpoise.errors import InputError, check_mapping, check_number, check_once, unknown

from .draft import Draft
from .rows import Picked, pick
from .table import Bad, Row, Table

FRACTIONS = (0.7, 0.15, 0.15)


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
        readers: modality -> its reader, with all its settings.
        specs: modality -> type and shape of a sample's tensors.
        bad: what cannot be used, and why.
        total: rows of the table, the bad among them.
        units: see :class:`Table`.
        note: a line about the target.
        weights: float64 [N], of these rows, as they were given; or None.
        digest: see :class:`Table`.
    """

    name: str
    task: Task
    rows: Sequence[Row]
    target: NDArray[Any]
    splits: dict[str, NDArray[np.int64]]
    groups: NDArray[np.int64] | None
    readers: dict[str, Reader]
    specs: dict[str, Spec]
    bad: list[Bad]
    total: int
    units: Mapping[str, tuple[str, ...]]
    note: str = ""
    weights: Weights | None = None
    digest: str = ""

    @property
    def kinds(self) -> dict[str, str]:
        """Modality -> which small encoder suits it, where its reader knows."""
        return {
            m: reader.sample_kind
            for m, reader in self.readers.items()
            if reader.sample_kind in KINDS
        }

    def bytes(self) -> int:
        """Size of all samples, decoded."""
        return len(self.rows) * sample_bytes(self.specs)

    def identity(self) -> dict[str, Any]:
        """What makes this preparation this one, in plain values."""
        return {
            "name": self.name,
            "task": self.task.state() | {"names": list(getattr(self.task, "names", None) or [])},
            "readers": {m: reader.settings() for m, reader in self.readers.items()},
            "tensors": {
                m: {key: [dtype, list(shape)] for key, (dtype, shape) in spec.items()}
                for m, spec in self.specs.items()
            },
            "splits": {part: len(rows) for part, rows in self.splits.items()},
            "rows": self._rows_digest,
        }

    @cached_property
    def _rows_digest(self) -> str:
        digest = hashlib.sha256(self.target.tobytes())
        for part, places in self.splits.items():
            digest.update(part.encode() + places.tobytes())
        digest.update(self.digest.encode())
        looked_at = () if self.digest else self.readers
        for row in self.rows:
            cells = [[m, repr(row.cells.get(m))] for m in looked_at]
            digest.update(json.dumps([row.id, row.split, row.group, cells]).encode())
            for m in looked_at:
                if isinstance(cell := row.cells.get(m), np.ndarray):  # repr leaves numbers out
                    digest.update(np.ascontiguousarray(cell).tobytes())
        if self.weights is not None:
            digest.update(b"weights" + self.weights.tobytes())
        return digest.hexdigest()

    def live(self) -> Dataset:
        """The data set, decoded on the fly: slower than what was prepared, and the same samples.

        A cell that cannot be read raises :class:`InputError` when its row is asked for.
        """
        splits = {}
        training = pick(self.rows, self.splits["train"])
        means = {
            m: TrainingMean(m, [row.cells.get(m) for row in training], reader, self.specs[m])
            for m, reader in self.readers.items()
            if self.specs[m].get("", ("",))[0] == "float32"
        }
        for part, places in self.splits.items():
            rows = list(pick(self.rows, places))
            names = [row.id for row in rows]
            inputs = {
                m: Decoded(
                    [row.cells.get(m) for row in rows], reader, self.specs[m], names, means.get(m)
                )
                for m, reader in self.readers.items()
            }
            present = {
                m: torch.tensor([cell is not None for cell in column.cells])
                for m, column in inputs.items()
            }
            groups = None if self.groups is None else torch.from_numpy(self.groups[places])
            target = torch.from_numpy(self.target[places])
            weight = None if self.weights is None else torch.from_numpy(self.weights[places])
            splits[part] = Split(inputs, present, target, groups, weight)
        normalise_splits(splits, f"the weights of {self.name}")
        notes = [self.note] if self.note else []
        return Dataset(
            self.task, splits, self.name, kinds=self.kinds, readers=self.readers, notes=notes
        )


def make_plan(
    table: Table,
    *,
    fractions: tuple[float, float, float] | None = None,
    seed: int = 0,
    modalities: Sequence[str] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Plan:
    """Decide everything that decoding needs: the splits, the classes, lengths and vocabularies.

    Only the training split decides anything. If no row names its split, splits are drawn, by group
    and in proportion of the classes. If only the validation part is missing, it is drawn from the
    training rows in the same way, never from the test rows.

    Args:
        table: the rows.
        fractions: shares of the splits, where they are drawn; by default the table's own, or
            0.7, 0.15 and 0.15.
        seed: draws them.
        modalities: some of the table's; all by default.
        options: modality -> options of its reader.

    Raises:
        InputError: no usable row, an unknown modality or option, a group in two splits, a modality
            without a cell that can be read.
    """
    seed = check_number("seed", seed, 0, whole=True)
    options = check_mapping("options", options, "options of readers")
    readers = _choose_readers(table, modalities, options)
    draft = Draft(table, readers)
    draft.find_task()
    draft.assign_splits(fractions or table.fractions or FRACTIONS, seed)
    target = draft.encode_targets()
    splits, rows = draft.places(), Picked(draft.all, draft.kept, draft.present)
    assert draft.task is not None  # since the targets are encoded
    training = splits["train"]
    check_trained({m: torch.from_numpy(there[training]) for m, there in draft.present.items()})
    specs: dict[str, Spec] = {}
    for modality, reader in readers.items():
        cells = rows.cells(modality, training)
        readers[modality] = reader = _fit(modality, reader, cells)
        specs[modality] = find_spec(modality, reader, cells)
        _warn_of_channels(modality, reader, specs[modality])
    return Plan(
        table.name,
        draft.task,
        rows,
        target,
        splits,
        draft.groups,
        readers,
        specs,
        draft.bad,
        len(table.rows) + len({b.id for b in table.bad}),
        table.units,
        describe_target(draft.task, target),
        draft.weights(),
        table.digest,
    )


def _fit(modality: str, reader: Reader, cells: Sequence[Any]) -> Reader:
    """A reader fitted on training cells; says so where it takes an offset off."""
    given: Any = reader
    try:
        reader = reader.fit(cells)
    except InputError as error:
        reason = str(error).replace("COLUMN", modality)
        raise InputError(f"modality {modality!r}: {reason}") from None
    if getattr(reader, "header", False) and not getattr(given, "header", False):
        warnings.warn(
            f"{modality}: the first line of each table is taken as names; --set "
            f"{modality}.header=false takes it as a step",
            UserWarning,
            stacklevel=3,
        )
    if isinstance(reader, Text) and given.length is None and reader.length == LONGEST:
        warnings.warn(
            f"{modality}: texts of more than {LONGEST} tokens are cut there; --set "
            f"{modality}.length=N keeps N",
            UserWarning,
            stacklevel=3,
        )
    if isinstance(reader, Measured) and reader.center:
        warnings.warn(
            f"{modality}: float32 cannot hold how its values vary; standardised in float64 by "
            "the mean and deviation of training cells",
            UserWarning,
            stacklevel=3,
        )
    return reader


def _warn_of_channels(modality: str, reader: Reader, spec: Spec) -> None:
    """Warn where arrays look like pictures as other libraries hold them, channels last."""
    shape = spec[""][1] if isinstance(reader, ArrayFile) and "" in spec else ()
    if len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) >= 8:
        warnings.warn(
            f"{modality}: arrays {list(shape)} look like pictures with their channels last, and "
            f"encoders take the first axis for channels: write them as [{shape[2]}, {shape[0]}, "
            f"{shape[1]}] if so",
            UserWarning,
            stacklevel=3,
        )


def _choose_readers(
    table: Table,
    modalities: Sequence[str] | None,
    options: Mapping[str, Mapping[str, Any]],
) -> dict[str, Reader]:
    chosen = list(table.readers) if modalities is None else list(modalities)
    if not chosen:
        raise InputError(f"modalities must name one at least of {', '.join(table.readers)}")
    for name in (*chosen, *options):
        if name not in table.readers:
            raise unknown(f"modality of {table.name}", name, table.readers)
    check_once("modalities", chosen)
    for name in chosen:
        check_name(name)
    return {
        m: reader.changed(m, **options.get(m, {}))
        for m, reader in table.readers.items()
        if m in chosen
    }
