"""What a file or a folder holds, by what opens it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from counterpoise.data.readers import READERS
from counterpoise.data.readers.array import TABLES
from counterpoise.data.readers.array_file import file_kind
from counterpoise.data.readers.base import need
from counterpoise.data.readers.film import open_container
from counterpoise.data.readers.frames import list_pictures
from counterpoise.data.readers.number_table import read_table
from counterpoise.errors import InputError

from .paths import ORDER, find_there

# What FFmpeg takes any text or picture for.
NO_FILM = ("tty", "image2", "txt", "srt", "webvtt", "ass")


def find_content(path: Path, suffix: str) -> str:
    """The name of a reader, ``"text file"``, or empty for a folder without pictures.

    Args:
        path: of a file or folder.
        suffix: that a reader knows; empty to look into the file.

    Raises:
        InputError: nothing opens it.
    """
    if find_there(path) == "folder":
        return "frames" if has_pictures(path) else ""
    if suffix in TABLES:
        return _text_or_table(path)
    for name in ORDER:
        if suffix and suffix in READERS[name].suffixes:
            return name
    try:
        return _try_kinds(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None


def has_pictures(path: Path | None) -> bool:
    """Whether this is a folder with pictures in it."""
    with suppress(InputError, OSError, ValueError):
        return path is not None and bool(list_pictures(path))
    return False


def has_only_sound(paths: Sequence[Path | None]) -> bool:
    """Whether the first file that is there holds sound alone."""
    for path in paths:
        if path is not None and find_there(path) == "file":
            with suppress(InputError), open_container(path, "film") as film:
                return bool(film.streams.audio) and not film.streams.video
            return False
    return False


def _text_or_table(path: Path) -> str:
    try:
        read_table(path)
    except InputError as error:
        if path.suffix.lower() in (".csv", ".tsv"):
            raise InputError(
                f"{error}; mend it (leave such columns out), or say --type COLUMN=text:file=true "
                "for its words"
            ) from None
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
