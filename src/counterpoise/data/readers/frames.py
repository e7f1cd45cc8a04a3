"""Folders of pictures: the frames of a clip, and its optical flow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from counterpoise.core.declared import Bounds
from counterpoise.errors import InputError

from .base import Array, Outside, Reader, existing
from .clips import Count, Pick, pick
from .image import SUFFIXES, Keep, Size, open_picture, to_pixels, to_sides


def list_pictures(folder: Any) -> list[Path]:
    """The pictures in a folder, 2.jpg before 10.jpg."""
    if isinstance(folder, Outside):
        raise folder.refuse()
    path = Path(str(folder))
    if not path.is_dir():
        raise InputError(f"{path} is not there, or no folder")
    found = [
        p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    ]
    if not found:
        raise InputError(f"{path} holds no pictures")
    return sorted(found, key=_order)


def _order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Numbers by their value, before and among words."""
    parts = re.split(r"(\d+)", path.stem)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts if p], path.name


@dataclass(frozen=True)
class Frames(Reader):
    """The frames of a clip as pictures -> uint8 [frames, 3, height, width].

    A cell is a folder (pictures in the order of the numbers in their names), or a list of paths.

    Attributes:
        frames: how many.
        size: pixels, one number or (height, width).
        pick: ``"even"``: the centres of ``frames`` equal segments, a short clip repeats frames;
            ``"first"``: those at the beginning.
        keep: ``"squash"`` all of it into the size, or ``"crop"`` the middle in its proportions.
    """

    name: ClassVar[str] = "frames"
    extra: ClassVar[str] = "media"

    frames: Count = 3
    size: Size = 224
    pick: Pick = "even"
    keep: Keep = "squash"

    def read(self, cell: Any) -> Array:
        paths = list(cell) if isinstance(cell, (list, tuple)) else list_pictures(cell)
        if not paths:
            raise InputError("holds no pictures")
        size = to_sides(self.size)
        places = pick(len(paths), self.frames, self.pick)
        shown = {
            i: to_pixels(open_picture(existing(paths[i])), size, self.keep) for i in set(places)
        }
        return np.stack([shown[i] for i in places])


@dataclass(frozen=True)
class Flow(Reader):
    """Optical flow as grey pictures -> uint8 [2 * stack, height, width]: u1, v1, u2, v2, ...

    A cell is a pair of folders, of the horizontal (u) and the vertical (v) flow, each with a
    picture a frame. ``stack`` consecutive frames around the middle of the clip are taken (Simonyan
    and Zisserman, 2014); a shorter clip repeats its last one.

    Attributes:
        stack: how many frames.
        size: pixels, one number or (height, width).
        keep: ``"squash"`` all of it into the size, or ``"crop"`` the middle in its proportions.
    """

    name: ClassVar[str] = "flow"
    extra: ClassVar[str] = "media"
    kind: ClassVar[str] = "image"

    stack: Annotated[int, Bounds(1, 1024)] = 10
    size: Size = 224
    keep: Keep = "squash"

    def read(self, cell: Any) -> Array:
        if not isinstance(cell, (list, tuple)) or len(cell) != 2:
            raise InputError(f"must be two folders (u, v), found {cell!r}")
        u, v = (list_pictures(folder) for folder in cell)
        if len(u) != len(v):
            raise InputError(f"holds {len(u)} frames of u and {len(v)} of v")
        size = to_sides(self.size)
        first = max(0, (len(u) - self.stack) // 2)
        layers = [
            to_pixels(
                open_picture(existing(axis[min(first + i, len(u) - 1)])), size, self.keep, True
            )
            for i in range(self.stack)
            for axis in (u, v)
        ]
        return np.concatenate(layers)
