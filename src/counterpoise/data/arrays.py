"""Data sets of arrays that are in memory already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoise.core.batch import Input, map_tensors
from counterpoise.core.tasks import Classification, Task
from counterpoise.errors import InputError, check_choice, unknown

from .convert import Mask, allowed_rows, to_input, to_target
from .dataset import Dataset, Split, check_name
from .kinds import KINDS
from .modalities import Modalities, to_mapping
from .splits import SPLITS, Indices, check_groups, draw, find_splits, to_groups


class ArrayData(Dataset):
    """A data set made of arrays: one row per sample, one array per modality, three splits.

    A row that is None, that holds a NaN or that ``present`` excludes is missing; it is stored as
    zeros. The arrays passed in are never changed. Floating arrays, bytes (uint8, as pixels are
    kept) and bool become float32; other integers (token ids) become int64. One number per sample
    ([N]) becomes [N, 1].

    Args:
        inputs: modality -> array, tensor or list of N rows, as a dict or
            :class:`counterpoise.Modalities`. A dict of these is one modality of
            several tensors, such as the ids and the mask of a text.
        target: N integers (classification into max + 1 classes), [N, K] integers or booleans, 0
            or 1 (multi-label), or floats (regression), unless ``task`` says otherwise.
        present: modality -> N booleans: False where the sample lacks the modality.
        task: what is learnt; None infers it from ``target``.
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

    def __init__(
        self,
        inputs: Mapping[str, Any] | Modalities,
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
        inputs = to_mapping(inputs)
        if not inputs:
            raise InputError("inputs must hold at least one modality, found none")
        for modality in inputs:
            check_name(modality)
        goal, learnt = to_target(target, task)
        values, masks = _convert(inputs, present, len(goal))
        codes, rows = _split_rows(goal, learnt, split, groups, fractions, seed)
        for modality, kind in (kinds or {}).items():
            if modality not in inputs:
                raise unknown("modality in kinds", modality, inputs)
            check_choice("kinds", kind, KINDS)
        parts = {
            part: _take(values, masks, goal, codes, torch.from_numpy(rows[part])) for part in SPLITS
        }
        super().__init__(learnt, parts, name, kinds=kinds, scaled=scaled)


def _convert(
    inputs: Mapping[str, Any], present: Mapping[str, Any] | None, total: int
) -> tuple[dict[str, Input], dict[str, Mask]]:
    """Each modality's tensors, and which samples have it."""
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
    return values, masks


def _split_rows(
    goal: Tensor,
    task: Task,
    split: Any,
    groups: Any,
    fractions: tuple[float, float, float],
    seed: int,
) -> tuple[Indices | None, dict[str, Indices]]:
    """The groups as numbers [N], and the rows of each split, drawn or given."""
    total = len(goal)
    codes = None if groups is None else to_groups(groups, total)
    if split is None:
        classes = goal.numpy() if isinstance(task, Classification) else np.zeros(total, int)
        rows = draw(classes, codes, fractions, seed)
    else:
        rows = find_splits(split, total)
        if codes is not None:
            check_groups(groups, codes, rows)
    for part in SPLITS:
        if len(rows[part]) == 0:
            raise InputError(
                f"split must leave no part empty, found no sample in {part!r} of {total}; "
                "give more samples (or groups), other fractions or a split of your own"
            )
    return codes, rows


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
        inputs[modality] = copied = map_tensors(value, lambda x: x.index_select(0, rows))
        absent = (~present[modality]).nonzero().squeeze(1)
        for tensor in [copied] if isinstance(copied, Tensor) else copied.values():
            tensor.index_fill_(0, absent, 0)
    codes = None if groups is None else torch.from_numpy(groups).index_select(0, rows)
    return Split(inputs, present, target.index_select(0, rows), codes)
