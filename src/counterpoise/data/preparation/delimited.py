"""Tables whose lines hold cells between delimiters: CSV, and what spreadsheets call so.

Python's own reader, strictly: pyarrow's joins rows without a word where a quote is not closed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from counterpoise.errors import InputError

from .table import Bad
from .text_file import open_text

DELIMITERS = (",", ";", "\t", "|")
DECLARED = re.compile(r"sep=([,;\t|])\s*", re.IGNORECASE)  # a first line that Excel writes
LOOKED_AT = 200  # lines, to find the delimiter
LONGEST = 1 << 27  # characters of a cell


def find_columns(path: Path, usual: str) -> tuple[tuple[str, ...], str]:
    """The names in the first line, and the delimiter.

    Args:
        path: of the table.
        usual: the delimiter by its suffix; another one is taken if it parts more lines alike.

    Raises:
        InputError: one column only, or a damaged line.
    """
    with open_text(path, "") as file:
        lines = list(islice(file, LOOKED_AT))
    declared = DECLARED.fullmatch(lines[0]) if lines else None
    if declared:
        lines, usual = lines[1:], declared[1]
    names = (usual,) if declared else sorted(DELIMITERS, key=lambda d: d != usual)
    shares = {d: _share(lines, d) for d in names}
    delimiter = max(names, key=lambda d: shares[d])  # the first of those that do as well
    head = next(_split(lines, delimiter, path), [])
    columns = tuple(name.strip() for name in head)
    while len(columns) > 2 and not columns[-1]:  # as spreadsheets leave behind
        columns = columns[:-1]
    if len(columns) == 1 and not declared:
        raise InputError(
            f"{path} must name its columns in its first line, between commas, semicolons, tabs or "
            f"|, found {columns[0]!r:.80}"
        )
    return columns, delimiter


def _share(lines: list[str], delimiter: str) -> float:
    """The share of rows with as many cells as the first, which must have two."""
    counts: list[int] = []
    # Strictly: a wrong delimiter inside of quotes parts nothing. Damage is said when it is read.
    with _long_cells(), suppress(csv.Error):
        counts.extend(
            len(row) for row in csv.reader(lines, delimiter=delimiter, strict=True) if row
        )
    if not counts or counts[0] < 2:
        return 0.0
    # The last may be cut; a table of nothing but names is one.
    rest = counts[1:-1] if len(counts) > 2 else counts[1:]
    return (1 + sum(n == counts[0] for n in rest)) / (1 + len(rest))


def _split(lines: list[str], delimiter: str, path: Path) -> Iterator[list[str]]:
    with _long_cells():
        try:
            yield from csv.reader(lines, delimiter=delimiter)
        except csv.Error as error:
            raise InputError(f"{path}, line 1: {error}") from None


def read_rows(
    path: Path, delimiter: str, width: int, bad: list[Bad]
) -> Iterator[tuple[int, list[str | None]]]:
    """The number of each row, from 1 after the names, and its cells; rows without a cell are none.

    Args:
        path: of the table.
        delimiter: of its cells.
        width: how many cells a row has.
        bad: takes rows of another width.

    Raises:
        InputError: a quote that is not closed, or is followed by something.
    """
    with open_text(path, "") as file, _long_cells():
        if not DECLARED.fullmatch(file.readline()):
            file.seek(0)
        lines, done = csv.reader(file, delimiter=delimiter, strict=True), 0
        try:
            whole = len(next(lines, []))  # with columns at the end that have no name
            done = lines.line_num
            for number, row in enumerate(lines, 1):
                done = lines.line_num
                if len(row) == whole > width and not any(cell.strip() for cell in row[width:]):
                    row = row[:width]
                if len(row) == width:
                    if any(row) and not all(map(str.isspace, filter(None, row))):
                        yield number, row  # type: ignore[misc]  # no cell is None
                elif row:
                    reason = f"has {len(row)} fields where the first line has {width}"
                    bad.append(Bad(f"row {number}", "", reason))
        except csv.Error as error:
            cause = "a quote is not closed" if "end of data" in str(error) else str(error)
            raise InputError(f"{path}, line {done + 1}: {cause}") from None


@contextmanager
def _long_cells() -> Iterator[None]:
    usual = csv.field_size_limit(LONGEST)  # of the whole process
    try:
        yield
    finally:
        csv.field_size_limit(usual)
