"""Anyone's own data: a table of files, texts and numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from counterpoise.core.paths import expand
from counterpoise.data.readers.number_words import is_blank
from counterpoise.data.targets import TASKS
from counterpoise.errors import InputError, check_choice, unknown

from .choose import SEEN, Asked, Column, choose, has_points, make_reading
from .paths import Inside
from .rows import Stored, StoredRows
from .table import Bad, Table
from .table_file import open_table

if TYPE_CHECKING:
    from typing_extensions import Unpack


COMMA = re.compile(r"[-+]?\d+(,\d+)?([eE][-+]?\d+)?")


class ColumnNames(TypedDict, total=False):
    """Which columns of a table are no modalities; None or an empty name: no column is that.

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
    id: str | None
    split: str | None
    group: str | None
    weight: str | None


def column_names(named: ColumnNames, **usual: str) -> dict[str, str]:
    """What a column is for -> its name, with the usual ones; without a weight if there is none."""
    known = {part: part for part in ("target", "id", "split", "group")} | usual
    for part in named:
        if part not in ColumnNames.__annotations__:
            raise unknown("column", part, ColumnNames.__annotations__)
    chosen = {**known, **named}
    chosen["target"] = chosen["target"] or "target"
    return {part: str(name) for part, name in chosen.items() if name}


def read_manifest(
    path: Path | str,
    *,
    modalities: Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    task: str | None = None,
    inside: bool = False,
    **named: Unpack[ColumnNames],
) -> Table:
    """The rows of a CSV, TSV, Parquet or JSON-lines table.

    A cell of a modality holds a path (from the table's folder, or absolute), a text, or numbers.
    An empty one means that the sample lacks the modality.

    Args:
        path: the table; its suffix says the format.
        modalities: columns; by default all others, unless one may be none: then an error asks.
        types: modality -> its reader, a label in ``READERS``, where recognising it is not wanted.
        ignore: columns that are nothing.
        task: ``"classification"``, ``"regression"`` or ``"multilabel"``; by default told from the
            targets (:mod:`counterpoise.data.targets`).
        inside: a path in a cell that leads out of the table's folder, by itself or by a link, is
            not looked up: such a cell is bad.
        named: which columns are no modalities (:class:`ColumnNames`).

    Raises:
        InputError: a table that cannot be read, a column that is not there.
    """
    path = expand(path)
    if task is not None:
        check_choice("task", task, TASKS)
    file = open_table(path)
    seen = {name: _Seen() for name in file.columns}
    bad: list[Bad] = []
    stored = Stored(file, bad, lambda name, cells: seen[name].add(cells))
    _check_rows(stored, bad)
    names = column_names(named)
    start = Inside(path.parent) if inside else path.parent
    taken = choose(
        [Column(n, s.cells, s.missing, file.types.get(n, "")) for n, s in seen.items()],
        Asked(names, modalities, types, ignore, start),
        path,
        file.delimiter,
    )
    readers = {t.name: t.reader for t in taken if t.reader is not None}
    read: dict[str, Callable[[Any], Any]] = dict.fromkeys(("id", "split", "group"), _to_word)
    read |= {"target": partial(_to_target, task=task), "weight": clean}
    for part in ("target", "weight"):
        if part in names and _has_decimal_comma(names[part], seen, file.delimiter):
            read[part] = partial(_with_points, read[part])
    cells = {m: make_reading(reader, start) for m, reader in readers.items()}
    rows = StoredRows(stored, names, read, cells, readers)
    taken = [
        replace(t, missing=len(rows) - rows.count_present(t.name)) if t.name in readers else t
        for t in taken
    ]
    return Table(path.stem, rows, readers, task, bad, columns=taken, notes=file.notes)


def _check_rows(stored: Stored, bad: Sequence[Bad]) -> None:
    """Raise :class:`InputError` where there is no row."""
    if not len(stored):
        first = f" that can be read; the first: {bad[0].id} {bad[0].reason}" if bad else ""
        raise InputError(f"{stored.file.path} holds no row{first}")


class _Seen:
    """The first cells of a column that are not empty, and how many are."""

    def __init__(self) -> None:
        self.cells: list[Any] = []
        self.missing = 0

    def add(self, cells: Sequence[Any]) -> None:
        full = [cell for cell in cells if clean(cell) is not None]
        self.missing += len(cells) - len(full)
        self.cells += full[: SEEN - len(self.cells)]


def clean(value: Any) -> Any:
    """What a cell holds, None where it is empty."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, float) and value != value:
        return None
    return None if value is None or value == [] else value


def _has_decimal_comma(name: str, seen: Mapping[str, _Seen], delimiter: str) -> bool:
    """Whether the cells of a column are numbers such as ``1,5``.

    Raises:
        InputError: they may be, and commas part the cells of the table, or points are decimal in
            another column.
    """
    texts = [cell.strip() for cell in seen[name].cells if isinstance(cell, str)]
    numbers = [text for text in texts if COMMA.fullmatch(text)]
    if len(numbers) < len(texts) or not any("," in t and not is_blank(t) for t in texts):
        return False
    if delimiter not in ("", ",") and not has_points(seen[n].cells for n in seen):
        return True
    if any(text.startswith(("-", "0,")) or len(text.split(",")[-1]) == 3 for text in numbers):
        shown = next(text for text in numbers if "," in text)
        raise InputError(
            f"column {name!r} holds numbers with a comma, such as {shown!r}: a decimal sign, "
            "thousands, or two numbers? write them with points, or thousands without a sign"
        )
    return False


def _with_points(read: Callable[[Any], Any], value: Any) -> Any:
    return read(value.replace(",", ".") if isinstance(value, str) else value)


def _to_word(value: Any) -> str | None:
    value = clean(value)
    # Half a sign, as JSON may hold, has no bytes.
    return None if value is None else str(value).strip().encode("utf-8", "replace").decode()


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
