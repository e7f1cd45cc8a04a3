"""Real processes that write to one folder, are killed, are interrupted, or run out of memory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from counterpoise.cli.main import main
from counterpoise.report import records

pytestmark = pytest.mark.slow
PROGRAM = [sys.executable, "-c"]
# A child of a shell's background ignores Ctrl-C; it must not hand that on.
START = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "import sys; sys.argv[0] = 'counterpoise'; "
    "from counterpoise.__main__ import run; sys.exit(run())"
)
MARK = "COUNTERPOISE_TEST_MARK"
PATIENCE = 120.0


def start(*words: object, mark: str = "", limits: str = "") -> subprocess.Popen[str]:
    command = [*PROGRAM, START, *map(str, words)]
    if limits:
        command = ["bash", "-c", f'{limits}; exec "$@"', "bash", *command]
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {MARK: mark, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, "it did not come"
        if process is not None and process.poll() is not None:
            assert ready(), process.communicate()
        time.sleep(0.05)


def find_marked(mark: str) -> list[int]:
    """The processes with a mark in their environment."""
    word = f"{MARK}={mark}".encode()
    return [int(place.name) for place in Path("/proc").glob("[0-9]*") if _has(place, word)]


def _has(place: Path, word: bytes) -> bool:
    try:
        status = (place / "stat").read_text().rpartition(")")[2].split()[0]
        return status != "Z" and word in (place / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended
        return False


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> Iterator[str]:
    name = re.sub(r"\W", "-", request.node.name) + str(os.getpid())
    yield name
    for number in find_marked(name):
        os.kill(number, signal.SIGKILL)


def lines_of(folder: Path) -> list[dict[str, object]]:
    """The records of a comparison without what depends on time, in one order."""
    times = ("seconds", "processor")
    kept = [line for line in records.read(folder / "records.jsonl") if line["metric"] not in times]
    return sorted(kept, key=lambda line: repr(sorted(line.items())))


@pytest.mark.parametrize("command", ["train", "compare"])
def test_the_second_writer_is_refused_and_changes_nothing(command: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = [command, "digits", "--epochs", 30, "--width", 8, "--out", out, "--quiet"]
    words += ["--methods", "joint", "--seeds", 1] if command == "compare" else []
    with start(*words) as first:
        wait_for((out / ".lock").exists, first)
        again = ["--resume"] if command == "train" else []
        with start(*words, *again) as second:
            _, said = second.communicate(timeout=PATIENCE)
        assert second.returncode == 2, said
        assert said.count("\n") == 1 and f"process {first.pid} on" in said
        _, said = first.communicate(timeout=PATIENCE)
    assert (first.returncode, said) == (0, "")
    assert not (out / ".lock").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_workers_end_with_their_parent(number: int, mark: str, tmp_path: Path) -> None:
    words = ["compare", "digits", "--methods", "joint,multi-loss", "--seeds", 1, "--jobs", 2]
    words += ["--epochs", 40, "--width", 8, "--quiet", "--out"]
    with start(*words, tmp_path / "out", mark=mark) as parent:
        run = tmp_path / "out" / "runs"
        wait_for(lambda: len(list(run.glob("*/*/checkpoint.pt"))) == 2, parent)
        assert len(find_marked(mark)) >= 3
        parent.send_signal(number)
        _, said = parent.communicate(timeout=PATIENCE)
        if number == signal.SIGKILL:
            assert parent.returncode == -number
        else:
            assert parent.returncode == 128 + number
            assert said == "counterpoise: stopped; the same command goes on\n"
    wait_for(lambda: not find_marked(mark))
    assert main([str(word) for word in [*words, tmp_path / "out"]]) == 0
    assert main([str(word) for word in [*words, tmp_path / "alone"]]) == 0
    assert lines_of(tmp_path / "out") == lines_of(tmp_path / "alone")
    left = [path.name for path in tmp_path.rglob(".*")]
    assert left == [], "drafts and locks"


def test_a_second_interrupt_is_quiet(mark: str, tmp_path: Path) -> None:
    words = ["compare", "digits", "--methods", "joint,multi-loss", "--seeds", 1, "--jobs", 2]
    words += ["--epochs", 200, "--width", 8, "--quiet", "--out", tmp_path / "out"]
    with start(*words, mark=mark) as parent:
        run = tmp_path / "out" / "runs"
        wait_for(lambda: len(list(run.glob("*/*/checkpoint.pt"))) == 2, parent)
        for _ in range(4):
            os.killpg(parent.pid, signal.SIGINT)
            time.sleep(0.01)
        _, said = parent.communicate(timeout=PATIENCE)
    assert parent.returncode in (130, -signal.SIGINT)
    assert said in ("", "counterpoise: stopped; the same command goes on\n")
    wait_for(lambda: not find_marked(mark))


def test_an_interrupt_at_any_moment_is_quiet(tmp_path: Path) -> None:
    """Also while modules are imported."""
    for k in range(30):
        with start("train", "digits", "--epochs", 1, "--quiet", "--out", tmp_path / str(k)) as one:
            time.sleep(0.03 + 0.08 * k)
            one.send_signal(signal.SIGINT)
            _, said = one.communicate(timeout=PATIENCE)
        # The first line is Python's own start, before a line of ours has run.
        if "Traceback" in said and "counterpoise" not in said:
            continue
        assert "Traceback" not in said, (k, said)
        assert one.returncode in (0, 130, -signal.SIGINT), (k, one.returncode, said)
        assert said.count("\n") <= 1


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        *((f"ulimit -v {n}", "used up") for n in (600_000, 900_000, 1_200_000)),
        *((f"ulimit -n {n}", "too many files|used up") for n in (8, 12, 20)),
    ],
)
def test_what_the_machine_does_not_give_is_one_line(limits: str, said: str, tmp_path: Path) -> None:
    words = ["compare", "digits", "--methods", "joint,unimodal", "--jobs", 2, "--seeds", 1]
    words += ["--epochs", 1, "--quiet", "--out", tmp_path / "out"]
    with start(*words, limits=limits) as process:
        _, err = process.communicate(timeout=PATIENCE)
    if process.returncode == 0:
        return  # it was enough
    assert "Traceback" not in err, err[-2000:]
    if process.returncode < 0 or process.returncode in (1, 134, 139):
        # A library that got no memory ended the process itself, as OpenBLAS and jemalloc do.
        assert re.search("bad_alloc|OpenBLAS|jemalloc|" + said, err), (process.returncode, err)
        return
    assert process.returncode == 2, (process.returncode, err[-2000:])
    assert re.search(said, err.splitlines()[-1]), err
