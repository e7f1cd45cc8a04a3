"""Tables of JSON objects, one a line. Lines end with a line feed alone: texts may hold others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from counterpoise.errors import InputError

from .table import Bad
from .text_file import open_text

LISTS = (
    "is the beginning of a JSON list; write one object a line",
    "is a JSON list; write one object a line",
)


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
        raise InputError(f"{path} holds no JSON object; the first row {first or 'is missing'}")
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
                [json.dumps(record[name]) if name in record else None for name in columns],
            )
        else:
            bad.append(Bad(f"row {number}", "", record))


def _read(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Number and object of each line that is not empty; or why there is none."""
    with open_text(path, "\n") as file:
        for number, line in enumerate(file, 1):
            if line.strip(" \t\r\n"):
                yield number, _parse(line)


def _parse(line: str) -> dict[str, Any] | str:
    try:
        found = json.loads(line, object_pairs_hook=_to_dict)
    except _Twice as error:
        return f"names {error.args[0]!r:.60} twice"
    except (ValueError, RecursionError):
        if line.strip(" \t\r\n") == "[":
            return LISTS[0]
        return "is no JSON object"
    if isinstance(found, list):
        return LISTS[1]
    return found if isinstance(found, dict) else "is no JSON object"


class _Twice(Exception):
    """An object that names a key twice."""


def _to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found
