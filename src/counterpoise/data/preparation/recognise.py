"""What the cells of a column are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.data.readers import READERS
from counterpoise.data.readers.array import TABLES, ArrayFile
from counterpoise.data.readers.array_file import file_kind
from counterpoise.data.readers.audio import Audio
from counterpoise.data.readers.base import Reader, need
from counterpoise.data.readers.film import open_container
from counterpoise.data.readers.number_table import read_table
from counterpoise.data.readers.numbers import Numbers, to_numbers
from counterpoise.data.readers.text import Text
from counterpoise.errors import InputError

ORDER = ("image", "video", "array", "audio")
MOST = 0.9  # of the cells decide; the others are reported as bad rows later
UNSURE = "a name of no file"
BLANK = "nothing measured"
# What FFmpeg takes any text or picture for.
NO_FILM = ("tty", "image2", "txt", "srt", "webvtt", "ass")


def recognise(cells: Sequence[Any]) -> Reader:
    """The reader that suits these cells.

    Numbers; files, by their suffix or, where that is unknown, by what opens them; folders of
    pictures; else text. A column of names of files stays that, though some are missing.

    Args:
        cells: not empty: strings (paths are absolute where the file is there), numbers or arrays.

    Raises:
        InputError: cells of several types.
    """
    if all(isinstance(cell, np.ndarray) for cell in cells):
        return ArrayFile()
    found: dict[str, list[Any]] = {}
    for cell in cells:
        found.setdefault(_find_kind(cell), []).append(cell)
    blank = found.pop(BLANK, [])
    if blank and not set(found) - {"text"}:  # a word like others
        found.setdefault("text", []).extend(blank)
    unsure = found.pop(UNSURE, [])
    if unsure and not set(found) - {"text", "numbers"}:
        found.setdefault("text", []).extend(unsure)
    order = sorted(found, key=lambda kind: -len(found[kind]))
    first = order[0]
    if len(found[first]) < MOST * sum(map(len, found.values())):
        both = sorted(order[:2])
        shown = " and ".join(f"{found[kind][0]!r:.60}" for kind in both)
        raise InputError(f"several types ({' and '.join(both)}), as {shown}; say which with --type")
    if first == "text file":
        return Text(file=True)
    if first == "video" and _has_only_sound(found[first]):
        return Audio()
    return Numbers() if first == "numbers" else READERS[first]()


def _find_kind(cell: Any) -> str:
    """The type of the file that a cell names, or ``"numbers"`` or ``"text"``."""
    with suppress(InputError):
        return BLANK if np.isnan(to_numbers(cell)).all() else "numbers"
    if not isinstance(cell, str) or not 0 < len(cell) <= 1000 or "\n" in cell or "\0" in cell:
        return "text"
    path = Path(cell)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return _text_or_table(path) if path.is_file() else UNSURE
    for name in ORDER:
        if suffix in READERS[name].suffixes:
            return name
    if path.is_dir():
        return "frames"
    if path.is_file():
        return _try_kinds(path)
    return UNSURE if "/" in cell and not any(c.isspace() for c in cell) else "text"


def _text_or_table(path: Path) -> str:
    try:
        read_table(path)
    except InputError:
        return "text file"
    return "array"


def _try_kinds(path: Path) -> str:
    """The type of a file with an unknown suffix, by what opens it."""
    with path.open("rb") as file:
        start = file.read(4096)
    if file_kind(path) != "text":
        return "array"
    if b"\0" not in start and not _is_binary(start):
        return _text_or_table(path)
    with suppress(Exception), need("PIL.Image", "media").open(path):
        return "image"
    with suppress(Exception):
        need("soundfile", "media").info(path)
        return "audio"
    with suppress(InputError), open_container(path, "film") as film:
        names = film.format.name.split(",")
        if not any(name in NO_FILM or name.endswith("_pipe") for name in names):
            return "video" if film.streams.video else "audio"
    raise InputError(f"{path.name} is of no known type; say it with --type")


def _is_binary(start: bytes) -> bool:
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start < len(start) - 4  # the last sign may be cut
    return False


def _has_only_sound(cells: Sequence[str]) -> bool:
    """Whether the first file that is there holds sound alone."""
    for cell in cells:
        if Path(cell).is_file():
            with suppress(InputError), open_container(Path(cell), "film") as film:
                return bool(film.streams.audio) and not film.streams.video
            return False
    return False
