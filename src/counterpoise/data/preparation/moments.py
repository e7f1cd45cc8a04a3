"""Mean and deviation of each channel over the training split, shard by shard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.data.cells import Spec
from counterpoise.data.channels import channel_axes
from counterpoise.data.readers.base import Reader


def sum_moments(
    values: Mapping[str, Mapping[str, NDArray[Any]]],
    present: Mapping[str, NDArray[np.bool_]],
    specs: Mapping[str, Spec],
    readers: Mapping[str, Reader],
) -> dict[str, Any]:
    """Modality -> count, sum and sum of squares of each channel, for what can be standardised."""
    found = {}
    for modality, spec in specs.items():
        if set(spec) != {""} or spec[""][0].startswith("int") or len(spec[""][1]) > 3:
            continue
        shape, rows = spec[""][1], values[modality][""][present[modality]]
        axes = channel_axes(shape, readers[modality].kind or None)
        wide = rows.astype(np.float64)
        count = np.prod([wide.shape[axis] for axis in axes])
        if len(shape) == 2 and 1 not in axes:  # steps of zeros are padding and do not count
            count = (rows != 0).any(1).sum()
        found[modality] = {
            "count": float(count),
            "sum": np.ravel(wide.sum(axes)).tolist(),
            "square": np.ravel(np.square(wide).sum(axes)).tolist(),
        }
    return found


def pool_moments(
    shards: Iterable[Mapping[str, Any]], units: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, list[float]]]:
    """Modality -> mean and deviation of each channel.

    Args:
        shards: what :func:`sum_moments` found in each.
        units: modality -> a name for each channel; those of one name share their deviation.
    """
    totals: dict[str, list[Any]] = {}
    for moments in shards:
        for modality, m in moments.items():
            total = totals.setdefault(modality, [0.0, 0.0, 0.0])
            for k, value in enumerate((m["count"], np.array(m["sum"]), np.array(m["square"]))):
                total[k] = total[k] + value
    found = {}
    for modality, (count, sums, squares) in totals.items():
        if count == 0:
            continue
        mean = sums / count
        variance = np.maximum(squares / count - mean**2, 0)
        unit = units.get(modality, ())
        for name in set(unit):
            same = np.array([u == name for u in unit])
            variance[same] = variance[same].mean()
        found[modality] = {"mean": mean.tolist(), "std": np.sqrt(variance).tolist()}
    return found


def to_scale(
    scale: Mapping[str, list[float]], spec: Spec, kind: str | None
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, to broadcast with a sample."""
    shape = next(iter(spec.values()))[1]
    wide = [1] * len(shape)
    if 1 not in channel_axes(shape, kind):
        wide[0] = shape[0]
    mean, std = (torch.tensor(scale[k], dtype=torch.float32).view(wide) for k in ("mean", "std"))
    return mean, std
