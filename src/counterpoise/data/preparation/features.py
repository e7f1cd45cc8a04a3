"""Features that frozen encoders gave for one split, in Arrow shards as those of prepared data."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoise.core import storage
from counterpoise.core.files import find_digest
from counterpoise.core.lock import draft_folder
from counterpoise.core.schema import Shape, check
from counterpoise.core.sizes import format_size
from counterpoise.data.dataset import Split
from counterpoise.data.readers.base import need
from counterpoise.errors import InputError

from .stored import Shards, Stored, column_name, encode_shard

RECORD = "features.json"
FORMAT = 1
SHARD = 1 << 26  # bytes of features in a file, about
SPARE = 1.05  # of the room on a disk: targets, masks and heads of files take some
AGAIN = "delete the folder, and they are encoded again"


@dataclass(frozen=True)
class Features:
    """Which features these are.

    Attributes:
        modality, split: whose.
        shape: of a row, [D] or [T, D].
        rows: of the split, also of those that lack the modality.
        fingerprint: of encoder, data and precision.
    """

    modality: str
    split: str
    shape: tuple[int, ...]
    rows: int
    fingerprint: str

    @property
    def whose(self) -> tuple[str, str]:
        """Modality and split."""
        return self.modality, self.split

    @property
    def bytes(self) -> int:
        """What the values take, in float32."""
        return 4 * self.rows * int(np.prod(self.shape))

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return (
            f"features of {self.modality!r}, {self.split}: {self.rows:,} rows x {size} x 4 bytes = "
            f"{format_size(self.bytes)}"
        )


class FileOfFeatures(Shape):
    """A shard."""

    file: str
    rows: int
    sha256: str


class RecordOfFeatures(Shape):
    """``features.json``."""

    format: int
    modality: str
    split: str
    shape: list[int]
    rows: int
    fingerprint: str
    files: list[FileOfFeatures]


def check_room(about: Features, folder: Path, size: int | None = None) -> None:
    """Raise :class:`InputError` where the disk of a folder has no room for features.

    Args:
        about: which.
        folder: where they are to be kept.
        size: bytes that are needed, if not those of these features alone.
    """
    near = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(near).free
    if free < SPARE * (about.bytes if size is None else size):
        raise _tell_full(about, folder, f"{format_size(free)} are free")


def _tell_full(about: Features, folder: Path, found: str) -> InputError:
    return InputError(
        f"{about} do not fit on the disk of {folder}, where {found}; make room, or choose an "
        "encoder with narrower features"
    )


def write_features(
    folder: Path, about: Features, split: Split, encode: Callable[[Tensor], Tensor]
) -> None:
    """Encode a split shard by shard and write it; what is there goes, in one step.

    Args:
        folder: for these features alone.
        about: which they are.
        split: whose rows are encoded, but for those that lack the modality: these are zeros.
        encode: rows int64 [n] -> features [n, ...].
    """
    need("pyarrow", "stream")
    name, step = about.modality, max(1, SHARD // max(1, about.bytes // max(1, about.rows)))
    present = split.present[name].numpy()
    try:
        with draft_folder(folder) as draft:
            files = []
            for number, start in enumerate(range(0, about.rows, step)):
                stop = min(start + step, about.rows)
                values = np.zeros((stop - start, *about.shape), dtype=np.float32)
                rows = np.flatnonzero(present[start:stop])
                if len(rows):
                    values[rows] = encode(torch.from_numpy(rows + start)).numpy()
                target = _to_numbers(split.target[start:stop])
                ids = [str(row) for row in range(start, stop)]
                here = {name: present[start:stop]}
                content = encode_shard(ids, target, None, {name: {"": values}}, here)
                file = f"{number:05d}.arrow"
                storage.write(draft / "new" / file, content)
                digest = hashlib.sha256(content).hexdigest()
                files.append({"file": file, "rows": stop - start, "sha256": digest})
            record = {"format": FORMAT, **asdict(about), "files": files}
            storage.write_record(draft / "new" / RECORD, record)
            if folder.exists():
                folder.rename(draft / "old")
            (draft / "new").rename(folder)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise _tell_full(about, folder, "no room is left") from None


def open_features(folder: Path, split: Split, key: str, about: Features) -> Stored | None:
    """The features of a split, read when they are asked for; ``None`` where there are none.

    Args:
        folder: where :func:`write_features` wrote them.
        split: whose they are.
        key: of the tensor in the samples.
        about: which are wanted.

    Raises:
        InputError: they are damaged, or are others.
    """
    if not (folder / RECORD).is_file():
        return None
    need("pyarrow", "stream")
    record: Any
    record, sealed = storage.read_record(folder / RECORD, AGAIN)
    check(record, RecordOfFeatures, folder / RECORD, AGAIN)
    known = {k: tuple(v) if k == "shape" else v for k, v in record.items() if k in asdict(about)}
    if not sealed or record["format"] != FORMAT or known != asdict(about):
        raise InputError(f"{folder} holds other features; {AGAIN}")
    files = record["files"]
    paths = [folder / file["file"] for file in files]
    for path, file in zip(paths, files, strict=True):
        if path.parent != folder or not path.is_file() or find_digest(path) != file["sha256"]:
            raise InputError(f"{path} is damaged or was changed; {AGAIN}")
    shards = Shards(paths, [file["rows"] for file in files], [file["sha256"] for file in files])
    if len(shards) != len(split):
        raise InputError(f"{folder} holds the features of {len(shards)} rows; {AGAIN}")
    tensors, spec = {key: column_name(about.modality, "")}, {key: ("float32", about.shape)}
    present = split.present[about.modality].numpy()
    return Stored(shards, tensors, spec, present, record["fingerprint"])


def _to_numbers(target: Tensor) -> Any:
    """Targets as Arrow takes them."""
    values = target.cpu().numpy()
    return values.astype(np.uint8) if values.dtype == bool else values
