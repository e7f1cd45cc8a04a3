"""Samples per second with a frozen encoder of the transformers library: in the loop, and cached."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from rich import box
from rich.console import Console
from rich.table import Table as Sheet

import counterpoise as cp
from counterpoise.core.loader import Loader
from counterpoise.data.dataset import Dataset
from counterpoise.deploy.export.verify import race
from counterpoise.encoders import HuggingFace
from counterpoise.training.frozen import FrozenFeatures

BATCH = 32
WAYS = ("trained", "frozen, in the loop", "frozen, memory", "frozen, files")
REFERENCE = "frozen, in the loop"
ROUNDS = {"ViT": 12, "AST": 12, "BERT": 12}
SIZES = {  # of a ViT-Tiny, an AST of its size, and a BERT-Mini
    "ViT": {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3}
    | {"intermediate_size": 768, "image_size": 96, "patch_size": 16},
    "AST": {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3}
    | {"intermediate_size": 768, "num_mel_bins": 64, "max_length": 128},
    "BERT": {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    | {"intermediate_size": 1024, "vocab_size": 30_522},
}


def make_data(name: str) -> Dataset:
    """Noise: the modality of the encoder, and twelve numbers beside it."""
    generator, rows = np.random.default_rng(0), 10 * BATCH
    first: Any = generator.normal(size=(rows, 3, 96, 96)).astype(np.float32)
    if name == "AST":
        first = generator.normal(size=(rows, 64, 128)).astype(np.float32)
    if name == "BERT":
        first = {"input_ids": generator.integers(1, 30_000, size=(rows, 64))}
    beside = generator.normal(size=(rows, 12)).astype(np.float32)
    return cp.ArrayData({"large": first, "numbers": beside}, np.arange(rows) % 6, name=name)


def make_model(name: str, data: Dataset, freeze: bool) -> cp.MultimodalModel:
    """Random weights, which take as long as trained ones."""
    config = getattr(transformers, f"{name if name != 'BERT' else 'Bert'}Config")(**SIZES[name])
    torch.manual_seed(0)
    kind = {"ViT": "ViTModel", "AST": "ASTModel", "BERT": "BertModel"}[name]
    encoder = HuggingFace(getattr(transformers, kind)(config), pool="mean")
    chosen = ["large"] if freeze else []
    return cp.build_model(data, encoders={"large": encoder}, freeze=chosen)


def make_step(name: str, data: Dataset, way: str, folder: Path) -> Callable[[], object]:
    """One training step, as ``fit`` makes it."""
    model, method = make_model(name, data, way != "trained"), cp.build_method("joint")
    seen = data
    if way in WAYS[2:]:
        kept = folder / name if way.endswith("files") else None
        seen = FrozenFeatures(model, data, kept).replace("train")
    loader = Loader(seen.train, BATCH, shuffle=True)
    optimizer = torch.optim.SGD(model.trained_parameters(), 1e-3, 0.9)
    ctx = cp.Context(model, optimizer, data.task, {"train": loader}, epochs=10_000)
    method.setup(ctx)

    def batches() -> Iterator[cp.Batch]:
        for epoch in range(10_000):
            for batch in ctx.epoch_batches(epoch):
                if len(batch) == BATCH:
                    yield batch

    source = batches()
    return lambda: method.step(next(source), ctx)


def measure(name: str, quick: bool, folder: Path) -> list[dict[str, Any]]:
    """Samples a second of each way, in turn, and the ratio within a round."""
    data = make_data(name)
    steps = {way: make_step(name, data, way, folder) for way in WAYS}
    # One thread's own processor time leaves out what it waited for other processes; threads that
    # read ahead are counted, too.
    times = race(steps, 3 if quick else ROUNDS[name], time.process_time)
    seconds = {way: np.array(values) for way, values in times.items()}
    found = []
    for way in WAYS:
        low, middle, high = np.quantile(seconds[REFERENCE] / seconds[way], (0.25, 0.5, 0.75))
        rate = BATCH / float(np.median(seconds[way]))
        ratio = {"times": float(middle), "quartiles": [float(low), float(high)]}
        found.append({"encoder": name, "way": way, "samples a second": rate, **ratio})
    return found


def show(record: dict[str, Any], markdown: bool) -> None:
    style = box.MARKDOWN if markdown else box.SIMPLE
    heads = ("encoder", "way", "samples a second", "times", "quartiles")
    sheet, console = Sheet(*heads, box=style), Console(width=120)
    for row in record["figures"]:
        low, high = row["quartiles"]
        words = (
            f"{row['samples a second']:,.0f}",
            f"{row['times']:.1f}",
            f"{low:.1f} - {high:.1f}",
        )
        sheet.add_row(row["encoder"], row["way"], *words)
    console.print(sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--quick", action="store_true", help="only shows that everything runs")
    parser.add_argument("--markdown", action="store_true", help="print the table for documents")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of modalities that are noise
    record: dict[str, Any] = {"torch": torch.__version__, "machine": platform.machine()}
    with tempfile.TemporaryDirectory() as folder:
        record["figures"] = [
            row for name in SIZES for row in measure(name, options.quick, Path(folder))
        ]
    show(record, options.markdown)
    if not options.quick:
        options.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
