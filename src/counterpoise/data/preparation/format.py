"""The files of prepared data, written and read: Arrow shards, and ``dataset.json`` beside them.

A shard is one record batch: ``id``, ``target``, ``group`` if there are groups, ``:weight`` (float64
as it was given) if there are weights, and for each modality ``NAME:present`` (uint8) and a column
of tensors, ``NAME``, or ``NAME/KEY`` for each of several. ``dataset.json`` names the shards of each
split, with their sizes and checksums, and says how each modality was read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core import storage
from counterpoise.core.batch import Input
from counterpoise.core.schema import blame
from counterpoise.core.tasks import build_task
from counterpoise.data.cells import Array, Spec, blank, join_tensors
from counterpoise.data.columns import FileColumn
from counterpoise.data.dataset import Dataset, Split
from counterpoise.data.readers import READERS, build_reader
from counterpoise.data.readers.base import need
from counterpoise.data.targets import describe_target
from counterpoise.data.weights import Weights, normalise_splits
from counterpoise.errors import InputError

from .moments import describe_gaps, pool_gaps, pool_moments, to_fill, to_scale
from .plan import Plan
from .shapes import ADVICE, check_index

FORMAT, WEIGHTED = 1, 2  # an older version must not read what has weights, and leave them out
INDEX = "dataset.json"
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

    def whole(self, name: str) -> Array:
        """[N, ...] of all shards, copied."""
        return np.concatenate([self.column(number, name) for number in range(len(self.paths))])


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
        present, files = self.present[chosen], self._files
        return Stored(self.shards, self.tensors, self.spec, present, files, rows, self.fill)


def write_index(plan: Plan, out: Path, entries: Sequence[Mapping[str, Any]], bad: int) -> None:
    """Write ``dataset.json``, which makes the folder complete.

    Args:
        plan: what was decoded.
        out: the folder.
        entries: what is known of each shard.
        bad: how many rows are left out.
    """
    splits: dict[str, list[dict[str, Any]]] = {part: [] for part in plan.splits}
    for entry in entries:
        part = entry["file"].rsplit("-", 1)[0]
        if entry["rows"]:
            splits[part].append({k: entry[k] for k in ("file", "rows", "bytes", "sha256")})
    for part, shards in splits.items():
        if not shards:
            raise InputError(f"no row of the split {part!r} could be read; see {out / 'bad.csv'}")
    identity = plan.identity()
    scales = pool_moments([entry["moments"] for entry in entries], plan.units)
    gaps = pool_gaps([entry.get("gaps", {}) for entry in entries])
    storage.write_json(
        out / INDEX,
        {
            "format": FORMAT if plan.weights is None else WEIGHTED,
            "name": plan.name,
            "task": identity["task"],
            "modalities": {
                m: {
                    "reader": reader.settings(),
                    "kind": plan.kinds.get(m),
                    "tensors": identity["tensors"][m],
                    "scale": scales.get(m),
                }
                | ({"gaps": gaps[m]} if m in gaps else {})
                for m, reader in plan.readers.items()
            },
            "grouped": plan.groups is not None,
            "splits": splits,
            "bad": bad,
            "total": plan.total,
        },
    )


def read_index(folder: Path) -> Dataset:
    """The data set of a folder that has ``dataset.json``; nothing but targets and masks is read.

    Raises:
        InputError: another format, a damaged folder.
    """
    index = storage.read_json(folder / INDEX)
    check_index(index, folder / INDEX, (FORMAT, WEIGHTED))
    with blame(folder / INDEX, ADVICE):
        return _build(folder, index)


def _build(folder: Path, index: dict[str, Any]) -> Dataset:
    about = index["modalities"]
    specs: dict[str, Spec] = {
        m: {key: (str(d), tuple(int(n) for n in shape)) for key, (d, shape) in e["tensors"].items()}
        for m, e in about.items()
    }
    fills = {m: to_fill(e["scale"], specs[m], e["kind"]) for m, e in about.items() if e.get("gaps")}
    task = build_task(index["task"])
    splits = {}
    for part, entries in index["splits"].items():
        weighted = index["format"] == WEIGHTED
        splits[part] = _build_split(folder, entries, specs, index["grouped"], weighted, fills)
        task.check(splits[part].target, f"the target in {folder}")
    normalise_splits(splits, f"the weights in {folder}")
    note = describe_target(task, torch.cat([split.target for split in splits.values()]).numpy())
    return Dataset(
        task,
        splits,
        str(index["name"]),
        kinds={m: e["kind"] for m, e in about.items() if e["kind"]},
        scales={
            m: to_scale(e["scale"], specs[m], e["kind"]) for m, e in about.items() if e["scale"]
        },
        readers={
            m: build_reader(e["reader"]) for m, e in about.items() if e["reader"]["type"] in READERS
        },
        notes=[
            *([note] if note else ()),
            *(describe_gaps(m, e) for m, e in about.items() if e.get("gaps")),
        ],
    )


def _build_split(
    folder: Path,
    entries: Sequence[Mapping[str, Any]],
    specs: Mapping[str, Spec],
    grouped: bool,
    weighted: bool,
    fills: Mapping[str, Array],
) -> Split:
    shards = Shards([_find(folder, e) for e in entries], [int(e["rows"]) for e in entries])
    present = {m: shards.whole(mask_name(m)).astype(bool) for m in specs}
    digest = hashlib.sha256("".join(e["sha256"] for e in entries).encode()).hexdigest()
    inputs = {
        m: Stored(
            shards,
            {k: column_name(m, k) for k in spec},
            spec,
            present[m],
            f"{m}{digest}",
            fill=fills.get(m),
        )
        for m, spec in specs.items()
    }
    for stored in inputs.values():  # before room is made for what the index says
        for key in stored.spec:
            stored._view(0, key)
    masks = {m: torch.from_numpy(mask) for m, mask in present.items()}
    groups = torch.from_numpy(shards.whole("group")) if grouped else None
    weights = torch.from_numpy(shards.whole(WEIGHT)) if weighted else None
    return Split(inputs, masks, torch.from_numpy(shards.whole("target")), groups, weights)


def _find(folder: Path, entry: Mapping[str, Any]) -> Path:
    """A shard, inside of its folder and of its size."""
    name = str(entry["file"])
    if Path(name).name != name:
        raise InputError(f"{folder / INDEX} names a file outside of its folder: {name!r}")
    path = folder / name
    if not path.is_file() or path.stat().st_size != entry["bytes"]:
        raise InputError(f"{path} is missing or cut short; prepare the data again to mend it")
    return path
