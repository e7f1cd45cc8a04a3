"""``X`` and ``y`` as users of scikit-learn pass them, as tensors and arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.batch import Input
from counterpoise.core.names import check_name
from counterpoise.core.presence import check_trained
from counterpoise.core.tasks import Task
from counterpoise.errors import InputError, check_number, unknown

from .columns import Column
from .dataset import Split
from .settle import Form, settle, to_samples, to_tensor
from .splits import part_off, to_groups
from .values import count_rows, to_values

Array = NDArray[Any]
Tensors = dict[str, Tensor]
Axes = dict[str, int | None]
Forms = dict[str, Form]


def to_array(y: Any) -> Array:
    """Targets as an array; :class:`InputError` if some are masked."""
    if np.ma.is_masked(y):
        raise InputError("y must hold a value in every row, found masked ones; leave these out")
    return y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)


def are_indicators(y: Any) -> bool:
    """Whether ``y`` holds 0 or 1 for each of several labels, [N, K]."""
    values = to_array(y)
    if values.ndim != 2 or values.shape[1] < 2 or values.dtype.kind not in "biuf":
        return False
    return bool(np.isin(values, (0, 1)).all())


def to_labels(y: Any) -> Array:
    """[N] labels of any kind, none missing."""
    labels = to_array(y)
    if labels.ndim != 1:
        raise InputError(f"y must hold one label per sample ([N]), found {list(labels.shape)}")
    if labels.dtype.kind == "U" and isinstance(y, list | tuple):
        strange = next((label for label in y if isinstance(label, int | float)), None)
        if strange is not None and strange == strange:
            raise TypeError
    # A list as it came: NumPy makes the word "nan" of a NaN among words.
    for row, label in enumerate(y if isinstance(y, list | tuple) else labels.tolist()):
        if label is None or type(label).__name__ in ("NAType", "NaTType") or label != label:
            raise InputError(f"y must hold a label in every row, found {label} in row {row}")
        if isinstance(label, float) and not label.is_integer():
            raise InputError(
                f"y must hold labels, found {label} in row {row} (Unknown label type: continuous); "
                "is it regression?"
            )
    return labels


def read_rows(X: Any) -> tuple[Tensors, Tensors, Axes]:
    """Rows [N, ...] as :func:`settle` takes them, host masks [N] and axes of time, by modality."""
    total = _count(X, None)
    inputs: Tensors = {}
    present: Tensors = {}
    axes: Axes = {}
    for name, rows in X.items():
        values = to_values(rows, f"X[{name!r}]", total)
        inputs[name], axes[name] = to_tensor(values.rows), values.axis
        present[name] = torch.from_numpy(values.present)
    _check_rows(present)
    return inputs, present, axes


def settle_splits(
    splits: Mapping[str, Split], axes: Axes, kinds: Mapping[str, str], indicators: bool
) -> tuple[dict[str, Split], Forms]:
    """Splits of rows as splits of samples; and how they became that, to do it again.

    Args:
        splits: of rows.
        axes: modality -> axis of time, where lengths differ.
        kinds: modality -> kind of a sample, where its encoder knows.
        indicators: add channels that say what was measured.

    Raises:
        InputError: a modality that no training sample has.
    """
    check_trained(splits["train"])
    forms: Forms = {}
    inputs: dict[str, dict[str, Input | Column]] = {part: {} for part in splits}
    for name, axis in axes.items():
        rows = {p: (_rows(s, name), s.present[name].numpy()) for p, s in splits.items()}
        found, forms[name] = settle(
            rows,
            f"X[{name!r}]",
            kind=kinds.get(name),
            axis=axis,
            indicators=indicators,
            later=True,
        )
        for part, samples in found.items():
            inputs[part][name] = samples
    made = {p: Split(inputs[p], s.present, s.target, s.groups, s.weight) for p, s in splits.items()}
    return made, forms


def _rows(split: Split, name: str) -> Array:
    rows = split.inputs[name]
    assert isinstance(rows, Tensor)
    return rows.numpy()


def read_inputs(X: Any, like: Forms) -> tuple[Tensors, Tensors]:
    """Samples [N, ...], zeros where missing, and host masks [N], by modality.

    Args:
        X: what the user passes. It may leave modalities out, or hold None for them.
        like: modality -> how rows became samples at fit.
    """
    total = _count(X, like)
    inputs: Tensors = {}
    present: Tensors = {}
    for name, form in like.items():
        rows, where = X.get(name), f"X[{name!r}]"
        if _is_missing(rows):
            blank = np.zeros((total, *form.sample_shape), form.dtype)
            inputs[name], present[name] = torch.from_numpy(blank), torch.zeros(total).bool()
            continue
        values = to_values(rows, where, total, axis=form.axis)
        inputs[name] = to_samples(values, where, form)
        present[name] = torch.from_numpy(values.present)
    _check_rows(present)
    return inputs, present


def _count(X: Any, like: Forms | None) -> int:
    """How many rows each modality holds."""
    if not isinstance(X, Mapping) or not X:
        found = "an empty one" if isinstance(X, Mapping) else type(X).__name__
        raise InputError(f"X must be a dict modality -> array, found {found}")
    sizes: dict[str, int] = {}
    for name, value in X.items():
        if like is None:
            check_name(name)
        elif name not in like:
            raise unknown("modality in X", name, like)
        if value is not None or like is None:
            sizes[name] = count_rows(value, f"X[{name!r}]")
    if not sizes:
        raise InputError("X must hold rows of at least one modality, found None for each")
    total = min(sizes.values())
    if total == 0 or total < max(sizes.values()):
        raise InputError(f"X must hold as many rows of each modality, at least one, found {sizes}")
    return total


def _is_missing(rows: Any) -> bool:
    """Whether a whole modality is."""
    return rows is None or (isinstance(rows, list | tuple) and all(row is None for row in rows))


def _check_rows(present: Tensors) -> None:
    bare = (~torch.stack(list(present.values())).any(0)).nonzero()
    if len(bare):
        raise InputError(f"X must give every row a modality, found none in row {int(bare[0])}")


def to_split(inputs: Tensors, present: Tensors, target: Tensor, task: Task) -> Split:
    """Samples with their targets, which the task has checked."""
    rows = len(next(iter(present.values())))
    if target.shape[:1] != (rows,):
        raise InputError(
            f"y must hold one value per row of X ({rows}), found shape {list(target.shape)}"
        )
    task.check(target, "y")
    return Split({**inputs}, present, target)


def to_pair(validation: Any) -> tuple[Any, Any]:
    """``(X, y)`` to validate on."""
    if isinstance(validation, tuple | list) and len(validation) == 2:
        return validation[0], validation[1]
    raise InputError(f"validation must be a pair (X, y), found {type(validation).__name__}")


def hold_out(
    whole: Split, classes: Array | None, groups: Any, share: float, seed: int
) -> dict[str, Split]:
    """Training and validation parts, with the same share of each class.

    Args:
        whole: all samples.
        classes: [N] numbers, of a task that has classes.
        groups: [N] labels; all samples of a group go to one part.
        share: of the samples, for validation.
        seed: of the draw.
    """
    share = check_number("validation_fraction", share)
    if not 0 < share < 1:
        raise InputError(f"validation_fraction must lie between 0 and 1, found {share}")
    classes = np.zeros(len(whole)) if classes is None else classes
    codes = None if groups is None else to_groups(groups, len(whole))
    held = part_off(classes, codes, share, seed)
    if groups is not None and len(np.unique(classes[~held])) < len(np.unique(classes)):
        warnings.warn(
            "groups hold out every sample of some class, which is thus never trained on",
            UserWarning,
            stacklevel=5,
        )
    if held.all() or not held.any():
        raise InputError(
            f"X holds {len(whole)} samples, too few to hold out validation_fraction={share} "
            "of them; give more, or pass validation=(X, y) to fit"
        )
    taken = [whole[torch.from_numpy(np.flatnonzero(rows))] for rows in (~held, held)]
    parts = (Split(b.inputs, b.present, b.target, weight=b.weight) for b in taken)
    return dict(zip(("train", "validation"), parts, strict=True))
