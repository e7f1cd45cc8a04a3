"""CMU-MOSEI as the field distributes it: features of words, voice and face, and a sentiment."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from counterpoise.data.preparation.table import Bad, Table

from .base import Published
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


CMU_MOSEI = Published(
    name="cmu-mosei",
    summary="CMU-MOSEI: 22,856 spoken opinions, sentiment from -3 to 3: text, voice, face features",
    modalities=("text", "audio", "visual"),
    licence="for research; the videos belong to their makers (Zadeh et al., 2018)",
    source="http://multicomp.cs.cmu.edu/resources/cmu-mosei-dataset/",
    size="some 2 to 17 GB, by file",
    needs=NEEDS,
    table=cmu_mosei,
)
CMU_MOSEI_2 = Published(
    name="cmu-mosei-2",
    summary="CMU-MOSEI as two classes: negative, and all others",
    modalities=CMU_MOSEI.modalities,
    licence=CMU_MOSEI.licence,
    source=CMU_MOSEI.source,
    size=CMU_MOSEI.size,
    needs=NEEDS,
    table=partial(cmu_mosei, name="cmu-mosei-2", two=True),
)
