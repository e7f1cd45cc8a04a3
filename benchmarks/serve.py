"""Requests a second of `counterpoise serve`, and its memory, against calling the model directly."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table as Sheet

CLIENTS, RATE = 8, 200  # at once; requests a second that are wanted of two cores
SHAPES = {"pose": 40, "pulse": 16}


def make_pack(folder: Path) -> Path:
    """A small model of two modalities of 16 and 40 numbers, in ten classes."""
    import counterpoise as cp

    rng = np.random.default_rng(0)
    target = np.arange(2000) % 10
    inputs = {
        name: rng.normal(size=(10, width))[target] + rng.normal(size=(2000, width))
        for name, width in SHAPES.items()
    }
    data = cp.ArrayData(inputs, target, name="benchmark")
    run = cp.fit(cp.build_model(data, "multi-loss"), data, "multi-loss", epochs=3)
    run.save(folder / "pack")
    return folder / "pack"


def make_rows(count: int) -> list[dict[str, Any]]:
    """Rows with both modalities, or one of them."""
    rng = np.random.default_rng(1)
    rows: list[dict[str, Any]] = [
        {name: rng.normal(size=width).round(4).tolist() for name, width in SHAPES.items()}
        for _ in range(count)
    ]
    for k, row in enumerate(rows):
        if k % 3:
            del row[list(SHAPES)[k % 3 - 1]]
    return rows


def describe(seconds: list[float], whole: float) -> dict[str, float]:
    """Requests a second, and milliseconds of the median and of the slowest in a hundred."""
    found = np.array(seconds) * 1000
    p50, p99 = np.quantile(found, [0.5, 0.99])
    return {"rate": len(found) / whole, "p50": float(p50), "p99": float(p99)}


def measure_direct(pack: Path, count: int) -> dict[str, dict[str, float]]:
    """The model without a server: one row a call, and 64 rows a call."""
    import torch

    from counterpoise import Predictor

    torch.set_num_threads(1)
    predictor, rows = Predictor.load(pack), make_rows(256)
    found = {}
    for name, size in (("one row a call", 1), ("64 rows a call", 64)):
        parts = [rows[k * size % 192 :][:size] for k in range(max(20, count // size))]

        def call(part: list[dict[str, Any]]) -> None:
            predictor.predict(part).rows()

        for part in parts[:10]:
            call(part)
        begun, spent = time.perf_counter(), time.process_time()
        seconds = [clock(call, part) for part in parts]
        found[name] = describe(seconds, time.perf_counter() - begun)
        found[name]["cpu"] = 1000 * (time.process_time() - spent) / len(parts)
        found[name]["rows"] = found[name]["rate"] * size
    return found


def clock(call: Callable[[Any], object], value: Any) -> float:
    begun = time.perf_counter()
    call(value)
    return time.perf_counter() - begun


def run_clients(port: int, count: int, rate: float) -> dict[str, float]:
    """So many requests by ``CLIENTS`` clients that keep their connections.

    Args:
        port: of the server.
        count: of requests in all.
        rate: a second, which begin on time whether earlier ones were answered or not; 0: each
            client asks again as soon as it has its answer.
    """
    bodies = [json.dumps({"rows": [row]}).encode() for row in make_rows(256)]
    seconds: list[list[float]] = [[] for _ in range(CLIENTS)]
    begun = time.perf_counter() + 0.2

    def ask(place: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for k in range(place, count, CLIENTS):
            start = begun + k / rate if rate else time.perf_counter()
            time.sleep(max(0.0, start - time.perf_counter()))
            kind = {"Content-Type": "application/json"}
            connection.request("POST", "/predict", bodies[k % len(bodies)], kind)
            answer = connection.getresponse()
            assert b"label" in answer.read() and answer.status == 200
            seconds[place].append(time.perf_counter() - start)
        connection.close()

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return describe([x for part in seconds for x in part], time.perf_counter() - begun)


def read_metric(port: int, name: str) -> float:
    """What the server counts under a name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    line = next(x for x in text.splitlines() if x.startswith(f"{name} "))
    return float(line.split()[1])


def measure_server(pack: Path, count: int) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Clients as fast as they can, and at ``RATE``; and memory as requests go by."""
    words = [sys.executable, "-m", "counterpoise", "serve", str(pack), "--port", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    port = int(server.stdout.readline().split(":")[-1].split()[0])

    def clients(requests: int, rate: float = 0) -> dict[str, float]:
        asked = [sys.executable, __file__, "--clients", str(port), str(requests), str(rate)]
        spent = read_metric(port, "process_cpu_seconds_total")
        done = subprocess.run(asked, capture_output=True, text=True, check=True)
        found: dict[str, float] = json.loads(done.stdout)
        spent = read_metric(port, "process_cpu_seconds_total") - spent
        return found | {"cpu": 1000 * spent / requests}

    def memory() -> float:
        return read_metric(port, "process_resident_memory_bytes") / 2**20

    try:
        clients(max(100, count // 10))  # warms up
        held = {"after the warm-up": memory()}
        found = {
            f"{CLIENTS} clients, {RATE} a second": clients(max(200, count // 5), RATE),
            f"{CLIENTS} clients, as fast as they can": clients(count),
        }
        held[f"after {count:,} requests more"] = memory()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        server.stdout.close()
    return found, held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("serve.json"))
    parser.add_argument("--quick", action="store_true", help="only shows that everything runs")
    parser.add_argument("--markdown", action="store_true", help="print a table for documents")
    parser.add_argument("--clients", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.clients:
        port, count, rate = options.clients
        print(json.dumps(run_clients(int(port), int(count), float(rate))))
        return
    count = 200 if options.quick else 10_000
    with tempfile.TemporaryDirectory() as folder:
        pack = make_pack(Path(folder))
        direct = measure_direct(pack, count // 5)
        served, memory = measure_server(pack, count)
    record = {"direct": direct, "served": served, "memory_mib": memory, "cores": os.cpu_count()}
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    sheet = Sheet(box=box.MARKDOWN if options.markdown else box.SIMPLE)
    for title in ("", "requests / s", "p50, ms", "p99, ms", "own processor, ms"):
        sheet.add_column(title, justify="right" if title else "left", no_wrap=True)
    for name, row in {**{f"direct, {k}": v for k, v in direct.items()}, **served}.items():
        figures = (f"{row[key]:.1f}" for key in ("p50", "p99", "cpu"))
        sheet.add_row(name, f"{row['rate']:,.0f}", *figures)
    console = Console(width=120 if options.markdown else None)
    console.print(sheet)
    console.print("memory: " + ", ".join(f"{v:.1f} MiB {k}" for k, v in memory.items()))


if __name__ == "__main__":
    main()
