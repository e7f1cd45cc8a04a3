"""Rows a second of `prepare` for tables of numbers and texts, and its memory, beside pandas."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table as Sheet

SIZES = (125_000, 1_000_000)
WORDS = ("the", "cat", "ran", "sat", "quick", "slow", "bright", "dark", "warm", "cold", "day")
NUMBERS = ("x1", "x2", "x3", "x4")


def write(path: Path, rows: int) -> None:
    """A CSV table: an id, four numbers, a text of some 90 characters, a class."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        file.write(f"id,{','.join(NUMBERS)},text,target\n")
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            values = rng.normal(size=(count, 4)).round(4).astype(str)
            chosen = rng.integers(len(WORDS), size=(count, 18))
            for k in range(count):
                text = " ".join(WORDS[w] for w in chosen[k])
                numbers = ",".join(values[k])
                file.write(f'r{start + k},{numbers},"{text}, {k % 7} times",{"abc"[k % 3]}\n')


def measure(path: Path, how: str) -> dict[str, float]:
    """Seconds and the most memory of one way to read a table, in this process."""
    from data import Peak

    from counterpoise.data import make_plan, prepare, read_manifest

    found: dict[str, float] = {}
    with Peak() as peak:
        peak.look()
        found["before"] = peak.own
        start = time.perf_counter()
        if how == "pandas":
            import pandas

            frame = pandas.read_csv(path)
            assert len(frame)
        else:
            table = read_manifest(path, modalities=[*NUMBERS, "text"])
            found["read"] = time.perf_counter() - start
            plan = make_plan(table)
            found["planned"] = time.perf_counter() - start
            prepare(plan, path.parent / "out")
        peak.look()
        found["seconds"] = time.perf_counter() - start
    return found | {"own": peak.own, "files": peak.files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("tables.json"))
    parser.add_argument("--quick", action="store_true", help="only shows that everything runs")
    parser.add_argument("--markdown", action="store_true", help="print a table for documents")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Path(options.measure[0]), options.measure[1])))
        return
    record: list[dict[str, Any]] = []
    for rows in (1_000, 2_000) if options.quick else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.csv"
            write(path, rows)
            for how in ("prepare", "pandas"):
                words = [sys.executable, __file__, "--measure", str(path), how]
                output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
                record.append({"rows": rows, "how": how, "MiB": path.stat().st_size / 2**20})
                record[-1] |= json.loads(output.splitlines()[-1])
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    style = {"box": box.MARKDOWN if options.markdown else box.SIMPLE}
    heads = ("rows", "table, MiB", "how", "rows a second", "own memory, MiB", "of files, MiB")
    sheet = Sheet(*heads, **style)
    for row in record:
        sheet.add_row(
            f"{row['rows']:,}",
            f"{row['MiB']:.0f}",
            row["how"],
            f"{row['rows'] / row['seconds']:,.0f}",
            f"{row['own']:.0f} ({row['before']:.0f} before)",
            f"{row['files']:.0f}",
        )
    Console(width=120 if options.markdown else None).print(sheet)


if __name__ == "__main__":
    main()
