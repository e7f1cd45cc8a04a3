"""Tables of small arrays in files, and a reader of them: for tests of plans and the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.data.preparation.table import Row, Table
from counterpoise.data.readers.base import Reader, Value, existing


@dataclass(frozen=True)
class Saved(Reader):
    """A .npy file as float32, times ``factor``."""

    name = "saved"
    kind = "sequence"
    suffixes = (".npy",)
    factor: float = 1.0

    def read(self, cell: Any) -> Value:
        array = np.load(existing(cell), allow_pickle=False).astype(np.float32)
        return np.asarray(array * np.float32(self.factor))


@dataclass(frozen=True)
class Words(Reader):
    """The lengths of four words, and which are there: a modality of two tensors."""

    name = "words"
    words: int = 0

    def fit(self, cells: Any) -> Words:
        return Words(max(len(cell.split()) for cell in cells))

    def read(self, cell: Any) -> Value:
        lengths = [len(word) for word in cell.split()][: self.words]
        ids = np.zeros(self.words, dtype=np.int64)
        ids[: len(lengths)] = lengths
        return {"ids": ids, "mask": (ids > 0).astype(np.int64)}


@dataclass(frozen=True)
class Pixels(Reader):
    """Bytes from a seed."""

    name = "pixels"
    kind = "image"

    def read(self, cell: Any) -> Value:
        return np.random.default_rng(int(cell)).integers(0, 256, (3, 8, 8)).astype(np.uint8)


def toy_table(folder: Path, count: int = 40, missing: bool = True, **others: Any) -> Table:
    """Three modalities of which some are missing, three classes, ten people."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for k in range(count):
        path = folder / f"{k}.npy"
        np.save(path, rng.normal(size=(3, 12)) + k % 3)
        cells: dict[str, Any] = {"pose": str(path), "text": "a bb ccc"[: 1 + k % 8], "face": k}
        if missing and k % 5 == 0:
            cells["pose"] = None
        if missing and k % 7 == 0:
            del cells["face"]
        rows.append(Row(f"row-{k}", f"class {k % 3}", cells, None, f"person {k % 10}"))
    return Table("toy", rows, {"pose": Saved(), "text": Words(), "face": Pixels()}, **others)
