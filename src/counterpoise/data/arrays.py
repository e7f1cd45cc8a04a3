"""Data sets of arrays that are in memory already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoise.core.batch import Input
from counterpoise.core.names import check_name
from counterpoise.core.presence import check_trained
from counterpoise.core.tasks import Classification, Task
from counterpoise.errors import InputError, check_choice, check_mapping, check_number, unknown

from .convert import Mask, allowed_rows, to_target
from .dataset import Dataset, Split
from .duplicates import warn_of_copies
from .kinds import KINDS
from .modalities import Modalities, to_mapping
from .settle import Form, settle
from .splits import SPLITS, Indices, check_groups, draw, find_splits, hold_out, to_groups
from .values import Values, to_values
from .weights import normalise, to_weights


class ArrayData(Dataset):
    """A data set made of arrays: one row per sample, one array per modality, three splits.

    A row that is None, that is all NaN or that ``present`` excludes is missing; it is stored as
    zeros. Some NaN in a row are values that were not measured: they become the mean of their
    channel over the training rows, with a warning that counts them. The arrays passed in are never
    changed. Floating arrays, bytes (uint8, as pixels are kept) and bool become float32; other
    integers (token ids) become int64. One number per sample ([N]) becomes [N, 1]. Where float32
    cannot hold how the values of an array vary, as with times in seconds since 1970, it is
    standardised before, with a warning.

    Lists of rows whose lengths differ are sequences: [T] becomes [1, T], [T, C] becomes [C, T], and
    [C, T] stays; steps of zeros at the end fill them up to the longest training row, and what is
    longer is cropped.

    Args:
        inputs: modality -> array, tensor, table or list of N rows, dense, sparse or masked (what
            is masked was not measured), as a dict or :class:`counterpoise.Modalities`. A dict of
            these is one modality of several tensors, such as the ids and the mask of a text.
        target: N words, or whole numbers as they are used for classes (classification), fractions
            (regression), or [N, K] of 0 and 1 (multi-label), unless ``task`` says otherwise
            (:mod:`counterpoise.data.targets`). Rows without one (None, NaN) are left out, with a
            warning.
        present: modality -> N booleans: False where the sample lacks the modality.
        task: what is learnt: a task, or "classification", "regression" or "multilabel"; None
            tells it from ``target``.
        split: None draws one; or N strings of "train", "validation" (or "val", "valid", "dev"),
            "test"; or a dict from these names to row numbers (rows in none of them are left out).
            Where no row is said to be for validation, some of the training rows are drawn for it.
        groups: N labels; samples of one group never lie in two splits.
        fractions: shares of the splits, where they are drawn here. Each class is shared out in
            this proportion; with ``groups`` as nearly as whole groups allow.
        seed: draws the splits.
        name: what records call the data set.
        kinds: modality -> "vector", "sequence" or "image", where its shape does not tell which
            default encoder suits it (:func:`counterpoise.encoders.kind_of`).
        scaled: the values are standardised already; default encoders do it otherwise.
        indicators: beside each channel of real numbers stands another, 1 where the value was
            measured and 0 where not; or the names of the modalities that get these.
        weights: N finite numbers of at least 0, the factor of each sample's loss; they are divided
            by their mean over the training samples. Metrics stay unweighted.

    Attributes:
        rows: split -> int64, which of the rows that were passed in it holds, in its order.

    Raises:
        InputError: when the arrays do not fit together; the message names the argument.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any] | Modalities,
        target: Any,
        *,
        present: Mapping[str, Any] | None = None,
        task: Task | str | None = None,
        split: Any = None,
        groups: Any = None,
        fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
        seed: int = 0,
        name: str = "arrays",
        kinds: Mapping[str, str] | None = None,
        scaled: bool = False,
        indicators: bool | Sequence[str] = False,
        weights: Any = None,
    ) -> None:
        if not isinstance(inputs, Mapping | Modalities):
            raise InputError(
                f"inputs must be a dict of arrays by modality, found {type(inputs).__name__}"
            )
        check_mapping("present", present, "masks")
        inputs, seed = to_mapping(inputs), check_number("seed", seed, 0, whole=True)
        if not inputs:
            raise InputError("inputs must hold at least one modality, found none")
        for modality in inputs:
            check_name(modality)
        goal, known, learnt, note = to_target(target, task)
        values, masks = _convert(inputs, present, known)
        codes, rows = _split_rows(goal, known, learnt, split, groups, fractions, seed)
        for modality, kind in (kinds or {}).items():
            if modality not in inputs:
                raise unknown("modality in kinds", modality, inputs)
            check_choice("kinds", kind, KINDS)
        factors = None
        if weights is not None:
            where = "weights"
            factors = normalise(to_weights(weights, len(goal), where), rows["train"], where)
        parts = {part: _take(masks, goal, codes, factors, rows[part]) for part in SPLITS}
        check_trained(parts["train"])
        asked = _find_indicators(indicators, values)
        kinds, forms = dict(kinds or {}), {}
        for modality in list(values):
            given = values.pop(modality)  # freed before the next one is copied
            found, form = _settle(given, masks[modality], rows, kinds, modality in asked, modality)
            for part, samples in found.items():
                parts[part].inputs[modality] = samples
            if form is not None:
                forms[modality] = form
        warn_of_copies(parts)
        notes = [note] if note else []
        self.rows = rows
        super().__init__(learnt, parts, name, kinds=kinds, scaled=scaled, notes=notes, forms=forms)


def _convert(
    inputs: Mapping[str, Any], present: Mapping[str, Any] | None, known: Mask
) -> tuple[dict[str, dict[str, Values]], dict[str, Mask]]:
    """Each modality's tensors by name (``""``, if there is only one), and which samples have it.

    ``known`` [N] have a target.
    """
    total = len(known)
    values: dict[str, dict[str, Values]] = {}
    masks: dict[str, Mask] = {}
    for modality, value in inputs.items():
        allowed, where = allowed_rows(present, modality, total), f"inputs[{modality!r}]"
        if isinstance(value, Mapping):
            if not value:
                raise InputError(f"{where} must hold at least one array, found an empty dict")
            parts = {k: to_values(x, f"{where}[{k!r}]", total, allowed) for k, x in value.items()}
        else:
            parts = {"": to_values(value, where, total, allowed)}
        values[modality] = parts
        masks[modality] = np.logical_and.reduce([each.present for each in parts.values()])
    for modality in present or ():
        if modality not in inputs:
            raise unknown("modality in present", modality, inputs)
    bare = np.flatnonzero(known & ~np.logical_or.reduce(list(masks.values())))
    if len(bare):
        raise InputError(
            f"inputs must give every sample at least one modality, found {len(bare)} "
            f"of {total} without any, the first in row {bare[0]}; drop these rows"
        )
    return values, masks


def _split_rows(
    goal: Tensor,
    known: Mask,
    task: Task,
    split: Any,
    groups: Any,
    fractions: tuple[float, float, float],
    seed: int,
) -> tuple[Indices | None, dict[str, Indices]]:
    """The groups as numbers [N], and the rows of each split, drawn or given, with a target."""
    total = len(goal)
    codes = None if groups is None else to_groups(groups, total)
    classes = goal.numpy() if isinstance(task, Classification) else np.zeros(total, int)
    if split is None:
        chosen = np.flatnonzero(known)
        drawn = draw(classes[known], None if codes is None else codes[known], fractions, seed)
        rows = {part: chosen[places] for part, places in drawn.items()}
    else:
        named = find_splits(split, total)
        if codes is not None:
            check_groups(groups, codes, named)
        rows = {part: places[known[places]] for part, places in named.items()}
        if len(named["validation"]) == 0 and len(rows["train"]) > 1:
            held = hold_out(rows["train"], classes, codes, fractions, seed)
            rows["train"], rows["validation"] = held
    for part in SPLITS:
        if len(rows[part]) == 0:
            raise InputError(
                f"split must leave no part empty, found no sample in {part!r} of {total}; "
                "give more samples (or groups), other fractions or a split of your own"
            )
    return codes, rows


def _take(
    masks: dict[str, Mask],
    target: Tensor,
    groups: Indices | None,
    weights: Tensor | None,
    rows: Indices,
) -> Split:
    """A split with all but its inputs."""
    places = torch.from_numpy(rows)
    present = {m: torch.from_numpy(mask[rows]) for m, mask in masks.items()}
    codes = None if groups is None else torch.from_numpy(groups[rows])
    factors = None if weights is None else weights.index_select(0, places)
    return Split({}, present, target.index_select(0, places), codes, factors)


def _find_indicators(asked: bool | Sequence[str], values: Mapping[str, Any]) -> set[str]:
    """The modalities that get indicators."""
    real = [m for m, parts in values.items() if "" in parts and parts[""].rows.dtype.kind == "f"]
    if isinstance(asked, bool):
        return set(real) if asked else set()
    for modality in [asked] if isinstance(asked, str) else asked:
        if modality not in values:
            raise unknown("modality in indicators", modality, values)
        if modality not in real:
            raise InputError(f"indicators need one array of floats, and {modality!r} is none")
    return {asked} if isinstance(asked, str) else set(asked)


def _settle(
    given: dict[str, Values],
    mask: Mask,
    rows: dict[str, Indices],
    kinds: dict[str, str],
    indicators: bool,
    modality: str,
) -> tuple[dict[str, Input], Form | None]:
    """A modality's samples in each split, copied; and their form, unless it has several tensors."""
    tensors: dict[str, dict[str, Tensor]] = {part: {} for part in rows}
    form = None
    for key, values in given.items():
        where = f"inputs[{modality!r}][{key!r}]" if key else f"inputs[{modality!r}]"
        found, form = settle(
            {part: (values.rows[chosen], mask[chosen]) for part, chosen in rows.items()},
            where,
            kind=None if key else kinds.get(modality),
            axis=values.axis,
            indicators=indicators,
        )
        for part, samples in found.items():
            tensors[part][key] = samples
    if set(given) == {""}:
        return {part: tensors[part][""] for part in rows}, form
    return {**tensors}, None
