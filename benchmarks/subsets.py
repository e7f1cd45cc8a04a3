"""What all subsets cost beside one plain pass."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table as Sheet

import counterpoise as cp
from counterpoise.core.loader import Loader

# Encoders, shape of an input, modalities, rows.
SETTINGS: dict[str, tuple[str | None, tuple[int, ...], int, int]] = {
    "series [3, 64]": (None, (3, 64), 10, 2048),
    "pictures [1, 28, 28]": (None, (1, 28, 28), 10, 2048),
    "vectors [64]": (None, (64,), 10, 2048),
    "series [3, 64], of two": (None, (3, 64), 2, 2048),
    "ResNet-18, pictures [1, 32, 32]": ("resnet18", (1, 32, 32), 10, 256),
}
SUBSETS = {"accuracy and nll": ["accuracy", "nll"], "all metrics": None}


def make(setting: str) -> tuple[cp.MultimodalModel, cp.ArrayData]:
    """A model with random weights, which take as long as trained ones; all rows are test rows."""
    label, shape, count, rows = SETTINGS[setting]
    generator = np.random.default_rng(0)
    size = rows + 40
    inputs = {
        f"m{k}": generator.normal(size=(size, *shape)).astype(np.float32) for k in range(count)
    }
    split = np.array(["train"] * 20 + ["validation"] * 20 + ["test"] * rows)
    data = cp.ArrayData(inputs, generator.integers(0, 10, size), split=split, name=setting)
    encoders = dict.fromkeys(inputs, label) if label else None
    return cp.build_model(data, encoders=encoders), data


def measure(setting: str, rounds: int) -> list[dict[str, Any]]:
    """Medians of one thread's own processor time, in turn, and of the ratios within a round."""
    model, data = make(setting)
    loader = Loader(data.test, 256)

    def plain() -> None:
        model.eval()
        with torch.no_grad():
            for batch in loader.whole():
                model(batch)

    calls: dict[str, Callable[[], object]] = {"one plain pass": plain}
    for name, metrics in SUBSETS.items():
        calls[name] = lambda m=metrics: cp.evaluate(model, data, metrics=m, subsets="all")
    times: dict[str, list[float]] = {name: [] for name in calls}
    for name in calls:
        calls[name]()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    base = np.array(times["one plain pass"])
    return [
        {"encoders": setting, "subsets": 2 ** len(data.modalities) - 1, "what": name}
        | {"seconds": float(np.median(values)), "ratio": float(np.median(np.array(values) / base))}
        for name, values in times.items()
    ]


def show(record: dict[str, Any], markdown: bool) -> None:
    style = {"box": box.MARKDOWN if markdown else box.SIMPLE}
    sheet = Sheet("encoders", "subsets", "measured", "seconds", "of one plain pass", **style)
    for row in record["figures"]:
        sheet.add_row(
            row["encoders"],
            f"{row['subsets']:,}",
            row["what"],
            f"{row['seconds']:.3f}",
            f"{row['ratio']:.2f}",
        )
    Console(width=140).print(sheet)


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
        "figures": [],
    }
    for setting in SETTINGS:
        record["figures"] += measure(setting, 1 if options.quick else 7)
    options.out.write_text(json.dumps(record, indent=2) + "\n")
    show(record, options.markdown)


if __name__ == "__main__":
    main()
