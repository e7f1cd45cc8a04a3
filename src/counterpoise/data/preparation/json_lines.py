"""Tables of JSON objects, one a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

from counterpoise.errors import InputError

from .table import Bad
from .text_file import read_lines

HINT = "write one object a line"
LISTS = (f"is the beginning of a JSON list; {HINT}", f"is a JSON list; {HINT}")


def is_object(start: bytes) -> bool:
    """Whether a text begins as an object does."""
    return start.startswith(b"{") and start[1:].lstrip(b" \t").startswith((b'"', b"}"))


def find_columns(path: Path) -> tuple[str, ...]:
    """The keys of all rows, in the order in which they come up.

    Raises:
        InputError: a list instead of lines; no object at all; a name that is no text.
    """
    columns: dict[str, None] = {}
    first = ""
    for _, record in _read(path):
        if isinstance(record, dict):
            columns.update(dict.fromkeys(record))
        elif not first and not columns:
            first = record
            if first in LISTS:
                raise InputError(f"{path} {first}")
    if not columns:
        raise InputError(
            f"{path} holds no JSON object; the first row {first or 'is missing'}; {HINT}"
        )
    for name in columns:
        if any("\ud800" <= sign <= "\udfff" for sign in name):
            raise InputError(
                f"{path} names a column {name!r:.80}: half a sign; write the whole one"
            )
    return tuple(columns)


def read_rows(
    path: Path, columns: Sequence[str], bad: list[Bad]
) -> Iterator[tuple[int, list[str | None]]]:
    """The number of each row, from 1, and its cells as JSON; None where it lacks the column."""
    for number, record in _read(path):
        if isinstance(record, dict):
            yield (
                number,
                [_write(record[name]) if name in record else None for name in columns],
            )
        else:
            bad.append(Bad(f"row {number}", "", record))


def _read(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Number and object of each line that is not empty; or why there is none."""
    for number, line in enumerate(read_lines(path), 1):
        if line.strip(" \t\r\n"):
            yield number, _parse(line)


def _parse(line: str) -> dict[str, Any] | str:
    try:
        found = json.loads(line, object_pairs_hook=_to_dict)
    except _Twice as error:
        return f"names {error.args[0]!r:.60} twice"
    except (ValueError, RecursionError):
        if re.match(r"\s*\[\s*(\{|$)", line):
            return LISTS[0]
        return "is no JSON object"
    if isinstance(found, list):
        return LISTS[1]
    return found if isinstance(found, dict) else "is no JSON object"


def read_cells(cells: Sequence[str | None]) -> list[Any]:
    """What the JSON of some cells says, None where there is none."""
    try:
        found: list[Any] = json.loads(f"[{','.join('null' if c is None else c for c in cells)}]")
    except RecursionError:
        raise InputError("a cell is nested too deep; write less deep lists and objects") from None
    return found


def _write(value: Any) -> str:
    """The JSON of a value, as ``json.dumps`` writes it; what is frequent takes a short way."""
    kind = type(value)
    if kind is str:
        return encode_basestring_ascii(value)
    if kind is int or (kind is float and value - value == 0):
        return repr(value)
    return json.dumps(value)


class _Twice(Exception):
    """An object that names a key twice."""


def _to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found
