"""``X`` and ``y`` as users of scikit-learn pass them, as tensors and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.tasks import Classification, Task
from counterpoise.errors import InputError, unknown

from .convert import to_tensor
from .dataset import Split, check_name
from .splits import by_class, by_group, to_groups
from .weights import Weights, normalise, to_weights

Array = NDArray[Any]
Tensors = dict[str, Tensor]


def to_array(y: Any) -> Array:
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
    # A list as it came: NumPy makes the word "nan" of a NaN among words.
    for row, label in enumerate(y if isinstance(y, list | tuple) else labels.tolist()):
        if label is None or label != label:
            raise InputError(f"y must hold a label in every row, found {label} in row {row}")
        if isinstance(label, float) and not label.is_integer():
            raise InputError(
                f"y must hold labels, found {label} in row {row}; is it continuous (regression)?"
            )
    return labels


def read_inputs(X: Any, like: Tensors | None = None) -> tuple[Tensors, Tensors]:
    """Inputs [N, ...], zeros where missing, and host masks [N], by modality.

    Args:
        X: what the user passes.
        like: modality -> zeros [1, ...] as at fit, of which ``X`` may leave some out; or None.
    """
    if not isinstance(X, Mapping) or not X:
        found = "an empty one" if isinstance(X, Mapping) else type(X).__name__
        raise InputError(f"X must be a dict modality -> array, found {found}")
    sizes: dict[str, int] = {}
    for name, value in X.items():
        if like is None:
            check_name(name)
        elif name not in like:
            raise unknown("modality in X", name, like)
        try:
            sizes[name] = len(value)
        except TypeError:
            raise InputError(f"X[{name!r}] must hold rows, found {type(value).__name__}") from None
    total = min(sizes.values())
    if total == 0 or total < max(sizes.values()):
        raise InputError(f"X must hold as many rows of each modality, at least one, found {sizes}")
    inputs, present = {}, {}
    for name in like or X:
        rows = X.get(name, [None])
        if like and isinstance(rows, list | tuple) and all(row is None for row in rows):
            inputs[name] = like[name].expand(total, *like[name].shape[1:])
            present[name] = torch.zeros(total, dtype=torch.bool)
            continue
        tensor, mask = to_tensor(rows, f"X[{name!r}]", total, np.ones(total, dtype=np.bool_))
        if like:
            kind, shape = like[name].dtype, like[name].shape[1:]
            # Whole numbers may stand where real ones were fitted, but not the reverse.
            if tensor.shape[1:] != shape or not torch.can_cast(tensor.dtype, kind):
                raise InputError(
                    f"X[{name!r}] must hold rows of {kind} {list(shape)} as at fit, "
                    f"found {tensor.dtype} {list(tensor.shape[1:])}"
                )
            tensor = tensor.to(kind)
        present[name] = torch.from_numpy(mask)
        gone = torch.from_numpy(np.flatnonzero(~mask))
        inputs[name] = tensor.index_fill(0, gone, 0) if len(gone) else tensor
    bare = (~torch.stack(list(present.values())).any(0)).nonzero()
    if len(bare):
        raise InputError(f"X must give every row a modality, found none in row {int(bare[0])}")
    return inputs, present


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


def make_splits(
    whole: Split,
    held: Split | None,
    task: Task,
    groups: Any,
    weight: Any,
    share: float,
    seed: int,
) -> dict[str, Split]:
    """What is trained on and what is validated on, with the weights of the samples.

    Args:
        whole: all samples that were given to learn from.
        held: given to validate on; None holds a part of ``whole`` out.
        task: says whether there are classes.
        groups: [N] labels, of what is held out as a whole; or None.
        weight: [N] numbers, how much each sample counts; or None.
        share: of the samples, to hold out.
        seed: of the draw.
    """
    weights = None if weight is None else to_weights(weight, len(whole), "sample_weight")
    if held is None:
        classes = whole.target.numpy() if isinstance(task, Classification) else None
        splits = hold_out(whole, classes, groups, share, seed, weights)
    elif groups is not None:
        raise InputError("groups say what to hold out; leave them out beside validation")
    else:
        if weights is not None:
            whole.weight = normalise(weights, np.arange(len(whole)), "sample_weight")
        splits = {"train": whole, "validation": held}
    for name, mask in splits["train"].present.items():
        if not bool(mask.any()):
            raise InputError(f"X[{name!r}] is missing in every sample that is trained on")
    return splits


def hold_out(
    whole: Split,
    classes: Array | None,
    groups: Any,
    share: float,
    seed: int,
    weights: Weights | None = None,
) -> dict[str, Split]:
    """Training and validation parts, with the same share of each class.

    Args:
        whole: all samples.
        classes: [N] numbers, of a task that has classes.
        groups: [N] labels; all samples of a group go to one part.
        share: of the samples, for validation.
        seed: of the draw.
        weights: [N], by :func:`to_weights`; normalised by those of the training part.
    """
    if not 0 < share < 1:
        raise InputError(f"validation_fraction must lie between 0 and 1, found {share}")
    shares, generator = np.array([1 - share, share]), np.random.default_rng(seed)
    classes = np.zeros(len(whole)) if classes is None else classes
    if groups is None:
        part = by_class(classes, shares, generator)
    else:
        part = by_group(classes, to_groups(groups, len(whole)), shares, generator)
    if len(np.unique(part)) < 2:
        raise InputError(
            f"X holds {len(whole)} samples, too few to hold out validation_fraction={share} "
            "of them; give more, or pass validation=(X, y) to fit"
        )
    if weights is not None:
        whole.weight = normalise(weights, np.flatnonzero(part == 0), "sample_weight")
    taken = [whole[torch.from_numpy(np.flatnonzero(part == k))] for k in (0, 1)]
    parts = (Split(b.inputs, b.present, b.target, weight=b.weight) for b in taken)
    return dict(zip(("train", "validation"), parts, strict=True))
