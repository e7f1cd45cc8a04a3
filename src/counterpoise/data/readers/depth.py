"""Pictures of more than 8 bits a channel: scans and measurements, whose levels stay apart."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from counterpoise.errors import InputError

from .base import Array, existing, need, some
from .film import open_container
from .upright import turn

Depth = Literal["integer", "float", "high"]
EXACT = 1 << 24  # the first whole number after which float32 leaves some out
LUMA = np.array([299, 587, 114], np.float32) / 1000  # as Pillow makes grey
DARK = 16  # what 12 bits leave of the upper 8 of 16
CHANNELS = {"gray16": 1, "ya16": 2, "rgb48": 3, "rgba64": 4}
NAMES = {"bytes": "8-bit levels", "integer": "whole numbers of more bits", "float": "real numbers"}


@dataclass(frozen=True)
class Loaded:
    """A picture as Pillow loaded it.

    Attributes:
        picture: of Pillow.
        depth: as :func:`depth_of` says.
        stored: its EXIF orientation in the file.
        left: the turn that is left to be made, since Pillow turns some files as it loads them.
    """

    picture: Any
    depth: str
    stored: int
    left: int


def depth_of(picture: Any) -> str:
    """``"bytes"``, ``"integer"`` (more than 8 bits) or ``"float"``, of a picture just opened."""
    if picture.mode.startswith("F"):
        return "float"
    # Pillow makes bytes of 16-bit colours when they are loaded; how it will tells.
    wide = picture.format in ("PNG", "TIFF") and any(";16" in str(t[3]) for t in picture.tile)
    return "integer" if picture.mode.startswith("I") or wide else "bytes"


def find_depth(cells: Sequence[Any]) -> Depth | None:
    """The depth of training pictures; None where they are bytes, or none can be opened.

    Raises:
        InputError: they differ.
    """
    found: dict[str, Path] = {}
    for cell in some(cells):
        with suppress(Exception):  # reported when it is read
            path = existing(cell)
            with need("PIL.Image", "media").open(path) as picture:
                found.setdefault(depth_of(picture), path)
    if len(found) > 1:
        (one, a), (other, b) = list(found.items())[:2]
        raise InputError(
            f"training pictures hold {NAMES[one]} ({a.name}) and {NAMES[other]} ({b.name}), which "
            "no scale joins; bring them to one depth, or --set COLUMN.depth=high (the upper 8 bits)"
        )
    depth = next(iter(found), "bytes")
    return None if depth == "bytes" else cast(Depth, depth)


def check_depth(path: Path, found: str, depth: str | None) -> None:
    """Raise :class:`InputError` unless a picture has the depth of a reader."""
    if found == (depth or "bytes") or (depth == "high" and found != "float"):
        return
    hint = " (depth is not set; give it, or call fit() with the training cells)"
    others = f", where the others hold {NAMES[depth or 'bytes']}" if depth != "high" else ""
    raise InputError(f"{path.name} holds {NAMES[found]}{others}{'' if depth else hint}")


def read_levels(path: Path, loaded: Loaded) -> list[Array]:
    """Channels, float32 [height, width], turned as Pillow left them: one of grey, three of colours.

    Raises:
        InputError: levels that float32 cannot hold, 16-bit colours in an unknown form.
    """
    picture = loaded.picture
    if picture.mode.startswith(("I", "F")):
        levels = [np.asarray(picture)]
    else:
        levels = _read_colours(path)
        if loaded.left != loaded.stored:
            make = need("PIL.Image", "media").fromarray
            levels = [np.asarray(turn(make(x.astype(np.float32)), loaded.stored)) for x in levels]
        if levels[0].shape != (picture.height, picture.width):
            raise _refuse_colours(path)
    for channel in levels:
        if channel.dtype.kind == "f":
            if np.isinf(channel).any():
                raise InputError(f"{path.name} holds infinite levels")
        elif max(abs(int(channel.min())), int(channel.max())) > EXACT:
            raise InputError(
                f"{path.name} holds levels beyond {EXACT:,}, which float32 cannot hold"
            )
    return [channel.astype(np.float32) for channel in levels]


def _refuse_colours(path: Path) -> InputError:
    return InputError(f"{path.name} holds 16-bit colours in a way that cannot be read")


def _read_colours(path: Path) -> list[Array]:
    """The 16-bit channels of a colour picture, without alpha, by FFmpeg."""
    try:
        with open_container(path, "picture") as container:
            frame = next(container.decode(video=0))
    except (InputError, StopIteration, IndexError):
        raise _refuse_colours(path) from None
    form = frame.format.name
    if form[:-2] not in CHANNELS:
        raise _refuse_colours(path)
    count = CHANNELS[form[:-2]]
    flat = np.frombuffer(frame.planes[0], ">u2" if form.endswith("be") else "<u2")
    rows = flat.reshape(frame.planes[0].height, -1)[:, : frame.width * count]
    pixels = rows.reshape(frame.height, frame.width, count)
    return [pixels[..., k] for k in range(3 if count > 2 else 1)]


def to_grey(channels: list[Array], grey: bool) -> list[Array]:
    """One channel, or three."""
    if grey and len(channels) == 3:
        return [np.tensordot(LUMA, np.stack(channels), 1)]
    return channels if grey or len(channels) == 3 else channels * 3


def upper_bits(grey: Array, path: Path) -> Array:
    """16-bit grey as 8-bit grey."""
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 65535:
        raise InputError(f"{path.name} holds no pixels of 8 or 16 bits")
    return (grey >> 8).astype(np.uint8)


def check_dark(path: Path, picture: Any) -> None:
    """Raise :class:`InputError` if no more than 16 levels are left of a 16-bit picture."""
    if 0 < np.asarray(picture).max(initial=0) < DARK:
        raise InputError(
            f"{path.name} has 16 bits and uses the lower 12, of which bytes would keep 16 levels; "
            "save it with 8 bits"
        )
