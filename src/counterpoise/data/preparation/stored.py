"""Arrow shards: one record batch a file, written in one piece, memory-mapped when it is read.

A shard has the columns ``id``, ``target``, ``group`` if there are groups, ``:weight`` (float64 as
it was given) if there are weights, and for each modality ``NAME:present`` (uint8) and a column of
tensors, ``NAME``, or ``NAME/KEY`` for each of several.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.batch import Input
from counterpoise.core.files import check_file, find_digest
from counterpoise.data.cells import Array, Spec, blank, join_tensors
from counterpoise.data.columns import FileColumn
from counterpoise.data.readers.base import need
from counterpoise.data.weights import Weights
from counterpoise.errors import InputError

WEIGHT = ":weight"  # as no modality can be called
TAKEN = ("id", "target", "group")  # names of columns that a modality may have too


def column_name(modality: str, key: str) -> str:
    """What a tensor is called in the shards."""
    name = f":{modality}" if modality in TAKEN else modality
    return f"{name}/{key}" if key else name


def mask_name(modality: str) -> str:
    """What the mask of the rows that have a modality is called in the shards."""
    return f"{modality}:present"


def encode_shard(
    ids: Sequence[str],
    target: Array,
    groups: NDArray[np.int64] | None,
    values: Mapping[str, Mapping[str, Array]],
    present: Mapping[str, NDArray[np.bool_]],
    weights: Weights | None = None,
) -> bytes:
    """The content of an Arrow file of one record batch.

    Args:
        ids: [n], of the rows.
        target: [n, ...].
        groups: [n] or None.
        values: modality -> tensor -> [n, ...].
        present: modality -> [n].
        weights: [n] or None.
    """
    arrow = need("pyarrow", "stream")
    columns: dict[str, Any] = {"id": arrow.array(ids, arrow.string())}
    columns["target"] = _encode(target)
    if groups is not None:
        columns["group"] = arrow.array(groups)
    if weights is not None:
        columns[WEIGHT] = arrow.array(weights)
    for modality, parts in values.items():
        columns[mask_name(modality)] = arrow.array(present[modality].astype(np.uint8))
        for key, array in parts.items():
            columns[column_name(modality, key)] = _encode(array)
    batch = arrow.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    sink = arrow.BufferOutputStream()
    with arrow.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def digest_small(
    target: Array,
    groups: Array | None,
    present: Mapping[str, Array],
    weights: Array | None,
) -> str:
    """The checksum of what is read of a shard when a folder is opened: all but the samples."""
    found = hashlib.sha256()
    others = {"target": target, "group": groups, WEIGHT: weights}
    masks = {mask_name(m): mask.astype(np.uint8) for m, mask in present.items()}
    for name, array in sorted({**others, **masks}.items()):
        if array is not None:
            found.update(f"{name} {array.dtype} {list(array.shape)} ".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def _encode(array: Array) -> Any:
    arrow = need("pyarrow", "stream")
    if array.ndim == 1:
        return arrow.array(array)
    return arrow.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


class Shards:
    """The Arrow files of one split, memory-mapped when they are first read.

    Args:
        paths: in the order of the rows.
        counts: rows of each.
        digests: SHA-256 of each file.
    """

    def __init__(
        self, paths: Sequence[Path], counts: Sequence[int], digests: Sequence[str]
    ) -> None:
        self.paths, self.digests = list(paths), list(digests)
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._open: dict[int, Any] = {}
        self._whole: set[int] = set()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}, "_whole": set()}

    def check(self, number: int) -> None:
        """Raise :class:`InputError` unless a shard is what was written; read once for this."""
        if number not in self._whole:
            path = self.paths[number]
            if find_digest(path) != self.digests[number]:
                raise InputError(
                    f"{path} is damaged or was changed (its checksum does not fit); prepare the "
                    "data again to mend it"
                )
            self._whole.add(number)

    def batch(self, number: int) -> Any:
        """The record batch of a shard."""
        if number not in self._open:
            arrow = need("pyarrow", "stream")
            path = self.paths[number]
            check_file(path)
            try:
                batch = arrow.ipc.open_file(arrow.memory_map(str(path))).get_batch(0)
            except FileNotFoundError:
                raise InputError(f"{path} is not there; prepare the data again") from None
            except PermissionError:
                raise
            except Exception as error:  # a damaged file can break the library anywhere
                raise InputError(f"{path} is damaged ({error}); prepare the data again") from None
            if len(batch) != self.starts[number + 1] - self.starts[number]:
                raise InputError(f"{path} holds another number of rows; prepare the data again")
            self._open[number] = batch
        return self._open[number]

    def column(self, number: int, name: str) -> Array:
        """[rows, ...] of one shard, a view of the file."""
        batch = self.batch(number)
        try:
            return _view(batch.column(name))
        except Exception as error:  # a damaged file can break the library anywhere
            raise InputError(
                f"{self.paths[number]} is damaged ({error}); prepare the data again"
            ) from None

    def whole(self, name: str) -> Array:
        """[N, ...] of all shards, copied."""
        return np.concatenate([self.column(number, name) for number in range(len(self.paths))])


def _view(column: Any) -> Array:
    """[rows, ...]: an Arrow column without a copy."""
    shape: tuple[int, ...] = ()
    while hasattr(column, "storage"):  # a tensor: fixed-size lists under a name of their own
        shape, column = tuple(column.type.shape), column.storage
    values = column.flatten() if shape else column
    array: Array = values.to_numpy(zero_copy_only=True).reshape(len(column), *shape)
    return array


class Stored(FileColumn):
    """Rows of memory-mapped files: any of them at once, without reading the others.

    Args:
        shards: of the split.
        tensors: tensor -> name of its column in the files.
        spec: of each sample.
        present: bool [N] of the split: rows without the modality are not read.
        digest: of the files.
        index: int64 [n], which rows of the files these are; all by default.
        fill: what stands for NaN in the files, a value that was not measured; None where there is
            none.
    """

    def __init__(
        self,
        shards: Shards,
        tensors: Mapping[str, str],
        spec: Spec,
        present: Array,
        digest: str,
        index: Array | None = None,
        fill: Array | None = None,
    ) -> None:
        self.shards, self.tensors, self.spec = shards, dict(tensors), spec
        self.present, self.index, self._files, self.fill = present, index, digest, fill
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
        if self.fill is not None:
            np.copyto(found[""], self.fill, where=np.isnan(found[""]))
        return join_tensors(found)

    def _view(self, number: int, key: str) -> Array:
        if (number, key) not in self._views:
            self.shards.check(number)
            self._views[number, key] = self.look(number, key)
        return self._views[number, key]

    def look(self, number: int, key: str) -> Array:
        """The column of a tensor in one shard, unread; it has the type and the shape it must."""
        view = self.shards.column(number, self.tensors[key])
        if (view.dtype.name, view.shape[1:]) != self.spec[key]:
            raise InputError(
                f"{self.shards.paths[number]} holds {view.dtype} {list(view.shape[1:])} in "
                f"{self.tensors[key]!r}; prepare the data again"
            )
        return view

    def part(self, index: Tensor) -> Stored:
        chosen: Array = index.numpy()
        rows = chosen if self.index is None else self.index[chosen]
        present, files = self.present[chosen], self._files
        return Stored(self.shards, self.tensors, self.spec, present, files, rows, self.fill)
