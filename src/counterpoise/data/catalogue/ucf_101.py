"""UCF-101 as its owners publish it, with the optical flow of the two-stream networks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from counterpoise.core.files import read_bytes
from counterpoise.core.tasks import Classification
from counterpoise.data.preparation.table import Bad, Row, Table
from counterpoise.data.readers import Flow, Frames, Video
from counterpoise.data.readers.base import Reader
from counterpoise.errors import InputError, unknown

from .base import DatasetEntry

NEEDS = (
    "ucfTrainTestlist/ (classInd.txt, trainlist01.txt, testlist01.txt) and UCF-101/<Class>/"
    "v_<Class>_g01_c01.avi or its frames jpegs_256/v_<Class>_g01_c01/frame000001.jpg; for the "
    "modality flow also tvl1_flow/u/v_<Class>_g01_c01/frame000001.jpg and tvl1_flow/v/..."
)
CLIP = re.compile(r"(\w+)/(v_\w+_(g\d+)_c\d+)\.avi(?:\s+(\d+))?")
FRAMES = 2  # of a clip: Diagnosing & Re-learning takes one of each half


def ucf_101(raw: Path, split: int = 1) -> Table:
    """The clips of one of the three official splits; a clip may lack its flow.

    Args:
        raw: holds what ``NEEDS`` says.
        split: 1, 2 or 3.
    """
    if split not in (1, 2, 3):
        raise InputError(f"split must be 1, 2 or 3, found {split!r}")
    lists = raw / "ucfTrainTestlist"
    paths = {part: lists / f"{part}list{split:02d}.txt" for part in ("train", "test")}
    for path in (lists / "classInd.txt", *paths.values()):
        if not path.is_file():
            raise InputError(f"found no {path}; RAW must hold {NEEDS}")
    files = _Files(raw)
    bad: list[Bad] = []
    classes = _read_classes(lists / "classInd.txt", bad)
    rows = [
        row for part, path in paths.items() for row in _read_rows(path, part, classes, files, bad)
    ]
    name = "ucf-101" if split == 1 else f"ucf-101:split={split}"
    return Table(name, rows, files.readers, Classification(len(classes), tuple(classes)), bad)


def _read_rows(
    path: Path, part: str, classes: dict[str, int], files: _Files, bad: list[Bad]
) -> Iterator[Row]:
    """The clips of one list."""
    for number, line in enumerate(read_bytes(path).decode(errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        match = CLIP.fullmatch(line.strip())
        if not match:
            reason = "is not a line like ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1"
            bad.append(Bad(f"{path.name} line {number}", "", reason))
            continue
        label, name, group, code = match.groups()
        if label not in classes or (code and classes[label] != int(code)):
            word = label if label not in classes else f"{label} {code}"
            bad.append(Bad(name, "", str(unknown("label", word, classes))))
        else:
            yield Row(name, label, files.find_cells(label, name), part, f"{label} {group}")


class _Files:
    """The clips, as films or as frames, and their flow; one of them may not be there."""

    def __init__(self, raw: Path) -> None:
        self.videos, self.frames, self.flow = raw / "UCF-101", raw / "jpegs_256", raw / "tvl1_flow"
        self.readers: dict[str, Reader] = {}
        # Larger than the encoders' 224, so that they can crop.
        if self.videos.is_dir():
            self.readers["rgb"] = Video(frames=FRAMES, size=256)
        elif self.frames.is_dir():
            self.readers["rgb"] = Frames(frames=FRAMES, size=256)
        if self.flow.is_dir():
            self.readers["flow"] = Flow(size=256)
        if not self.readers:
            raise InputError(
                f"found neither {self.videos} nor {self.frames}; RAW must hold {NEEDS}"
            )
        self.clips = _by_name(
            self.videos.glob("*/*.avi") if self.videos.is_dir() else self.frames.glob("*")
        )
        self.flows = {axis: _by_name((self.flow / axis).glob("*")) for axis in ("u", "v")}

    def find_cells(self, label: str, name: str) -> dict[str, str | tuple[str, ...]]:
        """Modality -> the files of a clip; a clip without any flow lacks it."""
        key = name.lower()
        cells: dict[str, str | tuple[str, ...]] = {}
        if "rgb" in self.readers:
            films = self.videos.is_dir()
            listed = self.videos / label / f"{name}.avi" if films else self.frames / name
            cells["rgb"] = self.clips.get(key, str(listed))
        if any(key in found for found in self.flows.values()):
            cells["flow"] = tuple(
                found.get(key, str(self.flow / axis / name)) for axis, found in self.flows.items()
            )
        return cells


def _read_classes(path: Path, bad: list[Bad]) -> dict[str, int]:
    """Class -> its number from 1, in the owners' order."""
    classes: dict[str, int] = {}
    for number, line in enumerate(read_bytes(path).decode(errors="replace").splitlines(), 1):
        match = re.fullmatch(r"(\d+)\s+(\w+)", line.strip())
        if match:
            classes[match[2]] = int(match[1])
        elif line.strip():
            bad.append(Bad(f"{path.name} line {number}", "", "is not a line like 1 ApplyEyeMakeup"))
    if len(classes) < 2:
        raise InputError(f"{path} must name the classes (1 ApplyEyeMakeup, ...), found {classes}")
    return classes


def _by_name(paths: Iterable[Path]) -> dict[str, str]:
    """Name in small letters -> path: HandStandPushups is written in two ways."""
    return {path.stem.lower(): str(path) for path in paths}


class Ucf101(DatasetEntry):
    """UCF-101 in the catalogue; :func:`ucf_101` reads its files.

    Args:
        split: which of the three official splits, 1, 2 or 3.
    """

    name = "ucf-101"
    summary = "13,320 clips of 101 actions: RGB and optical flow"
    modalities = ("rgb", "flow")
    licence = "none stated; clips of YouTube, for research (Soomro, Zamir and Shah, 2012)"
    source = "https://www.crcv.ucf.edu/data/UCF101.php"
    size = "clips 6.9 GB; flow of the two-stream networks some 27 GB"
    raw = NEEDS

    def __init__(self, *, split: Literal[1, 2, 3] = 1) -> None:
        self.split = split

    def table(self, raw: Path) -> Table:
        return ucf_101(raw, self.split)
