"""A table of new rows in a file, read some rows at a time."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.files import find_digest
from counterpoise.core.paths import expand
from counterpoise.data.npz import is_npz, read_arrays
from counterpoise.data.preparation.cache import is_cache
from counterpoise.data.preparation.table import Bad
from counterpoise.data.preparation.table_file import TableFile, open_table
from counterpoise.data.readers.base import need
from counterpoise.errors import InputError

Array = NDArray[Any]
Places = NDArray[np.int64]

EMPTY = "is empty"


@dataclass(frozen=True)
class Chunk:
    """Some rows, in the order of the table.

    Attributes:
        numbers: of the rows: in the table from 1, in arrays from 0.
        cells: column -> what each row holds, None where a row could not be read.
        wrong: place in the chunk -> why the row could not be read.
    """

    numbers: Places
    cells: Mapping[str, Any]
    wrong: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)


class Source:
    """A table, or a ``.npz`` file of arrays.

    Args:
        path: of the file.
        alone: names of which one may be the only column.

    Attributes:
        columns: their names.
        notes: what was guessed about the file, a line each.
        folder: where paths in cells start.
        total: about how many rows there are.

    Raises:
        InputError: no file of these.
    """

    def __init__(self, path: Path | str, alone: Collection[str] = ()) -> None:
        self.path = path = expand(path)
        self.folder = path.parent
        self.notes: tuple[str, ...] = ()
        self._file: TableFile | None = None
        if path.is_dir():
            hint = "; counterpoise evaluate reads prepared data" if is_cache(path) else ""
            raise InputError(f"TABLE must be a file of rows, found the folder {path}{hint}")
        if is_npz(path):
            self._arrays = read_arrays(path)
            if not self._arrays:
                raise InputError(
                    f"{path.name} must hold an array for each modality, holds no array"
                )
            self.columns = tuple(self._arrays)
            self.total = max((len(x) if x.ndim else 0 for x in self._arrays.values()), default=0)
            return
        file = self._file = open_table(path, alone)
        self.columns, self.notes = file.columns, file.notes
        self.total = _count_rows(file)

    def digest(self) -> str:
        """The checksum of the file."""
        return find_digest(self.path)

    def read(self, names: Sequence[str], size: int, skip: int = 0) -> Iterator[Chunk]:
        """The rows, with these columns, in chunks of at most ``size``, after the first ``skip``."""
        chunks = (
            self._slice(names, size, skip) if self._file is None else self._read(names, size, skip)
        )
        yield from chunks

    def _slice(self, names: Sequence[str], size: int, skip: int) -> Iterator[Chunk]:
        sizes = {name: len(self._arrays[name]) if self._arrays[name].ndim else 0 for name in names}
        if len(set(sizes.values())) > 1:
            raise InputError(
                f"the arrays in {self.path.name} must hold as many rows each, found {sizes}"
            )
        total = min(sizes.values())  # the file may hold others, such as the names of classes
        for start in range(skip, total, size):
            stop = min(start + size, total)
            yield Chunk(np.arange(start, stop), {m: self._arrays[m][start:stop] for m in names})

    def _read(self, names: Sequence[str], size: int, skip: int) -> Iterator[Chunk]:
        assert self._file is not None
        bad: list[Bad] = []
        done = 0
        for numbers, batch in self._file.batches(bad):
            wrong = _take_bad(bad, int(numbers[-1]) if len(numbers) else 0)
            rows = self._find_rows(done, numbers, wrong)
            yield from self._cut(rows, numbers, batch, names, wrong, size, skip)
            skip, done = max(0, skip - len(rows)), int(rows[-1]) if len(rows) else done
        wrong = _take_bad(bad, 2**62)
        rows = np.array(sorted(wrong), dtype=np.int64)
        yield from self._cut(rows, rows[:0], None, names, wrong, size, skip)

    def _find_rows(self, done: int, numbers: Places, wrong: Mapping[int, str]) -> Places:
        """The numbers of all rows of a batch: those read, those not, and in CSV the empty ones."""
        assert self._file is not None
        if self._file.kind == "csv" and len(numbers):
            return np.arange(done + 1, int(numbers[-1]) + 1)
        return np.union1d(numbers, np.array(list(wrong), dtype=np.int64))

    def _cut(
        self,
        rows: Places,
        numbers: Places,
        batch: Any,
        names: Sequence[str],
        wrong: Mapping[int, str],
        size: int,
        skip: int,
    ) -> Iterator[Chunk]:
        assert self._file is not None
        for start in range(min(skip, len(rows)), len(rows), size):
            part = rows[start : start + size]
            low, high = np.searchsorted(numbers, [part[0], part[-1] + 1]).tolist()
            places = np.searchsorted(part, numbers[low:high])
            cells: dict[str, list[Any]] = {}
            for name in names:
                found = self._file.to_python(batch.column(name)[low:high]) if high > low else []
                if len(found) == len(part):
                    cells[name] = found
                    continue
                cells[name] = [None] * len(part)
                for place, cell in zip(places.tolist(), found, strict=True):
                    cells[name][place] = cell
            gone = np.setdiff1d(np.arange(len(part)), places).tolist()
            yield Chunk(part, cells, {k: wrong.get(int(part[k]), EMPTY) for k in gone})


def _take_bad(bad: list[Bad], last: int) -> dict[int, str]:
    """Number -> reason of the bad rows up to ``last``, which are taken out."""
    found = {int(match[0]): b.reason for b in bad if (match := re.search(r"\d+", b.id))}
    bad[:] = [b for b in bad if int((re.search(r"\d+", b.id) or ["0"])[0]) > last]
    return {number: reason for number, reason in found.items() if number <= last}


def _count_rows(file: TableFile) -> int:
    """How many rows a table has; of text about so many, by its lines."""
    if file.kind == "parquet":
        metadata = need("pyarrow.parquet", "stream").read_metadata(file.path)
        return int(metadata.num_rows)
    count = 0
    with file.path.open("rb") as content:
        while piece := content.read(1 << 20):
            count += piece.count(b"\n")
    return max(1, count - (file.kind == "csv"))
