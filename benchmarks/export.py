"""Latency and throughput of exported files: a subset against the whole, ONNX Runtime, PyTorch."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table as Sheet

import counterpoise as cp
from counterpoise.deploy.export.exported import feed_all
from counterpoise.deploy.export.exporting import export, make_standalone, open_exported
from counterpoise.deploy.export.files import to_arrays
from counterpoise.deploy.export.verify import race

SETTINGS: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {
    "small": {
        "audio": ("cnn1d", (40, 48)),
        "image": ("cnn2d", (28, 28)),
        "inertial": ("cnn1d", (6, 100)),
    },
    "ResNet-18": {
        "audio": ("resnet18", (1, 128, 128)),
        "video": ("resnet18", (3, 3, 96, 96)),
    },
}
ROUNDS = {("small", 1): 300, ("small", 32): 60, ("ResNet-18", 1): 30, ("ResNet-18", 32): 5}
RATIOS = (
    ("ONNX Runtime, audio", "PyTorch, audio"),
    ("ONNX Runtime, whole", "PyTorch, whole"),
    ("ONNX Runtime, audio", "ONNX Runtime, whole"),
    ("PyTorch, audio", "PyTorch, whole"),
    ("torch.export, audio", "PyTorch, audio"),
    ("ONNX Runtime, audio, half", "ONNX Runtime, audio"),
)
FILES = {
    "ONNX Runtime, whole": ("whole.onnx", None, False),
    "ONNX Runtime, audio": ("audio.onnx", ["audio"], False),
    "ONNX Runtime, audio, half": ("half.onnx", ["audio"], True),
    "torch.export, audio": ("audio.pt2", ["audio"], False),
}


def make_predictor(setting: str) -> cp.Predictor:
    """A model with random weights, which take as long as trained ones."""
    generator, parts = np.random.default_rng(0), SETTINGS[setting]
    inputs = {m: generator.normal(size=(60, *s)).astype(np.float32) for m, (_, s) in parts.items()}
    data = cp.ArrayData(inputs, np.arange(60) % 6, name=setting)
    model = cp.build_model(data, encoders={m: label for m, (label, _) in parts.items()})
    return cp.Run(model.eval(), cp.build_method("joint"), cp.Settings(), data.task).predictor(
        data=data
    )


def measure(setting: str, quick: bool) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Seconds of every contestant, in turn; and the bytes of each file."""
    predictor, found = make_predictor(setting), []
    whole, audio = make_standalone(predictor, None), make_standalone(predictor, ["audio"])
    with tempfile.TemporaryDirectory() as folder:
        runs, sizes = {}, {}
        for name, (file, modalities, half) in FILES.items():
            facts = export(predictor, Path(folder) / file, modalities=modalities, half=half)
            runs[name], sizes[name] = open_exported(Path(folder) / file).run, facts["bytes"]
    sizes["PyTorch, whole"] = sum(4 * p.numel() for p in predictor.model.parameters())
    for rows in (1, 32):
        inputs = whole.draw(rows)
        inputs |= {f"{m}.present": torch.ones(rows, dtype=torch.bool) for m in whole.names}
        calls: dict[str, Callable[[], object]] = {
            name: partial(run, to_arrays(inputs if "whole" in name else {"audio": inputs["audio"]}))
            for name, run in runs.items()
        }
        calls["PyTorch, whole"] = partial(feed_all, whole, inputs)
        calls["PyTorch, audio"] = partial(feed_all, audio, {"audio": inputs["audio"]})
        # One thread's own processor time leaves out what it waited for other processes.
        seconds = race(calls, 3 if quick else ROUNDS[setting, rows], time.process_time)
        times = {name: np.array(values) for name, values in seconds.items()}
        found += [compare(setting, rows, times, *pair) for pair in RATIOS]
        for name, values in times.items():
            middle, slow = np.quantile(values, (0.5, 0.99)).tolist()
            found.append(
                {"encoders": setting, "rows": rows, "contestant": name}
                | {"ms": 1e3 * middle, "p99": 1e3 * slow, "rows a second": rows / middle}
            )
    return found, sizes


def compare(
    setting: str, rows: int, times: dict[str, np.ndarray[Any, Any]], name: str, reference: str
) -> dict[str, Any]:
    """The median over the rounds of the ratio within a round, and its quartiles."""
    low, middle, high = np.quantile(times[name] / times[reference], (0.25, 0.5, 0.75)).tolist()
    ratio = {"name": name, "reference": reference, "measured": middle, "quartiles": [low, high]}
    return {"encoders": setting, "rows": rows, **ratio}


def show(record: dict[str, Any], markdown: bool) -> None:
    style, console = {"box": box.MARKDOWN if markdown else box.SIMPLE}, Console(width=140)
    sheet = Sheet("encoders", "rows at once", "time", "measured", "quartiles", **style)
    for row in (r for r in record["figures"] if "measured" in r):
        low, high = row["quartiles"]
        what = f"{row['name']} / {row['reference']}"
        words = (row["encoders"], str(row["rows"]), what, f"{row['measured']:.3f}")
        sheet.add_row(*words, f"{low:.2f} - {high:.2f}")
    console.print(sheet)
    heads = ("encoders", "contestant", "MiB", "ms of 1", "p99", "ms of 32", "rows a second")
    sheet = Sheet(*heads, **style)
    steps = [r for r in record["figures"] if "contestant" in r]
    for row in (r for r in steps if r["rows"] == 1):
        key = row["encoders"], row["contestant"]
        many = next(r for r in steps if (r["encoders"], r["contestant"]) == key and r["rows"] == 32)
        size = record["bytes"][row["encoders"]].get(row["contestant"])
        figures = [f"{row['ms']:.2f}", f"{row['p99']:.2f}", f"{many['ms']:.1f}"]
        sheet.add_row(
            *key,
            "" if size is None else f"{size / 2**20:.2f}",
            *figures,
            f"{many['rows a second']:,.0f}",
        )
    console.print(sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--quick", action="store_true", help="only shows that everything runs")
    parser.add_argument("--markdown", action="store_true", help="print tables for documents")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {
        "torch": str(torch.__version__),
        "machine": platform.machine(),
        "bytes": {},
        "figures": [],
    }
    for setting in SETTINGS:
        figures, record["bytes"][setting] = measure(setting, options.quick)
        record["figures"] += figures
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    show(record, options.markdown)


if __name__ == "__main__":
    main()
