"""How much each sample counts in the loss: checked, and brought to a mean of 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.errors import InputError

if TYPE_CHECKING:
    from .dataset import Split

Weights = NDArray[np.float64]


def to_weights(value: Any, total: int, where: str) -> Weights:
    """float64 [N]: a finite weight of at least 0 for each sample, not all of them 0.

    Args:
        value: array, tensor, series or list of N numbers.
        total: ``N``, the number of samples.
        where: what errors call it.
    """
    if np.ma.is_masked(value):
        raise InputError(f"{where} must hold a number for each sample, found masked ones")
    try:
        given = value.detach().cpu() if isinstance(value, Tensor) else value
        found = np.asarray(given)
        if found.dtype.kind == "c":
            raise TypeError
        weights = np.array(found, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where} must hold a number for each sample ([{total}])") from None
    if weights.shape != (total,):
        raise InputError(
            f"{where} must hold a number for each sample ([{total}]), "
            f"found shape {list(weights.shape)}"
        )
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise InputError(
            f"{where} must be finite and at least 0, found {weights[wrong[0]]} in row {wrong[0]} "
            f"({len(wrong)} such rows)"
        )
    if not weights.any():
        raise InputError(f"{where} must not be 0 for every sample, found only 0 (all zero)")
    return weights


def normalise(weights: Weights, rows: NDArray[np.int64], where: str) -> Tensor:
    """float32 [N]: all weights by one factor, with which those of training rows have mean 1.

    The learning rate then means what it means without weights.

    Args:
        weights: [N], by :func:`to_weights`.
        rows: which are trained on.
        where: what errors call the weights.
    """
    largest = weights.max()
    shares = weights / largest  # their sum cannot overflow
    mean = float(shares[rows].mean())
    if not mean:
        raise InputError(f"{where} must not be 0 for every sample that is trained on")
    return torch.from_numpy((shares / mean).astype(np.float32))


def normalise_splits(splits: Mapping[str, Split], where: str) -> None:
    """Bring the raw weights of all splits, if they have any, to a mean of 1 in training.

    Args:
        splits: float64 weights are replaced by float32.
        where: what errors call the weights.

    Raises:
        InputError: weights that :func:`to_weights` refuses.
    """
    raw = [split.weight for split in splits.values() if split.weight is not None]
    if not raw:
        return
    whole = torch.cat(raw)
    weights = to_weights(whole, len(whole), where)
    sizes = [len(part) for part in raw]
    start = sum(sizes[: list(splits).index("train")])
    rows = np.arange(start, start + len(splits["train"]))
    for split, part in zip(
        splits.values(), normalise(weights, rows, where).split(sizes), strict=True
    ):
        split.weight = part.clone()
