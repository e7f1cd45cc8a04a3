"""Uploaded files, looked at before any of them is decoded: what they are, and how much is in them.

Only headers are read. What FFmpeg or Pillow would take for a list of other files, a program or a
page is refused by its first bytes, whatever its name.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.data.readers.array_file import file_kind
from counterpoise.data.readers.base import need
from counterpoise.data.readers.film import films, open_container
from counterpoise.data.readers.hdf5 import open_hdf5
from counterpoise.errors import InputError

from .fields import Field
from .limits import Limits

PICTURE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
PICTURE = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|BM|II[*+]\0|MM\0[*+]|RIFF....WEBP|P[1-6]\s",
    re.DOTALL,
)
CONTAINER = re.compile(
    rb"RIFF|RIFX|RF64|fLaC|OggS|ID3|FORM....AIF[FC]|\.snd|riff\x2e\x91\xcf\x11|"
    rb"....(?:ftyp|moov|mdat|wide|free|skip)|\x1a\x45\xdf\xa3|FLV\x01|\x30\x26\xb2\x75\x8e\x66\xcf\x11|"
    rb"\0\0\x01[\xb0-\xbf]|\x47|....\x47|\xff[\xe0-\xff]",
    re.DOTALL,
)
MOST_RATE, MOST_TRACKS = 768_000, 64
FIELDS = re.compile(rb"[,;\s]+")


def check_file(path: Path, field: Field, limits: Limits) -> None:
    """Refuse a file that is not what its field wants, or that is too much once it is decoded.

    Raises:
        InputError: why, in a few words.
    """
    if path.stat().st_size == 0:
        raise InputError("is empty")
    if field.media == "picture":
        _check_picture(path, limits)
    elif field.media in ("sound", "film"):
        _check_container(path, limits)
    elif field.media == "array":
        _check_array(path, limits)


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _check_picture(path: Path, limits: Limits) -> None:
    if not PICTURE.match(_read_head(path)):
        raise InputError("is no picture: JPEG, PNG, WebP, TIFF, GIF, BMP and PPM are read")
    image = need("PIL.Image", "media")
    image.init()  # else it knows five formats until it has met another one
    try:
        with image.open(path, formats=PICTURE_FORMATS) as picture:
            pixels = picture.width * picture.height
    except (image.DecompressionBombError, image.DecompressionBombWarning):
        pixels = limits.pixels + 1
    except Exception:  # a damaged file can break the library anywhere
        raise InputError("is no picture, or damaged") from None
    if pixels > limits.pixels:
        raise InputError(f"holds more than {limits.pixels:,} pixels, which is the limit")


def _check_container(path: Path, limits: Limits) -> None:
    """A recording or a film: rates, frames and pixels, by the headers of its packets."""
    if not CONTAINER.match(_read_head(path)):
        raise InputError("is no sound or film of a known format")
    try:
        with open_container(path, "sound or film") as container:
            for stream in container.streams.audio:
                rate = stream.rate or 0
                if rate > MOST_RATE or (stream.channels or 0) > MOST_TRACKS:
                    raise InputError(f"has {rate:,} samples a second, {stream.channels} channels")
            pictures = films(container)
            size = max((s.width * s.height for s in pictures), default=0)
            if size > limits.pixels:
                raise InputError(f"has frames of more than {limits.pixels:,} pixels, the limit")
            if len(container.streams) > MOST_TRACKS:
                raise InputError(f"has {len(container.streams)} tracks")
            frames = sum(1 for packet in container.demux(pictures) if packet.size) if size else 0
            if frames > limits.frames:
                raise InputError(f"has more than {limits.frames:,} frames, which is the limit")
    except InputError as error:
        if path.name in str(error):  # FFmpeg cannot read it: the reader may, or says why
            return
        raise


def _check_array(path: Path, limits: Limits) -> None:
    """How large the arrays of a file are, by its headers; and that all of them are in it."""
    kind = file_kind(path)
    sizes = {"npy": _size_npy, "npz": _size_npz, "hdf5": _size_hdf5, "mat": _size_matlab}
    if kind not in sizes:
        count = len(FIELDS.findall(path.read_bytes()))
        if count > limits.numbers:
            raise InputError(f"holds {count:,} fields, where {limits.numbers:,} is the limit")
        return
    try:
        size = sizes[kind](path)
    except InputError:
        raise
    except Exception:  # a damaged file can break its library anywhere
        raise InputError("holds no arrays that can be read, or is damaged") from None
    if size > limits.decoded:
        raise InputError(f"holds {size:,} bytes of arrays, where {limits.decoded:,} is the limit")


def _size_header(file: Any) -> int:
    """The bytes that the header of a NumPy file promises."""
    read = np.lib.format
    version = read.read_magic(file)
    header = read.read_array_header_1_0 if version == (1, 0) else read.read_array_header_2_0
    shape, _, dtype = header(file)
    size = dtype.itemsize
    for length in shape:
        size *= length
    return size


def _size_npy(path: Path) -> int:
    with path.open("rb") as file:
        return _size_header(file)


def _size_npz(path: Path) -> int:
    """Of all arrays, by what the archive says and by what their headers promise."""
    total = 0
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist():
            with archive.open(item) as file:
                total += max(item.file_size, _size_header(file))
    return total


def _size_hdf5(path: Path) -> int:
    h5py = need("h5py", "media")
    total = 0
    with open_hdf5(path) as file:

        def add(name: str, item: Any) -> None:
            nonlocal total
            if isinstance(item, h5py.Dataset):
                total += int(np.prod(item.shape or (), dtype=object)) * item.dtype.itemsize

        file.visititems(add)
    return total


def _size_matlab(path: Path) -> int:
    from scipy.io import whosmat

    return sum(int(np.prod(shape, dtype=object)) * 8 for _, shape, _ in whosmat(path))
