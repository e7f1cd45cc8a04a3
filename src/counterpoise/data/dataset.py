"""Samples of several modalities, each of which may be missing, in three splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Input, map_tensors
from counterpoise.core.tasks import Classification, Task
from counterpoise.errors import InputError, check_choice, unknown

from .columns import Column
from .convert import Mask, allowed_rows, to_input, to_target
from .kinds import KINDS
from .readers.base import Reader
from .splits import SPLITS, Indices, check_groups, draw, given, to_groups

JOINERS = ".+,:"  # names are joined by these in options, records and state dicts

Held = Input | Column


class Split:
    """One part of a data set: the samples a loader draws its batches from.

    Args:
        inputs: modality -> [N, ...], or a dict of such tensors (text tokens), or a
            :class:`Column`, whose rows are read when they are asked for.
        present: modality -> bool [N], on the host.
        target: [N] or [N, ...].
        groups: int64 [N], which samples belong together (one subject, one writer); or None.
    """

    def __init__(
        self,
        inputs: Mapping[str, Held],
        present: dict[str, Tensor],
        target: Tensor,
        groups: Tensor | None = None,
    ) -> None:
        self.inputs, self.present = dict(inputs), present
        self.target, self.groups = target, groups

    @property
    def stored(self) -> bool:
        """Whether a batch must be read from files, which is worth doing ahead."""
        return any(isinstance(value, Column) for value in self.inputs.values())

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: Tensor) -> Batch:
        """The samples at ``index``, int64 [B]."""
        inputs: dict[str, Input] = {}
        for name, value in self.inputs.items():
            # Written out, not map_tensors: this line runs once a modality and training step.
            if isinstance(value, Tensor):
                inputs[name] = value.index_select(0, index)
            elif isinstance(value, Column):
                inputs[name] = value.rows(index)
            else:
                inputs[name] = {key: x.index_select(0, index) for key, x in value.items()}
        return Batch(
            inputs=inputs,
            present={name: mask.index_select(0, index) for name, mask in self.present.items()},
            target=self.target.index_select(0, index),
            index=index,
        )


class ArrayData:
    """A data set made of arrays: one row per sample, one array per modality, three splits.

    A row that is None, that holds a NaN or that ``present`` excludes is missing; it is stored as
    zeros. The arrays passed in are never changed. Floating arrays, bytes (uint8, as pixels are
    kept) and bool become float32; other integers (token ids) become int64. One number per sample
    ([N]) becomes [N, 1].

    Args:
        inputs: modality -> array, tensor or list of N rows. A dict of these is one modality of
            several tensors, such as the ids and the mask of a text.
        target: N integers (classification into max + 1 classes), [N, K] integers or booleans, 0
            or 1 (multi-label), or floats (regression), unless ``task`` says otherwise.
        present: modality -> N booleans: False where the sample lacks the modality.
        task: what is learnt; None tells it from ``target``.
        split: None draws one; or N strings of "train", "validation", "test"; or a dict from these
            names to row numbers (rows in none of them are left out).
        groups: N labels; samples of one group never lie in two splits.
        fractions: shares of the splits, where they are drawn here. Each class is shared out in
            this proportion; with ``groups`` as nearly as whole groups allow.
        seed: draws the splits.
        name: what records call the data set.
        kinds: modality -> "vector", "sequence" or "image", where its shape does not tell which
            default encoder suits it (:func:`counterpoise.encoders.kind_of`).
        scaled: the values are standardised already; default encoders do it otherwise.

    Raises:
        InputError: when the arrays do not fit together; the message names the argument.
    """

    name: str
    task: Task
    splits: dict[str, Split]
    kinds: dict[str, str]
    scaled: bool
    scales: dict[str, tuple[Tensor, Tensor]]
    readers: dict[str, Reader]

    def __init__(
        self,
        inputs: Mapping[str, Any],
        target: Any,
        *,
        present: Mapping[str, Any] | None = None,
        task: Task | None = None,
        split: Any = None,
        groups: Any = None,
        fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
        seed: int = 0,
        name: str = "arrays",
        kinds: Mapping[str, str] | None = None,
        scaled: bool = False,
    ) -> None:
        if not inputs:
            raise InputError("inputs must hold at least one modality, found none")
        for modality in inputs:
            check_name(modality)
        goal, learnt = to_target(target, task)
        total = len(goal)
        values: dict[str, Input] = {}
        masks: dict[str, Mask] = {}
        for modality, value in inputs.items():
            allowed = allowed_rows(present, modality, total)
            values[modality], masks[modality] = to_input(value, modality, total, allowed)
        for modality in present or ():
            if modality not in inputs:
                raise unknown("modality in present", modality, inputs)
        bare = np.flatnonzero(~np.logical_or.reduce(list(masks.values())))
        if len(bare):
            raise InputError(
                f"inputs must give every sample at least one modality, found {len(bare)} "
                f"of {total} without any, the first in row {bare[0]}; drop these rows"
            )
        codes = None if groups is None else to_groups(groups, total)
        if split is None:
            classes = goal.numpy() if isinstance(learnt, Classification) else np.zeros(total, int)
            rows = draw(classes, codes, fractions, seed)
        else:
            rows = given(split, total)
            if codes is not None:
                check_groups(groups, codes, rows)
        parts: dict[str, Split] = {}
        for part in SPLITS:
            if len(rows[part]) == 0:
                raise InputError(
                    f"split must leave no part empty, found no sample in {part!r} of {total}; "
                    "give more samples (or groups), other fractions or a split of your own"
                )
            parts[part] = _take(values, masks, goal, codes, torch.from_numpy(rows[part]))
        for modality, kind in (kinds or {}).items():
            if modality not in inputs:
                raise unknown("modality in kinds", modality, inputs)
            check_choice("kinds", kind, KINDS)
        self.name, self.task, self.splits = name, learnt, parts
        self.kinds, self.scaled = dict(kinds or {}), scaled
        self.scales, self.readers = {}, {}
        self._digest: str | None = None

    @classmethod
    def of(
        cls,
        task: Task,
        splits: dict[str, Split],
        name: str = "arrays",
        *,
        kinds: Mapping[str, str] | None = None,
        scaled: bool = False,
        scales: Mapping[str, tuple[Tensor, Tensor]] | None = None,
        readers: Mapping[str, Reader] | None = None,
    ) -> ArrayData:
        """A data set of splits that are made and checked already, ``"train"`` among them.

        Args:
            task, splits, name, kinds, scaled: as the attributes.
            scales: modality -> mean and deviation over the training split, to broadcast with a
                sample, where they are known.
            readers: modality -> how its samples were read from cells, where they were.
        """
        made = cls.__new__(cls)
        made.name, made.task, made.splits, made._digest = name, task, splits, None
        made.kinds, made.scaled = dict(kinds or {}), scaled
        made.scales, made.readers = dict(scales or {}), dict(readers or {})
        return made

    @property
    def train(self) -> Split:
        return self.splits["train"]

    @property
    def validation(self) -> Split:
        return self.splits["validation"]

    @property
    def test(self) -> Split:
        return self.splits["test"]

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.train.present)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> shape of one sample (of the first tensor, where a modality has several)."""
        return {m: tuple(_first(x).shape[1:]) for m, x in self.train.inputs.items()}

    def __repr__(self) -> str:
        sizes = ", ".join(f"{part} {len(split)}" for part, split in self.splits.items())
        return f"ArrayData({self.name!r}, {' + '.join(self.modalities)}; {sizes})"

    def select(self, *modalities: str) -> ArrayData:
        """The same data set with only these modalities, in its own order.

        Samples that have none of them are left out.
        """
        if not modalities:
            raise InputError(f"select needs a modality; known: {', '.join(self.modalities)}")
        for modality in modalities:
            if modality not in self.modalities:
                raise unknown("modality", modality, self.modalities)
        kept = [m for m in self.modalities if m in modalities]
        splits = {part: _only(split, kept, part) for part, split in self.splits.items()}
        return ArrayData.of(
            self.task,
            splits,
            self.name,
            kinds={m: kind for m, kind in self.kinds.items() if m in kept},
            scaled=self.scaled,
            scales={m: scale for m, scale in self.scales.items() if m in kept},
            readers={m: reader for m, reader in self.readers.items() if m in kept},
        )

    def describe(self) -> dict[str, object]:
        """Name, task, sizes of splits, shape and share present of each modality; fit for JSON."""
        return {
            "name": self.name,
            "task": self.task.state(),
            "modalities": {
                modality: {
                    "shape": list(shape),
                    "present": {
                        part: float(split.present[modality].float().mean())
                        for part, split in self.splits.items()
                    },
                }
                for modality, shape in self.shapes.items()
            },
            "splits": {part: len(split) for part, split in self.splits.items()},
        }

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the name, the task, the splits or any value."""
        if self._digest is None:
            digest = hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode())
            for part, split in self.splits.items():
                for modality, value in split.inputs.items():
                    if isinstance(value, Column):
                        digest.update(json.dumps([part, modality, value.digest]).encode())
                        digest.update(split.present[modality].numpy().data)
                        continue
                    tensors = {"": value} if isinstance(value, Tensor) else value
                    for key, tensor in tensors.items():
                        head = [part, modality, key, str(tensor.dtype), list(tensor.shape)]
                        digest.update(json.dumps(head).encode())
                        digest.update(tensor.numpy().data)
                    digest.update(split.present[modality].numpy().data)
                digest.update(split.target.contiguous().numpy().data)
            self._digest = digest.hexdigest()[:16]
        return self._digest


def check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip() or any(c in name for c in JOINERS):
        raise InputError(
            f"inputs must name modalities by a word without any of {' '.join(JOINERS)} "
            f"(names are joined by these), found {name!r}"
        )


def _first(value: Held) -> Tensor | Column:
    return value if isinstance(value, Tensor | Column) else next(iter(value.values()))


def _part(value: Held, rows: Tensor) -> Held:
    if isinstance(value, Column):
        return value.part(rows)
    return map_tensors(value, lambda x: x.index_select(0, rows))


def _take(
    values: dict[str, Input],
    masks: dict[str, Mask],
    target: Tensor,
    groups: Indices | None,
    rows: Tensor,
) -> Split:
    """Copy rows into a split, zeros where a modality is missing."""
    present = {m: torch.from_numpy(mask).index_select(0, rows) for m, mask in masks.items()}
    inputs: dict[str, Input] = {}
    for modality, value in values.items():
        absent = (~present[modality]).nonzero().squeeze(1)
        copied = map_tensors(value, lambda x: x.index_select(0, rows))
        inputs[modality] = map_tensors(copied, lambda x, gone=absent: x.index_fill_(0, gone, 0))  # type: ignore[misc]
    codes = None if groups is None else torch.from_numpy(groups).index_select(0, rows)
    return Split(inputs, present, target.index_select(0, rows), codes)


def _only(split: Split, names: list[str], part: str) -> Split:
    """The samples of ``split`` that have one of ``names``, and only these modalities."""
    some = torch.stack([split.present[m] for m in names]).any(0)
    inputs = {m: split.inputs[m] for m in names}
    present = {m: split.present[m] for m in names}
    if bool(some.all()):  # nothing to leave out: share the tensors
        return Split(inputs, present, split.target, split.groups)
    rows = some.nonzero().squeeze(1)
    if len(rows) == 0:
        raise InputError(f"no sample in {part!r} has any of the modalities {', '.join(names)}")
    return Split(
        {m: _part(x, rows) for m, x in inputs.items()},
        {m: mask.index_select(0, rows) for m, mask in present.items()},
        split.target.index_select(0, rows),
        None if split.groups is None else split.groups.index_select(0, rows),
    )
