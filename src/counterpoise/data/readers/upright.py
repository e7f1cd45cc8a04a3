"""Pictures turned as the camera was held: the display matrix of films, the EXIF of photographs."""

from __future__ import annotations

import struct
from typing import Any

from .base import need

ORIENTATION = 0x0112  # the tag of EXIF
STEEP = 0.02  # of a matrix, how far from a quarter turn it may be
# EXIF -> what Pillow calls the way back.
_WAYS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
# The signs of a display matrix [[a, b], [c, d]] -> EXIF: x goes to (a, b), y to (c, d).
_SIGNS: dict[tuple[int, ...], int] = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}


def turn(picture: Any, orientation: int) -> Any:
    """A picture of Pillow as its EXIF orientation (1 to 8) says; unknown ones change nothing."""
    way = _WAYS.get(orientation)
    return picture.transpose(need("PIL.Image", "media").Transpose[way]) if way else picture


def turn_frame(frame: Any, picture: Any) -> Any:
    """The picture of a frame by the whole display matrix: quarter turns, and mirrored or not.

    A turn by any other angle is made around the middle, as players do.
    """
    matrix = _find_matrix(frame)
    largest = max(map(abs, matrix))
    if largest == 0:
        return picture
    parts = [value / largest for value in matrix]
    if any(abs(part - round(part)) > STEEP for part in parts):
        return picture.rotate(frame.rotation, expand=True)
    return turn(picture, _SIGNS.get(tuple(round(part) for part in parts), 1))


def _find_matrix(frame: Any) -> tuple[int, int, int, int]:
    """a, b, c, d of the matrix that a frame carries; zeros if there is none."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0, 0, 0, 0
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    return a, b, c, d


def find_orientation(picture: Any) -> int:
    """What the EXIF of a photograph says; 1 where it says nothing."""
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF can break its parser anywhere
        return 1
