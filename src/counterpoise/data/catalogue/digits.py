"""Digits: written ones of scikit-learn, each with a spoken one, embedded in the package."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.tasks import Classification
from counterpoise.data.arrays import ArrayData
from counterpoise.data.dataset import Dataset
from counterpoise.errors import InputError

from .base import DatasetEntry
from .standardise import standardise

FILE = Path(__file__).with_name("digits.npz")

# The row where each writer's form begins, seen from the order of the labels, which is the same in
# all of them (make_digits.check_forms).
FORMS = (0, 130, 256, 386, 516, 646, 776, 906, 1029, 1157, 1287, 1415, 1545, 1667)
WRITERS = {"train": range(8), "validation": range(8, 11), "test": range(11, 14)}


def form_of(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The form (so the writer) that images come from: rows [N] -> 0..13."""
    return np.searchsorted(np.asarray(FORMS), rows, side="right") - 1


def digits() -> ArrayData:
    """1,797 written digits, each with a spoken one in babble; nothing to download.

    * ``image`` [8, 8]: scikit-learn's handwritten digits (UCI, Alpaydin and Kaynak).
    * ``audio`` [32, 32]: log-mel power (32 filters, 32 frames) of the digit synthesised by
      espeak-ng, with four other utterances behind it; the weaker modality.

    Training has 1,029 samples, validation 386, test 382. No writer's image, no voice variant and
    no utterance, babble included, is in two splits; ``groups`` are the writers' forms. Both
    modalities are standardised by one mean and one standard deviation over the training samples.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    stored = read_file(FILE)
    if not np.array_equal(stored["label"], source.target):
        raise InputError(
            f"{FILE} was made for other images than scikit-learn's digits are now; "
            "run python -m counterpoise.data.catalogue.make_digits"
        )
    forms = form_of(np.arange(len(source.target)))
    split = np.full(len(forms), "train", dtype="<U10")
    for part, members in WRITERS.items():
        split[np.isin(forms, members)] = part
    train = split == "train"
    return ArrayData(
        {
            "image": standardise(source.images, train),
            "audio": standardise(stored["audio"], train),
        },
        source.target,
        task=Classification(10),
        split=split,
        groups=forms,
        name="digits",
        scaled=True,
    )


def read_file(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file made by ``make_digits``."""
    try:
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            return {key: file[key] for key in ("audio", "label", "variant", "accent", "espeak")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read {path} ({error}); install counterpoise again") from error


class Digits(DatasetEntry):
    """The digits in the catalogue; :func:`digits` makes them."""

    name = "digits"
    summary = "1,797 written digits, each with a synthetic spoken one; embedded, no download"
    modalities = ("image", "audio")
    licence = "images CC BY 4.0 (UCI, Alpaydin and Kaynak); sound made for this package, MIT"

    def read(self, data_dir: str | Path | None, modalities: tuple[str, ...]) -> Dataset:
        return digits().select(*modalities)
