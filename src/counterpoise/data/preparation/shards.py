"""One shard: its rows decoded, and written as an Arrow file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.core import storage
from counterpoise.data.cells import Array, Spec, blank, try_cells
from counterpoise.data.duplicates import Key, find_keys, find_varied
from counterpoise.data.readers.base import Reader
from counterpoise.data.weights import Weights

from .choose import is_file
from .moments import count_gaps, sum_moments
from .stored import digest_small, encode_shard
from .table import Bad, Row

NOTHING = "has none of the modalities"


@dataclass(frozen=True)
class Job:
    """One shard to be written."""

    path: Path
    rows: Sequence[Row]
    target: NDArray[Any]
    groups: NDArray[np.int64] | None
    training: bool
    weights: Weights | None = None


def write_shard(
    job: Job, readers: Mapping[str, Reader], specs: Mapping[str, Spec]
) -> dict[str, Any]:
    """Decode the rows of one shard and write it; returns what ``dataset.json`` says of it."""
    job = replace(job, rows=list(job.rows))
    values, there, bad = _decode(job, readers, specs)
    spoilt = {b.id for b in bad}
    good = np.array([row.id not in spoilt for row in job.rows], dtype=bool)
    present = {m: mask[good] for m, mask in there.items()}
    kept = {m: {k: array[good] for k, array in parts.items()} for m, parts in values.items()}
    entry: dict[str, Any] = {
        "file": job.path.name,
        "rows": int(good.sum()),
        "bad": [asdict(b) for b in bad],
        "moments": sum_moments(kept, present, specs, readers) if job.training else {},
        "keys": _find_keys(job.rows, readers, kept, present) if good.any() else {},
    }
    if gaps := count_gaps(kept, present):
        entry["gaps"] = gaps
    if entry["rows"]:
        names = [row.id for row, whole in zip(job.rows, good, strict=True) if whole]
        groups = None if job.groups is None else job.groups[good]
        weights = None if job.weights is None else job.weights[good]
        small = digest_small(job.target[good], groups, present, weights)
        content = encode_shard(names, job.target[good], groups, kept, present, weights)
        storage.write(job.path, content)
        entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        entry["small"] = small
    storage.write_record(job.path.with_suffix(".json"), entry)
    return entry


def _find_keys(
    rows: Sequence[Row],
    readers: Mapping[str, Reader],
    kept: Mapping[str, Mapping[str, Array]],
    present: Mapping[str, NDArray[np.bool_]],
) -> dict[str, list[Key]]:
    """What tells equal rows: of the whole (``""``), and of each modality that lies in files."""
    keys = {"": find_keys(kept, present)}
    for modality, tensors in kept.items():
        cells = (row.cells.get(modality) for row in rows)
        if not is_file(readers[modality]) or not any(isinstance(c, str | list) for c in cells):
            continue  # what a table itself holds
        varied = np.logical_or.reduce([find_varied(array) for array in tensors.values()])
        found = find_keys({modality: tensors}, present)
        keys[modality] = [
            key if said else None
            for key, said in zip(found, varied & present[modality], strict=True)
        ]
    return keys


def _decode(
    job: Job, readers: Mapping[str, Reader], specs: Mapping[str, Spec]
) -> tuple[dict[str, dict[str, NDArray[Any]]], dict[str, NDArray[np.bool_]], list[Bad]]:
    """The samples by modality and tensor, which rows have which, and what is wrong with some.

    Missing modalities are zeros, and so is what cannot be read.
    """
    values = {m: blank(spec, len(job.rows)) for m, spec in specs.items()}
    there = {m: np.zeros(len(job.rows), dtype=bool) for m in readers}
    wrong: dict[int, list[Bad]] = {}
    for modality, reader in readers.items():
        cells = [row.cells.get(modality) for row in job.rows]
        places = [place for place, cell in enumerate(cells) if cell is not None]
        found = try_cells(reader, [cells[place] for place in places], specs[modality])
        samples = []
        for place, sample in zip(places, found, strict=True):
            if isinstance(sample, dict):
                there[modality][place] = True
                samples.append(sample)
            elif isinstance(sample, str):
                reason = sample.replace("COLUMN", modality)
                wrong.setdefault(place, []).append(Bad(job.rows[place].id, modality, reason))
        for key, array in values[modality].items() if samples else ():
            array[there[modality]] = np.stack([sample[key] for sample in samples])
    for place in np.flatnonzero(~np.logical_or.reduce(list(there.values()))).tolist():
        wrong.setdefault(place, [Bad(job.rows[place].id, "", NOTHING)])
    return values, there, [b for place in sorted(wrong) for b in wrong[place]]
