"""MVSA-Single as its owners publish it: tweets with a picture and their sentiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from counterpoise.core.files import read_bytes
from counterpoise.core.tasks import Classification
from counterpoise.data.preparation.table import Bad, Row, Table
from counterpoise.data.readers import Image, Text
from counterpoise.errors import InputError, unknown

from .base import DatasetEntry

CLASSES = ("negative", "neutral", "positive")
FRACTIONS = (0.8, 0.1, 0.1)
LABELS = "labelResultAll.txt"
NEEDS = f"data/1.jpg, data/1.txt, ... and {LABELS} (ID, then the labels of text and picture)"


def mvsa_single(raw: Path) -> Table:
    """The tweets whose text and picture do not contradict each other.

    A tweet has the label of both; where one is neutral, that of the other; a positive one with a
    negative one is left out. There is no official split: 8:1:1 is drawn, each class in proportion,
    unless RAW holds the lists ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` that go round with
    the code of multimodal papers.

    Args:
        raw: holds what ``NEEDS`` says.
    """
    for path in (raw / LABELS, raw / "data"):
        if not path.exists():
            raise InputError(f"found no {path}; RAW must hold {NEEDS}")
    bad: list[Bad] = []
    labels = _read_labels(raw / LABELS, bad)
    if not labels:
        raise InputError(f"{raw / LABELS} holds no label that can be used; RAW must hold {NEEDS}")
    splits = _read_lists(raw, labels, bad)
    rows = [
        Row(
            name,
            label,
            {m: str(raw / "data" / f"{name}.{s}") for m, s in (("image", "jpg"), ("text", "txt"))},
            splits.get(name),
        )
        for name, label in labels.items()
        if name in splits or not splits
    ]
    readers = {"image": Image(size=256), "text": Text(file=True)}
    task = Classification(3, CLASSES)
    return Table("mvsa-single", rows, readers, task, bad, fractions=FRACTIONS)


def _read_labels(path: Path, bad: list[Bad]) -> dict[str, str]:
    """Tweet -> its one label; what contradicts itself is counted."""
    labels: dict[str, str] = {}
    torn = 0
    for number, line in enumerate(
        read_bytes(path).decode("utf-8-sig", errors="replace").splitlines(), 1
    ):
        words = line.replace(",", " ").lower().split()
        if not words or (number == 1 and words[0] == "id"):
            continue
        if len(words) != 3 or not words[0].isdecimal():
            reason = "is not a line like 1, tab, neutral,positive"
            bad.append(Bad(f"{path.name} line {number}", "", reason))
            continue
        name, text, image = words
        strange = next((word for word in (text, image) if word not in CLASSES), None)
        if strange is not None:
            bad.append(Bad(name, "", str(unknown("label", strange, CLASSES))))
        elif name in labels:
            bad.append(Bad(f"{path.name} line {number}", "", f"labels {name} again"))
        elif {text, image} == {"positive", "negative"}:
            torn += 1
        else:
            labels[name] = image if text == "neutral" else text
    if torn:
        bad.append(Bad(path.name, "", f"{torn} tweets left out: positive and negative at once"))
    return labels


def _read_lists(raw: Path, labels: Mapping[str, str], bad: list[Bad]) -> dict[str, str]:
    """Tweet -> its split by the three lists, where they are there."""
    paths = {part: raw / f"{part}.jsonl" for part in ("train", "dev", "test")}
    if not all(path.is_file() for path in paths.values()):
        return {}
    splits: dict[str, str] = {}
    for part, path in paths.items():
        for number, line in enumerate(read_bytes(path).decode(errors="replace").splitlines(), 1):
            try:
                name = str(json.loads(line)["id"])
            except (ValueError, KeyError, TypeError):
                bad.append(Bad(f"{path.name} line {number}", "", "is not a line with an id"))
                continue
            if name not in labels or name in splits:
                reason = "stands in another list" if name in splits else f"has no label in {LABELS}"
                bad.append(Bad(f"{path.name} line {number}", "", f"{name} {reason}"))
            else:
                splits[name] = part
    if left := len(labels) - len(splits):
        bad.append(Bad("lists", "", f"{left} tweets left out: they stand in no list"))
    return splits


class MvsaSingle(DatasetEntry):
    """MVSA-Single in the catalogue; :func:`mvsa_single` reads its files."""

    name = "mvsa-single"
    summary = "MVSA-Single: 4,511 tweets with a picture, negative, neutral or positive"
    modalities = ("image", "text")
    licence = "none stated; tweets, for research (Niu, Zhu, Pang and El Saddik, MMM 2016)"
    source = "https://mcrlab.net/research/mvsa-sentiment-analysis-on-multi-view-social-data/"
    size = "0.2 GB"
    raw = NEEDS

    def table(self, raw: Path) -> Table:
        return mvsa_single(raw)
