"""How a request brings each modality: as numbers, as a text, or as an uploaded file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from counterpoise.data.readers.array import ArrayFile
from counterpoise.data.readers.audio import SUFFIXES as SOUNDS
from counterpoise.data.readers.audio import Audio, Waveform
from counterpoise.data.readers.base import Reader
from counterpoise.data.readers.frames import Frames
from counterpoise.data.readers.image import SUFFIXES as PICTURES
from counterpoise.data.readers.image import Image
from counterpoise.data.readers.numbers import Numbers
from counterpoise.data.readers.text import Text
from counterpoise.data.readers.video import Video

if TYPE_CHECKING:
    from counterpoise.deploy.inputs.preprocessing import Preprocessing


@dataclass(frozen=True)
class Field:
    """How one modality is brought.

    Attributes:
        name: of the modality.
        inline: what stands in JSON: ``"numbers"``, ``"text"``, or empty where only files do.
        media: what an uploaded file must be: ``"sound"``, ``"picture"``, ``"film"``, ``"array"``,
            ``"text"``, or empty where none is taken.
        suffixes: that an uploaded file keeps; those of others are left off.
        several: it is a sequence of files, such as the pictures of a clip.
        array: numbers become an array before they are read.
        tensors: of which one sample consists, where there are several.
        shape: of a sample, for the page.
    """

    name: str
    inline: str = ""
    media: str = ""
    suffixes: tuple[str, ...] = ()
    several: bool = False
    array: bool = False
    tensors: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()

    @property
    def wanted(self) -> str:
        """What it takes, in words."""
        if self.tensors:
            return f"an object of {', '.join(self.tensors)}, each numbers in lists"
        return {"numbers": "numbers in lists", "text": "a text"}.get(self.inline, "a file")

    @property
    def example(self) -> str:
        """How its value is written in JSON, in short."""
        if self.inline == "text":
            return '"a text"'
        if self.tensors:
            return "{" + ", ".join(f'"{key}": [..]' for key in self.tensors) + "}"
        inside = max(len(self.shape) - 1, 0)
        if not inside:
            return "[1.5, null, 3]"
        return f"{'[' * inside}[1.5, null, 3], [..]{']' * inside}"

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its value within a row."""
        lists: dict[str, Any] = {"type": ["number", "array", "null"], "items": {}}
        if self.inline == "text":
            return {"type": ["string", "null"], "description": "a text"}
        if self.tensors:
            parts = {key: {"type": "array", "items": {"type": "number"}} for key in self.tensors}
            more = {"required": list(self.tensors), "additionalProperties": False}
            return {"type": ["object", "null"], "properties": parts, **more}
        size = f"; a sample has shape {list(self.shape)}" if self.shape else ""
        return {**lists, "description": f"numbers in lists, null where not measured{size}"}


def find_fields(preprocessing: Mapping[str, Preprocessing]) -> dict[str, Field]:
    """The field of each modality; those that cannot be brought over HTTP have none."""
    found = {}
    for name, how in preprocessing.items():
        field = _find_field(name, how)
        if field is not None:
            found[name] = field
    return found


def _find_field(name: str, how: Preprocessing) -> Field | None:
    reader = how.reader
    shape = how.spec[""][1] if set(how.spec) == {""} else ()
    if reader is None:
        tensors = () if set(how.spec) == {""} else tuple(how.spec)
        return Field(name, "numbers", array=True, tensors=tensors, shape=shape)
    # A class derived from these may open what it likes.
    if type(reader) is Numbers:
        return Field(name, "numbers", shape=(reader.count or 1,))
    if type(reader) is Text:
        file = reader.file
        return Field(name, "" if file else "text", "text" if file else "", (".txt",) * file)
    if type(reader) is ArrayFile:
        return Field(name, "numbers", "array", reader.suffixes, array=True, shape=shape)
    return _find_media(name, reader)


def _find_media(name: str, reader: Reader) -> Field | None:
    kind = type(reader)
    if kind in (Audio, Waveform):
        return Field(name, media="sound", suffixes=(*SOUNDS, *Video.suffixes))
    if kind is Image:
        return Field(name, media="picture", suffixes=PICTURES)
    if kind is Frames:
        return Field(name, media="picture", suffixes=PICTURES, several=True)
    if kind is Video:
        return Field(name, media="film", suffixes=Video.suffixes)
    return None
