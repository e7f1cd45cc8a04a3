"""Modalities that are not held in memory: read when a batch asks for their rows."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.batch import Input
from counterpoise.errors import InputError

from .readers.base import Reader, Value, need

if TYPE_CHECKING:
    from typing_extensions import Self

Array = NDArray[Any]
Spec = dict[str, tuple[str, tuple[int, ...]]]  # tensor ("" if only one) -> type, shape of a sample


class Column(ABC):
    """One modality of a split, outside of memory.

    Attributes:
        spec: tensor -> type and shape of one sample; ``""`` names the only one.
        digest: changes with the values.
    """

    spec: Spec
    digest: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def rows(self, index: Tensor) -> Input:
        """The samples at ``index``, int64 [B]; zeros where the modality is missing."""

    @abstractmethod
    def part(self, index: Tensor) -> Self:
        """The column of these samples only; nothing is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, ...] of the first tensor."""
        return (len(self), *next(iter(self.spec.values()))[1])


def to_input(tensors: Mapping[str, Array]) -> Input:
    """Arrays by name as a batch holds them."""
    found = {key: torch.from_numpy(array) for key, array in tensors.items()}
    return found[""] if set(found) == {""} else found


def parts_of(value: Value) -> dict[str, Array]:
    """What a reader gave, by tensor."""
    return value if isinstance(value, dict) else {"": value}


def spec_of(value: Value) -> Spec:
    """Types and shapes of a sample."""
    return {key: (array.dtype.name, array.shape) for key, array in parts_of(value).items()}


def blank(spec: Spec, count: int) -> dict[str, Array]:
    """Zeros for ``count`` samples."""
    return {key: np.zeros((count, *shape), dtype) for key, (dtype, shape) in spec.items()}


def read_cell(reader: Reader, cell: Any, spec: Spec) -> dict[str, Array]:
    """One sample by tensor; :class:`InputError` in a few words where it cannot be had."""
    try:
        value = reader.read(cell)
    except InputError:
        raise
    except Exception as error:  # a damaged file can break its library anywhere
        reason = str(error).splitlines()[0] if str(error) else ""
        raise InputError(f"cannot be read ({type(error).__name__}: {reason})") from error
    if (found := spec_of(value)) != spec:
        raise InputError(f"is {_words(found)}, where the others are {_words(spec)}")
    return parts_of(value)


def _words(spec: Spec) -> str:
    return ", ".join(f"{k} {d} {list(s)}".strip() for k, (d, s) in spec.items())


class Decoded(Column):
    """Decoded on the fly, whenever a batch asks for it.

    Args:
        cells: [N], None where the modality is missing.
        reader: of the cells.
        spec: of each sample.
        names: [N], what errors call the rows.
    """

    def __init__(
        self, cells: Sequence[Any], reader: Reader, spec: Spec, names: Sequence[str]
    ) -> None:
        self.cells, self.reader, self.spec, self.names = list(cells), reader, spec, list(names)
        text = json.dumps([reader.settings(), [repr(cell) for cell in self.cells]])
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.cells)

    def rows(self, index: Tensor) -> Input:
        found = blank(self.spec, len(index))
        for place, row in enumerate(index.tolist()):
            if self.cells[row] is None:
                continue
            try:
                sample = read_cell(self.reader, self.cells[row], self.spec)
            except InputError as error:
                raise InputError(
                    f"row {self.names[row]!r}: {error}; prepare the data first, which leaves out "
                    "what cannot be read"
                ) from None
            for key, array in sample.items():
                found[key][place] = array
        return to_input(found)

    def part(self, index: Tensor) -> Decoded:
        rows = index.tolist()
        cells, names = [self.cells[r] for r in rows], [self.names[r] for r in rows]
        return Decoded(cells, self.reader, self.spec, names)


class Shards:
    """Arrow files of one split, memory-mapped when they are first read.

    Args:
        paths: in the order of the rows.
        counts: rows of each.
    """

    def __init__(self, paths: Sequence[Path], counts: Sequence[int]) -> None:
        self.paths = list(paths)
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._open: dict[int, Any] = {}

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}

    def batch(self, number: int) -> Any:
        """The record batch of a shard."""
        if number not in self._open:
            arrow = need("pyarrow", "stream")
            path = self.paths[number]
            try:
                batch = arrow.ipc.open_file(arrow.memory_map(str(path))).get_batch(0)
            except FileNotFoundError:
                raise InputError(f"{path} is not there; prepare the data again") from None
            except arrow.ArrowException as error:
                raise InputError(f"{path} is damaged ({error}); prepare the data again") from None
            if len(batch) != self.starts[number + 1] - self.starts[number]:
                raise InputError(f"{path} holds another number of rows; prepare the data again")
            self._open[number] = batch
        return self._open[number]

    def column(self, number: int, name: str) -> Array:
        """[rows, ...] of one shard, a view of the file."""
        column = self.batch(number).column(name)
        shape: tuple[int, ...] = ()
        while hasattr(column, "storage"):  # a tensor: fixed-size lists under a name of their own
            shape, column = tuple(column.type.shape), column.storage
        values = column.flatten() if shape else column
        array: Array = values.to_numpy(zero_copy_only=True).reshape(len(column), *shape)
        return array


class Stored(Column):
    """Rows of memory-mapped files: any of them at once, without reading the others.

    Args:
        shards: of the split.
        tensors: tensor -> name of its column in the files.
        spec: of each sample.
        present: bool [N] of the split: rows without the modality are not read.
        digest: of the files.
        index: int64 [n], which rows of the files these are; all by default.
    """

    def __init__(
        self,
        shards: Shards,
        tensors: Mapping[str, str],
        spec: Spec,
        present: Array,
        digest: str,
        index: Array | None = None,
    ) -> None:
        self.shards, self.tensors, self.spec = shards, dict(tensors), spec
        self.present, self.index, self._files = present, index, digest
        chosen = b"" if index is None else index.tobytes()
        self.digest = hashlib.sha256(digest.encode() + chosen).hexdigest()
        self._views: dict[tuple[int, str], Array] = {}

    def __len__(self) -> int:
        return len(self.present)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_views": {}}

    def rows(self, index: Tensor) -> Input:
        asked: Array = index.numpy()
        found = blank(self.spec, len(asked))
        places = np.flatnonzero(self.present[asked])
        rows = asked[places] if self.index is None else self.index[asked[places]]
        shard = np.searchsorted(self.shards.starts, rows, side="right") - 1
        order = np.argsort(shard, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(shard[order])) + 1):
            if len(group):
                number = int(shard[group[0]])
                local = rows[group] - self.shards.starts[number]
                for key, array in found.items():
                    array[places[group]] = self._view(number, key)[local]
        return to_input(found)

    def _view(self, number: int, key: str) -> Array:
        if (number, key) not in self._views:
            view = self.shards.column(number, self.tensors[key])
            if (view.dtype.name, view.shape[1:]) != self.spec[key]:
                raise InputError(
                    f"{self.shards.paths[number]} holds {view.dtype} {list(view.shape[1:])} in "
                    f"{self.tensors[key]!r}; prepare the data again"
                )
            self._views[number, key] = view
        return self._views[number, key]

    def part(self, index: Tensor) -> Stored:
        chosen: Array = index.numpy()
        rows = chosen if self.index is None else self.index[chosen]
        return Stored(self.shards, self.tensors, self.spec, self.present[chosen], self._files, rows)
