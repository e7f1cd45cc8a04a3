"""Pictures, by Pillow."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from counterpoise.core.declared import Bounds
from counterpoise.errors import InputError

from .base import Array, Reader, Unmeasured, existing, need
from .depth import (
    Depth,
    Loaded,
    check_dark,
    check_depth,
    depth_of,
    find_depth,
    read_levels,
    to_grey,
    upper_bits,
)
from .sniff import refuse_picture
from .upright import find_orientation, turn

if TYPE_CHECKING:
    from typing_extensions import Self

Keep = Literal["squash", "crop"]
Side = Annotated[int, Bounds(1, 8192)]
Size = Side | tuple[Side, Side]
SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp"),
    *(".tif", ".tiff", ".gif", ".ppm", ".pgm"),
)
PROGRAMS = ("EPS", "WMF", "FPX", "MIC")  # for which Pillow runs others, or reads parts of a folder


def to_sides(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of ``size``, one number or two."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def open_picture(path: Path, told: bool = False) -> Any:
    """The first picture of a file, upright, in RGB or as 8-bit grey.

    Args:
        path: of the file, whatever its suffix.
        told: take the upper 8 of more bits, though they are nearly black.
    """
    return _make_bytes(path, load_picture(path), told)


def load_picture(path: Path) -> Loaded:
    """The first picture of a file, as it is stored."""
    image = need("PIL.Image", "media")
    bombs = (image.DecompressionBombError, image.DecompressionBombWarning)
    try:
        # By its path, Pillow maps plain TIFF files into memory, turned ones with the wrong width.
        with path.open("rb") as raw, image.open(raw, formats=_list_formats(image)) as picture:
            if picture.width * picture.height > (image.MAX_IMAGE_PIXELS or 2**63):
                raise image.DecompressionBombError
            depth = depth_of(picture)
            stored = find_orientation(picture) if picture.format == "TIFF" else 1
            picture.load()
            left = find_orientation(picture)  # Pillow turns some by itself
            return Loaded(picture, depth, stored if stored > 1 else left, left)
    except bombs:
        raise InputError(f"{path.name} holds too many pixels to be a picture") from None
    except (OSError, SyntaxError, ValueError, struct.error, EOFError, IndexError, KeyError):
        raise refuse_picture(path) from None


def _list_formats(image: Any) -> list[str]:
    """What Pillow reads by itself."""
    image.init()  # else it knows five formats until it has met another one
    return [name for name in image.ID if name not in PROGRAMS]


def _make_bytes(path: Path, loaded: Loaded, told: bool) -> Any:
    picture = loaded.picture
    if picture.mode.startswith(("I", "F")):
        grey = upper_bits(np.asarray(picture), path)
        picture = need("PIL.Image", "media").fromarray(grey)
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    picture = picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
    if loaded.depth == "integer" and not told:
        check_dark(path, picture)
    return turn(picture, loaded.left)


def to_pixels(picture: Any, size: tuple[int, int], keep: str, grey: bool = False) -> Array:
    """uint8 [3, height, width] (grey: [1, ...]): bilinear, averaging where it shrinks."""
    pixels = np.array(_fit_size(picture.convert("L" if grey else "RGB"), size, keep))
    return np.ascontiguousarray(pixels[None] if grey else pixels.transpose(2, 0, 1))


def _fit_size(picture: Any, size: tuple[int, int], keep: str) -> Any:
    bilinear = need("PIL.Image", "media").Resampling.BILINEAR
    height, width = size
    if keep == "crop":
        return need("PIL.ImageOps", "media").fit(picture, (width, height), bilinear)
    return picture.resize((width, height), bilinear)


@dataclass(frozen=True)
class Image(Reader):
    """A picture file -> uint8 [3, height, width], turned as its EXIF says, alpha dropped.

    Pictures of more than 8 bits (scans, measurements) become float32 of the same shape, in the
    levels of the file, of which none is lost; they are standardised by the training mean as
    other numbers are. All pictures of a modality have one depth.

    Attributes:
        size: pixels, one number or (height, width).
        keep: ``"squash"`` all of it into the size, or ``"crop"`` the middle in its proportions.
        grey: one channel, [1, height, width].
        depth: None: 8 bits, or what all training pictures have; ``"integer"``: more bits,
            ``"float"``: real numbers; ``"high"``: bytes, the upper 8 of 16 bits.
    """

    name: ClassVar[str] = "image"
    extra: ClassVar[str] = "media"
    kind: ClassVar[str] = "image"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    young: ClassVar[Mapping[str, Any]] = {"depth": None}

    size: Size = 224
    keep: Keep = "squash"
    grey: bool = False
    depth: Depth | None = None

    def fit(self, cells: Sequence[Any]) -> Self:
        return self if self.depth is not None else replace(self, depth=find_depth(cells))

    def read(self, cell: Any) -> Array:
        size, path = to_sides(self.size), existing(cell)
        loaded = load_picture(path)
        check_depth(path, loaded.depth, self.depth)
        if loaded.depth == "bytes" or self.depth == "high":
            picture = _make_bytes(path, loaded, True)
            return to_pixels(picture, size, self.keep, self.grey)
        channels = to_grey(read_levels(path, loaded), self.grey)
        make = need("PIL.Image", "media").fromarray
        turned = (turn(make(channel), loaded.left) for channel in channels)
        levels = np.stack([np.asarray(_fit_size(p, size, self.keep)) for p in turned])
        if np.isnan(levels).all():
            raise Unmeasured("holds no value that was measured")
        return levels
