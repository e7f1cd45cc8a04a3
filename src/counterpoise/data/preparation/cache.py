"""What was decoded once: Arrow files of a few hundred rows each, memory-mapped to train from."""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.core import storage
from counterpoise.core.files import find_digest
from counterpoise.core.folder import Folder
from counterpoise.core.lock import hold
from counterpoise.core.paths import expand
from counterpoise.core.presence import check_trained
from counterpoise.core.provenance import made_with
from counterpoise.core.sizes import format_size
from counterpoise.core.workers import MOST_JOBS, run_jobs
from counterpoise.data.cells import Spec, sample_bytes, try_cell
from counterpoise.data.dataset import Dataset
from counterpoise.data.duplicates import to_codes, warn_of_same
from counterpoise.data.readers import READERS
from counterpoise.data.readers.base import Reader, need
from counterpoise.errors import InputError, check_number

from .choose import is_file
from .format import INDEX, read_index, write_index
from .plan import Plan
from .rows import pick
from .shards import Job, write_shard
from .table import Bad

SHARD_BYTES = 32 << 20
SHARD_ROWS = 1024

Tick = Callable[[int], None]


def prepare(
    plan: Plan,
    out: Path | str,
    *,
    jobs: int = 1,
    max_bad: float = 0.05,
    tick: Tick | None = None,
) -> Dataset:
    """Decode every sample once, into a folder that :func:`open_cache` reads.

    Shards whose checksums fit are kept, so the same call continues a preparation that was stopped,
    and mends one that was damaged. A row with a cell that cannot be read is left out and listed in
    ``bad.csv`` with the reason; the same call adds it once it is mended.

    Args:
        plan: what to decode.
        out: the folder; takes ``dataset.json``, ``bad.csv`` and the shards.
        jobs: processes that decode.
        max_bad: the largest share of bad rows that is accepted.
        tick: called with the number of rows that were done since the last call.

    Raises:
        InputError: a folder that holds something else, too many bad rows, a modality of which no
            training row can be read, a full disk.
    """
    check_number("jobs", jobs, 1, MOST_JOBS, whole=True)
    check_number("max_bad", max_bad, 0, 1)
    need("pyarrow", "stream")
    out = expand(out)
    with hold(out, "prepared data set"):
        data = _prepare(plan, out, jobs, max_bad, tick or (lambda _: None))
    check_trained(data.train)  # all rows that have a modality may be bad
    for line in data.notes:
        if "were not measured" in line:
            warnings.warn(line, UserWarning, stacklevel=2)
    return data


def _prepare(plan: Plan, out: Path, jobs: int, max_bad: float, tick: Tick) -> Dataset:
    """:func:`prepare`, by the one who holds the folder."""
    _claim(out, plan)
    todo, entries = [], {}
    bad = list(plan.bad)
    _check_bad(bad, plan.total, max_bad, out)
    for job in _jobs(plan, out):
        entry = _find_finished(job.path)
        if entry is not None and not _is_mended(job, entry, plan):
            entries[job.path] = _compact(entry)
            bad += [Bad(**b) for b in entry["bad"]]
            tick(len(job.rows))
        else:
            todo.append(job)
    _check_space(out, sum(len(job.rows) for job in todo) * sample_bytes(plan.specs))
    for job, entry in _write_all(todo, plan, jobs):
        entries[job.path] = _compact(entry)
        bad += [Bad(**b) for b in entry["bad"]]
        tick(len(job.rows))
        _check_bad(bad, plan.total, max_bad, out)
    _check_bad(bad, plan.total, max_bad, out)
    shards = [entries[job.path] for job in _jobs(plan, out)]
    write_index(plan, out, shards, len({b.id for b in bad}))
    _warn_of_copies(plan, shards)
    return open_cache(out)


def _warn_of_copies(plan: Plan, shards: Sequence[Mapping[str, Any]]) -> None:
    """Warn if rows, or the files of a modality, are in two splits; older shards do not tell."""
    named = {m: m for m, reader in plan.readers.items() if is_file(reader)}
    for key in ["", *named] if len(plan.readers) > 1 else [""]:
        found = {part: [np.zeros(0, np.uint64)] for part in plan.splits}
        for entry in shards:
            found[entry["file"].rsplit("-", 1)[0]].append(entry["keys"].get(key, []))
        warn_of_same({part: np.concatenate(c) for part, c in found.items()}, named.get(key))


def _compact(entry: dict[str, Any]) -> dict[str, Any]:
    """What is known of a shard, with its keys as arrays: there may be ten million."""
    keys = {name: to_codes(found) for name, found in entry.get("keys", {}).items()}
    return entry | {"keys": keys}


def _jobs(plan: Plan, out: Path) -> Iterator[Job]:
    size = max(1, min(SHARD_ROWS, SHARD_BYTES // max(sample_bytes(plan.specs), 1)))
    for part, places in plan.splits.items():
        for number, start in enumerate(range(0, len(places), size)):
            chosen = places[start : start + size]
            yield Job(
                out / f"{part}-{number:05d}.arrow",
                pick(plan.rows, chosen),
                plan.target[chosen],
                None if plan.groups is None else plan.groups[chosen],
                part == "train",
                None if plan.weights is None else plan.weights[chosen],
            )


def find_older(out: Path | str) -> dict[str, dict[str, Any]]:
    """Modality -> what its settings mean, where a folder was begun before there were others.

    Only what is not the default by now; empty where there is no such folder.
    """
    found: dict[str, dict[str, Any]] = {}
    with contextlib.suppress(InputError, OSError, KeyError, TypeError, AttributeError):
        record, _ = storage.read_record(expand(out) / "plan.json")
        for modality, settings in record.get("identity", record)["readers"].items():
            kind, default = READERS.find(settings["type"]), READERS.find(settings["type"]).options()
            changed = {k: v for k, v in kind.young.items() if k not in settings and v != default[k]}
            if changed:
                found[modality] = changed
    return found


def _claim(out: Path, plan: Plan) -> None:
    """Make the folder, or check that it holds this very preparation."""
    try:
        _plan_folder(out).claim(plan.identity(), made_with=made_with())
    except InputError as error:
        if "settings: rows is" not in str(error):
            raise
        raise InputError(
            f"{out} holds samples of other rows, or of other cells, than this table has now; "
            "choose another folder, or delete that one"
        ) from None


def _plan_folder(out: Path) -> Folder:
    """The folder of prepared data, whose ``plan.json`` says what is decoded, and how."""
    return Folder(out, "plan.json", kind="prepared data set", format=3, upgrade=_upgrade, sealed=3)


def _upgrade(record: dict[str, Any]) -> dict[str, Any]:
    """Format 1, which version 0.1.0 wrote before its release: an identity and nothing else.

    Format 2 had no checksum.
    """
    if record.get("format", 1) > 1:
        return record
    identity = {name: value for name, value in record.items() if name != "format"}
    return {"format": 1, "identity": identity, "made_with": {"counterpoise": "0.1.0"}}


def _check_space(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out).free
    if needed > free:
        raise InputError(
            f"{out} needs {format_size(needed)} more and the disk has {format_size(free)} free; "
            "choose another disk, or smaller samples"
        )


def _check_bad(bad: Sequence[Bad], total: int, most: float, out: Path) -> None:
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


def _find_finished(path: Path) -> dict[str, Any] | None:
    """What is known of a shard that is there and whole."""
    with contextlib.suppress(InputError, OSError, KeyError, TypeError):
        entry: dict[str, Any] = storage.read_record(path.with_suffix(".json"))[0]
        if entry["rows"] == 0 or find_digest(path) == entry["sha256"]:
            return entry
    return None


def _is_mended(job: Job, entry: Mapping[str, Any], plan: Plan) -> bool:
    """Whether a cell that could not be read can be by now, so that its shard is made again."""
    rows = {row.id: row for row in job.rows} if entry["bad"] else {}
    for b in entry["bad"]:
        tried = [
            try_cell(plan.readers[m], cell, plan.specs[m])
            for m in ([b["modality"]] if b["modality"] else plan.readers)
            if (cell := rows[b["id"]].cells.get(m)) is not None
        ]
        if any(not isinstance(found, str) and (b["modality"] or found) for found in tried):
            return True
    return False


def _write_all(todo: list[Job], plan: Plan, jobs: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    write = partial(_write, plan.readers, plan.specs)
    if jobs == 1 or len(todo) <= 1:
        return ((job, write(job)) for job in todo)
    filled = (replace(job, rows=list(job.rows)) for job in todo)  # no more than are under way
    return run_jobs(write, filled, min(jobs, len(todo)))


def _write(readers: dict[str, Reader], specs: dict[str, Spec], job: Job) -> dict[str, Any]:
    return write_shard(job, readers, specs)


def is_cache(folder: Path | str) -> bool:
    """Whether a folder holds prepared data, complete."""
    return (expand(folder) / INDEX).is_file()


def open_cache(folder: Path | str) -> Dataset:
    """The data set that :func:`prepare` wrote; samples are read when a batch asks for them.

    Args:
        folder: of the cache.

    Raises:
        InputError: no prepared data, an incomplete or damaged folder.
    """
    folder = expand(folder)
    if not is_cache(folder):
        begun = (folder / "plan.json").exists()
        state = (
            "is not complete; run counterpoise prepare again to go on"
            if begun
            else "holds no prepared data (dataset.json); `counterpoise prepare TABLE OUT` makes it"
        )
        raise InputError(f"{folder} {state}")
    return read_index(folder)
