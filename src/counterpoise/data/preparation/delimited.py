"""Tables whose lines hold cells between delimiters: CSV, and what spreadsheets call so."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from counterpoise.data.readers.base import need
from counterpoise.errors import InputError

from .quotes import drop_blanks, find_end, pair_quotes
from .table import Bad
from .text_file import LONGEST, count_lines, read_pieces

DELIMITERS = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'"}  # and how they are shown
LOOKED_AT, FEW = 1 << 16, 10  # bytes, to find the delimiter; more if they hold fewer rows,
MOST = 1 << 24  # but not more than so many
MOST_BAD = 100_000  # rows, when there is no good one
MARK = b"\xef\xbb\xbf"  # Arrow drops one at the beginning of whatever it reads
# A second mark, empty lines, and a first line that Excel writes.
START = re.compile(
    rb'(?:\xef\xbb\xbf| *[\r\n])*(?:"?sep=([,;\t|])"? *(?:[\r\n]|\Z)(?: *[\r\n])*)?', re.IGNORECASE
)
BLANKS = "".join(map(chr, filter(lambda code: chr(code).isspace(), range(0x3001))))


class _Wrong(NamedTuple):
    """A row of another width: its place, from 0, its number of cells, and its text."""

    place: int
    width: int
    text: str


@dataclass(frozen=True)
class _Fit:
    """How a delimiter suits the first rows of a table.

    Attributes:
        delimiter: it.
        names: what the first row holds.
        rows: how many there are, but for the first.
        share: of rows with as many cells, the first among them.
        literal: whether a quote stands inside of a cell that no quote opened.
    """

    delimiter: str
    names: tuple[str, ...]
    rows: int
    share: float
    literal: bool


def find_columns(
    path: Path, usual: str, alone: Collection[str] = ()
) -> tuple[tuple[str, ...], str]:
    """The names in the first line, and the delimiter.

    Args:
        path: of the table.
        usual: the delimiter by its suffix; another one is taken if it parts more lines alike.
        alone: names of which one may be the only one.

    Raises:
        InputError: one column only, a damaged first line, or two delimiters that do as well.
    """
    size, known, whole = LOOKED_AT, list[_Fit](), False
    while not whole and size <= MOST and max((fit.rows for fit in known), default=0) < FEW:
        head, declared, whole = _read_head(path, size)
        fits = [_fit(head, each, whole) for each in ([declared] if declared else DELIMITERS)]
        known = [fit for fit in fits if fit and (len(fit.names) > 1 or declared)]
        size *= 8
    if known:
        fit = _choose(known, usual, path)
        columns = tuple(name.strip() for name in fit.names)
        while len(columns) > 2 and not columns[-1]:  # as spreadsheets leave behind
            columns = columns[:-1]
        return columns, fit.delimiter
    lone = [fit for fit in fits if fit and fit.names[0].strip() in alone]
    if lone:
        fit = max(lone, key=lambda fit: (fit.share, fit.delimiter == usual))
        return (fit.names[0].strip(),), fit.delimiter
    for _ in _read_blocks(path, declared or usual):  # which says where a quote is wrong
        break
    rows = head.splitlines()
    first = rows[0].decode(errors="replace").strip() if rows else ""
    seen = next((each for row in rows[1:9] for each in DELIMITERS if each.encode() in row), None)
    though = f", though {DELIMITERS[seen]} part the rows below" if seen else ""
    raise InputError(
        f"{path} must name its columns in its first line, between commas, semicolons, tabs or "
        f"|, found {first!r:.80}{though}"
    )


def read_rows(
    path: Path, delimiter: str, columns: Sequence[str], bad: list[Bad]
) -> Iterator[tuple[NDArray[np.int64], Any]]:
    """The numbers of rows, from 1 after the names, and Arrow's table of their cells, in parts.

    Rows without a cell are none, but they are counted.

    Args:
        path: of the table.
        delimiter: of its cells.
        columns: their names.
        bad: takes rows of another width.

    Raises:
        InputError: a quote that is not closed, or is followed by something; nothing but rows of
            another width.
    """
    start, good, known = 0, 0, len(bad)  # the number of the next row; the names are row 0
    width = whole = len(columns)
    for block in _read_blocks(path, delimiter):
        if start == 0:  # there may be columns at the end without a name
            head = _parse(block, delimiter, columns)[1][:1]
            whole = head[0].width if head and head[0].place == 0 else width
        table, places, wrong = _read_block(block, delimiter, width, whole)
        for row in wrong:
            reason = f"has {row.width} fields where the first line has {width}"
            bad.append(Bad(f"row {start + row.place}", "", reason))
        count = len(table) + len(wrong)
        keep = ~_find_empty(table)
        keep[: int(start == 0)] = False
        if not keep.all():
            table, places = table.filter(keep), places[keep]
        good += len(table)
        if not good and len(bad) - known >= MOST_BAD:
            raise InputError(
                f"{path} holds no row that can be read; the first: {bad[known].id} "
                f"{bad[known].reason}"
            )
        yield start + places, table.rename_columns(list(columns))
        start += count


def _read_block(
    block: bytes, delimiter: str, width: int, whole: int
) -> tuple[Any, NDArray[np.int64], list[_Wrong]]:
    """The table of some rows, their places among all of the block, and the rows of another width.

    Args:
        block: whole rows.
        delimiter: of their cells.
        width: how many columns have names.
        whole: with those at the end that have none; rows may have all cells, or leave these out.
    """
    table, wrong = _parse(block, delimiter, list(map(str, range(whole))))
    count = len(table) + len(wrong)
    places = np.delete(np.arange(count), [row.place for row in wrong])
    if whole == width:
        return table, places, wrong
    over = ~_find_empty(table.select(list(range(width, whole))))
    short = [row for row in wrong if row.width == width]
    wrong = [row for row in wrong if row.width != width]
    wrong += [_Wrong(place, whole, "") for place in places[over].tolist()]
    table, places = table.select(list(range(width))).filter(~over), places[~over]
    if short:
        text = "\n".join(row.text for row in short).encode()
        more, _ = _parse(text, delimiter, table.column_names)
        places = np.concatenate([places, [row.place for row in short]])
        order = np.argsort(places)
        table = need("pyarrow", "stream").concat_tables([table, more]).take(order)
        places = places[order]
    return table, places, sorted(wrong, key=lambda row: row.place)


def _read_head(path: Path, size: int) -> tuple[bytes, str, bool]:
    """The first bytes, the delimiter that the file declares, and whether there is no more."""
    head = b""
    for piece in read_pieces(path):
        head += piece
        if len(head) > size:
            break
    whole = len(head) <= size
    match = START.match(head)
    declared = (match[1] or b"").decode() if match else ""
    return head[match.end() if match else 0 : size], declared, whole


def _fit(head: bytes, delimiter: str, whole: bool) -> _Fit | None:
    """How a delimiter suits the first rows; None where it makes none of them."""
    quotes = pair_quotes(head, delimiter)
    end = find_end(head, quotes, whole)
    text = drop_blanks(head, quotes, end)
    if not text.strip():
        return None
    table, wrong = _parse(text, delimiter)
    rows = len(table) + len(wrong)
    share = (1 + len(table)) / (1 + rows)
    return _Fit(delimiter, tuple(table.column_names), rows, share, quotes.literal)


def _choose(fits: list[_Fit], usual: str, path: Path) -> _Fit:
    """The delimiter that parts most rows alike; the usual one of those that do as well."""
    best = max(fit.share for fit in fits)
    fits = [fit for fit in fits if fit.share == best]
    fits = [fit for fit in fits if not fit.literal] or fits
    first = next((fit for fit in fits if fit.delimiter == usual), fits[0])
    others = [fit for fit in fits if fit is not first]
    if first.delimiter == usual:  # its names may hold some of another one
        others = [fit for fit in others if len(fit.names) > len(first.names)]
    if others:
        shown = " or ".join(f"{DELIMITERS[f.delimiter]} ({len(f.names)})" for f in fits)
        raise InputError(
            f"the columns of {path} may be parted by {shown}; say which by a line above the names, "
            f"such as sep={others[0].delimiter}"
        )
    return first


def _read_blocks(path: Path, delimiter: str) -> Iterator[bytes]:
    """The text in blocks of whole rows, without what comes before the names."""
    rest, wanted, line = b"", 0, 0
    for piece in chain(read_pieces(path), [None]):
        rest += piece or b""
        if piece is not None and len(rest) < wanted:
            continue
        if not line and (match := START.match(rest)):
            line, rest = 1 + count_lines(match[0]), rest[match.end() :]
        quotes = pair_quotes(rest, delimiter)
        end = find_end(rest, quotes, piece is None)
        if end:
            yield drop_blanks(rest, quotes, end)
            line, rest = line + count_lines(rest[:end]), rest[end:]
        where = f"{path}, line {line}:"
        if quotes.fault is not None:
            raise InputError(
                f"{where} '{delimiter}' expected after the '\"' that closes a cell; write a quote "
                "inside of a quoted cell twice"
            )
        if rest and piece is None:
            raise InputError(f"{where} a quote is not closed")
        if len(rest) > LONGEST:
            raise InputError(f"{where} a row of more than {LONGEST >> 20} MiB; is a quote closed?")
        wanted = 2 * len(rest)  # a long row is not looked through again for each piece


def _parse(
    text: bytes, delimiter: str, names: Sequence[str] | None = None
) -> tuple[Any, list[_Wrong]]:
    """A table of strings, and the rows of another width.

    Without names the first row is taken as these, and the types of columns are guessed.
    """
    arrow, reader = need("pyarrow", "stream"), need("pyarrow.csv", "stream")
    wrong: list[_Wrong] = []

    def skip(row: Any) -> str:
        wrong.append(_Wrong(row.number - 1, row.actual_columns, row.text))
        return "skip"

    if not text.endswith((b"\n", b"\r")):
        text += b"\n"  # Arrow does not know a table of names alone without it
    table = reader.read_csv(
        arrow.BufferReader(MARK + text),
        # Threads know no numbers of rows.
        reader.ReadOptions(use_threads=False, block_size=len(text) + 8, column_names=names),
        reader.ParseOptions(
            delimiter=delimiter,
            newlines_in_values=True,
            ignore_empty_lines=names is None,  # else a row of empty cells, which is counted
            invalid_row_handler=skip,
        ),
        reader.ConvertOptions(
            check_utf8=False, column_types={name: arrow.string() for name in names or ()}
        ),
    )
    return table, wrong


def _find_empty(table: Any) -> NDArray[np.bool_]:
    """bool [N]: which rows hold nothing but blanks."""
    compute = need("pyarrow.compute", "stream")
    places = np.arange(len(table))
    for column in table.columns:
        if not len(places):
            break
        cells = compute.utf8_trim(column.take(places), BLANKS)
        places = places[np.asarray(compute.equal(cells, ""))]
    found: NDArray[np.bool_] = np.zeros(len(table), dtype=bool)
    found[places] = True
    return found
