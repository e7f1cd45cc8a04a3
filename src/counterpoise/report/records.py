"""Results as append-only JSON lines, which a kill or a full disk cannot spoil.

``records.jsonl`` holds one number a line: ``data, method, seed, epoch, split, select, present,
metric, value``. ``select`` says which weights it was measured with: ``"epoch"`` (after that
epoch, on validation), ``"last"`` or ``"best"`` (on test, with the weights of the last epoch or of
the best one on validation; ``epoch`` is its number), or ``"run"`` (no weights: ``"seconds"``,
``"parameters"`` and, as the very last line of a run, ``"done"``). Epochs count from 0,
``present`` is the sorted modalities joined by ``+``, a value that is not finite is ``null``.

``samples.jsonl`` holds the test outcome of every sample in one line per run, ``select`` and
``present``: ``outcome`` (a list, ``null`` where the sample has none of these modalities) and
``task`` (``{"metric": "accuracy", "greater_is_better": true}``).
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from counterpoise.core.files import check_file, read_bytes
from counterpoise.core.schema import Shape, check, parse_json
from counterpoise.core.strict_json import to_json
from counterpoise.errors import InputError

if sys.platform != "win32":
    import fcntl

Record = dict[str, Any]

RUN = ("data", "method", "seed")
RECORD = (*RUN, "epoch", "split", "select", "present", "metric", "value")
SAMPLE = (*RUN, "select", "present", "outcome", "task")
# What a line says; its other keys say of what, and there is one line for each of these.
SAYS = ("value", "outcome", "task")


class Line(Shape):
    """A line of ``records.jsonl``."""

    data: str
    method: str
    seed: int
    epoch: int
    split: str
    select: str
    present: str
    metric: str
    value: float | None


class TaskOfLine(Shape):
    """How the outcomes of a line are compared."""

    metric: str
    greater_is_better: bool


class OutcomeLine(Shape):
    """A line of ``samples.jsonl``."""

    data: str
    method: str
    seed: int
    select: str
    present: str
    outcome: list[float | None]
    task: TaskOfLine


def append(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """Add one line for each object, in one write, on disk when this returns.

    A last line that an earlier write left torn is cut off first. Two processes may append to one
    file. After an ``OSError`` (a full disk), the next call repairs the file.
    """
    lines = [to_json(dict(o), separators=(",", ":")) for o in objects]
    if not lines:
        return
    content = "".join(f"{line}\n" for line in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    check_file(path)
    with path.open("ab+", buffering=0) as file:  # unbuffered: a failed write is not tried again
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)  # another process may be half way through its line
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate((file.read(size) or b"").rfind(b"\n") + 1)
        if file.write(content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(file.fileno())


def read(path: Path) -> list[Record]:
    """All lines, the later of two about the same thing; none if there is no such file.

    A torn last line (a kill while it was written) is left out.

    Raises:
        InputError: another line is damaged or lacks a key; names file and line.
    """
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return []
    found: dict[str, Record] = {}
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            record = parse_json(line)
        except ValueError:
            raise InputError(
                f"{path}, line {number} is damaged ({line[:40]!r}); delete this line"
            ) from None
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number} is no JSON object ({line[:40]!r})")
        needed = SAMPLE if "outcome" in record else RECORD
        if lacking := [key for key in needed if key not in record]:
            raise InputError(f"{path}, line {number} lacks {', '.join(lacking)}")
        shape = OutcomeLine if "outcome" in record else Line
        check(record, shape, f"{path}, line {number}", "delete this line")
        about = {key: value for key, value in record.items() if key not in SAYS}
        name = json.dumps(about, sort_keys=True)
        found.pop(name, None)  # so that the later line also comes later
        found[name] = record
    return list(found.values())


def run_of(record: Mapping[str, Any]) -> tuple[str, str, int]:
    """Which run a record or a sample line belongs to: data, method, seed."""
    return record["data"], record["method"], record["seed"]


def done(records: Iterable[Mapping[str, Any]]) -> set[tuple[str, str, int]]:
    """The runs (data, method, seed) whose last line has been written."""
    return {
        run_of(r) for r in records if r["select"] == "run" and r["metric"] == "done" and r["value"]
    }
