"""From the rows of a modality, as they were given, to its samples: filled, scaled, float32."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.errors import InputError

from .channels import channel_axis, find_moments, float32_fails, name_some, real_steps
from .kinds import kind_of
from .values import Mask, Values, check_samples

Array = NDArray[Any]


@dataclass(frozen=True)
class Form:
    """How the rows of one tensor, as they were given, become its samples.

    Attributes:
        shape: of a row, time last where rows are padded.
        whole: they are int64, which stay as they are.
        kind: of a sample (``KINDS``), where its shape does not tell.
        axis: of time in a row as it was given, where lengths may differ; such rows are filled up
            with steps of zeros, or cropped.
        mean: float64, what fills a value that was not measured.
        std: float64; values are standardised by it and the mean before they become float32. None
            leaves them as they are.
        indicators: a channel beside each says what was measured: 1, or 0.
        unknown: channels without any value to take the mean from.
        gaps: whether the training rows had values that were not measured.
    """

    shape: tuple[int, ...]
    whole: bool = False
    kind: str | None = None
    axis: int | None = None
    mean: Array | None = None
    std: Array | None = None
    indicators: bool = False
    unknown: tuple[int, ...] = ()
    gaps: bool = False

    @classmethod
    def fit(
        cls,
        rows: Array,
        *,
        kind: str | None = None,
        axis: int | None = None,
        indicators: bool = False,
        later: bool = True,
    ) -> Form:
        """From the training rows [N, ...]: float32, float64 or int64, NaN where not measured.

        Args:
            rows: that have the modality.
            kind: of a sample (``KINDS``), where its shape does not tell.
            axis: see the class.
            indicators: see the class.
            later: find the means even if these rows need none.
        """
        shape = rows.shape[1:]
        if axis is not None:
            kind = "sequence"
            used = np.flatnonzero((rows != 0).any(axis=tuple(range(rows.ndim - 1))))
            shape = (*shape[:-1], int(used[-1]) + 1 if len(used) else 1)
            rows = rows[..., : shape[-1]]
        if rows.dtype.kind != "f":
            return cls(shape, whole=True, axis=axis)
        gaps = bool(np.isnan(rows).any())
        if kind is None and len(shape) in (1, 2, 3):
            # Pictures have all of their pixels.
            kind = "sequence" if len(shape) == 2 and gaps else kind_of(shape)
        if not (later or gaps or rows.dtype == np.float64):
            return cls(shape, kind=kind, axis=axis, mean=np.zeros(()), indicators=indicators)
        found = find_moments(rows, kind, padded=axis is not None)
        std = None
        if rows.dtype == np.float64 and float32_fails(found).any():
            std = np.where(found.std > 0, found.std, 1.0)
        unknown = np.flatnonzero(found.count == 0) if len(rows) else np.array([], int)
        return cls(
            shape,
            kind=kind,
            axis=axis,
            mean=found.mean,
            std=std,
            indicators=indicators,
            unknown=tuple(int(k) for k in unknown),
            gaps=gaps,
        )

    @property
    def dtype(self) -> str:
        """Of a sample."""
        return "int64" if self.whole else "float32"

    @property
    def padded(self) -> bool:
        """Whether steps of zeros are padding."""
        return self.axis is not None

    @property
    def series(self) -> bool:
        """Whether it is a sequence, though its shape need not tell."""
        return self.kind == "sequence" and (self.padded or self.gaps)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of a sample."""
        return self.apply(np.zeros((1, *self.shape), self.dtype)).shape[1:]

    def apply(self, rows: Array) -> Array:
        """The samples [N, ...] of rows: float32 or int64. May share memory with ``rows``."""
        if self.padded:
            rows = _fit_steps(rows, self.shape[-1])
        if self.whole:
            return rows
        assert self.mean is not None
        gap = np.isnan(rows)
        some = bool(gap.any())
        filled = np.where(gap, self.mean.astype(rows.dtype), rows) if some else rows
        if self.std is not None:
            # In halves, for a difference that is beyond float64's range.
            scaled = 2 * ((filled.astype(np.float64) / 2 - self.mean / 2) / self.std)
            filled = np.where(real_steps(rows), scaled, 0) if self.padded else scaled
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, reported by the caller
            samples = filled.astype(np.float32, copy=False)
        return self._beside(samples, rows, gap) if self.indicators else samples

    def _beside(self, samples: Array, rows: Array, gap: NDArray[np.bool_]) -> Array:
        """The samples with a channel of 1 and 0 beside each; 0 where there is padding."""
        known = ~gap
        if self.kind == "sequence":  # zeros at the end are padding
            known = known & real_steps(rows)
        channel = channel_axis(self.shape, self.kind)
        both = (samples, known.astype(np.float32))
        return np.stack(both, 1) if channel is None else np.concatenate(both, channel + 1)


def _fit_steps(rows: Array, length: int) -> Array:
    """Rows [N, ..., T] cropped or filled up with zeros to ``length``."""
    have = rows.shape[-1]
    if have >= length:
        return rows[..., :length]
    return np.pad(rows, [(0, 0)] * (rows.ndim - 1) + [(0, length - have)])


def settle(
    parts: Mapping[str, tuple[Array, Mask]],
    where: str,
    *,
    kind: str | None = None,
    axis: int | None = None,
    indicators: bool = False,
    later: bool = False,
) -> tuple[dict[str, Tensor], Form]:
    """The samples of each split, zeros where missing, and how rows become samples.

    Warns, one line each, where values were not measured or are standardised.

    Args:
        parts: split -> its rows [n, ...] and which of them are there; "train" decides.
        where: what warnings and errors call the tensor.
        kind: of a sample (``KINDS``), where its shape does not tell.
        axis: of time in a row as it was given, where lengths differ.
        indicators: add channels that say what was measured.
        later: other rows will follow, of which values may not be measured.

    Raises:
        InputError: a value that float32 does not hold.
    """
    rows, mask = parts["train"]
    later = later or any(x.dtype.kind == "f" and np.isnan(x).any() for x, _ in parts.values())
    form = Form.fit(
        rows if mask.all() else rows[mask], kind=kind, axis=axis, indicators=indicators, later=later
    )
    if form.std is not None:
        warnings.warn(
            f"{where}: float32 cannot hold how its values vary; standardised in float64 by the "
            "training rows' mean and deviation",
            UserWarning,
            stacklevel=4,
        )
    _warn(list(parts.values()), where, form)
    for other, _ in parts.values():
        _warn_of_longer(other, where, form)
    return {
        part: _to_samples(rows, mask, where, form) for part, (rows, mask) in parts.items()
    }, form


def to_samples(values: Values, where: str, form: Form) -> Tensor:
    """The samples of other rows, by what was found in training.

    Raises:
        InputError: rows of another type or shape.
    """
    rows = fit_rows(values.rows, where, form)
    if not form.gaps:  # else it was said at fit
        _warn([(rows, values.present)], where, form)
    _warn_of_longer(rows, where, form)
    return _to_samples(rows, values.present, where, form)


def fit_rows(rows: Array, where: str, form: Form) -> Array:
    """Rows [N, ...], time last, of a type that the form takes.

    Raises:
        InputError: rows of another type or shape.
    """
    real = form.shape[:-1] if form.padded else form.shape
    # Whole numbers may stand where real ones were fitted, but not the reverse.
    fits = rows.dtype.kind == "i" or not form.whole
    if rows.ndim != len(form.shape) + 1 or rows.shape[1 : len(real) + 1] != real or not fits:
        length = f" of {form.shape[-1]} steps at most" if form.padded else ""
        raise InputError(
            f"{where} must hold rows of torch.{form.dtype} {list(real)}{length} as at fit, found "
            f"torch.{'int64' if rows.dtype.kind == 'i' else 'float32'} {list(rows.shape[1:])}"
        )
    if not form.whole and rows.dtype.kind == "i":
        rows = rows.astype(np.float64)
    return rows


def _warn_of_longer(rows: Array, where: str, form: Form) -> None:
    """Warn, with the count, of rows that are longer than any of training."""
    if not form.padded or not (more := rows[..., form.shape[-1] :] != 0).any():
        return
    longer = more.reshape(len(rows), -1).any(1).sum()
    warnings.warn(
        f"{where}: {longer:,} of {len(rows):,} rows are longer than any of training "
        f"({form.shape[-1]} steps); cropped",
        UserWarning,
        stacklevel=5,
    )


def to_tensor(rows: Array) -> Tensor:
    """The same memory as a tensor, where it may be written to; else a copy."""
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())


def _to_samples(rows: Array, mask: Mask, where: str, form: Form) -> Tensor:
    samples = form.apply(rows)
    check_samples(samples[mask] if not mask.all() else samples, where)
    if not mask.all():
        samples = samples.copy() if np.may_share_memory(samples, rows) else samples
        samples[~mask] = 0
    return to_tensor(np.ascontiguousarray(samples))


def _warn(parts: list[tuple[Array, Mask]], where: str, form: Form) -> None:
    """Warn, with counts, where values of rows that are there were not measured."""
    if form.whole:
        return
    missing = values = samples = 0
    for rows, mask in parts:
        gap = np.isnan(rows).reshape(len(rows), -1)[mask]
        gap = gap[gap.any(1)]
        missing, values, samples = missing + gap.sum(), values + gap.size, samples + len(gap)
    if not samples:
        return
    text = (
        f"{where}: {100 * missing / values:.1f} % of the values of {samples:,} "
        f"sample{'s' * (samples > 1)} were not measured; filled with the training mean of their "
        "channel"
    )
    if form.unknown:
        which = name_some(form.unknown)
        text += (
            f" (0 in channel{'s' * (len(form.unknown) > 1)} {which}: never measured in training)"
        )
    if not form.indicators:
        text += "; indicators=True adds what was measured"
    warnings.warn(text, UserWarning, stacklevel=5)
