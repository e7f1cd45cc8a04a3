"""What the layouts of data sets of video clips share: lists of clips, files found by name."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from counterpoise.core.files import check_file, open_file
from counterpoise.data.preparation.table import Bad, Row
from counterpoise.errors import InputError

VIDEOS = (".mp4", ".mkv", ".webm", ".avi", ".flv")
POINTER = b"version https://git-lfs"


def read_list(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The fields of each line of a comma-separated list, and where it stands; empty ones left out.

    Lines are read one by one, so that a damaged one spoils no other.
    """
    check_file(path)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for number, line in enumerate(file, 1):
            text = line.strip().replace("\0", "\ufffd")  # a NUL ends the reader of Python 3.10
            try:
                fields = next(csv.reader([text]), [])
            except csv.Error:
                fields = [text]
            if any(field.strip() for field in fields):
                yield f"{path.name}:{number}", [field.strip() for field in fields]


def find_videos(raw: Path) -> dict[str, str]:
    """File name without suffix -> path, of every video below a folder.

    Of two files of one name, one below a folder whose name begins with ``replacement`` wins: so
    the owners of copies call what mends damaged files.
    """
    found: dict[str, str] = {}
    for folder, folders, files in os.walk(raw, followlinks=True):
        folders.sort()
        better = any(part.startswith("replacement") for part in Path(folder).parts)
        for name in sorted(files):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in VIDEOS and (better or stem not in found):
                found[stem] = os.path.join(folder, name)
    return found


def check_pointer(path: Path | str) -> None:
    """Raise :class:`InputError` if a file is a pointer of Git LFS instead of the large file."""
    with open_file(path) as file:
        if file.read(len(POINTER)) == POINTER:
            raise InputError(
                f"{path} is a pointer of Git LFS, not the file itself; run `git lfs pull` there"
            )


def clip_name(video: str, *seconds: int) -> str:
    """The name of a clip's file without its suffix: ``abcdefghijk_000012_000022``."""
    return "_".join([video, *(f"{second:06d}" for second in seconds)])


def without_leaks(rows: Iterable[Row], bad: list[Bad]) -> list[Row]:
    """The rows but those of training whose video also gives a row of another split."""
    rows = list(rows)
    held = {row.group: row.split for row in rows if row.split != "train"}
    kept = []
    for row in rows:
        if row.split == "train" and row.group in held:
            bad.append(Bad(row.id, "", f"its video is also in the {held[row.group]} part"))
        else:
            kept.append(row)
    return kept
