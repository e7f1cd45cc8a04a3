"""Arrays in files: NumPy, MATLAB, HDF5, tables of numbers."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np

from counterpoise.core.declared import Bounds, Length
from counterpoise.data.kinds import kind_of
from counterpoise.errors import InputError

from .array_file import file_kind, read_hdf5, read_lists, read_matlab, read_npy, read_npz, to_array
from .base import Array, existing, fit_length, some
from .measured import Measured
from .number_table import counts_up, parse_table
from .time_axis import ASK, find_length, find_time

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST = 4096  # time steps, unless a length is given
FEW, MOST = 200, 1 << 23  # samples, and values, that tell whether float32 holds the others
TABLES = (".csv", ".tsv", ".txt")


class Loaded(NamedTuple):
    """An array as it stands in its file.

    Attributes:
        array: of any type.
        form: ``"table"`` (of text) or ``"matlab"``, which have no vectors; else empty.
        first: the words of the first line of a table without a heading.
    """

    array: Array
    form: str = ""
    first: tuple[str, ...] = ()


class Seen(NamedTuple):
    """What was seen of an array: its shape, what NumPy calls its type, and as in Loaded."""

    shape: tuple[int, ...]
    kind: str
    form: str
    first: tuple[str, ...]


@dataclass(frozen=True)
class ArrayFile(Measured):
    """The array of a file, or an array (or lists of lists of numbers) that is the cell itself.

    float32, uint8 (pixels; also booleans) or int64 (tokens); where some training cells hold
    fractions, all are float32. Vectors [F] stay as they are, and [1, F] and [F, 1] become [F]. A
    time series of any length [T, ...] is cropped or filled up with zeros to ``length``; [T, C]
    becomes [C, T], which encoders of sequences take, and [T] becomes [1, T]. NaN is a value that
    was not measured, and the training mean where batches are read; an array of nothing else is a
    sample that lacks the modality.

    One rule says which axis is time: the one along which training cells differ in size, and the
    first of tables of text, whose lines are steps. Where all arrays [A, B] are of one size, they
    are pictures [H, W] if they have that shape; otherwise ``axis`` must say it.

    Args:
        key: the name of the array, in files of several; None where there is only one.
        length: time steps; None takes the longest of the training cells (4,096 at most) where
            their lengths differ, and leaves arrays of one shape alone. Where most are vectors of
            one length they are no time series, and the others cannot be read.
        axis: the axis of time in the file; None tells it by the rule above.
        channels_first: put time last, in arrays of one or two axes; false leaves [A, B] as it is.
        indicators: beside each channel stands another, 1 where a value was measured and 0 where
            not: [2F], [2C, T], [2C, H, W], of pictures [H, W] a second one.
        center: of each channel, taken off in float64; empty where float32 holds how values vary.
        spread: of each channel, by which it is divided then.
        series: [A, B] is [C, T], though it has the shape of a picture. So it is where there is an
            axis of time.
        real: whole numbers are read as real ones, float32.
        header: the first line of a table holds the names 0, 1, 2 .. of its columns; None: where
            all training cells begin so.
    """

    name = "array"
    suffixes = (".npy", ".npz", ".mat", ".h5", ".hdf5", *TABLES)
    young: ClassVar[Mapping[str, Any]] = {**Measured.young, "real": False, "header": False}
    key: str | None = None
    length: Length | None = None
    axis: Annotated[int | None, Bounds(-8, 8)] = None
    channels_first: bool = True
    real: bool = False
    header: bool | None = None

    def fit(self, cells: Sequence[Any]) -> Self:
        """A reader that knows the axis and the length of time, by the training cells.

        Raises:
            InputError: which axis is time, or whether a first line is a heading, cannot be told.
        """
        seen = self._look(cells)
        reader = self._fit_header([x.first for x in seen if x.form == "table"])
        if reader.header and not self.header:
            seen = reader._look(cells)
        if not seen:
            return reader
        if len({x.kind == "f" for x in seen}) == 2 and not reader.real:
            reader = reader.changed(self.name, real=True)
        shapes = [x.shape for x in seen]
        reader = reader._fit_axis(shapes, all(x.form == "table" for x in seen))
        reader = reader._fit_series(Counter(shapes).most_common(1)[0][0])
        reader._check_pictures(cells)
        return reader.find_center(reader._wide(cells), reader.length is not None)

    def _look(self, cells: Sequence[Any]) -> list[Seen]:
        """What some of the cells hold."""
        return [
            Seen(x.array.shape, x.array.dtype.kind, x.form, x.first) for x in self._load_some(cells)
        ]

    def _fit_header(self, firsts: list[tuple[str, ...]]) -> Self:
        """Whether the first lines of tables, which are numbers, are names."""
        if self.header is not None:
            return self
        first = firsts[0] if firsts else ()
        few = len(firsts) < 3 or len(first) < 3
        data = len(set(firsts)) != 1 or not counts_up(first) or (few and first[0] != "0")
        if data:  # that begin with 1, 2 are common
            return self.changed(self.name, header=False)
        if len(first) > 2:
            return self.changed(self.name, header=True)
        raise InputError(
            f"the first line of each table is {','.join(first)}: names of columns, or numbers? say "
            "--set COLUMN.header=true or --set COLUMN.header=false"
        )

    def _fit_axis(self, shapes: list[tuple[int, ...]], lines: bool) -> Self:
        axis = self.axis
        if axis is None:
            if self.channels_first or len(set(shapes)) > 1 or self.length is not None:
                axis = find_time(shapes, lines, self.length is not None)
            else:
                axis = 0  # all stay as they are
        length = self.length
        if length is None and (found := find_length(shapes, axis)) is not None:
            length = min(found, LONGEST)
        return self.changed(self.name, axis=axis, length=length)

    def _fit_series(self, shape: tuple[int, ...]) -> Self:
        if self.kind or self.axis is None or len(shape) != 2 or not self.channels_first:
            return self
        steps = self.length or shape[self.axis]
        if kind_of((shape[1 - self.axis % 2], steps)) != "image":
            return self
        return self.changed(self.name, series=True)

    def _check_pictures(self, cells: Sequence[Any]) -> None:
        """Refuse pictures of which some pixels were not measured: they are something else."""
        if self.axis is not None or self.length is not None or not self.channels_first:
            return
        for loaded in self._load_some(cells, FEW):
            array = loaded.array
            is_real = array.ndim == 2 and 1 not in array.shape and array.dtype.kind == "f"
            if is_real and np.isnan(array).any() and not np.isnan(array).all():
                raise InputError(
                    f"arrays {list(array.shape)} in which values were not measured are no "
                    f"pictures, and which axis is time does not show; {ASK}"
                )

    def _wide(self, cells: Sequence[Any]) -> list[Array]:
        """Some of the samples that are float64 in their files, filled up."""
        found: list[Array] = []
        for loaded in self._load_some(cells, FEW):
            with contextlib.suppress(Exception):  # reported when it is read
                array = self._turn(loaded)
                if array.dtype == np.float64 and (self.length is None or self._is_series(array)):
                    found.append(fit_length(array, self.length) if self.length else array)
            if sum(array.size for array in found) > MOST:
                break
        return found

    def _load_some(self, cells: Sequence[Any], most: int = 1000) -> Iterator[Loaded]:
        for cell in some(cells, most):
            with contextlib.suppress(Exception):  # reported when it is read
                yield self._load(cell, peek=True)

    def lacks(self, cell: Any) -> bool:
        if isinstance(cell, list | tuple):
            with contextlib.suppress(InputError):
                cell = read_lists(cell)
        is_real = isinstance(cell, np.ndarray) and cell.dtype.kind == "f" and cell.size > 0
        return is_real and bool(np.isnan(cell).all())

    def read(self, cell: Any) -> Array:
        array = self._turn(self._load(cell))
        if self.length is None:
            return self.finish(array)
        if self._is_series(array):  # what fills it up stays 0
            return fit_length(self.finish(array), self.length)
        return self.finish(fit_length(array, self.length, self.axis or 0))

    def _turn(self, loaded: Loaded) -> Array:
        """The numbers of an array: [T, C] as [C, T], waves [T] as [1, T], lines as vectors."""
        array, form, _ = loaded
        array = to_array(array, self.real)
        if self.axis is None:
            if array.ndim == 2 and 1 in array.shape and (form or self.channels_first):
                array = array.ravel()
            if self.length is not None and array.ndim != 1:
                raise InputError(f"has shape {list(array.shape)}, and which axis is time: {ASK}")
        elif self.length is None and form == "table" and 1 in array.shape:
            array = array.ravel()
        axis = self.axis or 0
        if self.length is not None:
            if not -array.ndim <= axis < array.ndim:
                raise InputError(f"has no axis {axis}: its shape is {list(array.shape)}")
            if array.shape[axis] == 0:
                raise InputError("holds no time step")
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

    def _load(self, cell: Any, peek: bool = False) -> Loaded:
        """The array as it stands in the file."""
        if isinstance(cell, list | tuple) or (
            isinstance(cell, np.ndarray) and cell.dtype.kind == "O" and cell.ndim
        ):
            return Loaded(read_lists(cell))
        if isinstance(cell, np.ndarray):
            return Loaded(cell)
        path = existing(cell)
        kind = file_kind(path)
        if kind == "npy":
            return Loaded(read_npy(path, peek))
        if kind == "npz":
            return Loaded(read_npz(path, self.key))
        if kind == "hdf5":
            array, matlab = read_hdf5(path, self.key)
            return Loaded(array, "matlab" if matlab else "")
        if kind == "mat":
            return Loaded(read_matlab(path, self.key), "matlab")
        table = parse_table(path, bool(self.header))
        return Loaded(table.array, "table", table.first)
