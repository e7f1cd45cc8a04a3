"""Memory of several runs at a time, against one; and with a copy of the data in each."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

MIB = 1 << 20
ROWS = 4_000
# What a comparison without shared memory does: each process gets a copy of all arrays.
COPIED = (
    "import sys; from counterpoise.core import sharing; sharing.LARGE = 1 << 62; "
    "from counterpoise.cli.main import main; sys.exit(main())"
)
SHARED = "import sys; from counterpoise.cli.main import main; sys.exit(main())"


def write_data(path: Path, size: int) -> None:
    """Two modalities of vectors, float32, of so many MiB together."""
    rng = np.random.default_rng(0)
    width = size * MIB // 4 // ROWS // 2
    arrays = {name: rng.standard_normal((ROWS, width), dtype=np.float32) for name in "ab"}
    np.savez(path, target=np.arange(ROWS) % 3, **arrays)


def find_descendants(root: int) -> list[int]:
    """The processes that a process has started, and those that these have, and itself."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for process in found:
        found += parents.get(process, [])
    return found


def find_pss(process: int) -> int:
    """Bytes of a process, what it shares with others divided by their number."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def measure(data: Path, out: Path, jobs: int, program: str) -> float:
    """MiB of all processes of a comparison together, at their fullest moment."""
    words = ["compare", str(data), "--methods", "joint", "--seeds", str(max(jobs, 2))]
    words += ["--epochs", "3", "--width", "16", "--batch-size", "256", "--jobs", str(jobs)]
    words += ["--quiet", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", program, *words], env=environment) as run:
        most = 0
        while run.poll() is None:
            most = max(most, sum(map(find_pss, find_descendants(run.pid))))
            time.sleep(0.2)
    if run.returncode:
        raise SystemExit(f"compare ended with {run.returncode}")
    return most / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only show that everything runs")
    parser.add_argument("--size", type=int, default=400, help="MiB of the data, %(default)s")
    parser.add_argument("--jobs", type=int, default=8, help="runs at a time, %(default)s")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    size, jobs = (16, 2) if options.quick else (options.size, options.jobs)
    cases = {
        "1 job": (1, SHARED),
        f"{jobs} jobs": (jobs, SHARED),
        f"{jobs} jobs, each with a copy": (jobs, COPIED),
    }
    found: dict[str, float] = {"data, MiB": size}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        write_data(data, size)
        for number, (name, (count, program)) in enumerate(cases.items()):
            found[name] = measure(data, Path(folder) / str(number), count, program)
            print(f"{name}: {found[name]:.0f} MiB", flush=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
