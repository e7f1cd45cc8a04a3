"""Which columns of a table may be no modalities, so that somebody must say so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from counterpoise.data.readers.base import Reader
from counterpoise.data.readers.numbers import Numbers, to_numbers
from counterpoise.data.readers.text import Text
from counterpoise.errors import InputError

if TYPE_CHECKING:
    from .choose import Column

FEW = 20  # cells, below which equal or rising ones say nothing
MOST = 0.9  # of the cells look so
ROLES = {
    "target": ("target", "targets", "label", "labels", "class", "classes"),
    "id": ("id", "ids"),
    "split": ("split", "splits", "fold", "folds", "subset", "partition"),
    "group": ("group", "groups", "subject", "speaker", "participant", "patient"),
    "weight": ("weight", "weights", "sample_weight", "sample_weights"),
}
PARTS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval"}
INDEX = re.compile(r"|index|idx|row|rowid|unnamed: ?\d+(\.\d+)*|__index_level_\d+__|level_\d+")
IDS = re.compile(r".*(_id|[a-z]I[dD]|_uuid|_hash)|uuid|guid|hash|md5|sha1|sha256")
CODE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}", re.IGNORECASE)
DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([ T]\d{1,2}:\d{2}.*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}( .*)?"
    r"|\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?( ?[ap]m)?|(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])"
    r"|[a-z]{3},? [a-z0-9]{2,3} [a-z0-9]{1,3} .*\d\d:\d\d.*",
    re.IGNORECASE,
)
UNIT = re.compile(r"[$€£]?\s?[-+]?\d+([.,]\d+)*\s?(%|°?[A-Za-z]{1,3}|€|)")
EPOCHS = (1e8, 4e9), (1e11, 4e12), (1e17, 4e18)  # seconds, milliseconds, nanoseconds since 1970


def find_doubts(
    columns: Sequence[Column],
    readers: Mapping[str, Reader],
    names: Mapping[str, str],
    known: Collection[str] = (),
) -> dict[str, str]:
    """Column -> why it may be no modality.

    Args:
        columns: of the table, all of them.
        readers: column -> its reader, of those that would be modalities.
        names: role -> its column.
        known: columns that the user has named as modalities.
    """
    found: dict[str, str] = {}
    by_name = {column.name: column for column in columns}
    target = by_name.get(names.get("target", ""))
    rich = any(not isinstance(reader, Numbers) for reader in readers.values())
    for name, reader in readers.items():
        column = by_name[name]
        if name in known or not isinstance(reader, Numbers | Text):
            continue
        why = _doubt_name(column, reader, names, by_name)
        if not why and not (isinstance(reader, Text) and reader.file):
            why = _doubt_cells(column.cells, reader) or _doubt_copy(column, target)
        if not why and rich and find_single(column.cells[:FEW], reader):
            why = "a number beside files or texts"
        if why:
            found[name] = why
    return found


def find_role(name: str, role: str) -> bool:
    """Whether a column's name reads like that of a role, written differently."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold()) in ROLES[role]


def find_single(cells: Sequence[Any], reader: Reader) -> list[float]:
    """The numbers of a column that holds one a row, NaN where there is none; else nothing."""
    found: list[float] = []
    if not isinstance(reader, Numbers):
        return found
    for cell in cells:
        array: Any = [float("nan")]
        with suppress(InputError, RecursionError):
            array = to_numbers(cell, reader.decimal)
        if len(array) > 1:
            return []
        found.append(float(array[0]))
    return found


def _doubt_name(
    column: Column, reader: Reader, names: Mapping[str, str], known: Collection[str]
) -> str:
    name = column.name
    bare = name.strip().casefold()
    if INDEX.fullmatch(bare):
        return "an index of rows"
    spaced = [cell for cell in column.cells if isinstance(cell, str) and " " in cell.strip()]
    if isinstance(reader, Text) and 2 * len(spaced) > len(column.cells):
        return ""  # the subject of a letter, the class of a ship
    for role in ROLES:
        if find_role(name, role):
            free = names.get(role) not in known
            return f"reads like the {role}" + (
                f": --{role} {shlex.quote(name)}" if free else f", which is {names[role]!r}"
            )
    if bare == "y" and not {"x", "z"} & {other.casefold() for other in known}:
        return "reads like the target"
    return "reads like an id" if IDS.fullmatch(name.strip()) else ""


def _doubt_cells(cells: Sequence[Any], reader: Reader) -> str:
    words = [str(cell).strip() for cell in cells]
    different = set(words)

    def are(pattern: re.Pattern[str]) -> bool:
        return sum(pattern.fullmatch(word) is not None for word in words) >= MOST * len(words)

    if are(DATE):
        return "dates or times"
    if len(words) > 1 and len(different) == len(words) and are(CODE):
        return "codes that differ in every row"
    if isinstance(reader, Text):
        if len(different) > 1 and {word.casefold() for word in different} <= PARTS:
            return "reads like the split"
        if are(UNIT) and any(any(c.isdigit() for c in word) for word in words):
            return "numbers with a unit or a sign, which would be texts"
    if len(words) < FEW:
        return ""
    if len(different) == 1:
        return "the same in every row"
    if isinstance(reader, Text):
        shapes = {re.sub(r"\d+", "0", word) for word in words}
        is_id = len(shapes) == 1 and len(different) == len(words) and " " not in words[0]
        return "names that differ by a number in every row" if is_id else ""
    return _doubt_numbers(find_single(cells, reader))


def _doubt_numbers(values: Sequence[float]) -> str:
    values = [value for value in values if value == value]
    steps = {after - before for before, after in pairwise(values)}
    if len(values) < FEW:
        return ""
    whole = all(value.is_integer() for value in values)
    if whole and steps in ({1.0}, {-1.0}):
        return "counts the rows"
    if any(low <= min(values) and max(values) < high for low, high in EPOCHS) and min(steps) >= 0:
        return "rises as a clock does"
    if whole and len(set(values)) == len(values) and min(map(abs, values)) >= 1e6:
        return "whole numbers that differ in every row, as ids do"
    return ""


def _doubt_copy(column: Column, target: Column | None) -> str:
    """Whether a column says in other words what the target says, in all rows looked at."""
    if target is None or column.missing or target.missing or column is target:
        return ""
    pairs = {(str(a).strip(), str(b).strip()) for a, b in zip(column.cells, target.cells)}  # noqa: B905
    count = min(len(column.cells), len(target.cells))
    one, other = ({pair[k] for pair in pairs} for k in (0, 1))
    if count >= FEW and 1 < len(pairs) <= count / 2 and len(pairs) == len(one) == len(other):
        return f"says what {target.name!r} says"
    return ""
