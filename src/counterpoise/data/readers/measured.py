"""What the readers of numbers share: values not measured, and those that float32 cannot hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from counterpoise.core.declared import FLOAT64, Bounds
from counterpoise.data.channels import channel_axis, find_moments, float32_fails
from counterpoise.data.kinds import kind_of
from counterpoise.errors import InputError

from .base import Array, Reader, Unmeasured

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Measured(Reader):
    """A reader of real numbers, some of which may not have been measured.

    Args:
        indicators: beside each channel stands another, 1 where a value was measured, 0 where not.
        center: of each channel, taken off in float64; empty where float32 holds how values vary.
        spread: of each channel, by which it is divided then.
        series: an array [A, B] is [C, T], though it has the shape of a picture.
    """

    young: ClassVar[Mapping[str, Any]] = {
        "indicators": False,
        "center": (),
        "spread": (),
        "series": False,
    }
    indicators: bool = False
    center: Annotated[tuple[float, ...], Bounds(-FLOAT64, FLOAT64)] = ()
    spread: Annotated[tuple[float, ...], Bounds(0, FLOAT64)] = ()
    series: bool = False

    @property
    def sample_kind(self) -> str:
        return "sequence" if self.series else self.kind

    def find_center(self, samples: Sequence[Array], padded: bool = False) -> Self:
        """The same reader, with center and spread where float32 cannot hold these samples.

        Args:
            samples: of some training cells: float64, channels first.
            padded: steps of zeros are padding.
        """
        if self.center or not samples:
            return self
        usual = Counter(x.shape for x in samples).most_common(1)[0][0]
        rows = np.stack([x for x in samples if x.shape == usual])
        rows = rows[~np.isinf(rows).reshape(len(rows), -1).any(1)]
        if not len(rows) or len(usual) > 3:
            return self
        found = find_moments(rows, self._kind(usual), padded and len(usual) == 2)
        if not float32_fails(found).any():
            return self
        divisor = np.where(found.std > 0, found.std, 1.0)
        center, spread = (tuple(np.ravel(x).tolist()) for x in (found.mean, divisor))
        return self.changed(self.name, center=center, spread=spread)

    def finish(self, array: Array) -> Array:
        """float32 of a sample, channels first, before it is filled up: scaled, with indicators.

        Raises:
            Unmeasured: all of it is NaN.
            InputError: an infinity, also of float32; NaN in arrays of more than three axes.
        """
        if array.dtype.kind != "f":
            return array
        known = ~np.isnan(array)
        if array.size and not known.any():
            raise Unmeasured("holds no value that was measured")
        if self.center:
            array = self.scale(array)
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(array, dtype=np.float32)
        if np.isinf(array).any():
            raise InputError("must hold finite numbers, found an infinity (of float32)")
        if array.ndim > 3 and not known.all():
            raise InputError("must hold finite numbers in arrays of four axes, found NaN")
        if not self.indicators:
            return array
        both = (array, known.astype(np.float32))
        picture = channel_axis(array.shape, self._kind(array.shape)) is None
        return np.stack(both) if picture else np.concatenate(both)

    def scale(self, array: Array) -> Array:
        """A sample, channels first, without its center, by its spread."""
        wide = (-1, *[1] * (array.ndim - 1)) if len(self.center) > 1 else ()
        center, spread = (np.reshape(x, wide) for x in (self.center, self.spread))
        try:
            return np.asarray(2 * ((array / 2 - center / 2) / spread))
        except ValueError:
            raise InputError(
                f"has shape {list(array.shape)}, where others have {len(self.center)} channels"
            ) from None

    def _kind(self, shape: tuple[int, ...]) -> str | None:
        return self.sample_kind or (kind_of(shape) if len(shape) in (1, 2, 3) else None)
