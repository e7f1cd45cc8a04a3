"""Whole comparisons on Ray: their records, lost workers and machines, interrupts and kills."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from toy import toy_data

from counterpoise import Settings
from counterpoise.cli.main import main
from counterpoise.compare.compare import compare
from counterpoise.compare.recipe import Recipe
from counterpoise.compare.run import Watch
from counterpoise.core.executors import Executor, Here
from counterpoise.core.on_ray import OnRay
from counterpoise.core.ray_cluster import _environment, choose_base, import_ray, open_cluster
from counterpoise.report import records

pytestmark = pytest.mark.slow
START = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "import sys; sys.argv[0] = 'counterpoise'; "
    "from counterpoise.__main__ import run; sys.exit(run())"
)
MARK = "COUNTERPOISE_TEST_MARK"
PATIENCE = 120.0
WORDS = ["compare", "digits", "--methods", "joint,multi-loss", "--seeds", "1", "--width", "8"]
WORDS += ["--epochs", "8", "--batch-size", "64", "--quiet", "--out"]
STOPPED = "counterpoise: stopped; the same command goes on\n"


def start(*words: object, mark: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", START, *map(str, words)],
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


def find_marked(mark: str, title: bytes = b"") -> list[int]:
    """The processes with a mark in their environment, and with a title."""
    word = f"{MARK}={mark}".encode()
    return [int(place.name) for place in Path("/proc").glob("[0-9]*") if _has(place, word, title)]


def _has(place: Path, word: bytes, title: bytes) -> bool:
    try:
        status = (place / "stat").read_text().rpartition(")")[2].split()[0]
        marked = word in (place / "environ").read_bytes()  # Ray writes its titles over the start
        return status != "Z" and marked and title in (place / "cmdline").read_bytes()
    except OSError:  # it has ended
        return False


@pytest.fixture
def mark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = re.sub(r"\W", "-", request.node.name) + str(os.getpid())
    yield name
    for number in find_marked(name):
        os.kill(number, signal.SIGKILL)


def lines_of(folder: Path) -> list[dict[str, object]]:
    """The records of a comparison without what depends on time, in one order."""
    times = ("seconds", "processor")
    kept = [line for line in records.read(folder / "records.jsonl") if line["metric"] not in times]
    return sorted(kept, key=lambda line: repr(sorted(line.items())))


def leftovers() -> list[Path]:
    return list(choose_base().glob(".cp-ray.*"))


def workers_of(parent: int) -> list[int]:
    """The processes of this one's cluster that carry out a run."""
    found, known = [], {parent}
    for number in sorted(int(place.name) for place in Path("/proc").glob("[0-9]*")):
        try:
            stat = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            title = Path(f"/proc/{number}/cmdline").read_bytes()
        except OSError:
            continue
        if int(stat[1]) in known:
            known.add(number)
            if b"_carry_out" in title and stat[0] != "Z":
                found.append(number)
    return found


EPOCHS = 50


def compare_toy(out: Path, place: Executor, watch: Watch | None = None) -> None:
    """Two runs on data in memory."""
    recipe = Recipe("in memory", settings=Settings(epochs=EPOCHS, batch_size=8), width=8)
    compare(recipe, ["joint", "multi-loss"], [0], out, jobs=place, watch=watch, data=toy_data())


@pytest.fixture(scope="module")
def toy_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """These two runs, one after the other in this process."""
    out = tmp_path_factory.mktemp("here") / "out"
    compare_toy(out, Here())
    return out


def check_heard(heard: Counter[str]) -> None:
    """A run that was begun anew would have had all epochs, and those before the kill."""
    assert all(EPOCHS - 2 <= count <= EPOCHS + 2 for count in heard.values()), heard


class Kills(Watch):
    """Kills both workers after some epochs of the first run; counts the epochs of each."""

    def __init__(self) -> None:
        self.heard: Counter[str] = Counter()
        self.killed: list[int] = []

    def on_epoch(self, label: str, seed: int) -> None:
        self.heard[label] += 1
        if not self.killed and min(self.heard["joint"], self.heard["multi-loss"]) >= 5:
            self.killed = workers_of(os.getpid())
            for number in self.killed[:1]:
                os.kill(number, signal.SIGKILL)


def test_a_killed_worker_changes_no_record(
    toy_here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    watch = Kills()
    compare_toy(tmp_path / "ray", OnRay(), watch)
    assert capfd.readouterr() == ("", "")
    assert len(watch.killed) == 2, "two runs at a time"
    assert all(not _has(Path(f"/proc/{number}"), b"", b"ray") for number in watch.killed)
    assert lines_of(tmp_path / "ray") == lines_of(toy_here)
    check_heard(watch.heard)
    assert not leftovers()


class Loses(Watch):
    """Takes a machine from a cluster in the middle of its run."""

    def __init__(self, lose: Callable[[], None]) -> None:
        self.heard: Counter[str] = Counter()
        self._lose, self.lost = lose, False

    def on_epoch(self, label: str, seed: int) -> None:
        self.heard[label] += 1
        if not self.lost and min(self.heard["joint"], self.heard["multi-loss"]) >= 5:
            self.lost = True
            self._lose()


def test_a_lost_machine_of_a_cluster_changes_no_record(
    toy_here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two machines, which are processes of this one with a core each."""
    with _environment(None):
        import_ray(None)
        from ray.cluster_utils import Cluster

        # It writes its address there, whether the folder is there or not.
        base = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
        (Path(base) / "ray").mkdir(exist_ok=True)
        folder = tempfile.mkdtemp(prefix="cp", dir=choose_base())  # sockets need short names
        head = {"num_cpus": 1, "temp_dir": folder}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            second = cluster.add_node(num_cpus=1)
            place = OnRay(cluster.address)
            watch = Loses(lambda: cluster.remove_node(second, allow_graceful=False))
            capfd.readouterr()
            compare_toy(tmp_path / "ray", place, watch)
            assert capfd.readouterr() == ("", "")
            assert cluster.head_node.all_processes, "it is not ours to stop"
        finally:
            cluster.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
    assert watch.lost
    check_heard(watch.heard)
    assert lines_of(tmp_path / "ray") == lines_of(toy_here)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The comparison of ``WORDS``, in one process without an interrupt."""
    out = tmp_path_factory.mktemp("alone") / "out"
    assert main([*WORDS, str(out)]) == 0
    return out


@pytest.mark.parametrize("first", ["ray", "processes"])
def test_what_was_interrupted_goes_on_elsewhere(
    first: str, mark: str, alone: Path, tmp_path: Path
) -> None:
    ray, processes = ["--on", "ray"], ["--jobs", "2"]
    before, after = (ray, processes) if first == "ray" else (processes, ray)
    with start(*WORDS, tmp_path / "out", *before, mark=mark) as parent:
        run = tmp_path / "out" / "runs"
        wait_for(lambda: any(run.glob("*/*/checkpoint.pt")), parent)
        assert len(find_marked(mark)) >= 3
        os.killpg(parent.pid, signal.SIGINT)
        printed, said = parent.communicate(timeout=PATIENCE)
    assert (parent.returncode, printed, said) == (130, "", STOPPED)
    assert not list(records.read(tmp_path / "out" / "records.jsonl"))
    wait_for(lambda: not find_marked(mark))
    assert not leftovers()
    assert main([*WORDS, str(tmp_path / "out"), *after]) == 0
    assert lines_of(tmp_path / "out") == lines_of(alone)
    assert [path.name for path in tmp_path.rglob(".*")] == [], "drafts and locks"


def test_all_of_it_ends_with_a_killed_driver(mark: str, tmp_path: Path) -> None:
    with start(*WORDS, tmp_path / "out", "--on", "ray", mark=mark) as parent:
        run = tmp_path / "out" / "runs"
        wait_for(lambda: any(run.glob("*/*/checkpoint.pt")), parent)
        assert len(find_marked(mark)) >= 7
        parent.kill()
        parent.communicate(timeout=PATIENCE)
    wait_for(lambda: not find_marked(mark))
    assert leftovers(), "nobody could remove them"
    with open_cluster(None, False, 0):
        assert len(leftovers()) == 1, "the next one does, and has its own"
    assert not leftovers()


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "ray.md").read_text()
    command = re.search(r"^counterpoise (compare digits .*--on ray.*)$", page, re.MULTILINE)
    assert command
    monkeypatch.chdir(tmp_path)
    assert main(command[1].split()) == 0
    assert (tmp_path / "runs" / "on-ray" / "report.html").is_file()
