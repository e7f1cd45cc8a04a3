"""Readers turn one cell of a table into tensors: one file a family, over a maintained library.

May import: the small modules of ``data`` (kinds, splits, convert), ``core`` and ``errors``.
"""

from collections.abc import Mapping
from typing import Any

from counterpoise.errors import unknown

from .array import ArrayFile
from .audio import Audio, Waveform
from .base import Reader
from .frames import Flow, Frames
from .image import Image
from .numbers import Numbers
from .text import Text
from .video import Video

READERS: dict[str, type[Reader]] = {
    reader.name: reader
    for reader in (Audio, Waveform, Image, Video, Frames, Flow, ArrayFile, Numbers, Text)
}


def build_reader(settings: Mapping[str, Any]) -> Reader:
    """A reader from its type and options, as :meth:`Reader.settings` writes them."""
    name = settings.get("type")
    if name not in READERS:
        raise unknown("type of modality", name, READERS)
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    del options["type"]
    return READERS[str(name)]().changed(str(name), **options)


__all__ = [
    "READERS",
    "ArrayFile",
    "Audio",
    "Flow",
    "Frames",
    "Image",
    "Numbers",
    "Reader",
    "Text",
    "Video",
    "Waveform",
    "build_reader",
]
