"""What a file holds, by its content, whatever its name."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from counterpoise.errors import InputError

from .base import need
from .film import PICTURES, films, open_container

HEIF = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")


def sniff(path: Path) -> str | None:
    """``"image"``, ``"audio"``, ``"video"`` (with sound or without), or None for what is neither.

    Only headers are read. An animated picture is an image; a recording with a cover is audio.
    """
    with suppress(Exception), need("PIL.Image", "media").open(path) as picture:
        if picture.format != "MPEG":  # which Pillow knows, and cannot load
            return "image"
    with suppress(Exception):
        need("soundfile", "media").info(path)
        return "audio"
    with suppress(InputError), open_container(path, "film") as container:
        names = str(container.format.name).split(",")
        if any(name in PICTURES or name.endswith("_pipe") for name in names):
            return "image"
        if films(container):
            return "video"
        return "audio" if container.streams.audio else None
    return None


def refuse_picture(path: Path) -> InputError:
    """Why a file is no picture."""
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp" and start[8:] in HEIF:
        return InputError(
            f"{path.name} is a HEIF picture, which is not read; save it as JPEG or PNG"
        )
    other = {"audio": "sound", "video": "a film"}.get(sniff(path) or "")
    if other:
        return InputError(f"{path.name} is {other}, no picture")
    return InputError(f"{path.name} is no picture, or damaged")
