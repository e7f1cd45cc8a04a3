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
import io
import json
import os
import stat
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from counterpoise.core import files, seal
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
START = b'{"data":'  # of a line, also of one that a kill has left torn
MEND = "delete the file, and the same comparison writes it again from its runs"


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
    content = _encode(objects)
    if not content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _open(path) as file:
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


def write(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """Write a file with one line for each object in place of the one that is there, atomically."""
    files.write(path, _encode(objects))


def _encode(objects: Iterable[Mapping[str, Any]]) -> bytes:
    """Their lines, each with its checksum."""
    place = {seal.KEY: seal.PLACE[:16].decode()}
    lines = [to_json({**o, **place}, separators=(",", ":")).encode() for o in objects]
    return b"".join(seal.seal_line(line) + b"\n" for line in lines)


def _open(path: Path) -> io.FileIO:
    """A file open for appending, made if it is not there; no link is followed to another one."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        number = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK):
            raise InputError(
                f"{path} is a link, through which nothing is written; put the file itself there"
            ) from None
        if error.errno in (errno.EISDIR, errno.ENXIO):
            check_file(path)
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        check_file(path)
    return io.FileIO(number, "ab+")  # unbuffered: a failed write is not tried again


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
    *lines, rest = content.split(b"\n")
    if seal.check_line(rest[:-1]):  # a whole line, and something in the place of its end
        raise InputError(f"{path}, line {len(lines) + 1} is damaged (its end); {MEND}")
    if not (START.startswith(rest[: len(START)]) or rest.startswith(START)):
        raise InputError(f"{path}, line {len(lines) + 1} is damaged ({rest[:40]!r}); {MEND}")
    found: dict[str, Record] = {}
    older = [number for number, line in enumerate(lines, 1) if seal.check_line(line) is None]
    for number, line in enumerate(lines, start=1):
        record = _read_line(path, number, line, number <= len(older))
        about = {key: value for key, value in record.items() if key not in SAYS}
        name = json.dumps(about, sort_keys=True)
        found.pop(name, None)  # so that the later line also comes later
        found[name] = record
    if older:
        warnings.warn(
            f"{path} has {len(older)} line(s) of an older version, without checksums: damage in "
            "them is not noticed",
            UserWarning,
            stacklevel=2,
        )
    return list(found.values())


def _read_line(path: Path, number: int, line: bytes, older: bool) -> Record:
    """One line; only the first ones may be ``older``, of a version that knew no checksums."""
    where, fits = f"{path}, line {number}", seal.check_line(line)
    if fits is False or (fits is None and not older):
        reason = "its checksum does not fit" if fits is False else "it has no checksum"
        raise InputError(f"{where} is damaged or was changed ({reason}); {MEND}")
    try:
        record = parse_json(line)
    except ValueError:
        raise InputError(f"{where} is damaged ({line[:40]!r}); {MEND}") from None
    if not isinstance(record, dict):
        raise InputError(f"{where} is no JSON object ({line[:40]!r})")
    record.pop(seal.KEY, None)
    needed = SAMPLE if "outcome" in record else RECORD
    if lacking := [key for key in needed if key not in record]:
        raise InputError(f"{where} lacks {', '.join(lacking)}")
    check(record, OutcomeLine if "outcome" in record else Line, where, MEND)
    if fits is None and (others := sorted(record.keys() - set(needed))):
        raise InputError(
            f"{where} is damaged or was changed (unknown: {', '.join(others)}); {MEND}"
        )
    return record


def run_of(record: Mapping[str, Any]) -> tuple[str, str, int]:
    """Which run a record or a sample line belongs to: data, method, seed."""
    return record["data"], record["method"], record["seed"]


def sort_runs(records: Iterable[Record], runs: Iterable[tuple[str, str, int]]) -> list[Record]:
    """The lines run by run as they were asked for, whichever was done first; others follow."""
    places = {run: place for place, run in enumerate(runs)}
    return sorted(records, key=lambda record: places.get(run_of(record), len(places)))


def done(records: Iterable[Mapping[str, Any]]) -> set[tuple[str, str, int]]:
    """The runs (data, method, seed) whose last line has been written."""
    return {
        run_of(r) for r in records if r["select"] == "run" and r["metric"] == "done" and r["value"]
    }
