"""Data in memory: samples of several modalities, each of which may be missing, in three splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.batch import Batch, Input, map_tensors
from counterpoise.errors import InputError, check_choice, unknown
from counterpoise.tasks import Classification, MultiLabel, Regression, Task

from .splits import SPLITS, Indices, check_groups, draw, given, to_groups

KINDS = ("vector", "sequence", "image")
JOINERS = ".+,:"  # names are joined by these in options, records and state dicts

Mask = NDArray[np.bool_]


class Split:
    """One part of a data set, held in memory: the samples a loader draws its batches from.

    Args:
        inputs: modality -> [N, ...], or a dict of such tensors (text tokens).
        present: modality -> bool [N], on the host.
        target: [N] or [N, ...].
        groups: int64 [N], which samples belong together (one subject, one writer); or None.
    """

    def __init__(
        self,
        inputs: dict[str, Input],
        present: dict[str, Tensor],
        target: Tensor,
        groups: Tensor | None = None,
    ) -> None:
        self.inputs, self.present = inputs, present
        self.target, self.groups = target, groups

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index: Tensor) -> Batch:
        """The samples at ``index``, int64 [B]."""
        inputs: dict[str, Input] = {}
        for name, value in self.inputs.items():
            # Written out, not map_tensors: this line runs once a modality and training step.
            if isinstance(value, Tensor):
                inputs[name] = value.index_select(0, index)
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
        goal, learnt = _target(target, task)
        total = len(goal)
        values: dict[str, Input] = {}
        masks: dict[str, Mask] = {}
        for modality, value in inputs.items():
            allowed = _allowed(present, modality, total)
            values[modality], masks[modality] = _input(value, modality, total, allowed)
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
    ) -> ArrayData:
        """A data set of splits that are made and checked already, ``"train"`` among them."""
        made = cls.__new__(cls)
        made.name, made.task, made.splits, made._digest = name, task, splits, None
        made.kinds, made.scaled = dict(kinds or {}), scaled
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
        kinds = {m: kind for m, kind in self.kinds.items() if m in kept}
        splits = {part: _only(split, kept, part) for part, split in self.splits.items()}
        return ArrayData.of(self.task, splits, self.name, kinds=kinds, scaled=self.scaled)

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


def _first(value: Input) -> Tensor:
    return value if isinstance(value, Tensor) else next(iter(value.values()))


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
        {m: map_tensors(x, lambda t: t.index_select(0, rows)) for m, x in inputs.items()},
        {m: mask.index_select(0, rows) for m, mask in present.items()},
        split.target.index_select(0, rows),
        None if split.groups is None else split.groups.index_select(0, rows),
    )


def _target(value: Any, task: Task | None) -> tuple[Tensor, Task]:
    """The target as int64 or float32, and its task."""
    if task is not None and not isinstance(task, Task):
        raise InputError(
            f"task must be a Task such as Classification(10), found {type(task).__name__}"
        )
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"target must hold numbers, found {array.dtype}; np.unique(target, "
            "return_inverse=True)[1] numbers the classes of any labels"
        )
    if array.ndim == 0 or len(array) == 0:
        raise InputError(f"target must hold at least 1 sample, found shape {list(array.shape)}")
    if task is None and array.ndim == 2 and array.shape[1] > 1 and array.dtype.kind in "biu":
        task = MultiLabel(array.shape[1])
    whole = array.dtype.kind in "biu" and not isinstance(task, (Regression, MultiLabel))
    target = torch.from_numpy(np.array(array, dtype=np.int64 if whole else np.float32, order="C"))
    if task is None:
        if not whole:
            task = Regression(target.shape[1] if target.dim() == 2 else 1)
        elif int(target.max()) < 1:
            raise InputError(
                "target must hold classes 0..K-1 of at least 2 classes, found none above "
                f"{int(target.max())}; give task=Classification(K) or floats for regression"
            )
        else:
            task = Classification(int(target.max()) + 1)
    task.check(target)
    return target, task


def _flags(value: Any, total: int, where: str) -> Mask:
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.shape != (total,) or array.dtype != np.bool_:
        raise InputError(
            f"{where} must hold one bool per sample ([{total}]), "
            f"found {array.dtype} {list(array.shape)}"
        )
    return array


def _allowed(present: Mapping[str, Any] | None, modality: str, total: int) -> Mask:
    if present is None or modality not in present:
        return np.ones(total, dtype=np.bool_)
    return _flags(present[modality], total, f"present[{modality!r}]")


def _input(value: Any, modality: str, total: int, allowed: Mask) -> tuple[Input, Mask]:
    """One modality's tensors, and which samples have it."""
    where = f"inputs[{modality!r}]"
    if not isinstance(value, Mapping):
        return to_tensor(value, where, total, allowed)
    if not value:
        raise InputError(f"{where} must hold at least one array, found an empty dict")
    tensors: dict[str, Tensor] = {}
    mask = allowed
    for key, part in value.items():
        tensors[key], known = to_tensor(part, f"{where}[{key!r}]", total, allowed)
        mask = mask & known
    return tensors, mask


def to_tensor(value: Any, where: str, total: int, allowed: Mask) -> tuple[Tensor, Mask]:
    """float32 or int64 [N, ...], and which rows are there.

    The tensor may share memory with ``value``: read it only.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        # NumPy knows no bfloat16.
        value = (value.float() if value.is_floating_point() else value).numpy()
    given = np.ones(total, dtype=np.bool_)
    if not isinstance(value, np.ndarray) or value.dtype == object:
        if not isinstance(value, (np.ndarray, Sequence)) or isinstance(value, str):
            raise InputError(
                f"{where} must be an array, a tensor or a list of rows, "
                f"found {type(value).__name__}"
            )
        _check_length(len(value), total, where)
        value, given = _stack(value, where)
    _check_length(len(value) if value.ndim else 0, total, where)
    if value.dtype.kind not in "biuf":
        raise InputError(f"{where} must hold numbers, found {value.dtype}")
    if value.ndim == 1:
        value = value[:, None]
    whole = value.dtype.kind in "iu" and value.dtype != np.uint8
    with np.errstate(over="ignore"):  # beyond float32 becomes infinite, reported below
        array = np.ascontiguousarray(value, dtype=np.int64 if whole else np.float32)
    if not array.flags.writeable:  # a tensor over read-only memory is refused by PyTorch
        array = array.copy()
    mask = allowed & given
    if not whole:
        flat = array.reshape(total, -1)
        if not np.isfinite(flat).all():
            mask &= ~np.isnan(flat).any(1)
            endless = np.flatnonzero(mask & np.isinf(flat).any(1))
            if len(endless):
                raise InputError(
                    f"{where} must be finite in float32, found an infinity in row {endless[0]} "
                    f"({len(endless)} such rows); mark a missing row by None or NaN"
                )
    return torch.from_numpy(array), mask


def _check_length(found: int, total: int, where: str) -> None:
    if found != total:
        raise InputError(
            f"{where} must hold one row per target, found {found} rows and {total} targets; "
            "give None or NaN for a missing row"
        )


def _stack(rows: Any, where: str) -> tuple[NDArray[Any], Mask]:
    """A list of rows, some None, as one array (zeros for None) and which rows are there."""
    given = np.array([row is not None for row in rows], dtype=np.bool_)
    if not given.any():
        raise InputError(f"{where} must hold at least one row that is not None, found none")
    arrays: dict[int, NDArray[Any]] = {}
    for i, row in enumerate(rows):
        if row is None:
            continue
        try:
            array = row.detach().cpu().numpy() if isinstance(row, Tensor) else np.asarray(row)
        except ValueError:  # nested lists of unequal lengths
            array = np.empty(0, dtype=object)
        if array.dtype.kind not in "biuf":
            raise InputError(
                f"{where} must hold rows of numbers, found {type(row).__name__} "
                f"that is no such array in row {i}"
            )
        arrays[i] = array
    first = int(np.argmax(given))
    shape = arrays[first].shape
    for i, array in arrays.items():
        if array.shape != shape:
            raise InputError(
                f"{where} must hold rows of one shape, found {list(shape)} in row {first} "
                f"but {list(array.shape)} in row {i}; pad or crop them"
            )
    kind = np.result_type(*{array.dtype for array in arrays.values()})
    stacked = np.zeros((len(rows), *shape), dtype=kind)
    stacked[given] = np.stack(list(arrays.values()))
    return stacked, given
