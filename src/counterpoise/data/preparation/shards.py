"""One shard: its rows decoded, and written as an Arrow file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.core import storage
from counterpoise.data.columns import Spec, blank, read_cell
from counterpoise.data.kinds import kind_of
from counterpoise.data.readers.base import Reader, need
from counterpoise.errors import InputError

from .table import Bad, Row


@dataclass(frozen=True)
class Job:
    """One shard to be written."""

    path: Path
    rows: list[Row]
    target: NDArray[Any]
    groups: NDArray[np.int64] | None
    training: bool


def write_shard(
    job: Job, readers: Mapping[str, Reader], specs: Mapping[str, Spec]
) -> dict[str, Any]:
    """Decode the rows of one shard and write it; what ``dataset.json`` says of it."""
    values = {m: blank(spec, len(job.rows)) for m, spec in specs.items()}
    bad: list[Bad] = []
    good = np.ones(len(job.rows), dtype=bool)
    for place, row in enumerate(job.rows):
        for modality, reader in readers.items():
            cell = row.cells.get(modality)
            sample = None if cell is None else try_cell(reader, cell, specs[modality])
            if isinstance(sample, str):
                bad.append(Bad(row.id, modality, sample))
                good[place] = False
            elif sample is not None:
                for key, array in sample.items():
                    values[modality][key][place] = array
    present = {
        m: np.array([row.cells.get(m) is not None for row in job.rows])[good] for m in readers
    }
    kept = {m: {k: array[good] for k, array in parts.items()} for m, parts in values.items()}
    entry: dict[str, Any] = {
        "file": job.path.name,
        "rows": int(good.sum()),
        "bad": [asdict(b) for b in bad],
        "moments": moments(kept, present, specs, readers) if job.training else {},
    }
    if entry["rows"]:
        rows = [row for row, whole in zip(job.rows, good, strict=True) if whole]
        groups = None if job.groups is None else job.groups[good]
        content = _arrow(rows, job.target[good], groups, kept, present)
        storage.write(job.path, content)
        entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    storage.write_json(job.path.with_suffix(".json"), entry)
    return entry


def try_cell(reader: Reader, cell: Any, spec: Spec) -> dict[str, NDArray[Any]] | str:
    """One sample by tensor, or why it cannot be had."""
    try:
        return read_cell(reader, cell, spec)
    except InputError as error:
        return str(error)


def column_name(modality: str, key: str) -> str:
    """What a tensor is called in the files."""
    return f"{modality}/{key}" if key else modality


def _arrow(
    rows: Sequence[Row],
    target: NDArray[Any],
    groups: NDArray[np.int64] | None,
    values: Mapping[str, Mapping[str, NDArray[Any]]],
    present: Mapping[str, NDArray[np.bool_]],
) -> bytes:
    """An Arrow file of one record batch."""
    arrow = need("pyarrow", "stream")
    columns: dict[str, Any] = {"id": arrow.array([row.id for row in rows], arrow.string())}
    columns["target"] = _tensors(target)
    if groups is not None:
        columns["group"] = arrow.array(groups)
    for modality, parts in values.items():
        columns[f"{modality}:present"] = arrow.array(present[modality].astype(np.uint8))
        for key, array in parts.items():
            columns[column_name(modality, key)] = _tensors(array)
    batch = arrow.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _tensors(array: NDArray[Any]) -> Any:
    arrow = need("pyarrow", "stream")
    if array.ndim == 1:
        return arrow.array(array)
    return arrow.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def channel_axes(shape: Sequence[int], kind: str | None) -> tuple[int, ...]:
    """The axes of [N, *shape] over which one channel is averaged.

    As :class:`counterpoise.encoders.Standardize` takes them: a vector has a channel for each
    number, [C, T] and [C, H, W] for each C, a picture [H, W] only one.
    """
    pictured = len(shape) == 2 and (kind or kind_of(shape)) == "image"
    return (0, *range(1 if pictured else 2, len(shape) + 1))


def moments(
    values: Mapping[str, Mapping[str, NDArray[Any]]],
    present: Mapping[str, NDArray[np.bool_]],
    specs: Mapping[str, Spec],
    readers: Mapping[str, Reader],
) -> dict[str, Any]:
    """Modality -> count, sum and sum of squares of each channel, for what can be standardised."""
    found = {}
    for modality, spec in specs.items():
        if set(spec) != {""} or spec[""][0].startswith("int") or len(spec[""][1]) > 3:
            continue
        shape, rows = spec[""][1], values[modality][""][present[modality]]
        axes = channel_axes(shape, readers[modality].kind or None)
        wide = rows.astype(np.float64)
        count = np.prod([wide.shape[axis] for axis in axes])
        if len(shape) == 2 and 1 not in axes:  # steps of zeros are padding and do not count
            count = (rows != 0).any(1).sum()
        found[modality] = {
            "count": float(count),
            "sum": np.ravel(wide.sum(axes)).tolist(),
            "square": np.ravel(np.square(wide).sum(axes)).tolist(),
        }
    return found
