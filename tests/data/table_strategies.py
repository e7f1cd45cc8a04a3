"""Tables drawn by hypothesis, how they are written, and a second way to read them."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd
from hypothesis import strategies as st

WORDS = ("NA", "NaN", "null", "None", "", "007", "1,5", "1e5", "-0", "true", "1.50", "1_000")
PARTING = "\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e"  # what str.splitlines() parts, beside \n and \r
ODD = (
    *(f"a{sign}b" for sign in (*PARTING, "\n", "\r\n", "\r", ",", ";", "\t", "|", '"', "'", "\\")),
    *(f" {word} " for word in WORDS),
    *('"', '""', 'say "x"', '"x" y', '5" pipe', "\n", "\r\n", ",", ";;", "|", "=1+1", "#", "\0"),
    *("\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-5}", "\ufeff", "\u00a0", "\u3000x"),
    *("long " * 30_000, "long,\n" * 500, "é" * 3000),
)
NAMES = (
    "a",
    ";a;",
    "Target",
    "ID",
    "text 1",
    "größe",
    "x[/y]",
    "PK",
    "PAR1",
    "BZh",
    "ARROW1",
    "sep=",
)
LINE_ENDS = ("\n", "\r\n", "\r")
SUFFIXES = {",": (".csv",), ";": (".csv",), "\t": (".tsv", ".csv"), "|": (".csv",)}
QUOTING = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)

ordinary_names = st.sampled_from(["a", "b", "target", "id", "text", "age", "note", "speed"])
ordinary_cells = st.one_of(
    st.text("abcdefgh", min_size=1, max_size=6),
    st.integers(-999, 9999).map(str),
    st.floats(-9, 9).map(lambda number: f"{number:.3f}"),
    st.lists(st.text("xyz", min_size=1, max_size=4), min_size=2, max_size=3).map(" ".join),
)
signs = st.characters(exclude_categories=["Cs"])
# A mark of the encoding at the beginning is none of the name.
odd_names = st.one_of(
    st.sampled_from(NAMES), st.text(signs, min_size=1, max_size=5).map(lambda n: n.strip("\ufeff"))
)
odd_cells = st.one_of(
    ordinary_cells, st.sampled_from(WORDS), st.sampled_from(ODD), st.text(signs, max_size=8)
)


@dataclass(frozen=True)
class Drawn:
    """A table as it is written.

    Attributes:
        names: of its columns; the first is empty where pandas writes an index.
        rows: their cells.
        delimiter, line_end, encoding, suffix: of the file.
        content: the file.
    """

    names: list[str]
    rows: list[list[str]]
    delimiter: str
    line_end: str
    encoding: str
    suffix: str
    content: bytes


@st.composite
def tables(draw: st.DrawFn, cells: st.SearchStrategy[str], names: st.SearchStrategy[str]) -> Drawn:
    """Tables of 2 to 4 columns of text, written by pandas or by Python."""
    unique = st.lists(names, min_size=2, max_size=4, unique_by=str.strip)
    head = draw(unique.filter(lambda found: all(map(str.strip, found))))
    width = len(head)
    rows = draw(st.lists(st.lists(cells, min_size=width, max_size=width), max_size=8))
    delimiter, line_end = draw(st.sampled_from(list(SUFFIXES))), draw(st.sampled_from(LINE_ENDS))
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    quoting, suffix = draw(st.sampled_from(QUOTING)), draw(st.sampled_from(SUFFIXES[delimiter]))
    everything = "".join([*head, *(cell for row in rows for cell in row)])
    if any(sign in everything and line_end != sign for sign in "\r\n"):
        quoting = csv.QUOTE_ALL  # Python quotes no other line end than its own before 3.13
    if any(sign in name for name in head for sign in SUFFIXES):
        quoting = csv.QUOTE_ALL  # bare, such a name may be two
    if draw(st.booleans()):
        frame = pd.DataFrame(rows, columns=head, dtype=object)
        index = draw(st.booleans())
        text = frame.to_csv(index=index, sep=delimiter, lineterminator=line_end, quoting=quoting)  # type: ignore[call-overload]
        if index:
            head, rows = ["", *head], [[str(k), *row] for k, row in enumerate(rows)]
    else:
        text = write_rows([head, *map(_read_whole, rows)], delimiter, line_end, quoting)
    if draw(st.booleans()):
        text = text.removesuffix(line_end)
    return Drawn(head, rows, delimiter, line_end, encoding, suffix, text.encode(encoding))


def _read_whole(row: list[str]) -> list[str | int]:
    """Numbers as such, which are not quoted where words are."""
    return [int(c) if c.isascii() and c.isdigit() and str(int(c)) == c else c for c in row]


def write_rows(rows: list[Any], delimiter: str, line_end: str, quoting: int) -> str:
    """The text of a table."""
    file = io.StringIO(newline="")
    csv.writer(
        file,
        delimiter=delimiter,
        lineterminator=line_end,
        quoting=quoting,  # type: ignore[arg-type]
    ).writerows(rows)
    return file.getvalue()


def _skip_blanks(text: str, place: int, state: str, delimiter: str) -> int:
    """Where the cell goes on, if these are blanks before or after its quotes; else 0."""
    end = rf" *(?=[\r\n{re.escape(delimiter)}]|\Z)"
    blanks = {"new": rf' +(?="(?:[^"\r\n]|"")*"{end})', "closed": end}.get(state)
    match = re.compile(blanks).match(text, place) if blanks else None
    return match.end() if match else 0


def parse(text: str, delimiter: str) -> list[list[str]]:
    """The records of a text by RFC 4180, sign by sign; an empty line is one without cells.

    Empty lines above the first record are none, nor do blanks around a quoted cell belong to it.

    Raises:
        ValueError: a quote that is not closed, or is followed by something.
    """
    records: list[list[str]] = []
    row: list[str] = []
    cell, state = "", "new"  # then: "bare", "quoted", "closed"
    text = re.sub(r"\A(\ufeff| *[\r\n])+", "", text.replace("\0", "\ue000"))  # a sign, and no end
    skip = 0
    for place, sign in enumerate([*text, "\0"]):
        skip = max(skip, _skip_blanks(text, place, state, delimiter))
        if place < skip:
            continue
        if state == "quoted" and sign != '"':
            if sign == "\0":
                raise ValueError("a quote is not closed")
            cell += sign
        elif sign == '"' and state != "bare":
            cell += '"' * (state == "closed")
            state = "closed" if state == "quoted" else "quoted"
        elif sign == delimiter:
            row, cell, state = [*row, cell], "", "new"
        elif sign in "\r\n\0":
            if not row and state == "new":
                if sign == "\r" or (sign == "\n" and text[place - 1 : place] != "\r"):
                    records.append([])
                continue
            records.append([*row, cell])
            row, cell, state = [], "", "new"
        elif state == "closed":
            raise ValueError(f"{sign!r} follows a closed quote")
        else:
            cell, state = cell + sign, "bare"
    return [[cell.replace("\ue000", "\0") for cell in record] for record in records]
