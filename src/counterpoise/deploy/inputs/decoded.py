"""Cells that are no paths where a reader opens files: samples that were decoded already, others."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.data.cells import Spec, try_cell
from counterpoise.data.preparation.choose import is_file
from counterpoise.data.readers import ArrayFile, Image
from counterpoise.data.readers.base import Reader, need
from counterpoise.data.readers.depth import depth_of
from counterpoise.data.readers.image import to_pixels, to_sides
from counterpoise.data.values import to_array
from counterpoise.errors import show

Array = NDArray[Any]

KINDS = {"float32": "f", "int64": "iu", "uint8": "u"}  # of arrays that are samples of this type


def is_picture(cell: Any) -> bool:
    """Whether this is a picture of Pillow, which is not imported for it."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(cell, pillow.Image)


def has_type(array: Array, dtype: str, reader: Reader | None) -> bool:
    """Whether an array may be samples of a type; numbers of any, where there is no reader."""
    if dtype == "uint8":
        return array.dtype == np.uint8
    plain = reader is None and dtype == "float32"
    return array.dtype.kind in ("biuf" if plain else KINDS.get(dtype, ""))


def can_read(reader: Reader, shape: Sequence[int], dtype: Any, spec: Spec) -> bool:
    """Whether an array of this shape is what the reader reads, as arrays in files are."""
    row = np.ones(shape, dtype)
    return isinstance(try_cell(reader, row if row.ndim else row.item(), spec), dict)


def find_samples(cells: Sequence[Any], reader: Reader, spec: Spec) -> dict[int, dict[str, Array]]:
    """Place -> the sample, by tensor, of each cell that holds one and that is not to be read.

    Arrays that the reader reads as those in files are left to it. Pictures of Pillow become what
    the reader of pictures makes of their file.
    """
    found: dict[int, dict[str, Array]] = {}
    known: dict[Any, bool] = {}
    for place, cell in enumerate(cells):
        if is_picture(cell):
            cell = _to_pixels(cell, reader)
        sample = _to_sample(cell, reader, spec)
        if sample is None:
            continue
        if "" in sample:
            dtype = sample[""].dtype
            if dtype not in known:
                known[dtype] = can_read(reader, sample[""].shape, dtype, spec)
            if known[dtype]:
                continue
        found[place] = sample
    return found


def _to_sample(cell: Any, reader: Reader, spec: Spec) -> dict[str, Array] | None:
    """A cell by tensor, if it has the shapes and types of a sample."""
    given = cell if isinstance(cell, Mapping) else {"": cell}
    if set(given) != set(spec):
        return None
    sample = {key: to_array(value) for key, value in given.items()}
    for key, (dtype, shape) in spec.items():
        array = sample[key]
        fits = isinstance(array, np.ndarray) and array.shape == shape
        if not fits or not has_type(array, dtype, reader):
            return None
    return sample


def _to_pixels(picture: Any, reader: Reader) -> Array | None:
    """uint8, as the reader makes of the file of a picture; None where another reader is wanted."""
    if not isinstance(reader, Image) or reader.depth or depth_of(picture) != "bytes":
        return None
    picture = need("PIL.ImageOps", "media").exif_transpose(picture)
    if picture.mode == "P":  # Pillow warns of transparent colours, which are colours, too
        picture = picture.convert("RGBA")
    picture = picture.convert("RGB")
    return to_pixels(picture, to_sides(reader.size), reader.keep, reader.grey)


def explain(cell: Any, reader: Reader, spec: Spec) -> str | None:
    """Why a cell that is no path cannot be read, in one short line; None where the reader says it.

    Args:
        cell: as it was given.
        reader: that has failed.
        spec: of a sample.
    """
    if not is_file(reader) or isinstance(cell, str) or _names_files(cell):
        return None
    if isinstance(reader, ArrayFile) and isinstance(cell, np.ndarray | list | tuple):
        return None
    sample = ""
    if set(spec) == {""} and not isinstance(cell, int | float | bytes):
        dtype, shape = spec[""]
        sample = f", or a decoded sample {dtype} {list(shape)}"
    return f"is {_describe(cell)}; give a path{sample}"


def _names_files(cell: Any) -> bool:
    """Whether a list holds paths, and perhaps numbers: a clip, the frames of a film."""
    if not isinstance(cell, list | tuple) or not cell:
        return False
    paths = isinstance(cell[0], str | os.PathLike)
    return paths and all(isinstance(part, str | os.PathLike | int | float) for part in cell)


def _describe(cell: Any) -> str:
    """What a cell is, without its content where that may be long."""
    if isinstance(cell, np.ndarray):
        return f"an array {cell.dtype} {list(cell.shape)}"
    if is_picture(cell):
        return f"a picture of Pillow ({cell.mode}, {cell.width} x {cell.height})"
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return f"a number, {show(cell)}"
    if isinstance(cell, list | tuple):
        first: Any = cell
        while isinstance(first, list | tuple) and first:
            first = first[0]
        return "a list of numbers" if isinstance(first, int | float) else "a list"
    return f"of type {type(cell).__name__}"
