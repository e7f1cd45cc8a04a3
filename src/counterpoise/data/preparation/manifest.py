"""Anyone's own data: a table of files, texts and numbers."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from counterpoise.data.readers import READERS, Frames, Text
from counterpoise.data.readers.base import Reader, need
from counterpoise.data.targets import TASKS
from counterpoise.errors import InputError, check_choice, unknown

from .recognise import recognise
from .table import Bad, Row, Table

if TYPE_CHECKING:
    from typing_extensions import Unpack

FORMATS = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
SEEN = 200  # cells by which the type of a column is recognised


class ColumnNames(TypedDict, total=False):
    """Which columns of a table are no modalities.

    Attributes:
        target: of the class, of a number (or a list of numbers) to be predicted, or of several
            labels joined by ``;`` or ``|``; by default ``"target"``.
        id: of ids, by default ``"id"``; without one rows are numbered.
        split: of ``train``, ``validation`` (or ``val``, ``valid``, ``dev``) and ``test``, by
            default ``"split"``, if there is one.
        group: of what must stay together (a subject, a speaker), by default ``"group"``, if there
            is one.
        weight: of the factor of each sample's loss; by default there is none.
    """

    target: str
    id: str
    split: str
    group: str
    weight: str | None


def column_names(named: ColumnNames, **usual: str) -> dict[str, str]:
    """What a column is for -> its name, with the usual ones; without a weight if there is none."""
    known = {part: part for part in ("target", "id", "split", "group")} | usual
    for part in named:
        if part not in ColumnNames.__annotations__:
            raise unknown("column", part, ColumnNames.__annotations__)
    return {part: str(name) for part, name in {**known, **named}.items() if name is not None}


def read_manifest(
    path: Path | str,
    *,
    modalities: Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
    task: str | None = None,
    **named: Unpack[ColumnNames],
) -> Table:
    """The rows of a CSV, TSV, Parquet or JSON-lines table.

    A cell of a modality holds a path (from the table's folder, or absolute), a text, or numbers.
    An empty one means that the sample lacks the modality.

    Args:
        path: the table; its suffix says the format.
        modalities: columns; by default all others.
        types: modality -> its reader, a label in ``READERS``, where recognising it is not wanted.
        task: ``"classification"``, ``"regression"`` or ``"multilabel"``; by default told from the
            targets (:mod:`counterpoise.data.targets`).
        named: which columns are no modalities (:class:`ColumnNames`).

    Raises:
        InputError: a table that cannot be read, a column that is not there.
    """
    path = Path(path)
    if task is not None:
        check_choice("task", task, TASKS)
    bad: list[Bad] = []
    records = list(_read_records(path, bad))
    if not records:
        raise InputError(f"{path} holds no row")
    columns = list(dict.fromkeys(key for _, record in records for key in record))
    names = column_names(named)
    for needed in ("target", "weight"):
        if needed in names and names[needed] not in columns:
            raise unknown(f"{needed} column of {path.name}", names[needed], columns)
    others = [c for c in columns if c not in names.values()]
    chosen = _choose_columns(path, others, modalities, types)
    readers = {name: _choose_reader(name, path, records, types) for name in chosen}
    rows = []
    for number, record in records:
        cells = _find_cells(record, readers, path.parent)
        about = {part: _clean(record.get(name)) for part, name in names.items()}
        rows.append(
            Row(
                str(number if about["id"] is None else about["id"]),
                _to_target(about["target"], task),
                cells,
                _to_word(about["split"]),
                _to_word(about["group"]),
                about.get("weight"),
            )
        )
    return Table(path.stem, rows, readers, task, bad)


def _choose_columns(
    path: Path,
    columns: Sequence[str],
    modalities: Sequence[str] | None,
    types: Mapping[str, str] | None,
) -> list[str]:
    """The columns of the modalities, of all that may be one."""
    chosen = list(columns if modalities is None else modalities)
    for name in (*chosen, *(types or {})):
        if name not in columns:
            raise unknown(f"modality column of {path.name}", name, columns)
    if not chosen:
        raise InputError(f"{path} holds no column for a modality")
    return chosen


def _find_cells(
    record: Mapping[str, Any], readers: Mapping[str, Reader], folder: Path
) -> dict[str, Any]:
    """Modality -> what its reader reads, without the empty cells."""
    return {
        m: resolve(folder, cell) if is_file(reader) else cell
        for m, reader in readers.items()
        if (cell := _clean(record.get(m))) is not None
    }


def is_file(reader: Reader) -> bool:
    """Whether cells of this type name files or folders."""
    named = bool(reader.suffixes) or isinstance(reader, Frames)
    return named or (isinstance(reader, Text) and reader.file)


def resolve(folder: Path, cell: Any) -> Any:
    """A path from the table's folder as an absolute one; of (path, start, end) the path."""
    if isinstance(cell, list):
        return [resolve(folder, part) for part in cell]
    return str((folder / Path(cell).expanduser()).resolve()) if isinstance(cell, str) else cell


def _read_records(path: Path, bad: list[Bad]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of each row, from 1, and its cells by column."""
    if not path.is_file():
        raise InputError(f"manifest {path} is not there")
    check_choice("format of the manifest", path.suffix.lower(), FORMATS)
    if path.suffix.lower() == ".parquet":
        arrow = need("pyarrow", "stream")
        parquet = need("pyarrow.parquet", "stream")
        try:
            rows = parquet.read_table(path).to_pylist()
        except (arrow.ArrowException, OSError) as error:
            raise InputError(f"{path} cannot be read: {error}") from None
        yield from enumerate(rows, 1)
        return
    try:
        # The signature that spreadsheets put before UTF-8 is none of the first column's name.
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} must be UTF-8: {error}; save it as such") from None
    if path.suffix.lower() in (".csv", ".tsv"):
        yield from _read_csv(text, "\t" if path.suffix.lower() == ".tsv" else ",", path, bad)
    else:
        yield from _read_json_lines(text, bad)


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


def _clean(value: Any) -> Any:
    """What a cell holds, None where it is empty."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, float) and value != value:
        return None
    return None if value is None or value == [] else value


def _to_word(value: Any) -> str | None:
    value = _clean(value)
    return None if value is None else str(value).strip()


def _to_target(value: Any, task: str | None) -> Any:
    value = _clean(value)
    if isinstance(value, str):
        value = value.strip()
        if task == "multilabel":
            return [word.strip() for word in re.split(r"[;|]", value) if word.strip()]
        if task == "regression" and re.search(r"[;,\s\[]", value):
            return re.split(r"[;,\s]+", value.strip("[] "))
    elif task == "multilabel" and value is not None and not isinstance(value, list):
        return [value]
    return value


def _choose_reader(
    name: str,
    path: Path,
    records: Sequence[tuple[int, dict[str, Any]]],
    types: Mapping[str, str] | None,
) -> Reader:
    if types and name in types:
        return READERS.build(types[name])
    cells = []
    for _, record in records:
        if (cell := _clean(record.get(name))) is not None:
            if isinstance(cell, list) and isinstance(cell[0], str):
                cell = cell[0]  # a part of a recording: (path, start, end)
            there = resolve(path.parent, cell)
            exists = isinstance(cell, str) and len(cell) < 1024 and Path(there).exists()
            cells.append(there if exists else cell)
        if len(cells) == SEEN:
            break
    if not cells:
        raise InputError(f"column {name!r} of {path} is empty; leave it out with modalities")
    try:
        return recognise(cells)
    except InputError as error:
        raise InputError(f"column {name!r} of {path}: {error}") from None
