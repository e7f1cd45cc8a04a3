"""The rows of a table, of which no more are in memory than somebody looks at."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from counterpoise.data.readers.base import Reader, need
from counterpoise.data.splits import ALIASES

from .table import Bad, Row
from .table_file import TableFile

Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

CHUNK = 4096  # rows that are made at a time
IN_MEMORY = 16 << 20  # bytes of a file that is kept in memory; a larger one is copied to the disk


class Rows(ABC):
    """The rows of a table, some at a time."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def values(self, field: str) -> Iterator[Any]:
        """One field of each :class:`Row`: ``"id"``, ``"target"``, ``"split"``, ..."""

    @abstractmethod
    def at(self, places: Sequence[int] | Places) -> list[Row]:
        """The rows at these places, in this order."""

    @abstractmethod
    def cells(self, modality: str, places: Sequence[int] | Places) -> list[Any]:
        """The cells of a modality at these places, in this order."""

    @abstractmethod
    def find_present(self, modalities: Sequence[str]) -> Mask:
        """bool [N, M]: which rows have which modality."""


class ListedRows(Rows):
    """Rows that are in memory.

    Args:
        rows: all of them.
        readers: of the modalities; what they say was not measured counts as missing.
    """

    def __init__(self, rows: Sequence[Row], readers: Mapping[str, Reader]) -> None:
        self._rows, self._readers = rows, readers

    def __len__(self) -> int:
        return len(self._rows)

    def values(self, field: str) -> Iterator[Any]:
        return map(attrgetter(field), self._rows)

    def at(self, places: Sequence[int] | Places) -> list[Row]:
        return [self._rows[place] for place in places]

    def cells(self, modality: str, places: Sequence[int] | Places) -> list[Any]:
        return [self._rows[place].cells.get(modality) for place in places]

    def find_present(self, modalities: Sequence[str]) -> Mask:
        found: Mask = np.zeros((len(self), len(modalities)), dtype=bool)
        for k, modality in enumerate(modalities):
            cells = [row.cells.get(modality) for row in self._rows]
            found[:, k] = find_present(cells, self._readers[modality])
        return found


def find_present(cells: Sequence[Any], reader: Reader) -> Mask:
    """bool [N]: which cells are there, and hold something that was measured."""
    there: Mask = np.array([cell is not None for cell in cells], dtype=bool)
    if there.any():
        full = [cell for cell in cells if cell is not None]
        there[there] = ~reader.find_lacking(full)
    return there


class Stored:
    """The cells of a table in Arrow's form: in memory if it is small, else in a temporary file.

    Args:
        file: the table; it is read once.
        bad: takes the rows that cannot be read.
        look: is shown the cells of each column, batch by batch.

    Attributes:
        file: the table.
        numbers: int64 [N], of the rows.
    """

    def __init__(
        self, file: TableFile, bad: list[Bad], look: Callable[[str, list[Any]], None]
    ) -> None:
        self.file = file
        numbers: list[Places] = []
        arrow = need("pyarrow", "stream")
        small = file.path.stat().st_size < IN_MEMORY
        path = None if small else Path(tempfile.mkdtemp(prefix="counterpoise-")) / "table.arrow"
        if path is not None:
            weakref.finalize(self, shutil.rmtree, path.parent, ignore_errors=True)
        sink = arrow.BufferOutputStream() if path is None else arrow.OSFile(str(path), "wb")
        writer = None
        with sink:
            for places, batch in file.batches(bad):
                for name in file.columns:
                    look(name, file.to_python(batch.column(name)))
                writer = writer or arrow.ipc.new_file(sink, batch.schema)
                writer.write_batch(batch)
                numbers.append(places)
            if writer is not None:
                writer.close()
            source = sink.getvalue() if path is None and writer is not None else None
        self._batches: list[Any] = []
        if writer is not None:
            reader = arrow.ipc.open_file(arrow.memory_map(str(path)) if path else source)
            self._batches = [reader.get_batch(k) for k in range(reader.num_record_batches)]
        self.numbers: Places = np.concatenate([np.zeros(0, np.int64), *numbers])
        self._starts = np.concatenate([[0], np.cumsum([len(b) for b in self._batches])])

    def __len__(self) -> int:
        return len(self.numbers)

    def column(self, name: str) -> Iterator[list[Any]]:
        """The cells of a column, batch by batch."""
        for batch in self._batches:
            yield self.file.to_python(batch.column(name))

    def take(self, names: Sequence[str], places: Places) -> dict[str, list[Any]]:
        """The cells of some columns at these places, in this order."""
        arrow = need("pyarrow", "stream")
        found: dict[str, list[Any]] = {name: [None] * len(places) for name in names}
        owner = np.searchsorted(self._starts, places, side="right") - 1
        for number in np.unique(owner):
            asked = np.flatnonzero(owner == number)
            inside = arrow.array(places[asked] - self._starts[number])
            for name, cells in found.items():
                column = self._batches[number].column(name).take(inside)
                for place, cell in zip(asked.tolist(), self.file.to_python(column), strict=True):
                    cells[place] = cell
        return found


class Indexed(Sequence[Row]):
    """Rows by their place, over ``at``."""

    @abstractmethod
    def at(self, places: Sequence[int] | Places) -> list[Row]: ...

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...

    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            return self.at(np.arange(len(self))[place])
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        return self.at(np.array([place % len(self)]))[0]


class StoredRows(Rows, Indexed):
    """The rows of a table in a file.

    Args:
        stored: its cells.
        names: field of a :class:`Row` -> its column.
        read: field -> what makes its value of a cell.
        cells: modality -> what makes what its reader reads of a cell, or None where it is empty.
        readers: of the modalities.
    """

    def __init__(
        self,
        stored: Stored,
        names: Mapping[str, str],
        read: Mapping[str, Callable[[Any], Any]],
        cells: Mapping[str, Callable[[Any], Any]],
        readers: Mapping[str, Reader],
    ) -> None:
        there = set(stored.file.columns)
        self._stored, self._read, self._cells = stored, read, cells
        self._names = {field: name for field, name in names.items() if name in there}
        self._present = {m: self._look(m, reader) for m, reader in readers.items()}

    def _look(self, modality: str, reader: Reader) -> Mask:
        make = self._cells[modality]
        parts = [
            find_present([make(cell) for cell in cells], reader)
            for cells in self._stored.column(modality)
        ]
        return np.concatenate([np.zeros(0, dtype=bool), *parts])

    def __len__(self) -> int:
        return len(self._stored)

    def values(self, field: str) -> Iterator[Any]:
        if field not in self._names:
            return (
                map(str, self._stored.numbers.tolist())
                if field == "id"
                else iter([None] * len(self))
            )
        return self._values(field)

    def _values(self, field: str) -> Iterator[Any]:
        read = self._read[field]
        known: dict[str, str] = {}  # many cells of a column are the same word
        numbers = iter(self._stored.numbers.tolist())
        for cells in self._stored.column(self._names[field]):
            for cell, number in zip(cells, numbers, strict=False):
                value = read(cell)
                if field == "id":
                    yield f"row {number}" if value is None else value
                elif isinstance(value, str) and len(known) < CHUNK:
                    yield known.setdefault(value, value)
                else:
                    yield value

    def at(self, places: Sequence[int] | Places) -> list[Row]:
        where = np.asarray(places, dtype=np.int64)
        found = self._stored.take([*self._names.values(), *self._cells], where)
        fields = {
            field: [self._read[field](cell) for cell in found[name]]
            for field, name in self._names.items()
        }
        cells = {m: [make(cell) for cell in found[m]] for m, make in self._cells.items()}
        word = "row " if "id" in fields else ""  # its number could be another's id
        ids = fields.pop("id", None) or [None] * len(where)
        return [
            Row(
                f"{word}{self._stored.numbers[place]}" if ids[k] is None else ids[k],
                cells={m: column[k] for m, column in cells.items() if self._present[m][place]},
                **{"target": None, **{field: column[k] for field, column in fields.items()}},
            )
            for k, place in enumerate(where)
        ]

    def cells(self, modality: str, places: Sequence[int] | Places) -> list[Any]:
        found = self._stored.take([modality], np.asarray(places, dtype=np.int64))[modality]
        return [self._cells[modality](cell) for cell in found]

    def count_present(self, modality: str) -> int:
        """How many rows have it."""
        return int(self._present[modality].sum())

    def find_present(self, modalities: Sequence[str]) -> Mask:
        return np.stack([self._present[m] for m in modalities], 1)


class Picked(Indexed):
    """Some rows of a table.

    Args:
        rows: all.
        places: which of them, ascending.
        present: modality -> bool [n], which of the picked have it.
    """

    def __init__(self, rows: Rows, places: Places, present: Mapping[str, Mask]) -> None:
        self._rows, self._places, self._present = rows, places, present

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), CHUNK):
            yield from self.at(np.arange(start, min(start + CHUNK, len(self))))

    def at(self, places: Sequence[int] | Places) -> list[Row]:
        """The rows at these places, in this order, without the modalities that they lack."""
        found = []
        lacking = [(m, ~there) for m, there in self._present.items() if not there.all()]
        for place, row in zip(places, self._rows.at(self._places[places]), strict=True):
            gone = [m for m, there in lacking if there[place]]
            split = ALIASES.get(row.split or "", row.split)
            if gone or split != row.split:
                row = replace(row, cells={**row.cells, **dict.fromkeys(gone)}, split=split)
            found.append(row)
        return found

    def pick(self, places: Places) -> Picked:
        """The rows at these places."""
        present = {m: there[places] for m, there in self._present.items()}
        return Picked(self._rows, self._places[places], present)

    def cells(self, modality: str, places: Places) -> Cells:
        """The cells of a modality, of those rows at these places that have it."""
        inside = places[self._present[modality][places]]
        return Cells(self._rows, modality, self._places[inside])


class Cells(Sequence[Any]):
    """Cells of one modality, none of them None."""

    def __init__(self, rows: Rows, modality: str, places: Places) -> None:
        self._rows, self._modality, self._places = rows, modality, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Any: ...

    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        return self.take(np.array([place]))[0]

    def take(self, places: Sequence[int] | Places) -> list[Any]:
        """The cells at these places, in this order."""
        return self._rows.cells(self._modality, self._places[places])

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), CHUNK):
            yield from self[start : start + CHUNK]


def pick(rows: Sequence[Row], places: Places) -> Sequence[Row]:
    """The rows at these places, in this order; in memory only if all are."""
    return rows.pick(places) if isinstance(rows, Picked) else [rows[place] for place in places]
