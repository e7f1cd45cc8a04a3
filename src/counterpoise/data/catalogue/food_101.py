"""UPMC Food-101 as its owners publish it: pictures of dishes and the titles of their pages."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from counterpoise.core.files import check_file
from counterpoise.core.tasks import Classification
from counterpoise.data.preparation.table import Bad, Row, Table
from counterpoise.data.readers import Image, Text
from counterpoise.errors import InputError, unknown

from .base import DatasetEntry

NEEDS = (
    "images/train/<class>/<class>_0.jpg, images/test/... and texts/train_titles.csv, "
    "texts/test_titles.csv (lines of image, title, class)"
)


def food_101(raw: Path) -> Table:
    """The titled pictures; a picture whose title is empty lacks the text."""
    images = raw / "images"
    for part in ("train", "test"):
        if not (images / part).is_dir():
            raise InputError(f"found no {images / part}; RAW must hold {NEEDS}")
    lists = {part: _find_titles(raw, part) for part in ("train", "test")}
    classes = tuple(sorted(path.name for path in (images / "train").iterdir() if path.is_dir()))
    if len(classes) < 2:
        raise InputError(f"{images / 'train'} must hold a folder a class, found {len(classes)}")
    bad: list[Bad] = []
    rows = []
    for part, path in lists.items():
        for number, fields in _read_lines(path):
            if len(fields) != 3:
                reason = f"must hold image, title and class, found {len(fields)} fields"
                bad.append(Bad(f"{path.name} line {number}", "", reason))
                continue
            image, title, label = (field.strip() for field in fields)
            if number == 1 and not image.lower().endswith(".jpg"):
                continue  # some copies have a line of headings
            if label not in classes:
                bad.append(Bad(f"{part}/{image}", "", str(unknown("label", label, classes))))
                continue
            cells = {"image": str(images / part / label / image), "text": title or None}
            rows.append(Row(f"{part}/{image}", label, cells, part))
    readers = {"image": Image(size=256), "text": Text()}
    return Table("food-101", rows, readers, Classification(len(classes), classes), bad)


def _find_titles(raw: Path, part: str) -> Path:
    name = f"{part}_titles.csv"
    for path in (raw / "texts" / name, raw / name):
        if path.is_file():
            return path
    raise InputError(f"found no {raw / 'texts' / name}; RAW must hold {NEEDS}")


def _read_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The fields of each line that is not empty, and its number; no fields where it is broken."""
    check_file(path)
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.reader(line.replace("\0", "") for line in file)
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error:  # a field without end
                fields = [""]
            if fields:
                yield reader.line_num, fields


class Food101(DatasetEntry):
    """UPMC Food-101 in the catalogue; :func:`food_101` reads its files."""

    name = "food-101"
    summary = "UPMC Food-101: 90,704 pictures of 101 dishes and the titles of their pages"
    modalities = ("image", "text")
    licence = "none stated; pictures and titles of web pages, for research (Wang et al., 2015)"
    source = "https://visiir.isir.upmc.fr/explore"
    size = "6 GB"
    raw = NEEDS

    def table(self, raw: Path) -> Table:
        return food_101(raw)
