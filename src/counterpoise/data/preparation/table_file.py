"""A table in a file, read in batches: what its columns are called, and the cells of each batch."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.files import check_file
from counterpoise.core.paths import expand
from counterpoise.data.readers.base import need
from counterpoise.errors import InputError, check_choice

from . import delimited, json_lines
from .table import Bad
from .text_file import find_encoding, read_start

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
}
PARQUET = rb"PAR1\x15"  # a page or the footer follows; a name of a column may begin so, too
# What is none of them, by its first bytes: more than a name of a column may begin with.
OTHERS = {
    rb"PK[\x03\x05][\x04\x06]": "a spreadsheet or an archive, save it as CSV (UTF-8)",
    rb"\xd0\xcf\x11\xe0": "an old spreadsheet, save it as CSV (UTF-8)",
    rb"\x1f\x8b": "compressed, unpack it first",
    rb"BZh[1-9]1AY&SY": "compressed, unpack it first",
    rb"\xfd7zXZ": "compressed, unpack it first",
    rb"\(\xb5/\xfd": "compressed, unpack it first",
    rb"ARROW1\x00": "an Arrow file, save it as Parquet",
    rb"%PDF-": "a PDF file",
    rb"SQLite format 3\x00": "a database, write the table as CSV or Parquet",
}
ROWS, SIGNS = 65536, 1 << 24  # rows, and characters, of a batch at most
SIZE = 1 << 26  # bytes of a batch of Parquet, about
INDEX = "Unnamed: 0"  # what pandas calls a column without a name, in which it writes an index

Batch = tuple[NDArray[np.int64], Any]  # the numbers of its rows, from 1, and pyarrow's RecordBatch


@dataclass(frozen=True)
class TableFile:
    """A table that was opened, and can be read any number of times.

    Attributes:
        path: of the file.
        kind: ``"csv"``, ``"json"`` (an object a line) or ``"parquet"``.
        columns: their names, in the order of the file.
        types: column -> its type in Arrow's words, where the file says it (Parquet).
        delimiter: that parts the cells of a line; empty where there is none.
        notes: what was guessed about the file, a line each.
    """

    path: Path
    kind: str
    columns: tuple[str, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    delimiter: str = ""
    notes: tuple[str, ...] = ()

    def batches(self, bad: list[Bad]) -> Iterator[Batch]:
        """The rows in the order of the file, with all columns in each batch.

        Cells are text as it stands in CSV files, JSON texts (null where a row lacks the column) of
        JSON lines, and of Parquet what they are there; :meth:`to_python` reads them.

        Args:
            bad: rows that cannot be read are added to it.

        Raises:
            InputError: a file that is damaged.
        """
        if self.kind == "parquet":
            yield from _read_parquet(self.path, self.columns)
            return
        if self.kind == "csv":
            for places, table in delimited.read_rows(self.path, self.delimiter, self.columns, bad):
                start = 0
                for batch in table.combine_chunks().to_batches(ROWS):
                    yield places[start : start + len(batch)], batch
                    start += len(batch)
            return
        rows = json_lines.read_rows(self.path, self.columns, bad)
        numbers: list[int] = []
        cells: list[list[str | None]] = []
        signs = 0
        for number, row in rows:
            numbers.append(number)
            cells.append(row)
            signs += sum(len(cell) for cell in row if cell)
            if signs > SIGNS or len(cells) == ROWS:
                yield self._join(numbers, cells)
                numbers, cells, signs = [], [], 0
        if cells:
            yield self._join(numbers, cells)

    def _join(self, numbers: list[int], rows: list[list[str | None]]) -> Batch:
        arrow = need("pyarrow", "stream")
        columns = [arrow.array(cells, arrow.string()) for cells in zip(*rows, strict=True)]
        batch = arrow.RecordBatch.from_arrays(columns, names=list(self.columns))
        return np.array(numbers, dtype=np.int64), batch

    def to_python(self, cells: Any) -> list[Any]:
        """The cells of a part of a column, an Arrow array, as Python's values."""
        arrow = need("pyarrow", "stream")
        try:
            values: list[Any] = cells.to_pylist()
        except (ValueError, OverflowError, ImportError, NotImplementedError) as error:
            try:
                values = cells.cast("string").to_pylist()  # times that Python's own cannot hold
            except arrow.ArrowException:
                raise InputError(
                    f"{self.path} holds cells of type {cells.type} that Python cannot hold: "
                    f"{' '.join(str(error).split())}"
                ) from None
        return json_lines.read_cells(values) if self.kind == "json" else values


def open_table(path: Path | str, alone: Collection[str] = ()) -> TableFile:
    """A CSV, TSV, Parquet or JSON-lines table; its suffix says the format, unless it is another.

    Args:
        path: of the file.
        alone: names of which one may be the only column of a CSV file; lines without a delimiter
            are no table otherwise.

    Raises:
        InputError: a file that is not there, of another format, or without named columns.
    """
    path = expand(path)
    check_file(path)
    if not path.is_file():
        raise InputError(f"manifest {path} is not there")
    suffix = path.suffix.lower()
    if suffix == ".json":
        raise InputError(f"{path} must hold an object a line: write it as .jsonl, or as CSV")
    kind = _find_kind(path, suffix)
    notes: list[str] = []
    types: list[str] = []
    usual = "\t" if suffix == ".tsv" else ","
    delimiter = ""
    if kind == "parquet":
        names, types = _read_schema(path)
    elif kind == "json":
        names = json_lines.find_columns(path)
    else:
        names, delimiter = delimited.find_columns(path, usual, alone)
    columns = names if kind == "json" else _name_index(names)
    if not columns or len(set(columns)) < len(columns) or "" in columns:
        shown = ", ".join(map(repr, columns[:20]))
        where = " in its first line" if kind == "csv" else ""
        raise InputError(f"{path} must name each column once{where}, found {shown}")
    if FORMATS[suffix] != kind:
        notes.append(f"{path.name} is read as {kind.upper()}, which it is in spite of its name")
    if kind != "parquet" and find_encoding(path) in ("utf-16-le", "utf-16-be"):
        notes.append(f"{path.name} is read as UTF-16, though no mark says so")
    if delimiter not in ("", usual):
        notes.append(f"columns of {path.name} are parted by {delimited.DELIMITERS[delimiter]}")
    if columns != names:
        notes.append(f"the first column of {path.name} has no name: it is called {columns[0]!r}")
    named_types = dict(zip(columns, types, strict=False))
    return TableFile(path, kind, columns, named_types, delimiter, tuple(notes))


def _find_kind(path: Path, suffix: str) -> str:
    """The format by the first bytes, or else by the suffix."""
    start = read_start(path, 4096)
    if not start:
        raise InputError(f"{path} is empty")
    for mark, what in OTHERS.items():
        if re.match(mark, start):
            raise InputError(f"{path} is {what}")
    check_choice("format of the manifest", suffix, FORMATS)
    if re.match(PARQUET, start) or (start.startswith(b"PAR1") and suffix == ".parquet"):
        return "parquet"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<table", b"<meta")):
        raise InputError(f"{path} is a page or XML, save it as CSV (UTF-8)")
    if FORMATS[suffix] == "parquet":
        raise InputError(f"{path} cannot be read: it is no Parquet file")
    return "json" if json_lines.is_object(text) else FORMATS[suffix]


def _name_index(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, of which the first may be none: so pandas writes an index, again and again."""
    if names[:1] != ("",) or len(names) == 1:
        return names
    index = INDEX
    while index in names:
        index += ".1"
    return index, *names[1:]


def _read_schema(path: Path) -> tuple[tuple[str, ...], list[str]]:
    """The names of the columns, and their types."""
    arrow, parquet = need("pyarrow", "stream"), need("pyarrow.parquet", "stream")
    with _refuse_damage(path):
        schema = parquet.read_schema(path)
        is_coded = arrow.types.is_dictionary
        types = [str(t.value_type if is_coded(t) else t) for t in schema.types]
        return tuple(schema.names), types


def _read_parquet(path: Path, columns: tuple[str, ...]) -> Iterator[Batch]:
    arrow, parquet = need("pyarrow", "stream"), need("pyarrow.parquet", "stream")
    start = 1
    with _refuse_damage(path), parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(_count_rows(file.metadata)):
            batch.validate(full=True)  # texts that are no UTF-8 would fail later
            cells = [
                c.dictionary_decode() if arrow.types.is_dictionary(c.type) else c
                for c in batch.columns
            ]
            yield (
                np.arange(start, start + len(batch)),
                arrow.RecordBatch.from_arrays(cells, names=list(columns)),
            )
            start += len(batch)
        if start - 1 != (count := file.metadata.num_rows):
            raise InputError(f"{path} cannot be read: it holds {start - 1} of {count} rows")


def _count_rows(metadata: Any) -> int:
    """How many rows a batch may hold: fewer where they hold pictures, say."""
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    size = max((g.total_byte_size / max(1, g.num_rows) for g in groups), default=1)
    return int(max(1, min(ROWS // 4, SIZE / max(1, size))))


@contextmanager
def _refuse_damage(path: Path) -> Iterator[None]:
    """Refuse what pyarrow cannot read, data and names that are no UTF-8 among it."""
    arrow = need("pyarrow", "stream")
    try:
        yield
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
