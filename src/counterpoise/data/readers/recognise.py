"""What the cells of a column are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.errors import InputError

from . import READERS
from .array import ArrayFile
from .base import Reader, need
from .numbers import Numbers, to_numbers
from .text import Text

ORDER = ("image", "video", "array", "audio")  # audio also takes video's suffixes: last


def recognise(cells: Sequence[Any]) -> Reader:
    """The reader that suits these cells, none of which is empty.

    Numbers; files, by their suffix or, where that is unknown, by what opens them; folders of
    pictures; else text. A column of names of files stays that, though some are missing.

    Args:
        cells: strings (paths are absolute where the file is there), numbers or arrays.

    Raises:
        InputError: files of several types.
    """
    if all(isinstance(cell, np.ndarray) for cell in cells):
        return ArrayFile()
    if all(_is_number(cell) for cell in cells):
        return Numbers()
    found = Counter(_kind(cell) for cell in cells)
    files = {kind: count for kind, count in found.items() if kind}
    if sum(files.values()) <= len(cells) / 2:
        return Text()
    if len(files) > 1:
        kinds = " and ".join(sorted(files))
        raise InputError(f"files of several types ({kinds}); say which with --type")
    return READERS[next(iter(files))]()


def _is_number(cell: Any) -> bool:
    try:
        to_numbers(cell)
    except InputError:
        return False
    return True


def _kind(cell: Any) -> str:
    """The type of the file that a cell names, empty where it names none."""
    if not isinstance(cell, str) or len(cell) > 1000 or "\n" in cell:
        return ""
    path = Path(cell)
    for name in ORDER:
        if path.suffix.lower() in READERS[name].suffixes:
            return name
    if path.is_dir():
        return "frames"
    return _opened(path) if path.is_file() else ""


def _opened(path: Path) -> str:
    """The type of a file with an unknown suffix, by what opens it."""
    import soundfile

    image = need("PIL.Image", "media")
    av = need("av", "media")
    try:
        with image.open(path):
            return "image"
    except Exception:  # not a picture
        pass
    try:
        soundfile.info(path)
        return "audio"
    except Exception:  # not a sound
        pass
    try:
        with av.open(str(path)) as container:
            return "video" if container.streams.video else "audio"
    except Exception:
        raise InputError(f"{path.name} is of no known type; say it with --type") from None
