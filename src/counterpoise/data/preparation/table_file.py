"""A table in a file, read in batches: what its columns are called, and the cells of each batch."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.paths import expand
from counterpoise.data.readers.base import need
from counterpoise.errors import InputError, check_choice

from .table import Bad

FORMATS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
BATCH = 65536  # rows

Batch = tuple[NDArray[np.int64], Any]  # the numbers of its rows, from 1, and pyarrow's RecordBatch


@dataclass(frozen=True)
class TableFile:
    """A table that was opened, and can be read any number of times.

    Attributes:
        path: of the file.
        columns: their names, in the order of the file.
        types: column -> its type in Arrow's words, where the file says it (Parquet).
        delimiter: that parts the cells of a line; empty where there is none.
        notes: what was guessed about the file, a line each.
    """

    path: Path
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
        arrow = need("pyarrow", "stream")
        if self.path.suffix.lower() == ".parquet":
            parquet = need("pyarrow.parquet", "stream")
            table = parquet.read_table(self.path).select(list(self.columns))
            start = 1
            for batch in table.to_batches(BATCH):
                yield np.arange(start, start + len(batch)), batch
                start += len(batch)
            return
        rows = list(_read_rows(self.path, self.delimiter, bad))
        is_json = not self.delimiter
        kind = arrow.string()
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            columns = [
                arrow.array(
                    [
                        None if c not in r else json.dumps(r[c]) if is_json else r[c]
                        for _, r in part
                    ],
                    kind,
                )
                for c in self.columns
            ]
            batch = arrow.RecordBatch.from_arrays(columns, names=list(self.columns))
            yield np.array([number for number, _ in part], np.int64), batch

    def to_python(self, cells: Any) -> list[Any]:
        """The cells of a part of a column, an Arrow array, as Python's values."""
        values: list[Any] = cells.to_pylist()
        if self.delimiter or self.path.suffix.lower() == ".parquet":
            return values
        return [None if value is None else json.loads(value) for value in values]


def open_table(path: Path | str) -> TableFile:
    """A CSV, TSV, Parquet or JSON-lines table; its suffix says the format.

    Raises:
        InputError: a file that is not there, of another format, or without rows.
    """
    path = expand(path)
    if not path.is_file():
        raise InputError(f"manifest {path} is not there")
    suffix = path.suffix.lower()
    check_choice("format of the manifest", suffix, FORMATS)
    if suffix == ".parquet":
        arrow = need("pyarrow", "stream")
        try:
            schema = need("pyarrow.parquet", "stream").read_schema(path)
        except (arrow.ArrowException, OSError) as error:
            raise InputError(f"{path} cannot be read: {error}") from None
        return TableFile(path, tuple(schema.names), {f.name: str(f.type) for f in schema})
    delimiter = {".csv": ",", ".tsv": "\t"}.get(suffix, "")
    rows = list(_read_rows(path, delimiter, []))
    columns = tuple(dict.fromkeys(key for _, row in rows for key in row))
    return TableFile(path, columns, delimiter=delimiter)


def _read_rows(path: Path, delimiter: str, bad: list[Bad]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        # The signature that spreadsheets put before UTF-8 is none of the first column's name.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8: {error}; save it as such") from None
    yield from _read_csv(text, delimiter, path, bad) if delimiter else _read_json_lines(text, bad)


def _read_csv(
    text: str, delimiter: str, path: Path, bad: list[Bad]
) -> Iterator[tuple[int, dict[str, Any]]]:
    usual = csv.field_size_limit(1 << 27)  # texts may be long
    lines = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        head = [name.strip() for name in next(lines, [])]
        if len(set(head)) < len(head) or "" in head:
            raise InputError(f"{path} must name each column once in its first line, found {head}")
        for number, fields in enumerate(lines, 1):
            if len(fields) == len(head):
                yield number, dict(zip(head, fields, strict=True))
            elif fields:
                reason = f"has {len(fields)} fields where the first line has {len(head)}"
                bad.append(Bad(f"row {number}", "", reason))
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num}: {error}") from None
    finally:
        csv.field_size_limit(usual)  # of the whole process


def _read_json_lines(text: str, bad: list[Bad]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            record = _parse(line)
            if isinstance(record, dict):
                yield number, record
            else:
                bad.append(Bad(f"row {number}", "", "is no JSON object"))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
