"""Readers turn one cell of a table into tensors: one file a family, over a maintained library.

May import: the small modules of ``data`` (kinds, splits, convert), ``core`` and ``errors``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from counterpoise.core.lazy import lazy
from counterpoise.core.registry import Registry

if TYPE_CHECKING:
    from .array import ArrayFile
    from .audio import Audio, Waveform
    from .base import Reader
    from .frames import Flow, Frames
    from .image import Image
    from .numbers import Numbers
    from .text import Text
    from .video import Video

READERS: Registry[Reader] = Registry(
    "reader",
    "counterpoise.data.readers.base:Reader",
    {
        "audio": "counterpoise.data.readers.audio:Audio",
        "waveform": "counterpoise.data.readers.audio:Waveform",
        "image": "counterpoise.data.readers.image:Image",
        "video": "counterpoise.data.readers.video:Video",
        "frames": "counterpoise.data.readers.frames:Frames",
        "flow": "counterpoise.data.readers.frames:Flow",
        "array": "counterpoise.data.readers.array:ArrayFile",
        "numbers": "counterpoise.data.readers.numbers:Numbers",
        "text": "counterpoise.data.readers.text:Text",
    },
    group="counterpoise.readers",
    options=lambda kind: kind.options(),
)


def build_reader(settings: Mapping[str, Any]) -> Reader:
    """A reader from its type and options, as :meth:`Reader.settings` writes them."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    name = str(options.pop("type", None))
    if options.get("mels") == 0:  # as None was written, too, before it was refused
        options["mels"] = None
    return READERS.build(name, **{**READERS.find(name).young, **options})


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

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, {"base": "Reader"}, READERS.own)
