"""Tables of numbers in files of text, as devices, spreadsheets and libraries write them."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from counterpoise.errors import InputError

from .base import Array, Unmeasured
from .number_words import DECIMALS, is_blank, is_number, split_numbers, to_float, weigh_commas

BLANKS = " \t\f\v"
HEADINGS = 2  # names and units
QUOTED = re.compile(r'"[^"]*"')
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # else UTF-8


@dataclass(frozen=True)
class NumberTable:
    """A table of numbers.

    Attributes:
        array: float64 [lines, columns], without the headings.
        first: the words of its first line, where there is no heading before it.
    """

    array: Array
    first: tuple[str, ...] = ()


def read_table(path: Path) -> Array:
    """float64 [lines, columns] of a text (:func:`parse_table`)."""
    return parse_table(path).array


def parse_table(path: Path, header: bool = False) -> NumberTable:
    """The numbers of a text: columns parted by semicolons, tabs, commas or blanks.

    Nothing between commas, and words such as ``NA``, are NaN. Left out are lines that begin with
    ``#``, two lines of words at most (names, units) before the first number, and the index that
    pandas writes: a first column without a name that counts from 0. In a table whose columns
    semicolons or tabs part, commas are decimal signs, unless they can only part numbers.

    Args:
        path: the file.
        header: the first line holds names, though they are numbers.

    Raises:
        Unmeasured: nothing in it was measured.
        InputError: no table of numbers.
    """
    lines = _read_lines(path)
    bare = [QUOTED.sub('""', line) for line in lines]
    delimiter = _find_delimiter(bare)
    rows = [_split(line, delimiter) for line in lines]
    heads = 0
    while heads < min(HEADINGS, len(rows)) and _is_heading(rows[heads]):
        heads += 1
    if heads and heads == len(rows):
        raise InputError(f"{path.name} is no table of numbers: it holds words alone")
    names, fields = rows[heads - 1] if heads else None, rows[heads:]
    if delimiter == "," and names and fields and 2 * len(names) == len(fields[0]):
        raise InputError(
            f"{path.name} has {len(names)} names and {len(fields[0])} numbers a line; if "
            "commas are decimal signs, part columns by semicolons"
        )
    body = [line.strip(BLANKS) for line in bare[heads:]]
    numbers = _to_floats(fields, _find_sign(fields, body, delimiter, path), path, heads)
    first = () if heads or len(numbers) < 2 else tuple(fields[0])
    if header and not heads:
        if not counts_up(first[1:] if first[:1] == ("",) else first):
            raise InputError(f"{path.name} has no heading of numbers, as others have")
        names = list(first)
    elif first[:1] == ("",) and counts_up(first[1:]) and _counts(numbers[1:, 0]):
        names, first = list(first), ()  # of pandas, with its index
    if names and not heads:
        numbers, first = numbers[1:], ()
    if names and not names[0] and numbers.shape[1] > 1 and _counts(numbers[:, 0]):
        numbers = numbers[:, 1:]
    if numbers.size == 0:
        raise InputError(f"{path.name} holds no numbers")
    if np.isnan(numbers).all():
        raise Unmeasured(f"{path.name} holds no value that was measured")
    return NumberTable(numbers, first)


def counts_up(words: tuple[str, ...]) -> bool:
    """Whether these are names that libraries number columns by: 0, 1, 2 .. or 0, 0.1, 0.2 .."""
    count = range(len(words))
    start = words[0] if words else ""
    plain = [str(k) for k in count], [str(k + 1) for k in count]
    return list(words) in (*plain, [start] + [f"{start}.{k}" for k in count[1:]]) and (
        re.fullmatch("[0-9]+", start) is not None
    )


def _read_lines(path: Path) -> list[str]:
    """The lines that are neither empty nor comments."""
    raw = path.read_bytes()
    try:
        text = raw.decode(MARKS.get(raw[:2], "utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is no table of numbers") from None
    lines = [line.strip(" \f\v") for line in re.split(r"\r\n|\n|\r", text)]
    return [line for line in lines if line.strip() and not _is_comment(line)]


def _is_comment(line: str) -> bool:
    return line.startswith("#") and not is_blank(re.split(r"[,;\s]", line)[0])


def _find_delimiter(lines: list[str]) -> str:
    """What parts columns; a blank where nothing else does."""
    text = "\n".join(lines)
    if ";" in text:
        return ";"
    if "," in text and ("\t" not in text or not re.search(r",[^ \t\n]", text)):
        return ","
    return "\t" if "\t" in text else " "


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    if '"' in line:
        try:
            fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
        except csv.Error:
            return [line]
    else:
        fields = line.split(delimiter)
    return [field.strip() for field in fields]


def _is_heading(fields: list[str]) -> bool:
    """Whether a line holds words, and no field of numbers."""
    words = [field for field in fields if not is_blank(field)]
    return bool(words) and not any(
        all(is_number(word, sign) for word in split_numbers(field, sign))
        for field in words
        for sign in DECIMALS
    )


def _find_sign(fields: list[list[str]], lines: list[str], delimiter: str, path: Path) -> str:
    """The decimal sign of a table."""
    parted = delimiter == "," and any(re.search(r"[^\s,][ \t]+[^\s,]", line) for line in lines)
    cells = lines if parted else [field for row in fields for field in row if "," in field]
    try:
        return weigh_commas(cells, "" if parted else ";")
    except InputError as error:
        raise InputError(f"{path.name}: {error}; write numbers with a point") from None


def _to_floats(fields: list[list[str]], sign: str, path: Path, heads: int) -> Array:
    rows: list[list[float]] = []
    for number, row in enumerate(fields, heads + 1):
        words = [word for field in row for word in split_numbers(field, sign)]
        try:
            rows.append([to_float(word, sign) for word in words])
        except ValueError:
            line = " ".join(row)
            raise InputError(
                f"{path.name} is no table of numbers: line {number}, without comments, "
                f"is {line!r:.60}"
            ) from None
        if len(rows[-1]) != len(rows[0]):
            raise InputError(
                f"{path.name} is no table of numbers: its lines hold {len(rows[0])} and "
                f"{len(rows[-1])}"
            )
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1 if rows else 0)


def _counts(column: Array) -> bool:
    """Whether a column is the index that pandas writes."""
    return len(column) > 0 and bool((column == np.arange(len(column))).all())
