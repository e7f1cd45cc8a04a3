"""Which rows share a temperature, thresholds and quantiles: those of one place.

Up to six modalities, a place is a subset of the modalities; above, it is how many are present.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.errors import InputError, unknown
from counterpoise.evaluation.result import Evaluation
from counterpoise.evaluation.subsets import EACH, Subset, present_name, subsets

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """The places of rows, by their masks; place 0 is that of rows without any modality.

    Attributes:
        modalities: their order in masks, ``M`` of them.
        by_count: whether a place is a number of modalities, and not a subset.
    """

    modalities: Subset
    by_count: bool

    @classmethod
    def of(cls, modalities: Sequence[str]) -> Places:
        """Subsets of up to ``EACH`` modalities, numbers of more."""
        return cls(tuple(modalities), len(modalities) > EACH)

    def __len__(self) -> int:
        return len(self.modalities) + 1 if self.by_count else 2 ** len(self.modalities)

    def find(self, present: Tensor) -> Indices:
        """bool [N, M] -> int64 [N].

        Raises:
            InputError: masks of another form.
        """
        if present.dtype != torch.bool or present.shape[1:] != (len(self.modalities),):
            raise InputError(
                f"present must be bool [N, {len(self.modalities)}], one column for each of "
                f"{', '.join(self.modalities)}, found {present.dtype} {list(present.shape)}"
            )
        weights = np.ones(len(self.modalities), dtype=np.int64)
        if not self.by_count:
            weights <<= np.arange(len(self.modalities))
        masks: NDArray[np.bool_] = present.cpu().numpy()
        return np.asarray(np.matmul(masks, weights), dtype=np.int64)

    def names(self) -> list[str]:
        """What each place is called: ``audio+image``, or ``"3"`` modalities; the first is empty."""
        if self.by_count:
            return ["", *(str(count) for count in range(1, len(self)))]
        names = [""] * len(self)
        for subset in subsets(self.modalities):
            names[sum(1 << self.modalities.index(m) for m in subset)] = present_name(subset)
        return names

    def titles(self) -> list[str]:
        """The same for sentences: ``audio+image``, or ``any 3 modalities``."""
        if not self.by_count:
            return self.names()
        every = len(self.modalities)
        some = [f"any {count} modalities" for count in range(2, every)]
        return ["", "any 1 modality", *some, f"all {every} modalities"]

    def number(self, name: str) -> int:
        """The place of this name; :class:`InputError` where there is none."""
        names = self.names()
        if not name or name not in names:
            raise unknown("subset of the modalities", name, names[1:])
        return names.index(name)

    def differences(self) -> Indices:
        """[P, P]: by how many modalities two places differ."""
        every = np.arange(len(self))
        bits = every[:, None] >> np.arange(len(self.modalities)) & 1 > 0
        if self.by_count:
            bits = every[:, None] > np.arange(len(self.modalities))
        apart: Indices = (bits[:, None] != bits).sum(2)
        return apart


@dataclass(frozen=True)
class Cases:
    """Rows of a split, each answered from some of its modalities.

    Attributes:
        row: int64 [E], the rows of the split; one occurs once for every subset that was evaluated.
        place: int64 [E].
        logits: [E, K].
        target: [E, ...].
    """

    row: Indices
    place: Indices
    logits: Tensor
    target: Tensor

    @classmethod
    def of(cls, found: Evaluation, places: Places) -> Cases:
        """What an evaluation holds, each row once for each set of modalities it really had.

        A row that lacks a modality gives the same answer for several subsets: that of those
        modalities which it has.

        Raises:
            InputError: logits that are not finite.
        """
        present = torch.zeros(len(found.target), len(places.modalities), dtype=torch.bool)
        for number, name in enumerate(places.modalities):
            if (name,) in found.rows:
                present[found.rows[(name,)], number] = True
        masks = []
        for subset, logits in found.logits.items():
            if not bool(logits.isfinite().all()):
                raise InputError(
                    f"logits must be finite, found others for {present_name(subset)} on "
                    f"{found.split}; train again, or choose another epoch"
                )
            within = torch.tensor([name in subset for name in places.modalities])
            masks.append(present[found.rows[subset]] & within)
        rows, mask = torch.cat(list(found.rows.values())), torch.cat(masks)
        whole = np.column_stack([rows.numpy(), np.packbits(mask.numpy(), axis=1)])
        first = np.sort(np.unique(whole, axis=0, return_index=True)[1])
        logits = torch.cat(list(found.logits.values()))[first]
        row = rows.numpy()[first]
        return cls(row, places.find(mask[first]), logits, found.target[row])

    def part(self, keep: NDArray[np.bool_] | Indices) -> Cases:
        """Some of the cases: bool [E], or their numbers."""
        index = torch.from_numpy(keep)
        return Cases(self.row[keep], self.place[keep], self.logits[index], self.target[index])

    def once(self, places: int, seed: int) -> Cases:
        """Each row at most once a place, drawn by chance where it has several subsets of a size.

        Cases of one row depend on each other; a bound for finite samples needs independent ones.
        """
        order = np.random.default_rng(seed).permutation(len(self.row))
        keys = self.row[order] * places + self.place[order]
        return self.part(np.sort(order[np.unique(keys, return_index=True)[1]]))
