"""Pictures, by Pillow."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from counterpoise.errors import InputError, check_choice, check_number

from .base import Array, Reader, existing, need

KEEP = ("squash", "crop")
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp"),
    *(".tif", ".tiff", ".gif", ".ppm", ".pgm"),
)


def check_size(size: Any, keep: str) -> tuple[int, int]:
    """(height, width) of ``size``, one number or two; and ``keep`` is one of ``KEEP``."""
    check_choice("keep", keep, KEEP)
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2:
        raise InputError(f"size must be a number or (height, width), found {size!r}")
    for side in sides:
        check_number("size", side, 1, 8192, whole=True)
    return sides


def open_picture(path: Path) -> Any:
    """The first picture of a file, upright, in RGB or as 8-bit grey."""
    image = need("PIL.Image", "media")
    bombs = (image.DecompressionBombError, image.DecompressionBombWarning)
    try:
        with image.open(path) as picture:
            if picture.width * picture.height > (image.MAX_IMAGE_PIXELS or 2**63):
                raise image.DecompressionBombError
            picture.load()
            upright = need("PIL.ImageOps", "media").exif_transpose(picture)
    except bombs:
        raise InputError(f"{path.name} holds too many pixels to be a picture") from None
    except (OSError, SyntaxError, ValueError, struct.error, EOFError, IndexError, KeyError):
        raise InputError(f"{path.name} is no picture, or damaged") from None
    if upright.mode.startswith(("I", "F")):
        return image.fromarray(_eight_bits(np.asarray(upright), path))
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return upright.convert("L" if upright.mode in ("1", "L", "LA") else "RGB")


def _eight_bits(grey: Array, path: Path) -> Array:
    """16-bit grey as 8-bit grey."""
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 65535:
        raise InputError(f"{path.name} holds no pixels of 8 or 16 bits")
    return (grey >> 8).astype(np.uint8)


def to_pixels(picture: Any, size: tuple[int, int], keep: str, grey: bool = False) -> Array:
    """uint8 [3, height, width] (grey: [1, ...]): bilinear, averaging where it shrinks."""
    picture = picture.convert("L" if grey else "RGB")
    bilinear = need("PIL.Image", "media").Resampling.BILINEAR
    height, width = size
    if keep == "crop":
        picture = need("PIL.ImageOps", "media").fit(picture, (width, height), bilinear)
    else:
        picture = picture.resize((width, height), bilinear)
    pixels = np.array(picture)
    return np.ascontiguousarray(pixels[None] if grey else pixels.transpose(2, 0, 1))


@dataclass(frozen=True)
class Image(Reader):
    """A picture file -> uint8 [3, height, width], turned as its EXIF says, alpha dropped.

    Attributes:
        size: pixels, one number or (height, width).
        keep: ``"squash"`` all of it into the size, or ``"crop"`` the middle in its proportions.
        grey: one channel, [1, height, width].
    """

    name: ClassVar[str] = "image"
    kind: ClassVar[str] = "image"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    size: int | tuple[int, int] = 224
    keep: str = "squash"
    grey: bool = False

    def __post_init__(self) -> None:
        check_size(self.size, self.keep)

    def read(self, cell: Any) -> Array:
        size = check_size(self.size, self.keep)
        return to_pixels(open_picture(existing(cell)), size, self.keep, self.grey)
