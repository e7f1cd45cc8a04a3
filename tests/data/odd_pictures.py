"""Odd picture files, made from a table of properties, as ``odd_files`` makes sounds and films."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class OddPicture:
    """A picture file.

    Attributes:
        name: of the file, which may lie.
        form: what Pillow or FFmpeg writes.
        mode: of Pillow; or ``rgb48`` and ``rgba64``, 16-bit colours, which FFmpeg writes.
        most: the highest level; the lowest is 0.
        least: the lowest.
        orientation: in its EXIF.
        options: of Pillow.
        depth: what the reader finds.
        refused: what the error says, if it cannot be read.
    """

    name: str
    form: str
    mode: str = "L"
    most: float = 255
    least: float = 0
    orientation: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    depth: str | None = None
    refused: str = ""


RAMP = (24, 16)  # width, height of pictures


def draw(odd: OddPicture) -> np.ndarray:
    """Levels [height, width], which rise along the rows; no two are the same above 8 bits."""
    width, height = RAMP
    levels = np.linspace(odd.least, odd.most, width * height).reshape(height, width)
    return levels if odd.depth == "float" else np.round(levels)


# Orientation -> how upright pixels are stored.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, -1),
}


def make_picture(odd: OddPicture, folder: Path) -> Path:
    """Write a picture."""
    from PIL import Image

    path, levels = folder / odd.name, STORED[odd.orientation](draw(odd))
    options = dict(odd.options)
    if odd.orientation > 1:
        exif = Image.Exif()
        exif[0x0112] = odd.orientation
        options["exif"] = exif
    types: dict[str, Any] = {"I;16": "<u2", "I;16B": ">u2", "I": "i4", "F": "f4"}
    if odd.mode in ("rgb48", "rgba64"):
        _write_colours(path, odd, levels)
        return path
    if odd.mode in types:
        picture = Image.fromarray(np.ascontiguousarray(levels.astype(types[odd.mode])))
    else:
        picture = Image.fromarray(np.ascontiguousarray(levels.astype(np.uint8)))
        picture = picture.convert("RGB").convert(odd.mode) if odd.mode == "CMYK" else picture
        picture = picture if picture.mode == odd.mode else picture.convert(odd.mode)
    picture.save(path, format=odd.form, **options)
    return path


def _write_colours(path: Path, odd: OddPicture, levels: np.ndarray) -> None:
    """Red rises, green is half of it and blue full; what is transparent stays as it is."""
    count = 3 if odd.mode == "rgb48" else 4
    pixels = np.stack([levels, levels // 2, np.full_like(levels, odd.most), levels][:count], 2)
    if odd.form == "TIFF":
        path.write_bytes(_to_tiff(pixels, odd.orientation))
        return
    import av

    coder = av.CodecContext.create("png", "w")
    coder.height, coder.width, coder.pix_fmt = *levels.shape, odd.mode + "be"
    coder.time_base = Fraction(1, 1)
    frame = av.VideoFrame(levels.shape[1], levels.shape[0], coder.pix_fmt)
    rows = np.zeros((frame.height, frame.planes[0].line_size), np.uint8)
    flat = pixels.astype(">u2").reshape(frame.height, -1).view(np.uint8)
    rows[:, : flat.shape[1]] = flat
    frame.planes[0].update(rows.tobytes())
    frame.pts = 0
    path.write_bytes(b"".join(bytes(packet) for packet in coder.encode(frame) + coder.encode(None)))


def _to_tiff(pixels: np.ndarray, orientation: int) -> bytes:
    """A plain TIFF file of 16-bit colours; Pillow writes none."""
    height, width, count = pixels.shape
    body = pixels.astype("<u2").tobytes()
    # Width, height, bits, compression, kind of colours, place, turn, channels, rows, bytes.
    keys = (256, 257, 258, 259, 262, 273, 274, 277, 278, 279)
    start = 8 + 2 + 12 * len(keys) + 4
    values = (width, height, start, 1, 2, start + 6, orientation, count, height, len(body))
    entries = b"".join(
        struct.pack("<HHII", key, 4 if key in (273, 279) else 3, 3 if key == 258 else 1, value)
        for key, value in zip(keys, values, strict=True)
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(keys)) + entries + bytes(4)
    return head + struct.pack("<3H", 16, 16, 16) + body


PICTURES = (
    *(OddPicture(f"as{k}.jpg", "PNG", orientation=k) for k in range(1, 9)),
    *(OddPicture(f"as{k}.tif", "TIFF", orientation=k) for k in range(1, 9)),
    *(
        OddPicture(f"photo{k}.png", "JPEG", options={"quality": 99}, orientation=k)
        for k in range(1, 9)
    ),
    *(OddPicture(f"{mode}.png", "PNG", mode) for mode in ("RGB", "LA", "RGBA", "P")),
    OddPicture("fax.tif", "TIFF", "1", options={"compression": "group4"}),
    OddPicture("cmyk.jpg", "JPEG", "CMYK", options={"quality": 99}),
    OddPicture("cmyk.tif", "TIFF", "CMYK"),
    OddPicture("lossless.gif", "WEBP", "RGB", options={"lossless": True}),
    OddPicture("lab.tif", "TIFF", "LAB"),
    # Scans and measurements.
    *(
        OddPicture(f"{form} of {most}.png", form, "I;16", most=most, depth="integer", orientation=k)
        for form in ("PNG", "TIFF")
        for most, k in ((4095, 1), (65535, 1), (65535, 6), (1000, 7))
    ),
    OddPicture("tomography.tif", "TIFF", "I", least=-1024, most=3071, depth="integer"),
    OddPicture("big.tif", "TIFF", "I", most=1 << 24, depth="integer"),
    OddPicture(
        "too big.tif", "TIFF", "I", most=1 << 30, depth="integer", refused="float32 cannot hold"
    ),
    OddPicture("height.tif", "TIFF", "F", least=-0.5, most=0.5, depth="float", orientation=5),
    OddPicture("colour.png", "PNG", "rgb48", most=4095, depth="integer"),
    OddPicture("colour.tif", "TIFF", "rgb48", most=65535, depth="integer"),
    *(
        OddPicture(f"colour {k}.tif", "TIFF", "rgb48", most=999, depth="integer", orientation=k)
        for k in (2, 6, 7)
    ),
    OddPicture("clear.png", "PNG", "rgba64", most=65535, depth="integer"),
)
