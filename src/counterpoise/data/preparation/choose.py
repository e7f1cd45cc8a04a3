"""Which columns of a table are modalities, and what the cells of each are taken as."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.data.readers import READERS, ArrayFile, Flow, Frames, Text
from counterpoise.data.readers.base import Reader
from counterpoise.data.readers.measured import Measured
from counterpoise.data.readers.number_words import is_blank
from counterpoise.errors import InputError, check_once, unknown

from .doubts import find_doubts, find_role
from .nested import to_array
from .paths import Start, resolve
from .recognise import Guess, recognise
from .refused import DATES, find_refused, refuse_kind

FOLDERS = (Frames, Flow)
# Not 4.082, which may be four thousand.
POINT = re.compile(r"[-+]?\d*\.(\d{1,2}|\d{4,})")
SEEN = 200  # cells by which the type of a column is recognised


@dataclass(frozen=True)
class Column:
    """A column of a table, before anything is decided.

    Attributes:
        name: of the column.
        cells: the first ``SEEN`` that are not empty, as Python's values, as they were written.
        missing: how many cells of the whole column are empty.
        type: in Arrow's words, where the file says it (Parquet); else empty.
    """

    name: str
    cells: Sequence[Any]
    missing: int = 0
    type: str = ""


@dataclass(frozen=True)
class Taken:
    """What a column was taken as.

    Attributes:
        name: of the column.
        role: ``"modality"``, ``"target"``, ``"id"``, ``"split"``, ``"group"``, ``"weight"`` or
            ``"ignored"``.
        because: why, in a few words.
        example: the first cell that is not empty, as it was written.
        missing: how many cells are empty.
        reader: of a modality.
    """

    name: str
    role: str
    because: str
    example: Any = None
    missing: int = 0
    reader: Reader | None = None


@dataclass(frozen=True)
class Asked:
    """What the user says about the columns.

    Attributes:
        names: role -> its column (:func:`counterpoise.data.preparation.manifest.column_names`).
        modalities: columns; None: all others.
        types: modality -> its reader, a label in ``READERS``.
        ignore: columns that are nothing.
        start: where paths in cells start; None: in the folder of the table.
    """

    names: Mapping[str, str]
    modalities: Sequence[str] | None = None
    types: Mapping[str, str] | None = None
    ignore: Sequence[str] = ()
    start: Start | None = None


def choose(columns: Sequence[Column], asked: Asked, path: Path, delimiter: str = "") -> list[Taken]:
    """What each column is taken as, in their order.

    Where nobody says which columns are modalities, those that may be none (an index, addresses,
    dates, what reads like a target, a number beside files or texts) are asked about in an error.

    Args:
        columns: of the table.
        asked: what the user says about them.
        path: of the table; paths in cells start in its folder.
        delimiter: that parts cells in the file; empty where there is none.

    Raises:
        InputError: a column that is not there, cannot be told, or may be no modality.
    """
    names = [column.name for column in columns]
    roles = {name: role for role, name in asked.names.items() if name in names}
    types = asked.types or {}
    _check_names(names, asked, path, delimiter)
    others = [name for name in names if name not in roles and name not in asked.ignore]
    chosen = list(others if asked.modalities is None else asked.modalities)
    if not chosen:
        raise InputError(f"{path} holds no column for a modality")
    if delimiter not in ("", ",") and has_points(column.cells for column in columns):
        delimiter = ","  # commas need not be decimal
    guesses: dict[str, Guess] = {}
    errors: dict[str, InputError] = {}
    for column in columns:
        if column.name in chosen:
            try:
                guesses[column.name] = _guess(column, asked.start or path.parent, types, delimiter)
            except InputError as error:
                errors[column.name] = InputError(f"column {column.name!r} of {path}: {error}")
    readers = {name: guess.reader for name, guess in guesses.items()}
    doubts: dict[str, str] = {}
    if asked.modalities is None:
        doubts = find_doubts(columns, readers, asked.names, types)
    if errors or doubts:
        raise _refuse(errors, doubts, [n for n in others if n not in errors], asked, path)
    return [_take(column, guesses.get(column.name), roles, asked) for column in columns]


def _take(column: Column, guess: Guess | None, roles: Mapping[str, str], asked: Asked) -> Taken:
    example = next(iter(column.cells), None)
    if guess is not None:
        because, missing = guess.because, column.missing
        return Taken(column.name, "modality", because, example, missing, guess.reader)
    role = roles.get(column.name, "ignored")
    if role != "ignored":
        because = "its name" if column.name == role else f"--{role}"
    else:
        because = "--ignore" if column.name in asked.ignore else "not in --modalities"
    return Taken(column.name, role, because, example, column.missing)


def has_points(columns: Iterable[Sequence[Any]]) -> bool:
    """Whether a column holds numbers with a decimal point, and no others."""
    return any(
        cells and all(isinstance(c, str) and POINT.fullmatch(c.strip()) for c in cells)
        for cells in columns
    )


def is_file(reader: Reader) -> bool:
    """Whether cells of this type name files or folders."""
    if reader.suffixes or isinstance(reader, FOLDERS):
        return True
    return isinstance(reader, Text) and reader.file


def make_reading(reader: Reader, folder: Start) -> Callable[[Any], Any]:
    """What makes of a cell, as it was written, what a reader reads.

    Paths become absolute, lists of lists arrays, and blanks around names of files go. Nothing is
    raised: what is wrong with a cell its reader says. None stands for an empty cell, and for one
    that says that the modality is missing (``NA`` among names of files, ``[]``).
    """
    named, measured = is_file(reader), isinstance(reader, Measured)

    def to_cell(value: Any) -> Any:
        if isinstance(value, str):
            text = value.strip()
            if not text or (measured and text == "[]") or (named and is_blank(text)):
                return None
        elif value is None or value == [] or value != value:
            return None
        return _to_file(reader, value, folder) if named else value

    return to_cell


def _to_file(reader: Reader, value: Any, folder: Start) -> Any:
    if isinstance(reader, ArrayFile):
        value = to_array(value)
    return value if isinstance(value, np.ndarray) else resolve(folder, value)


def _check_names(names: Sequence[str], asked: Asked, path: Path, delimiter: str) -> None:
    """Refuse columns that are asked for and not there, and a first line that is a row."""
    for role, name in asked.names.items():
        if name in names or (name == role and role != "target"):
            continue
        numbers = sum(_is_number(other) for other in names)
        if delimiter and 2 * numbers > len(names):
            raise InputError(
                f"{path} must name its columns in its first line, found numbers there "
                f"({', '.join(names[:4])}, ...); write a line of names before them"
            )
        near = [other for other in names if find_role(other, role) or other.strip() == name]
        near += [other for other in names if role == "target" and other in ("y", "Y")]
        if near and name == role:
            words = " or ".join(f"--{role} {shlex.quote(other)}" for other in near)
            raise InputError(f"{path} holds no column {name!r}; say {words}")
        raise unknown(f"{role} column of {path.name}", name, names)
    unnamed = delimiter and all(map(_is_number, names))
    if unnamed and names != [str(k) for k in range(len(names))]:
        raise InputError(
            f"{path} must name its columns in its first line, found numbers alone "
            f"({', '.join(names[:4])}, ...); write a line of names before them"
        )
    check_once("modalities", asked.modalities or ())
    free = [name for name in names if name not in asked.names.values()]
    for name in (*(asked.modalities or ()), *(asked.types or {})):
        if name not in free:
            raise unknown(f"modality column of {path.name}", name, free)
        if name in asked.ignore:
            raise InputError(f"column {name!r} of {path} is asked for and ignored; say one of both")
    for name in asked.ignore:
        if name not in free:
            raise unknown(f"column of {path.name} to ignore", name, free)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _guess(column: Column, start: Start, types: Mapping[str, str], delimiter: str) -> Guess:
    if not column.cells:
        raise InputError(f"is empty; leave it out with --ignore {shlex.quote(column.name)}")
    refused = find_refused(column.type)
    if column.name in types:
        reader = READERS.build(types[column.name])
        own = type(reader).__module__.startswith("counterpoise.")
        if refused and own and not (refused == DATES and isinstance(reader, Text)):
            raise refuse_kind(refused, column.name, type=column.type)
        return Guess(reader, "--type")
    if refused:
        raise refuse_kind(refused, column.name, type=column.type)
    return recognise(column.cells, start, column.name, delimiter)


def _join(names: Sequence[str]) -> str:
    """Names as ``--ignore`` takes them."""
    return ",".join(f'"{name}"' if "," in name else name for name in names)


def _refuse(
    errors: Mapping[str, InputError],
    doubts: Mapping[str, str],
    good: Sequence[str],
    asked: Asked,
    path: Path,
) -> InputError:
    """One line for all columns that cannot be taken, or not without being asked for."""
    leave = _join([*asked.ignore, *errors, *doubts])
    if errors:
        first = next(iter(errors.values()))
        others = len(errors) + len(doubts) - 1
        more = f"; {others} more may be no modality: --ignore {shlex.quote(leave)} leaves all out"
        return InputError(f"{first}{more if others else ''}")
    shown = "; ".join(f"{name!r} ({why})" for name, why in list(doubts.items())[:8])
    more = f"; and {len(doubts) - 8} more" if len(doubts) > 8 else ""
    wanted = shlex.quote(_join(good)) if len(good) <= 20 else "A,B,..."
    return InputError(
        f"{path.name} has columns that may be no modality: {shown}{more}; leave them out with "
        f"--ignore {shlex.quote(leave)}, or name what to take, such as --modalities {wanted}"
    )
