"""Arrays in files: NumPy, MATLAB, HDF5, tables of numbers."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from counterpoise.data.kinds import kind_of
from counterpoise.errors import InputError, check_number

from .base import Array, Unmeasured, existing, fit_length, need, some
from .measured import Measured, is_blank

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST = 4096  # time steps, unless a length is given
FEW, MOST = 200, 1 << 23  # samples, and values, that tell whether float32 holds the others
HDF5 = b"\x89HDF\r\n\x1a\n"
TABLES = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class ArrayFile(Measured):
    """The array of a file, or an array that is the cell itself.

    float32, uint8 (pixels; also booleans) or int64 (tokens). Vectors [F] stay as they are, and a
    table of one line or one column is a vector. A time series of any length [T, ...] is cropped or
    filled up with zeros to ``length``; [T, C] becomes [C, T], which encoders of sequences take, and
    [T] becomes [1, T]. NaN is a value that was not measured, and the training mean where batches
    are read; an array of nothing else is a sample that lacks the modality.

    Args:
        key: the name of the array, in files of several; None where there is only one.
        length: time steps; None takes the longest of the training cells (4,096 at most) where
            their lengths differ, and leaves arrays of one shape alone. Where most are vectors of
            one length they are no time series, and the others cannot be read.
        axis: the axis of time in the file.
        channels_first: put time last, in arrays of one or two axes.
        indicators: beside each channel stands another, 1 where a value was measured and 0 where
            not: [2F], [2C, T], [2C, H, W], of pictures [H, W] a second one.
        center: of each channel, taken off in float64; empty where float32 holds how values vary.
        spread: of each channel, by which it is divided then.
        series: [A, B] is [C, T], though it has the shape of a picture. So it is where values of
            training cells were not measured, since pictures have all of their pixels.
    """

    name = "array"
    suffixes = (".npy", ".npz", ".mat", ".h5", ".hdf5", *TABLES)
    key: str | None = None
    length: int | None = None
    axis: int = 0
    channels_first: bool = True

    def __post_init__(self) -> None:
        check_number("axis", self.axis, -8, 8, whole=True)
        if self.length is not None:
            check_number("length", self.length, 1, whole=True)

    def fit(self, cells: Sequence[Any]) -> Self:
        reader = self if self.length is not None else self._fit_length(cells)
        reader = reader._fit_series(cells)
        return reader.find_center(reader._wide(cells), reader.length is not None)

    def _fit_length(self, cells: Sequence[Any]) -> Self:
        shapes = [shape for cell in some(cells) if (shape := self._shape(cell)) is not None]
        lengths = {shape[self.axis] for shape in shapes if self._timed(len(shape))}
        if len(lengths) < 2:
            return self
        usual, count = Counter(shapes).most_common(1)[0]
        if len(usual) == 1 and 2 * count > len(shapes):
            return self
        return self.changed(self.name, length=min(max(lengths), LONGEST))

    def _fit_series(self, cells: Sequence[Any]) -> Self:
        for cell in some(cells, FEW):
            with contextlib.suppress(Exception):  # reported when it is read
                array = self._turn(*self._load(cell, peek=True))
                if array.ndim == 2 and kind_of(array.shape) == "image" and np.isnan(array).any():
                    return self.changed(self.name, series=True)
        return self

    def _wide(self, cells: Sequence[Any]) -> list[Array]:
        """Some of the samples that are float64 in their files, filled up."""
        found: list[Array] = []
        for cell in some(cells, FEW):
            with contextlib.suppress(Exception):  # reported when it is read
                array = self._turn(*self._load(cell, peek=True))
                if array.dtype == np.float64 and (self.length is None or self._is_series(array)):
                    found.append(fit_length(array, self.length) if self.length else array)
            if sum(array.size for array in found) > MOST:
                break
        return found

    def lacks(self, cell: Any) -> bool:
        is_real = isinstance(cell, np.ndarray) and cell.dtype.kind == "f" and cell.size > 0
        return is_real and bool(np.isnan(cell).all())

    def read(self, cell: Any) -> Array:
        array = self._turn(*self._load(cell))
        if self.length is None:
            return self.finish(array)
        if self._is_series(array):  # what fills it up stays 0
            return fit_length(self.finish(array), self.length)
        return self.finish(fit_length(array, self.length, self.axis))

    def _turn(self, array: Array, is_table: bool) -> Array:
        """The numbers of an array: [T, C] as [C, T], waves [T] as [1, T], tables as vectors."""
        array = _numbers(array)
        if self.length is not None:
            if not self._timed(array.ndim):
                raise InputError(f"has no axis {self.axis}: its shape is {list(array.shape)}")
            if array.shape[self.axis] == 0:
                raise InputError("holds no time step")
        elif is_table and 1 in array.shape:
            array = array.ravel()
        if array.size == 0:
            raise InputError(f"is empty: its shape is {list(array.shape)}")
        if self.channels_first and array.ndim == 2 and self.axis in (0, -2):
            return np.ascontiguousarray(array.T)
        if self.channels_first and array.ndim == 1 and self.length is not None:
            return array[None]
        return array

    def _is_series(self, array: Array) -> bool:
        """Whether a sample is [C, T]."""
        return self.channels_first and array.ndim == 2

    def _timed(self, axes: int) -> bool:
        return -axes <= self.axis < axes

    def _shape(self, cell: Any) -> tuple[int, ...] | None:
        try:
            return tuple(self._load(cell, peek=True)[0].shape)
        except Exception:  # reported when it is read
            return None

    def _load(self, cell: Any, peek: bool = False) -> tuple[Array, bool]:
        """The array as it stands in the file, and whether that is a table of text."""
        if isinstance(cell, np.ndarray):
            return cell, False
        path = existing(cell)
        kind = file_kind(path)
        if kind == "npy":
            return _npy(path, peek), False
        if kind == "npz":
            return self._npz(path), False
        if kind == "hdf5":
            return self._hdf5(path), False
        if kind == "mat":
            return self._matlab(path), False
        return read_table(path), True

    def _choose(self, names: list[str], path: Path) -> str:
        if self.key is None and len(names) == 1:
            return names[0]
        if self.key not in names:
            listing = ", ".join(sorted(names)) or "no array"
            asked = "needs a key" if self.key is None else f"holds no {self.key!r}"
            raise InputError(f"{path.name} {asked}; it holds {listing}")
        return str(self.key)

    def _npz(self, path: Path) -> Array:
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                return np.asarray(file[self._choose(list(file.files), path)])
        except InputError:
            raise
        except Exception as error:  # a damaged file can break the library anywhere
            raise refuse_file(error, path) from None

    def _matlab(self, path: Path) -> Array:
        from scipy.io import loadmat, whosmat

        try:
            names = [name for name, _, kind in whosmat(path) if kind not in ("cell", "struct")]
            name = self._choose(names, path)
            return np.asarray(loadmat(path, variable_names=[name])[name])
        except InputError:
            raise
        except Exception:  # a damaged file can break the library anywhere
            raise InputError(f"{path.name} is no MATLAB file, or damaged") from None

    def _hdf5(self, path: Path) -> Array:
        h5py = need("h5py", "media")
        try:
            with h5py.File(path, "r") as file:
                names: list[str] = []

                def note(name: str, item: Any) -> None:
                    if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf":
                        names.append(name)

                file.visititems(note)  # which follows no link to another file
                array = np.asarray(file[self._choose(names, path)])
        except InputError:
            raise
        except Exception:  # a damaged file can break the library anywhere
            raise InputError(f"{path.name} is no HDF5 file, or damaged") from None
        return array.T if path.suffix.lower() == ".mat" else array  # MATLAB writes columns first


def file_kind(path: Path) -> str:
    """``"npy"``, ``"npz"``, ``"hdf5"`` (MATLAB from v7.3 on too), ``"mat"``, or ``"text"``."""
    with path.open("rb") as file:
        start = file.read(520)
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(b"PK\x03\x04"):
        return "npz"
    if start.startswith(HDF5) or start[512:] == HDF5:
        return "hdf5"
    if start.startswith(b"MATLAB 5.0") or path.suffix.lower() == ".mat":
        return "mat"
    by_suffix = {".npy": "npy", ".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5"}
    return by_suffix.get(path.suffix.lower(), "text")


def _npy(path: Path, peek: bool) -> Array:
    try:
        return np.asarray(np.load(path, mmap_mode="r" if peek else None, allow_pickle=False))
    except Exception as error:  # a header that is damaged is parsed as Python's
        raise refuse_file(error, path) from None


def refuse_file(error: Exception, path: Path) -> InputError:
    with path.open("rb") as file:
        pickled = file.read(1) == b"\x80"
    if pickled or "Object arrays" in str(error):
        return InputError(
            f"{path.name} holds Python objects, which are not read since they can run programs"
        )
    return InputError(f"{path.name} is no NumPy file, or damaged")


def read_table(path: Path) -> Array:
    """float64 [lines, columns] of a text; a line of headings is left out.

    Columns are parted by commas, semicolons, tabs or blanks. Nothing between commas, and words such
    as ``NA``, are NaN.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is no table of numbers") from None
    rows = [re.split(r"\s*[,;\t]\s*|\s+", line.strip()) for line in lines if line.strip()]
    if len(rows) > 1 and not any(is_blank(field) or _is_number(field) for field in rows[0]):
        rows = rows[1:]
    try:
        table = np.array([[_to_float(field) for field in row] for row in rows], dtype=np.float64)
    except ValueError:
        raise InputError(f"{path.name} is no table of numbers") from None
    if table.size == 0:
        raise InputError(f"{path.name} holds no numbers")
    if np.isnan(table).all():
        raise Unmeasured(f"{path.name} holds no value that was measured")
    return table


def _to_float(field: str) -> float:
    return float("nan") if is_blank(field) else float(field)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _numbers(array: Array) -> Array:
    """float32, float64, uint8 or int64."""
    kind = array.dtype.kind
    if kind == "b":
        return array.astype(np.uint8)
    if kind == "u" and array.size and int(array.max()) >= 2**63:
        raise InputError(f"must fit int64, found {int(array.max())}")
    if kind in "iu":
        return array if array.dtype == np.uint8 else array.astype(np.int64)
    if kind != "f":
        raise InputError(f"must hold numbers, found {array.dtype}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, np.float32 if array.dtype.itemsize <= 4 else np.float64)
