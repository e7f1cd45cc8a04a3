"""The same sample in two splits: found by a digest of each row, and said in one warning."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from .cells import Array
from .columns import InMemory
from .dataset import Split

Codes = NDArray[np.uint64]
Key = str | None  # of a row; None where there is nothing to compare
BYTES = 16  # of a digest: two rows that differ never share one in practice


def find_keys(
    values: Mapping[str, Mapping[str, Array]], present: Mapping[str, NDArray[np.bool_]]
) -> list[Key]:
    """A digest of each row: rows have the same one if they are equal in all that they have.

    Args:
        values: modality -> tensor -> [N, ...].
        present: modality -> [N]; what is missing does not count.
    """
    parts = [
        (f"{modality}/{key}".encode(), present[modality].tolist(), _to_bytes(array))
        for modality, tensors in values.items()
        for key, array in tensors.items()
    ]
    keys: list[Key] = []
    for row in range(len(parts[0][1])):
        digest = blake2b(digest_size=BYTES)
        for name, here, content in parts:
            if here[row]:
                digest.update(name)
                digest.update(content[row])
        keys.append(digest.hexdigest())
    return keys


def _to_bytes(array: Array) -> NDArray[np.uint8]:
    """[N, bytes]: a view where the array is contiguous."""
    flat = np.ascontiguousarray(array).reshape(len(array), -1)
    return flat.view(np.uint8)


def find_varied(array: Array) -> NDArray[np.bool_]:
    """[N]: whether a sample has two different values; silence and blank pictures have not."""
    flat = array.reshape(len(array), -1)
    found: NDArray[np.bool_] = (flat != flat[:, :1]).any(1)
    return found


def warn_of_copies(splits: Mapping[str, Split]) -> None:
    """Warn if samples in memory are in two splits."""
    keys = {}
    for part, split in splits.items():
        columns = {m: split.column(m) for m in split.inputs}
        values = {
            m: {key: tensor.numpy() for key, tensor in column.tensors.items()}
            for m, column in columns.items()
            if isinstance(column, InMemory)
        }
        if values:
            keys[part] = to_codes(find_keys(values, {m: split.present[m].numpy() for m in values}))
    warn_of_same(keys)


def to_codes(keys: Sequence[Key]) -> Codes:
    """uint64 [N]: the digests, cut to 64 bits; 0 where there is none."""
    return np.array([0 if key is None else int(key[:16], 16) or 1 for key in keys], np.uint64)


def warn_of_same(keys: Mapping[str, Codes], modality: str | None = None) -> None:
    """Warn if rows of two splits have the same key, with the counts.

    Args:
        keys: split -> what :func:`to_codes` made of the key of each row, ``"train"`` first.
        modality: which the keys are of; None: of all modalities.
    """
    every = np.unique(np.concatenate([np.zeros(1, np.uint64), *keys.values()]))
    if len(every) < 3:  # nothing varies: another fault
        return
    said = []
    for place, (part, found) in enumerate(keys.items()):
        rest = found[found != 0]
        for earlier in list(keys)[:place]:
            known = np.isin(rest, keys[earlier])
            count, rest = int(known.sum()), rest[~known]
            if count:
                are = "is" if count == 1 else "are"
                said.append(f"{count:,} of the {len(found):,} in {part} {are} in {earlier} too")
    if said:
        what = "the same samples are" if modality is None else f"the same {modality!r} is"
        equal = "equal in all modalities" if modality is None else "equal as decoded"
        warnings.warn(
            f"{what} in two splits ({equal}): {'; '.join(said)}; scores on them are too good: "
            "leave the copies out, or keep them together by groups",
            UserWarning,
            stacklevel=4,
        )
