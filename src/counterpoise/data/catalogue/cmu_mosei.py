"""CMU-MOSEI as the field distributes it: features of words, voice and face, and a sentiment."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from counterpoise.data.preparation.table import Bad, Table

from .base import DatasetEntry
from .features import first_file, sentiment_rows, sentiment_table

FILES = (
    "mosei_senti_data.pkl",
    "aligned_50.pkl",
    "mosei_senti_data_noalign.pkl",
    "unaligned_50.pkl",
    "mosei_raw.pkl",
)
NEEDS = (
    "one of the feature files mosei_senti_data.pkl, aligned_50.pkl, mosei_senti_data_noalign.pkl, "
    "unaligned_50.pkl and mosei_raw.pkl"
)


def cmu_mosei(raw: Path, name: str = "cmu-mosei", two: bool = False) -> Table:
    """The utterances of the official folds, grouped by source video."""
    bad: list[Bad] = []
    path = first_file(raw, FILES, NEEDS, "Processed")
    return sentiment_table(name, sentiment_rows(path, bad), bad, two)


class CmuMosei(DatasetEntry):
    """CMU-MOSEI in the catalogue; :func:`cmu_mosei` reads its files."""

    name = "cmu-mosei"
    summary = (
        "CMU-MOSEI: 22,856 spoken opinions, sentiment from -3 to 3: text, voice, face features"
    )
    modalities = ("text", "audio", "visual")
    licence = "for research; the videos belong to their makers (Zadeh et al., 2018)"
    source = "http://multicomp.cs.cmu.edu/resources/cmu-mosei-dataset/"
    size = "some 2 to 17 GB, by file"
    raw = NEEDS
    two: ClassVar[bool] = False  # classes, by the side of 0

    def table(self, raw: Path) -> Table:
        return cmu_mosei(raw, self.name, self.two)


class CmuMosei2(CmuMosei):
    """CMU-MOSEI in two classes in the catalogue; :func:`cmu_mosei` reads its files."""

    name = "cmu-mosei-2"
    summary = "CMU-MOSEI as two classes: negative, and all others"
    two = True
