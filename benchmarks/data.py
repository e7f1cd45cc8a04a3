"""Samples a second from the cache, decoded on the fly and by the model; memory as data grow."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table as Sheet

import counterpoise as cp
from counterpoise.data import DATASETS, Dataset, Row, Split, Table, make_plan, open_cache, prepare
from counterpoise.data.readers.base import Reader, Value

BATCH = 16
SIZES = (1_000, 10_000, 100_000)


# -- speed ------------------------------------------------------------------------------------


def make_clips(raw: Path, clips: int) -> None:
    """Clips in the layout, the sizes and the codecs of CREMA-D, of noise."""
    import av
    import soundfile

    rng = np.random.default_rng(0)
    for folder in ("AudioWAV", "VideoFlash"):
        (raw / folder).mkdir(parents=True)
    frames = rng.integers(0, 256, (8, 45, 60, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    for k in range(clips):
        emotion = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")[k // 12 % 6]
        name = f"{1001 + k % 12}_{chr(65 + k // 72)}FA_{emotion}_XX"
        wave = rng.normal(size=round(2.5 * 16000)) / 8
        soundfile.write(raw / "AudioWAV" / f"{name}.wav", wave, 16000)
        with av.open(str(raw / "VideoFlash" / f"{name}.flv"), "w") as out:
            stream = out.add_stream("flv", rate=30)
            stream.width, stream.height, stream.pix_fmt = 480, 360, "yuv420p"
            for i in range(75):
                frame = av.VideoFrame.from_ndarray(frames[(i // 10 + k) % 8], format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 30)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))


def pace(batches: Callable[[], Iterable[cp.Batch]], seconds: float) -> float:
    """Samples a second over whole epochs, the first left out."""
    for _ in batches():
        pass
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds or count == 0:
        count += sum(len(batch) for batch in batches())
    return count / (time.perf_counter() - start)


def in_memory(data: Dataset) -> Dataset:
    """The same samples as tensors."""
    splits = {}
    for part, split in data.splits.items():
        batch = split[torch.arange(len(split))]
        splits[part] = Split(batch.inputs, batch.present, batch.target)
    return Dataset(data.task, splits, data.name, kinds=data.kinds, readers=data.readers)


def speed(clips: int, seconds: float, steps: int) -> dict[str, float]:
    """Samples a second of each source, and of training with ResNet-18 for sound and frames."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder) / "raw", Path(folder) / "out"
        make_clips(raw, clips)
        plan = make_plan(DATASETS["crema-d"]().table(raw))
        start = time.perf_counter()
        cached = prepare(plan, out)
        found["prepare, 1 process"] = len(plan.rows) / (time.perf_counter() - start)
        sources = {"memory": in_memory(cached), "cache": cached, "on the fly": plan.live()}
        found["KiB a sample"] = plan.bytes() / len(plan.rows) / 1024
        for name, data in sources.items():
            loader = cp.Loader(data.train, BATCH, shuffle=True)
            found[f"read, {name}"] = pace(lambda loader=loader: loader.epoch(0), seconds)
        encoders = {"audio": "resnet18", "visual": "resnet18:crop=224"}
        model = cp.build_model(cached, "joint", encoders=encoders)
        found |= training(model, sources, steps)
    return found


def training(
    model: cp.MultimodalModel, sources: dict[str, Dataset], steps: int
) -> dict[str, float]:
    """Samples a second of joint training from each source, which take turns."""
    method, times = cp.build_method("joint"), dict.fromkeys(sources, 0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    model.train()
    for turn in range(-1, steps):
        for name, data in sources.items():
            loader = cp.Loader(data.train, BATCH, shuffle=True)
            ctx = cp.Context(model, optimizer, data.task, {"train": loader}, epochs=steps + 1)
            method.setup(ctx)
            start, count = time.perf_counter(), 0
            for batch in ctx.epoch_batches(turn + 1):
                method.step(batch, ctx)
                count += len(batch)
                if count >= 2 * BATCH:
                    break
            if turn >= 0:  # the first turn warms up
                times[name] += (time.perf_counter() - start) / count
    return {f"train, {name}": steps / total for name, total in times.items()}


# -- memory -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn(Reader):
    """Random numbers keyed by the cell: a spectrogram or a small picture."""

    name = "drawn"
    picture: bool = False

    def read(self, cell: Any) -> Value:
        rng = np.random.default_rng(int(cell))
        if self.picture:
            return rng.integers(0, 256, (3, 48, 48), dtype=np.uint8)
        return rng.standard_normal((1, 64, 32), dtype=np.float32)


class Peak:
    """The most memory of this process' own (not that of mapped files) while it runs, in MiB."""

    def __enter__(self) -> Peak:
        self.own = self.files = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.look()

    def look(self) -> None:
        status = Path("/proc/self/status").read_text().splitlines()
        kib = {w[0]: int(w[1]) for w in map(str.split, status) if w and w[0].startswith("Rss")}
        self.own = max(self.own, kib["RssAnon:"] / 1024)
        self.files = max(self.files, kib["RssFile:"] / 1024)


def fill(folder: Path, count: int) -> None:
    rows = [Row(str(k), f"class {k % 10}", {"sound": k, "face": k}) for k in range(count)]
    table = Table("drawn", rows, {"sound": Drawn(), "face": Drawn(picture=True)})
    prepare(make_plan(table), folder)


def pass_over(folder: Path, source: str) -> dict[str, float]:
    """One shuffled epoch of training with small encoders; the most memory that it took."""
    with Peak() as peak:
        data = open_cache(folder)
        data = in_memory(data) if source == "memory" else data
        model = cp.build_model(data, "joint", width=16)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        loader = cp.Loader(data.train, 64, shuffle=True)
        method = cp.build_method("joint")
        ctx = cp.Context(model, optimizer, data.task, {"train": loader})
        method.setup(ctx)
        start, count = time.perf_counter(), 0
        for batch in ctx.epoch_batches(0):
            if count < 64 * 15:  # some steps of training; the whole epoch is read
                method.step(batch, ctx)
            count += len(batch)
        peak.look()
        seconds = time.perf_counter() - start
    return {"own": peak.own, "files": peak.files, "samples": count, "seconds": seconds}


def memory(sizes: Iterable[int]) -> list[dict[str, Any]]:
    """Each size and source in a process of its own."""
    found = []
    for count in sizes:
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder) / "out", count)
            size = sum(p.stat().st_size for p in (Path(folder) / "out").glob("*.arrow"))
            for source in ("cache", "memory"):
                words = [sys.executable, __file__, "--pass-over", folder + "/out", source]
                output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
                found.append({"rows": count, "source": source, "MiB on disk": size / 2**20})
                found[-1] |= json.loads(output.splitlines()[-1])
    return found


# -- both -------------------------------------------------------------------------------------


def sheets(record: dict[str, Any], markdown: bool) -> list[Sheet]:
    style = {"box": box.MARKDOWN if markdown else box.SIMPLE}
    pace = Sheet("what", "samples a second", "times the model", **style)
    model = record["speed"]["train, memory"]
    for name, value in record["speed"].items():
        if name != "KiB a sample":
            pace.add_row(name, f"{value:.1f}", f"{value / model:.2f}")
    grown = Sheet("samples", "on disk, MiB", "source", "own memory, MiB", "of files, MiB", **style)
    for row in record["memory"]:
        cells = [f"{row['rows']:,}", f"{row['MiB on disk']:.0f}", row["source"]]
        grown.add_row(*cells, f"{row['own']:.0f}", f"{row['files']:.0f}")
    return [pace, grown]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("data.json"))
    parser.add_argument("--quick", action="store_true", help="only shows that everything runs")
    parser.add_argument("--markdown", action="store_true", help="print tables for documents")
    parser.add_argument("--pass-over", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.pass_over:
        print(json.dumps(pass_over(Path(options.pass_over[0]), options.pass_over[1])))
        return
    if options.quick:
        record = {"speed": speed(24, 0.1, 1), "memory": memory((100, 200))}
    else:
        record = {"speed": speed(120, 10, 6), "memory": memory(SIZES)}
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    for sheet in sheets(record, options.markdown):
        Console(width=120 if options.markdown else None).print(sheet)


if __name__ == "__main__":
    main()
