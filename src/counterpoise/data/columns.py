"""The modalities of a split behind one interface: in memory, or read when a batch asks for rows."""

from __future__ import annotations

import hashlib
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from counterpoise.core.batch import Input, map_tensors
from counterpoise.errors import InputError

from .cells import Array, Spec, blank, join_tensors, read_cell, try_cell
from .channels import channel_axis, find_moments
from .readers.base import Reader

if TYPE_CHECKING:
    from hashlib import _Hash

    from typing_extensions import Self


FEW = 2048  # cells from which the mean is taken, as statistics are


class Column(ABC):
    """One modality of a split.

    Attributes:
        spec: tensor -> type and shape of one sample; ``""`` names the only one.
        stored: whether rows are read from files, which is worth doing ahead.
    """

    spec: Spec
    stored: ClassVar[bool] = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def rows(self, index: Tensor) -> Input:
        """The samples at ``index``, int64 [B]; zeros where the modality is missing."""

    @abstractmethod
    def part(self, index: Tensor) -> Self | Input:
        """These samples only, as a split holds them; nothing is read from files."""

    @abstractmethod
    def hash_into(self, digest: _Hash, where: Sequence[str]) -> None:
        """Add the values to a checksum, with the split and the modality that they belong to."""


class InMemory(Column):
    """Tensors [N, ...]: one, or several by name."""

    def __init__(self, value: Input) -> None:
        self.value = value
        self.tensors = {"": value} if isinstance(value, Tensor) else value
        self.spec = {
            key: (str(x.dtype).removeprefix("torch."), tuple(x.shape[1:]))
            for key, x in self.tensors.items()
        }

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def rows(self, index: Tensor) -> Input:
        return map_tensors(self.value, lambda x: x.index_select(0, index))

    def part(self, index: Tensor) -> Input:
        return self.rows(index)

    def hash_into(self, digest: _Hash, where: Sequence[str]) -> None:
        for key, tensor in self.tensors.items():
            head = [*where, key, str(tensor.dtype), list(tensor.shape)]
            digest.update(json.dumps(head).encode())
            digest.update(tensor.contiguous().numpy().data)


class FileColumn(Column):
    """A modality outside of memory.

    Attributes:
        digest: changes with the values.
    """

    digest: str
    stored = True

    def hash_into(self, digest: _Hash, where: Sequence[str]) -> None:
        digest.update(json.dumps([*where, self.digest]).encode())


def to_column(value: Input | Column) -> Column:
    """The column of a modality, which a split may hold as plain tensors."""
    return value if isinstance(value, Column) else InMemory(value)


class TrainingMean:
    """The mean of each channel over the first of a few thousand training cells, found when needed.

    Args:
        name: of the modality.
        cells: of the training rows.
        reader: of the cells.
        spec: of each sample.
    """

    def __init__(self, name: str, cells: Sequence[Any], reader: Reader, spec: Spec) -> None:
        self.name, self.reader, self.spec = name, reader, spec
        self.cells = [cell for cell in cells if cell is not None][:FEW]
        self._mean: Array | None = None
        self._count, self._warned = 0, False

    def fill(self, samples: Array) -> None:
        """Put the mean where a value of [B, ...] was not measured."""
        gap = np.isnan(samples)
        if gap.any():
            np.copyto(samples, self.find(), where=gap)
            self._warn()

    def find(self) -> Array:
        """float32, to broadcast with a sample."""
        if self._mean is None:
            tried = (try_cell(self.reader, cell, self.spec) for cell in self.cells)
            rows = np.stack([found[""] for found in tried if isinstance(found, dict)])
            kind = self.reader.sample_kind or None
            found = find_moments(
                rows, kind, channel_axis(rows.shape[1:], kind) == 0 and rows.ndim == 3
            )
            self._mean, self._count = found.mean.astype(np.float32), len(rows)
        return self._mean

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name}: values that were not measured are filled with the mean of their "
                f"channel over the first {self._count:,} training samples",
                UserWarning,
                stacklevel=3,
            )


class Decoded(FileColumn):
    """Cells that are decoded on the fly, whenever a batch asks for them.

    Args:
        cells: [N], None where the modality is missing.
        reader: of the cells.
        spec: of each sample.
        names: [N], what errors call the rows.
        mean: fills values that were not measured.
    """

    def __init__(
        self,
        cells: Sequence[Any],
        reader: Reader,
        spec: Spec,
        names: Sequence[str],
        mean: TrainingMean | None = None,
    ) -> None:
        self.mean = mean
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
        if self.mean is not None:
            self.mean.fill(found[""])
        return join_tensors(found)

    def part(self, index: Tensor) -> Decoded:
        rows = index.tolist()
        cells, names = [self.cells[r] for r in rows], [self.names[r] for r in rows]
        return Decoded(cells, self.reader, self.spec, names, self.mean)
