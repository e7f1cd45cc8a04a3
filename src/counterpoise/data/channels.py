"""Channels: their statistics in float64, what fills values not measured, what float32 cannot hold.

A vector [F] has a channel for each number, [C, T] and [C, H, W] one for each ``C``, frames
[T, C, H, W] too, and a picture [H, W] only one. Values that were not measured are NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kinds import kind_of

Array = NDArray[Any]

BLOCK = 1 << 22  # values that are float64 at once
OFFSET = 1e-4  # a deviation of this share of the mean is some 1,000 steps of float32
TINY = 1e-35  # smaller deviations come near the least number that float32 holds in full
VAST = float(np.finfo(np.float32).max)


def channel_axes(shape: Sequence[int], kind: str | None = None) -> tuple[int, ...]:
    """The axes of [N, *shape] over which one channel is averaged.

    Args:
        shape: of a sample.
        kind: of the sample (``KINDS``), where its shape does not tell.
    """
    channel = channel_axis(shape, kind)
    return tuple(k for k in range(len(shape) + 1) if k - 1 != channel)


def channel_axis(shape: Sequence[int], kind: str | None = None) -> int | None:
    """The axis of a sample on which its channels lie; None where there is only one channel."""
    if len(shape) == 2 and (kind or kind_of(shape)) == "image":
        return None
    return 1 if len(shape) == 4 else 0


@dataclass(frozen=True)
class Moments:
    """Statistics of each channel, float64, in a shape to broadcast with a sample.

    Attributes:
        count: values that were measured.
        mean: 0 where there is none.
        std: 0 exactly where all values are the same.
        peak: the largest magnitude.
    """

    count: Array
    mean: Array
    std: Array
    peak: Array


def find_moments(
    rows: Array, kind: str | None = None, padded: bool = False, inner: bool = False
) -> Moments:
    """The moments of samples [N, ...], block by block; NaN counts as not measured.

    Args:
        rows: the samples, finite or NaN.
        kind: of a sample (``KINDS``), where its shape does not tell.
        padded: steps of zeros at the end of [N, C, T] are padding and do not count.
        inner: nor do those inside.
    """
    axes = channel_axes(rows.shape[1:], kind)
    shape = tuple(1 if k + 1 in axes else n for k, n in enumerate(rows.shape[1:]))
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    for block in _blocks(rows, padded, inner):
        low = np.fmin(low, np.fmin.reduce(block, axis=axes, keepdims=True)[0])
        high = np.fmax(high, np.fmax.reduce(block, axis=axes, keepdims=True)[0])
    known = low <= high
    low, high = np.where(known, low, 0.0), np.where(known, high, 0.0)
    peak = np.maximum(-low, high)
    # Powers of two, so that neither a sum nor a square leaves float64's range.
    far = (peak > 1e100) | ((peak < 1e-100) & (peak > 0))
    unit = np.where(far, np.exp2(np.floor(np.log2(np.where(far, peak, 1)))), 1)
    count, total, square = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    for block in _blocks(rows, padded, inner):
        gap = np.isnan(block)
        count += (~gap).sum(axis=axes, keepdims=True)[0]
        total += np.where(gap, 0.0, block / unit).sum(axis=axes, keepdims=True)[0]
    # The sum of equal values is rounded: their mean is one of them.
    same = low == high
    mean = np.where(same, low / unit, total / np.maximum(count, 1))
    for block in _blocks(rows, padded, inner):
        apart = block / unit - mean
        square += np.where(np.isnan(apart), 0.0, apart**2).sum(axis=axes, keepdims=True)[0]
    std = np.where(same, 0.0, np.sqrt(square / np.maximum(count, 1)))
    return Moments(count, mean * unit, std * unit, peak)


def _blocks(rows: Array, padded: bool, inner: bool = False) -> Iterator[Array]:
    """Some rows at a time, float64, NaN where there is padding."""
    size = max(1, BLOCK // max(int(np.prod(rows.shape[1:])), 1))
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        wide = block.astype(np.float64)
        if padded:
            wide[np.broadcast_to(~real_steps(block, inner), wide.shape)] = np.nan
        yield wide


def real_steps(rows: Array, inner: bool = False) -> NDArray[np.bool_]:
    """[N, C, T] -> [N, 1, T]: the steps before the zeros at the end.

    Args:
        rows: the samples.
        inner: steps of zeros inside are padding, too.
    """
    real: NDArray[np.bool_] = (rows != 0).any(axis=1, keepdims=True)
    return real if inner else np.flip(np.logical_or.accumulate(np.flip(real, 2), axis=2), 2)


def float32_fails(found: Moments) -> NDArray[np.bool_]:
    """The channels whose values vary by less than float32 resolves, or lie beyond its range."""
    shifted = found.std < OFFSET * np.abs(found.mean)
    fails: NDArray[np.bool_] = (found.std > 0) & (shifted | (found.std < TINY))
    return fails | (found.peak > VAST)


def name_some(numbers: Sequence[int], most: int = 8) -> str:
    """Some numbers, and how many more there are."""
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more
