"""A data set before anything is decoded: rows of cells, and how cells are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from counterpoise.core.tasks import Task
from counterpoise.data.readers.base import Reader

if TYPE_CHECKING:
    from .choose import Taken


@dataclass(frozen=True)
class Row:
    """One sample.

    Attributes:
        id: unique in its table.
        target: a class name; a list of label names (multi-label); a number or a list of numbers.
        cells: modality -> what its reader reads: a path, a text, numbers. None or no entry: the
            sample lacks the modality.
        split: ``"train"``, ``"validation"``, ``"test"``, or None where it is not said.
        group: samples of one group (a subject, a source video) never lie in two splits.
        weight: factor of the sample's loss, a finite number of at least 0, or None in all rows.
    """

    id: str
    target: Any
    cells: Mapping[str, Any]
    split: str | None = None
    group: str | None = None
    weight: Any = None


@dataclass(frozen=True)
class Bad:
    """A row, or a cell of it, that cannot be used, and why."""

    id: str
    modality: str
    reason: str


@dataclass(frozen=True)
class Table:
    """The rows of a data set and the readers of its modalities, in the model's order.

    Attributes:
        name: what records call the data set.
        rows: one per sample.
        readers: modality -> how its cells are read.
        task: what is learnt: a task, the word of one (:func:`counterpoise.data.targets.decide`), or
            None, to tell it from the targets. The names of a classification say
            which labels there are; a row with another one is bad.
        bad: rows that the layout itself rules out.
        units: modality -> a name for each channel; channels of one unit are standardised by one
            deviation. Without units every channel has its own.
        fractions: shares of train, validation and test where they are drawn and nobody asks for
            others.
        digest: changes with the cells, where looking at each of them would take long.
        columns: what each column of a file was taken as.
        notes: what was guessed about the file, a line each.
    """

    name: str
    rows: Sequence[Row]
    readers: Mapping[str, Reader]
    task: Task | str | None = None
    bad: list[Bad] = field(default_factory=list)
    units: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fractions: tuple[float, float, float] | None = None
    digest: str = ""
    columns: Sequence[Taken] = ()
    notes: Sequence[str] = ()
