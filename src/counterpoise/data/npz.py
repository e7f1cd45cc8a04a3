"""A data set in one ``.npz`` file: an array for each modality, and ``target``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from counterpoise.core.files import check_file
from counterpoise.core.names import check_name
from counterpoise.core.paths import expand
from counterpoise.core.tasks import Classification, MultiLabel, Task
from counterpoise.errors import InputError, check_choice, unknown

from .arrays import ArrayData
from .cells import Array
from .preparation.manifest import ColumnNames, column_names
from .preparation.plan import FRACTIONS
from .preparation.table import Bad, Row, Table
from .readers.array import ArrayFile
from .readers.array_file import refuse_file
from .targets import TASKS

if TYPE_CHECKING:
    from typing_extensions import Unpack

CLASSES = "classes"


@dataclass(frozen=True)
class Arrays:
    """What a file holds, checked: every array has a row for each sample.

    Attributes:
        path: of the file.
        inputs: modality -> [N, ...].
        target: [N] or [N, K].
        others: what is there of ``split``, ``group``, ``weight`` and ``id``, each [N].
        classes: the names of the classes 0 .. K - 1, or of the labels; or None.
    """

    path: Path
    inputs: dict[str, Array]
    target: Array
    others: dict[str, Array]
    classes: tuple[str, ...] | None


def is_npz(source: str | Path) -> bool:
    """Whether this names a ``.npz`` file, be it there or not."""
    return Path(source).suffix.lower() == ".npz" and not expand(source).is_dir()


def read_npz(path: Path | str, **named: Unpack[ColumnNames]) -> Arrays:
    """The arrays of a ``.npz`` file by what they are for; nothing in it is unpickled.

    Args:
        path: of the file.
        named: the arrays that are no modalities, where they are not called ``target``, ``split``,
            ``group``, ``weight`` and ``id``.

    Raises:
        InputError: no such file, a damaged one, one with Python objects in it; no target; arrays
            of different lengths.
    """
    path = expand(path)
    arrays = read_arrays(path)
    names = column_names(named, weight="weight")
    for part in ("target", *named):
        if part in names and names[part] not in arrays:
            raise unknown(f"{part} array in {path.name}", names[part], arrays)
    classes = arrays.pop(CLASSES, None)
    _check_lengths(path, arrays)
    kept = {part: arrays.pop(name) for part, name in names.items() if name in arrays}
    for part in ("split", "group", "weight"):
        if f"{part}s" in arrays and part not in kept:
            raise InputError(
                f"{path.name} holds {part}s: call the array {part}, as which it is read, or by "
                "another name, if it is a modality"
            )
    kept = {part: x.astype(str) if x.dtype.kind == "S" else x for part, x in kept.items()}
    if not arrays:
        raise InputError(f"{path.name} must hold an array for each modality, found none")
    for modality in arrays:
        check_name(modality)
    target = kept.pop("target")
    for part, array in kept.items():
        if array.ndim != 1:
            raise InputError(
                f"{names[part]} in {path.name} must hold one value per sample "
                f"([{len(target)}]), found shape {list(array.shape)}"
            )
    _check_ids(path, kept.get("id"))
    return Arrays(path, arrays, target, kept, _read_classes(path, classes))


def read_arrays(path: Path) -> dict[str, Array]:
    """Every array of a file by its name."""
    check_file(path)
    if not path.is_file():
        raise InputError(f"{path} is not there")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # a damaged file can break the library anywhere
        raise refuse_file(error, path) from None


def _check_lengths(path: Path, arrays: Mapping[str, Array]) -> None:
    sizes: dict[int, list[str]] = {}
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) == 0:
            raise InputError(f"{name} in {path.name} must hold at least one row, found none")
        sizes.setdefault(len(array), []).append(name)
    if len(sizes) > 1:
        found = "; ".join(f"{size} in {', '.join(names)}" for size, names in sizes.items())
        raise InputError(f"the arrays in {path.name} must hold as many rows each, found {found}")


def _check_ids(path: Path, ids: Array | None) -> None:
    if ids is None:
        return
    values, counts = np.unique(ids, return_counts=True)
    if len(values) < len(ids):
        twice = values[counts > 1][0]
        raise InputError(f"id in {path.name} must differ from row to row, found {twice} twice")


def _read_classes(path: Path, classes: Array | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    names = tuple(str(name) for name in np.atleast_1d(classes).ravel().tolist())
    if classes.ndim != 1 or len(names) < 2 or len(set(names)) < len(names):
        raise InputError(
            f"classes in {path.name} must hold the names of at least 2 classes, each once, in the "
            f"order of their codes from 0 on, found {list(names)[:20]}"
        )
    return names


def load_npz(
    path: Path | str,
    task: str | None = None,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    **named: Unpack[ColumnNames],
) -> ArrayData:
    """The data set in a ``.npz`` file, in memory.

    Args:
        path: of the file.
        task: ``"classification"``, ``"regression"`` or ``"multilabel"``; None tells it from the
            target.
        fractions: shares of the splits that are drawn.
        seed: draws them.
        named: as for :func:`read_npz`.

    Raises:
        InputError: what :func:`read_npz` and :class:`ArrayData` refuse.
    """
    return _to_data(read_npz(path, **named), task, fractions, seed)


def _to_data(arrays: Arrays, task: str | None, fractions: Sequence[float], seed: int) -> ArrayData:
    if task is not None:
        check_choice("task", task, TASKS)
    learnt = _to_task(arrays, task)
    train, validation, test = fractions
    try:
        return ArrayData(
            arrays.inputs,
            arrays.target,
            task=learnt,
            split=arrays.others.get("split"),
            groups=arrays.others.get("group"),
            weights=arrays.others.get("weight"),
            fractions=(train, validation, test),
            seed=seed,
            name=arrays.path.stem,
        )
    except InputError as error:
        raise InputError(f"{arrays.path.name}: {error}") from None


def npz_table(
    path: Path | str,
    task: str | None = None,
    *,
    fractions: Sequence[float] = FRACTIONS,
    seed: int = 0,
    **named: Unpack[ColumnNames],
) -> Table:
    """The samples of :func:`load_npz` as the rows of a table, with their splits.

    What is prepared of it is thus what training reads from the file itself, row by row.
    """
    arrays = read_npz(path, **named)
    data = _to_data(arrays, task, fractions, seed)
    learnt = _with_names(data.task)
    ids = arrays.others.get("id", np.arange(len(arrays.target)))
    rows: dict[int, Row] = {}
    # What float32 cannot hold is scaled by the reader, which can do the same to new rows.
    raw = {m: arrays.inputs[m] for m, form in data.forms.items() if form.std is not None}
    for part, split in data.splits.items():
        inputs = {
            m: raw[m][data.rows[part]] if m in raw else _to_array(split.inputs[m])
            for m in data.modalities
        }
        for place, number in enumerate(data.rows[part].tolist()):
            here = [m for m in data.modalities if split.present[m][place]]
            group = None if split.groups is None else str(int(split.groups[place]))
            weight = None if split.weight is None else float(arrays.others["weight"][number])
            rows[number] = Row(
                str(ids[number]),
                _target_cell(split.target[place], learnt),
                {m: inputs[m][place] for m in here},
                part,
                group,
                weight,
            )
    gone = [k for k in range(len(arrays.target)) if k not in rows]
    bad = [Bad(str(ids[k]), "", "has no target") for k in gone]
    readers = {m: ArrayFile(axis=0, channels_first=False) for m in data.modalities}
    return Table(
        data.name, [rows[k] for k in sorted(rows)], readers, learnt, bad, digest=data.fingerprint()
    )


def _to_array(value: Any) -> Array:
    assert isinstance(value, Tensor)  # one array a modality
    array: Array = value.numpy()
    return array


def _with_names(task: Task) -> Task:
    """The task with names for its classes or labels, by which the rows of a table are coded."""
    if isinstance(task, Classification | MultiLabel) and not task.names:
        return type(task)(task.outputs, tuple(map(str, range(task.outputs))))
    return task


def _target_cell(target: Tensor, task: Task) -> Any:
    """A target as a row of a table holds it: a class, labels, or numbers."""
    names = getattr(task, "names", None)
    if isinstance(task, Classification) and names:
        return names[int(target)]
    if isinstance(task, MultiLabel) and names:
        return tuple(names[k] for k in target.nonzero().ravel().tolist())
    return target.tolist()


def _to_task(arrays: Arrays, word: str | None) -> Task | str | None:
    """The task that the names of the classes, or a word, ask for."""
    names, target = arrays.classes, arrays.target
    if names is None:
        return word
    if word == "regression":
        raise InputError(
            f"{arrays.path.name} names {CLASSES}, which a regression has not; leave them out"
        )
    if word == "multilabel" or target.ndim == 2:
        return MultiLabel(len(names), names)
    if target.dtype.kind == "U":
        for label in np.unique(target).tolist():
            if label.strip() and label not in names:
                raise unknown(f"class in the target of {arrays.path.name}", label, names)
    return Classification(len(names), names)
