"""CMU-MOSI as the field distributes it: features of words, voice and face, and a sentiment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from counterpoise.data.preparation.table import Bad, Row, Table
from counterpoise.data.readers.base import existing
from counterpoise.data.readers.hdf5 import open_hdf5
from counterpoise.errors import InputError

from .base import DatasetEntry
from .features import PARTS, cells, columns, first_file, sentiment_rows, sentiment_table

FILES = (
    "mosi_data.pkl",
    "aligned_50.pkl",
    "mosi_data_noalign.pkl",
    "unaligned_50.pkl",
    "mosi_raw.pkl",
)
STACKED = {"text": slice(0, 300), "audio": slice(300, 305), "visual": slice(305, 325)}
NEEDS = (
    "one of the feature files mosi_data.pkl, aligned_50.pkl, mosi_data_noalign.pkl, "
    "unaligned_50.pkl and mosi_raw.pkl, or the six files X_train.h5, y_train.h5, X_valid.h5, ..."
)


def cmu_mosi(raw: Path, name: str = "cmu-mosi", two: bool = False) -> Table:
    """The utterances of the official folds, grouped by source video where the file names it."""
    bad: list[Bad] = []
    if (raw / "X_train.h5").is_file():
        rows = _read_stacked(raw, bad)
    else:
        rows = sentiment_rows(first_file(raw, FILES, NEEDS, "Processed"), bad)
    return sentiment_table(name, rows, bad, two)


def _read_stacked(raw: Path, bad: list[Bad]) -> Iterator[Row]:
    """The files of the memory fusion network: [N, 20, 325] and [N], which name no video."""
    for part, split in PARTS.items():
        found = {k: _read_array(raw / f"{k}_{part}.h5") for k in ("X", "y")}
        features, targets = columns(f"{raw}, {part}", found, ("X", "y"))
        if features.ndim != 3 or features.shape[2] != 325:
            raise InputError(
                f"{raw / f'X_{part}.h5'} must hold [N, T, 325], found {list(features.shape)}"
            )
        for k, target in enumerate(targets):
            name = f"{split}-{k}"
            values = cells({m: features[k, :, s] for m, s in STACKED.items()}, name, bad)
            if values is not None:
                yield Row(name, target, values, split)


def _read_array(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    try:
        with open_hdf5(existing(path)) as file:
            return np.asarray(file["data"][()], dtype=np.float32)
    except InputError:
        raise
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be read as HDF5 with 'data' ({error})") from None


class CmuMosi(DatasetEntry):
    """CMU-MOSI in the catalogue; :func:`cmu_mosi` reads its files."""

    name = "cmu-mosi"
    summary = "CMU-MOSI: 2,199 spoken opinions, sentiment from -3 to 3: text, voice, face features"
    modalities = ("text", "audio", "visual")
    licence = "for research; the videos belong to their makers (Zadeh et al., 2016)"
    source = "http://multicomp.cs.cmu.edu/resources/cmu-mosi-dataset/"
    size = "some 150 MB to 1 GB, by file"
    raw = NEEDS
    two: ClassVar[bool] = False  # classes, by the side of 0

    def table(self, raw: Path) -> Table:
        return cmu_mosi(raw, self.name, self.two)


class CmuMosi2(CmuMosi):
    """CMU-MOSI in two classes in the catalogue; :func:`cmu_mosi` reads its files."""

    name = "cmu-mosi-2"
    summary = "CMU-MOSI as two classes: negative, and all others"
    two = True
