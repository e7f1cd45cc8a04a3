"""Anyone's own data: a table of files, texts and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from counterpoise.core.paths import expand
from counterpoise.data.readers.base import Reader
from counterpoise.data.targets import TASKS
from counterpoise.errors import InputError, check_choice, unknown

from .choose import SEEN, Asked, Column, choose, is_file, resolve
from .table import Bad, Row, Table
from .table_file import TableFile, open_table

if TYPE_CHECKING:
    from typing_extensions import Unpack


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
    path = expand(path)
    if task is not None:
        check_choice("task", task, TASKS)
    file = open_table(path)
    bad: list[Bad] = []
    numbers, columns = _read_columns(file, bad)
    if not len(numbers):
        raise InputError(f"{path} holds no row")
    names = column_names(named)
    asked = Asked(names, modalities, types)
    taken = choose(
        [_look(name, cells, file) for name, cells in columns.items()], asked, path, file.delimiter
    )
    readers = {t.name: t.reader for t in taken if t.reader is not None}
    rows = []
    for place, number in enumerate(numbers):
        record = {name: cells[place] for name, cells in columns.items()}
        cells = _find_cells(record, readers, path.parent)
        about = {part: clean(record.get(name)) for part, name in names.items()}
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
    return Table(path.stem, rows, readers, task, bad, columns=taken, notes=file.notes)


def _read_columns(file: TableFile, bad: list[Bad]) -> tuple[list[int], dict[str, list[Any]]]:
    """The numbers of the rows, and the cells of each column."""
    numbers: list[int] = []
    columns: dict[str, list[Any]] = {name: [] for name in file.columns}
    for places, batch in file.batches(bad):
        numbers += places.tolist()
        for name, cells in columns.items():
            cells += file.to_python(batch.column(name))
    return numbers, columns


def _look(name: str, cells: Sequence[Any], file: TableFile) -> Column:
    full = [cell for cell in cells if clean(cell) is not None]
    return Column(name, full[:SEEN], len(cells) - len(full), file.types.get(name, ""))


def _find_cells(
    record: Mapping[str, Any], readers: Mapping[str, Reader], folder: Path
) -> dict[str, Any]:
    """Modality -> what its reader reads, without the empty cells."""
    return {
        m: resolve(folder, cell) if is_file(reader) else cell
        for m, reader in readers.items()
        if (cell := clean(record.get(m))) is not None
    }


def clean(value: Any) -> Any:
    """What a cell holds, None where it is empty."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, float) and value != value:
        return None
    return None if value is None or value == [] else value


def _to_word(value: Any) -> str | None:
    value = clean(value)
    return None if value is None else str(value).strip()


def _to_target(value: Any, task: str | None) -> Any:
    value = clean(value)
    if isinstance(value, str):
        value = value.strip()
        if task == "multilabel":
            return [word.strip() for word in re.split(r"[;|]", value) if word.strip()]
        if task == "regression" and re.search(r"[;,\s\[]", value):
            return re.split(r"[;,\s]+", value.strip("[] "))
    elif task == "multilabel" and value is not None and not isinstance(value, list):
        return [value]
    return value
