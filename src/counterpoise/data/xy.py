"""``X`` and ``y`` as users of scikit-learn pass them, as tensors and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.errors import InputError, unknown

from .convert import to_tensor
from .dataset import Split, check_name
from .splits import by_class, by_group, to_groups

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
        if label is None or type(label).__name__ in ("NAType", "NaTType") or label != label:
            raise InputError(f"y must hold a label in every row, found {label} in row {row}")
        if isinstance(label, float) and not label.is_integer():
            raise InputError(f"y must hold labels, found {label} in row {row}; is it regression?")
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
    taken = [whole[torch.from_numpy(np.flatnonzero(part == k))] for k in (0, 1)]
    parts = (Split(batch.inputs, batch.present, batch.target) for batch in taken)
    return dict(zip(("train", "validation"), parts, strict=True))
