"""Mean and deviation of each channel over the training split, shard by shard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.data.cells import Spec
from counterpoise.data.channels import channel_axes, name_some
from counterpoise.data.readers.base import Reader

ROUNDING = 3e-7  # a share of the mean that is less than the values, float32, can differ by


def sum_moments(
    values: Mapping[str, Mapping[str, NDArray[Any]]],
    present: Mapping[str, NDArray[np.bool_]],
    specs: Mapping[str, Spec],
    readers: Mapping[str, Reader],
) -> dict[str, Any]:
    """Modality -> count, sum and sum of squares of each channel, for what can be standardised.

    The count is a list, a number for each channel, where some values were not measured.
    """
    found = {}
    for modality, spec in specs.items():
        if set(spec) != {""} or spec[""][0].startswith("int") or len(spec[""][1]) > 3:
            continue
        shape, rows = spec[""][1], values[modality][""][present[modality]]
        axes = channel_axes(shape, readers[modality].sample_kind or None)
        wide = rows.astype(np.float64)
        count: Any = float(np.prod([wide.shape[axis] for axis in axes]))
        if len(shape) == 2 and 1 not in axes:  # steps of zeros are padding and do not count
            count = float((rows != 0).any(1).sum())
        if (gap := np.isnan(wide)).any():
            count = np.ravel(count - gap.sum(axes)).tolist()
            wide[gap] = 0
        found[modality] = {
            "count": count,
            "sum": np.ravel(wide.sum(axes)).tolist(),
            "square": np.ravel(np.square(wide).sum(axes)).tolist(),
        }
    return found


def count_gaps(
    values: Mapping[str, Mapping[str, NDArray[Any]]], present: Mapping[str, NDArray[np.bool_]]
) -> dict[str, list[int]]:
    """Modality -> values not measured, all values, and samples; of samples with such values."""
    found = {}
    for modality, parts in values.items():
        for rows in parts.values():
            if rows.dtype.kind != "f":
                continue
            gap = np.isnan(rows).reshape(len(rows), -1)[present[modality]]
            gap = gap[gap.any(1)]
            if len(gap):
                found[modality] = [int(gap.sum()), gap.size, len(gap)]
    return found


def pool_gaps(shards: Iterable[Mapping[str, Sequence[int]]]) -> dict[str, list[int]]:
    """What :func:`count_gaps` found in each shard, added up."""
    found: dict[str, list[int]] = {}
    for gaps in shards:
        for modality, counts in gaps.items():
            before = found.get(modality, [0, 0, 0])
            found[modality] = [a + b for a, b in zip(before, counts, strict=True)]
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
            for k, value in enumerate(np.array(m[key]) for key in ("count", "sum", "square")):
                total[k] = total[k] + value
    found = {}
    for modality, (count, sums, squares) in totals.items():
        if not count.any():
            continue
        unknown = np.flatnonzero(count == 0).tolist()
        count = np.maximum(count, 1)
        mean = sums / count
        variance = np.maximum(squares / count - mean**2, 0)
        unit = units.get(modality, ())
        for name in set(unit):
            same = np.array([u == name for u in unit])
            variance[same] = variance[same].mean()
        found[modality] = {"mean": mean.tolist(), "std": np.sqrt(variance).tolist()}
        if unknown:
            found[modality]["unknown"] = unknown
    return found


def to_scale(
    scale: Mapping[str, list[float]], spec: Spec, kind: str | None
) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, to broadcast with a sample.

    Of values that are the same, sums of squares leave a rounding error for a deviation.
    """
    mean, std = np.array(scale["mean"]), np.array(scale["std"])
    std = np.where(std <= ROUNDING * np.abs(mean), 0.0, std)
    return _to_wide(mean, spec, kind), _to_wide(std, spec, kind)


def to_fill(scale: Mapping[str, list[float]] | None, spec: Spec, kind: str | None) -> NDArray[Any]:
    """What a value that was not measured becomes, to broadcast with a sample."""
    mean = scale["mean"] if scale else [0.0]
    fill: NDArray[Any] = _to_wide(np.array(mean), spec, kind).numpy()
    return fill


def _to_wide(channels: NDArray[Any], spec: Spec, kind: str | None) -> Tensor:
    shape = next(iter(spec.values()))[1]
    wide = [1] * len(shape)
    if 1 not in channel_axes(shape, kind):
        wide[0] = shape[0]
    return torch.from_numpy(channels.astype(np.float32)).view(wide)


def describe_gaps(modality: str, about: Mapping[str, Any]) -> str:
    """A line with counts, of what ``dataset.json`` says about a modality."""
    missing, values, samples = about["gaps"]
    text = (
        f"{modality}: {100 * missing / values:.1f} % of the values of {samples:,} "
        f"sample{'s' * (samples > 1)} were not measured; filled with the training mean of their "
        "channel"
    )
    if unknown := (about["scale"] or {}).get("unknown"):
        which = name_some(unknown)
        text += f" (0 in channel{'s' * (len(unknown) > 1)} {which}: never measured in training)"
    if not about["reader"].get("indicators"):
        text += f"; --set {modality}.indicators=true adds what was measured"
    return text
