"""Arrays in files: NumPy, MATLAB, HDF5, tables of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from counterpoise.errors import InputError

from .base import Array, Reader, existing, fit_length, need

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST = 4096  # time steps, where nothing is said
HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class ArrayFile(Reader):
    """The array of a file, or an array that is the cell itself.

    float32, uint8 (pixels; also booleans) or int64 (tokens). Vectors [F] stay as they are. A time
    series of any length [T, ...] is cropped or filled up with zeros to ``length``; [T, C] becomes
    [C, T], which encoders of sequences take.

    Args:
        key: the name of the array, in files of several; None where there is only one.
        length: time steps; None takes the longest of the training cells (4,096 at most) where
            their lengths differ, and leaves arrays of one shape alone.
        axis: the axis of time in the file.
        channels_first: put time last, in arrays of two axes.
    """

    name = "array"
    suffixes = (".npy", ".npz", ".mat", ".h5", ".hdf5", ".csv", ".tsv", ".txt")
    key: str | None = None
    length: int | None = None
    axis: int = 0
    channels_first: bool = True

    def fitted(self, cells: Sequence[Any]) -> Self:
        if self.length is not None:
            return self
        shapes = [shape for cell in cells if (shape := self._shape(cell)) is not None]
        lengths = {shape[self.axis] for shape in shapes if len(shape) > max(self.axis, 0)}
        if len(lengths) < 2:
            return self
        return self.changed(self.name, length=min(max(lengths), LONGEST))

    def read(self, cell: Any) -> Array:
        array = _numbers(self._load(cell))
        if self.length is not None:
            if array.ndim <= max(self.axis, 0):
                raise InputError(f"has no axis {self.axis}: its shape is {list(array.shape)}")
            if array.shape[self.axis] == 0:
                raise InputError("holds no time step")
            array = fit_length(array, self.length, self.axis)
        if array.size == 0:
            raise InputError(f"is empty: its shape is {list(array.shape)}")
        if self.channels_first and array.ndim == 2 and self.axis in (0, -2):
            array = np.ascontiguousarray(array.T)
        return array

    def _shape(self, cell: Any) -> tuple[int, ...] | None:
        try:
            return tuple(self._load(cell, peek=True).shape)
        except Exception:  # reported when it is read
            return None

    def _load(self, cell: Any, peek: bool = False) -> Array:
        if isinstance(cell, np.ndarray):
            return cell
        path = existing(cell)
        kind = path.suffix.lower()
        if kind == ".npy":
            return _npy(path, peek)
        if kind == ".npz":
            return self._member(_npz(path), path)
        if kind in (".mat", ".h5", ".hdf5"):
            with path.open("rb") as file:
                start = file.read(520)
            if start.startswith(HDF5) or start[512:].startswith(HDF5):  # MATLAB from v7.3 on
                return self._hdf5(path, matlab=kind == ".mat")
            return self._member(_matlab(path), path)
        return _text(path, "," if kind == ".csv" else None)

    def _member(self, arrays: dict[str, Any], path: Path) -> Array:
        return np.asarray(arrays[self._chosen(list(arrays), path)])

    def _chosen(self, names: list[str], path: Path) -> str:
        if self.key is None and len(names) == 1:
            return names[0]
        if self.key not in names:
            asked = "names no key" if self.key is None else f"holds no {self.key!r}"
            raise InputError(f"{path.name} {asked}; it holds {', '.join(sorted(names)) or 'none'}")
        return str(self.key)

    def _hdf5(self, path: Path, matlab: bool) -> Array:
        h5py = need("h5py", "media")
        try:
            with h5py.File(path, "r") as file:
                names: list[str] = []
                file.visititems(
                    lambda name, item: (
                        names.append(name) if isinstance(item, h5py.Dataset) else None
                    )
                )
                array = np.asarray(file[self._chosen(names, path)])
        except OSError as error:
            raise InputError(f"is no HDF5 file or damaged ({error})") from None
        return array.T if matlab else array  # MATLAB writes columns first


def _npy(path: Path, peek: bool) -> Array:
    try:
        return np.asarray(np.load(path, mmap_mode="r" if peek else None, allow_pickle=False))
    except ValueError as error:
        raise InputError(_refused(error)) from None
    except (OSError, EOFError) as error:
        raise InputError(f"is no NumPy file or damaged ({error})") from None


def _npz(path: Path) -> dict[str, Any]:
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except ValueError as error:
        raise InputError(_refused(error)) from None
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"is no NumPy file or damaged ({error})") from None


def _refused(error: ValueError) -> str:
    if "allow_pickle" in str(error) or "pickled" in str(error):
        return "holds Python objects, which are not read since they can run programs"
    return f"is no NumPy file or damaged ({error})"


def _matlab(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        found = loadmat(path)
    except Exception as error:  # a damaged file can break the reader anywhere
        raise InputError(f"is no MATLAB file or damaged ({error})") from None
    return {name: value for name, value in found.items() if not name.startswith("__")}


def _text(path: Path, delimiter: str | None) -> Array:
    try:
        lines = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("is no text of numbers") from None
    if delimiter is None and "\t" in lines:
        delimiter = "\t"
    try:
        rows = [line.split(delimiter) for line in lines.splitlines() if line.strip()]
        return np.array([[float(field) for field in row] for row in rows], dtype=np.float32)
    except ValueError as error:
        raise InputError(f"is no table of numbers ({error})") from None


def _numbers(array: Array) -> Array:
    """float32, uint8 or int64; every number finite."""
    kind = array.dtype.kind
    if kind == "b":
        return array.astype(np.uint8)
    if kind in "iu":
        return array if array.dtype == np.uint8 else array.astype(np.int64)
    if kind != "f":
        raise InputError(f"must hold numbers, found {array.dtype}")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise InputError("must hold finite numbers, found NaN or infinity")
    return array
