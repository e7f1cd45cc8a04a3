"""``dataset.json`` of prepared data: it names the shards of each split, with their sizes and
checksums, and says how each modality was read."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from counterpoise.core import storage
from counterpoise.core.schema import blame
from counterpoise.core.tasks import build_task
from counterpoise.data.cells import Array, Spec
from counterpoise.data.dataset import Dataset, Split
from counterpoise.data.readers import READERS, build_reader
from counterpoise.data.targets import describe_target
from counterpoise.data.weights import normalise_splits
from counterpoise.errors import InputError

from .moments import describe_gaps, pool_gaps, pool_moments, to_fill, to_scale
from .plan import Plan
from .shapes import ADVICE, check_index
from .stored import WEIGHT, Shards, Stored, column_name, digest_small, mask_name

FORMAT = 3  # from here on with checksums, and a word on weights; 2 had weights, and 1 had none
WEIGHTED = 2
INDEX = "dataset.json"
AGAIN = "prepare the data again to mend it"


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
            known = ("file", "rows", "bytes", "sha256", "small")
            splits[part].append({k: entry[k] for k in known if k in entry})
    for part, shards in splits.items():
        if not shards:
            raise InputError(f"no row of the split {part!r} could be read; see {out / 'bad.csv'}")
    identity = plan.identity()
    scales = pool_moments([entry["moments"] for entry in entries], plan.units)
    gaps = pool_gaps([entry.get("gaps", {}) for entry in entries])
    storage.write_record(
        out / INDEX,
        {
            "format": FORMAT,
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
            "weighted": plan.weights is not None,
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
    index, sealed = storage.read_record(folder / INDEX, AGAIN)
    check_index(index, folder / INDEX, (1, WEIGHTED, FORMAT))
    if index["format"] >= FORMAT and not sealed:
        raise InputError(
            f"{folder / INDEX} is damaged or was changed (its checksum is gone); {AGAIN}"
        )
    if not sealed:
        warnings.warn(
            f"{folder} was prepared by an older version: damage in its targets is not noticed "
            "before training; prepare the data again to mend that",
            UserWarning,
            stacklevel=4,
        )
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
        weighted = index.get("weighted", index["format"] == WEIGHTED)
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
    shards = Shards(
        [_find(folder, e) for e in entries],
        [int(e["rows"]) for e in entries],
        [str(e["sha256"]) for e in entries],
    )
    for number, entry in enumerate(entries):
        _check_small(shards, number, entry.get("small"), list(specs), grouped, weighted)
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
            stored.look(0, key)
    masks = {m: torch.from_numpy(mask) for m, mask in present.items()}
    groups = torch.from_numpy(shards.whole("group")) if grouped else None
    weights = torch.from_numpy(shards.whole(WEIGHT)) if weighted else None
    return Split(inputs, masks, torch.from_numpy(shards.whole("target")), groups, weights)


def _check_small(
    shards: Shards,
    number: int,
    wanted: str | None,
    modalities: Sequence[str],
    grouped: bool,
    weighted: bool,
) -> None:
    """Raise :class:`InputError` unless all but the samples of a shard is what was written."""
    if wanted is None:  # an older version wrote it
        return
    found = digest_small(
        shards.column(number, "target"),
        shards.column(number, "group") if grouped else None,
        {m: shards.column(number, mask_name(m)) for m in modalities},
        shards.column(number, WEIGHT) if weighted else None,
    )
    if found != wanted:
        raise InputError(
            f"{shards.paths[number]} is damaged or was changed (its checksum does not fit); {AGAIN}"
        )


def _find(folder: Path, entry: Mapping[str, Any]) -> Path:
    """A shard, inside of its folder and of its size."""
    name = str(entry["file"])
    if Path(name).name != name:
        raise InputError(f"{folder / INDEX} names a file outside of its folder: {name!r}")
    path = folder / name
    if not path.is_file() or path.stat().st_size != entry["bytes"]:
        raise InputError(f"{path} is missing or cut short; prepare the data again to mend it")
    return path
