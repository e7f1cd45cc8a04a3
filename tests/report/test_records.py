"""Records survive kills, full disks and reruns."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from counterpoise.errors import InputError
from counterpoise.report import records


def record(value: float | None = 0.5, **changes: Any) -> dict[str, Any]:
    return {
        "data": "toy",
        "method": "mla:projector=off",
        "seed": 0,
        "epoch": 3,
        "split": "test",
        "select": "last",
        "present": "audio+image",
        "metric": "accuracy",
        "value": value,
        **changes,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "records.jsonl"


def test_what_is_appended_is_read(path: Path) -> None:
    first, second = record(0.25), record(0.75, seed=1)
    records.append(path, [first])
    records.append(path, [second, record(1, seed=2)])
    assert records.read(path) == [first, second, record(1, seed=2)]
    assert path.read_bytes().count(b"\n") == 3


def test_nothing_to_append_makes_no_file(path: Path) -> None:
    records.append(path, [])
    assert not path.exists()
    assert records.read(path) == []


def test_all_lines_go_in_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Seen from outside: how many lines another process can find is 0 or all.
    seen = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        seen.append(path.read_bytes().count(b"\n"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    records.append(path, [record(seed=s) for s in range(500)])
    assert seen == [500]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_null(path: Path, value: float) -> None:
    sample = {
        **{key: record()[key] for key in ("data", "method", "seed", "select", "present")},
        "outcome": [1.0, value, 0.0],
        "task": {"metric": "accuracy", "greater_is_better": True},
    }
    records.append(path, [record(value), sample])
    text = path.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    first, second = records.read(path)
    assert first["value"] is None
    assert second["outcome"] == [1.0, None, 0.0]


@pytest.mark.parametrize(
    "torn",
    [b'{"data":"to', json.dumps(record(9.0), separators=(",", ":")).encode(), b'{"data":"\xc3'],
)
def test_a_torn_last_line_is_ignored_and_then_cut_off(path: Path, torn: bytes) -> None:
    records.append(path, [record(0.25)])
    with path.open("ab") as file:
        file.write(torn)
    assert records.read(path) == [record(0.25)]
    records.append(path, [record(0.75, seed=1)])
    assert records.read(path) == [record(0.25), record(0.75, seed=1)]
    assert path.read_bytes().count(b"\n") == 2


def test_a_file_that_is_one_torn_line(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"data"')
    assert records.read(path) == []
    records.append(path, [record()])
    assert records.read(path) == [record()]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"data": "to', "records.jsonl, line 2 is damaged"),
        ("", "records.jsonl, line 2 is damaged"),
        ("[1]", "records.jsonl, line 2 is no JSON object"),
        ('{"data": "toy", "method": "mla"}', "line 2 lacks seed, epoch, split"),
        ('{"data": "toy", "outcome": [1]}', "line 2 lacks method, seed, select, present, task"),
    ],
)
def test_a_damaged_line_elsewhere_is_named(path: Path, line: str, complaint: str) -> None:
    path.parent.mkdir()
    path.write_text(f"{json.dumps(record())}\n{line}\n{json.dumps(record(seed=1))}\n")
    with pytest.raises(InputError, match=complaint):
        records.read(path)


def test_the_later_of_two_lines_wins_and_comes_later(path: Path) -> None:
    records.append(path, [record(0.1), record(0.2, epoch=4), record(0.3, seed=1)])
    records.append(path, [record(0.9)])
    assert records.read(path) == [record(0.2, epoch=4), record(0.3, seed=1), record(0.9)]


def test_done_needs_the_last_line_of_the_run() -> None:
    end = {"split": "run", "select": "run", "metric": "done", "present": "", "value": 1}
    lines = [
        record(**end),
        record(seed=1),
        record(seed=2, **{**end, "value": 0}),
        record(method="done", metric="done"),
    ]
    assert records.done(lines) == {("toy", "mla:projector=off", 0)}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_full_disk_is_repaired_by_the_next_append(path: Path) -> None:
    records.append(path, [record(0.25)])
    before = path.stat().st_size
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from counterpoise.report import records\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({before + 30}, {before + 30}))\n"
        f"line = {record(0.75, seed=1)!r}\n"
        "try: records.append(Path(sys.argv[1]), [line, line])\n"
        "except OSError as error: print(error.errno)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert int(said.stdout) in (errno.ENOSPC, errno.EFBIG)
    assert path.stat().st_size == before + 30  # the disk was full in the middle of the line
    assert records.read(path) == [record(0.25)]
    records.append(path, [record(0.75, seed=1)])
    assert records.read(path) == [record(0.25), record(0.75, seed=1)]


@pytest.mark.skipif(sys.platform == "win32", reason="two processes need flock")
@pytest.mark.filterwarnings("ignore:.*older version")
def test_a_line_that_another_process_is_writing_is_not_torn(path: Path) -> None:
    import fcntl

    whole = f"{json.dumps(record(0.25))}\n".encode()
    path.parent.mkdir()
    with path.open("ab", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(whole[:20])
        waiting = threading.Thread(target=records.append, args=(path, [record(0.75, seed=1)]))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        other.write(whole[20:])
    waiting.join(30)
    assert records.read(path) == [record(0.25), record(0.75, seed=1)]


def test_a_flip_in_the_very_last_byte_is_no_torn_line(path: Path) -> None:
    records.append(path, [record(0.25), record(0.75, seed=1)])
    whole = path.read_bytes()
    for bit in range(8):
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1 << bit]))
        with pytest.raises(InputError, match=r"line 2 is damaged"):
            records.read(path)
    path.write_bytes(whole[:-1])  # as a kill may leave it
    assert records.read(path) == [record(0.25)]
