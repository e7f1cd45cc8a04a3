"""What was decoded once: Arrow files of a few hundred rows each, memory-mapped to train from."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core import storage
from counterpoise.core.folder import Folder
from counterpoise.core.provenance import made_with
from counterpoise.core.tasks import build_task
from counterpoise.core.workers import run_jobs
from counterpoise.data.columns import Shards, Spec, Stored
from counterpoise.data.dataset import ArrayData, Split
from counterpoise.data.readers import READERS, build_reader
from counterpoise.data.readers.base import Reader, need
from counterpoise.errors import InputError, check_number

from .plan import Plan, sample_bytes
from .shards import Job, channel_axes, column_name, try_cell, write_shard
from .table import Bad

FORMAT = 1
SHARD_BYTES = 32 << 20
SHARD_ROWS = 1024
INDEX = "dataset.json"

Tick = Callable[[int], None]


def prepare(
    plan: Plan,
    out: Path | str,
    *,
    jobs: int = 1,
    max_bad: float = 0.05,
    tick: Tick | None = None,
) -> ArrayData:
    """Decode every sample once, into a folder that :func:`open_cache` reads.

    Shards that are there and whole (by their checksum) are kept, so the same call goes on where
    it was stopped, and verifies what is complete. A row with a cell that cannot be read is left
    out and listed in ``bad.csv`` with the reason; the same call takes it up once it is mended.

    Args:
        plan: what to decode.
        out: the folder; takes ``dataset.json``, ``bad.csv`` and the shards.
        jobs: processes that decode.
        max_bad: the share of bad rows, of all, that is too many.
        tick: told how many rows more are done.

    Raises:
        InputError: a folder that holds something else, too many bad rows, a full disk.
    """
    check_number("jobs", jobs, 1, whole=True)
    check_number("max_bad", max_bad, 0, 1)
    need("pyarrow", "stream")
    out = Path(out)
    _claim(out, plan)
    todo, entries = [], {}
    bad, tick = list(plan.bad), tick or (lambda _: None)
    _limit(bad, plan.total, max_bad, out)
    for job in _jobs(plan, out):
        entry = _finished(job.path)
        if entry is not None and not _mended(job, entry, plan):
            entries[job.path] = entry
            bad += [Bad(**b) for b in entry["bad"]]
            tick(len(job.rows))
        else:
            todo.append(job)
    _check_space(out, sum(len(job.rows) for job in todo) * sample_bytes(plan.specs))
    for job, entry in _work(todo, plan, jobs):
        entries[job.path] = entry
        bad += [Bad(**b) for b in entry["bad"]]
        tick(len(job.rows))
        _limit(bad, plan.total, max_bad, out)
    _limit(bad, plan.total, max_bad, out)
    _index(plan, out, [entries[job.path] for job in _jobs(plan, out)], bad)
    return open_cache(out)


def _jobs(plan: Plan, out: Path) -> Iterator[Job]:
    size = max(1, min(SHARD_ROWS, SHARD_BYTES // max(sample_bytes(plan.specs), 1)))
    for part, places in plan.splits.items():
        for number, start in enumerate(range(0, len(places), size)):
            chosen = places[start : start + size]
            yield Job(
                out / f"{part}-{number:05d}.arrow",
                [plan.rows[k] for k in chosen],
                plan.target[chosen],
                None if plan.groups is None else plan.groups[chosen],
                part == "train",
            )


def _claim(out: Path, plan: Plan) -> None:
    """Make the folder, or check that it holds this very preparation."""
    folder = Folder(out, "plan.json", kind="prepared data set", format=2, upgrade=_upgrade)
    folder.claim(plan.identity(), made_with=made_with())


def _upgrade(record: dict[str, Any]) -> dict[str, Any]:
    """Format 1, which version 0.1.0 wrote before its release: an identity and nothing else."""
    identity = {name: value for name, value in record.items() if name != "format"}
    return {"format": 1, "identity": identity, "made_with": {"counterpoise": "0.1.0"}}


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if needed > free:
        raise InputError(
            f"{out} needs {needed / 1e9:.1f} GB more and the disk has {free / 1e9:.1f} GB free; "
            "choose another disk, or smaller samples"
        )


def _limit(bad: Sequence[Bad], total: int, most: float, out: Path) -> None:
    """Write the list of bad rows; too many of them end the work."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["id", "modality", "reason"])
    writer.writerows([b.id, b.modality, " ".join(b.reason.split())] for b in bad)
    storage.write(out / "bad.csv", lines.getvalue().encode())
    count = len({b.id for b in bad})
    if count > most * total:
        raise InputError(
            f"{count} of {total} rows cannot be used, more than max_bad={most:g}; the first: "
            f"{bad[0].id}: {bad[0].reason} (all: {out / 'bad.csv'}); mend them or raise --max-bad"
        )


def sha256(path: Path) -> str:
    """The checksum of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _finished(path: Path) -> dict[str, Any] | None:
    """What is known of a shard that is there and whole."""
    with contextlib.suppress(InputError, OSError, KeyError, TypeError):
        entry: dict[str, Any] = storage.read_json(path.with_suffix(".json"))
        if entry["rows"] == 0 or sha256(path) == entry["sha256"]:
            return entry
    return None


def _mended(job: Job, entry: Mapping[str, Any], plan: Plan) -> bool:
    """Whether a cell that could not be read can be by now, so that its shard is made again."""
    rows = {row.id: row for row in job.rows}
    return any(
        not isinstance(
            try_cell(
                plan.readers[b["modality"]],
                rows[b["id"]].cells[b["modality"]],
                plan.specs[b["modality"]],
            ),
            str,
        )
        for b in entry["bad"]
    )


def _work(todo: list[Job], plan: Plan, jobs: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    write = partial(_write, plan.readers, plan.specs)
    if jobs == 1 or len(todo) <= 1:
        return ((job, write(job)) for job in todo)
    return run_jobs(write, todo, jobs)


def _write(readers: dict[str, Reader], specs: dict[str, Spec], job: Job) -> dict[str, Any]:
    return write_shard(job, readers, specs)


def _scales(
    entries: Iterable[Mapping[str, Any]], units: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, list[float]]]:
    """Modality -> mean and deviation of each channel over the training split."""
    totals: dict[str, list[Any]] = {}
    for entry in entries:
        for modality, m in entry["moments"].items():
            total = totals.setdefault(modality, [0.0, 0.0, 0.0])
            for k, value in enumerate((m["count"], np.array(m["sum"]), np.array(m["square"]))):
                total[k] = total[k] + value
    found = {}
    for modality, (count, sums, squares) in totals.items():
        if count == 0:
            continue
        mean = sums / count
        variance = np.maximum(squares / count - mean**2, 0)
        unit = units.get(modality, ())
        for name in set(unit):
            same = np.array([u == name for u in unit])
            variance[same] = variance[same].mean()
        found[modality] = {"mean": mean.tolist(), "std": np.sqrt(variance).tolist()}
    return found


def _index(plan: Plan, out: Path, entries: Sequence[Mapping[str, Any]], bad: Sequence[Bad]) -> None:
    identity = plan.identity()
    splits: dict[str, list[dict[str, Any]]] = {part: [] for part in plan.splits}
    for entry in entries:
        part = entry["file"].rsplit("-", 1)[0]
        if entry["rows"]:
            splits[part].append({k: entry[k] for k in ("file", "rows", "bytes", "sha256")})
    for part, shards in splits.items():
        if not shards:
            raise InputError(f"no row of the split {part!r} could be read; see {out / 'bad.csv'}")
    scales = _scales(entries, plan.units)
    storage.write_json(
        out / INDEX,
        {
            "format": FORMAT,
            "name": plan.name,
            "task": identity["task"],
            "modalities": {
                m: {
                    "reader": reader.settings(),
                    "kind": plan.kinds.get(m),
                    "tensors": identity["tensors"][m],
                    "scale": scales.get(m),
                }
                for m, reader in plan.readers.items()
            },
            "grouped": plan.groups is not None,
            "splits": splits,
            "bad": len({b.id for b in bad}),
            "total": plan.total,
        },
    )


def is_cache(folder: Path | str) -> bool:
    """Whether a folder holds prepared data, complete."""
    return (Path(folder) / INDEX).is_file()


def open_cache(folder: Path | str) -> ArrayData:
    """The data set that :func:`prepare` wrote; samples are read when a batch asks for them.

    Args:
        folder: of the cache.

    Raises:
        InputError: no prepared data, an incomplete or damaged folder.
    """
    folder = Path(folder)
    if not is_cache(folder):
        begun = (folder / "plan.json").exists()
        state = (
            "is not complete; run counterpoise prepare again to go on"
            if begun
            else ("holds no prepared data (dataset.json)")
        )
        raise InputError(f"{folder} {state}")
    index = storage.read_json(folder / INDEX)
    try:
        if index["format"] != FORMAT:
            raise InputError(
                f"{folder} is of format {index['format']}, this version reads {FORMAT}; prepare "
                "the data again"
            )
        return _opened(folder, index)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{folder / INDEX} is damaged ({error!r}); prepare again") from None


def _opened(folder: Path, index: dict[str, Any]) -> ArrayData:
    specs: dict[str, Spec] = {
        m: {key: (str(d), tuple(int(n) for n in shape)) for key, (d, shape) in e["tensors"].items()}
        for m, e in index["modalities"].items()
    }
    task = build_task(index["task"])
    splits = {}
    for part, entries in index["splits"].items():
        shards = Shards([_file(folder, e) for e in entries], [int(e["rows"]) for e in entries])
        numbers = range(len(entries))

        def read(name: str, shards: Shards = shards, numbers: range = numbers) -> NDArray[Any]:
            return np.concatenate([shards.column(k, name) for k in numbers])

        present = {m: read(f"{m}:present").astype(bool) for m in specs}
        digest = hashlib.sha256("".join(e["sha256"] for e in entries).encode()).hexdigest()
        inputs = {
            m: Stored(
                shards, {k: column_name(m, k) for k in spec}, spec, present[m], f"{m}{digest}"
            )
            for m, spec in specs.items()
        }
        groups = torch.from_numpy(read("group")) if index["grouped"] else None
        target = torch.from_numpy(read("target"))
        task.check(target, f"the target in {folder}")
        masks = {m: torch.from_numpy(mask) for m, mask in present.items()}
        splits[part] = Split(inputs, masks, target, groups)
    about = index["modalities"]
    return ArrayData.of(
        task,
        splits,
        str(index["name"]),
        kinds={m: e["kind"] for m, e in about.items() if e["kind"]},
        scales={m: _scale(e["scale"], specs[m], e["kind"]) for m, e in about.items() if e["scale"]},
        readers={
            m: build_reader(e["reader"]) for m, e in about.items() if e["reader"]["type"] in READERS
        },
    )


def _scale(scale: Mapping[str, list[float]], spec: Spec, kind: str | None) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, to broadcast with a sample."""
    shape = next(iter(spec.values()))[1]
    wide = [1] * len(shape)
    if 1 not in channel_axes(shape, kind):
        wide[0] = shape[0]
    mean, std = (torch.tensor(scale[k], dtype=torch.float32).view(wide) for k in ("mean", "std"))
    return mean, std


def _file(folder: Path, entry: Mapping[str, Any]) -> Path:
    """A shard, inside of its folder and of its size."""
    name = str(entry["file"])
    if Path(name).name != name:
        raise InputError(f"{folder / INDEX} names a file outside of its folder: {name!r}")
    path = folder / name
    if not path.is_file() or path.stat().st_size != entry["bytes"]:
        raise InputError(f"{path} is missing or cut short; prepare the data again to mend it")
    return path


def verify(folder: Path | str) -> int:
    """Compare every shard with its checksum; how many there are.

    Raises:
        InputError: a shard that differs, by name.
    """
    folder = Path(folder)
    index = storage.read_json(folder / INDEX)
    entries = [entry for part in index["splits"].values() for entry in part]
    for entry in entries:
        if sha256(_file(folder, entry)) != entry["sha256"]:
            raise InputError(
                f"{folder / entry['file']} differs from its checksum; prepare the data again to "
                "mend it"
            )
    return len(entries)
