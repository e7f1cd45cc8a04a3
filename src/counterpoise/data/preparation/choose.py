"""Which columns of a table are modalities, and what the cells of each are taken as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoise.data.readers import READERS, Frames, Text
from counterpoise.data.readers.base import Reader
from counterpoise.errors import InputError, unknown

from .recognise import recognise

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
    """

    names: Mapping[str, str]
    modalities: Sequence[str] | None = None
    types: Mapping[str, str] | None = None


def choose(columns: Sequence[Column], asked: Asked, path: Path, delimiter: str = "") -> list[Taken]:
    """What each column is taken as, in their order.

    Args:
        columns: of the table.
        asked: what the user says about them.
        path: of the table; paths in cells start in its folder.
        delimiter: that parts cells in the file; empty where there is none.

    Raises:
        InputError: a column that is not there, or cannot be told.
    """
    roles = {name: role for role, name in asked.names.items()}
    all_names = [column.name for column in columns]
    for needed in ("target", "weight"):
        if needed in asked.names and asked.names[needed] not in all_names:
            raise unknown(f"{needed} column of {path.name}", asked.names[needed], all_names)
    others = [name for name in all_names if name not in roles]
    chosen = list(others if asked.modalities is None else asked.modalities)
    for name in (*chosen, *(asked.types or {})):
        if name not in others:
            raise unknown(f"modality column of {path.name}", name, others)
    if not chosen:
        raise InputError(f"{path} holds no column for a modality")
    found = []
    for column in columns:
        about: dict[str, Any] = {
            "example": next(iter(column.cells), None),
            "missing": column.missing,
        }
        if column.name in chosen:
            reader = _choose_reader(column, path, asked.types or {})
            found.append(Taken(column.name, "modality", "", reader=reader, **about))
        else:
            found.append(Taken(column.name, roles.get(column.name, "ignored"), "", **about))
    return found


def is_file(reader: Reader) -> bool:
    """Whether cells of this type name files or folders."""
    named = bool(reader.suffixes) or isinstance(reader, Frames)
    return named or (isinstance(reader, Text) and reader.file)


def resolve(folder: Path, cell: Any) -> Any:
    """A path from the table's folder as an absolute one; of (path, start, end) the path."""
    if isinstance(cell, list):
        return [resolve(folder, part) for part in cell]
    return str((folder / Path(cell).expanduser()).resolve()) if isinstance(cell, str) else cell


def _choose_reader(column: Column, path: Path, types: Mapping[str, str]) -> Reader:
    if column.name in types:
        return READERS.build(types[column.name])
    cells = []
    for cell in column.cells:
        if isinstance(cell, list) and isinstance(cell[0], str):
            cell = cell[0]  # a part of a recording: (path, start, end)
        there = resolve(path.parent, cell)
        exists = isinstance(cell, str) and len(cell) < 1024 and Path(there).exists()
        cells.append(there if exists else cell)
    if not cells:
        raise InputError(f"column {column.name!r} of {path} is empty; leave it out with modalities")
    try:
        return recognise(cells)
    except InputError as error:
        raise InputError(f"column {column.name!r} of {path}: {error}") from None
