"""Arrays of several modalities that are indexed by rows, as scikit-learn splits its ``X``."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.errors import InputError, unknown

Rows = slice | NDArray[np.int64]

TABLE = "x"  # what the modality of a plain table is called


class Modalities:
    """A dict of arrays whose rows can be taken: the ``X`` of ``cross_val_score`` and its kin.

    Everything that takes a dict of arrays takes it, too. ``X["sound"]`` is the array of a
    modality, and ``X[rows]`` holds these rows of all of them: a row number, row numbers, a mask
    [N] or a slice. Arrays are neither copied nor checked before they are used.

    Args:
        arrays: modality -> array, tensor, data frame or list of N rows; a dict of these; or None
            for a modality that is missing in every row.

    Raises:
        InputError: no array, or arrays of different lengths.

    Example:
        >>> import numpy as np
        >>> from counterpoise import Modalities
        >>> X = Modalities({"sound": np.ones((6, 4)), "pose": [[1.0], None] * 3, "text": None})
        >>> X
        Modalities(6 rows; sound: ndarray [6, 4], pose: list [6], text: missing)
        >>> X.shape, len(X[:2]), X[[4, 5]]["pose"]
        ((6, 3), 2, [[1.0], None])
    """

    def __init__(self, arrays: Mapping[str, Any] | Modalities) -> None:
        if not isinstance(arrays, Mapping | Modalities):
            raise InputError(
                f"Modalities must be a dict modality -> array, found {type(arrays).__name__}"
            )
        self._arrays: dict[str, Any] = dict(arrays.items())
        sizes = {name: _length(value, name) for name, value in self._arrays.items()}
        known = {name: size for name, size in sizes.items() if size is not None}
        if not known:
            found = "only None" if sizes else "an empty dict"
            raise InputError(f"Modalities must hold at least one array, found {found}")
        if len(set(known.values())) > 1:
            raise InputError(f"Modalities must hold as many rows of each modality, found {known}")
        self._total = next(iter(known.values()))

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and of modalities."""
        return self._total, len(self._arrays)

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def keys(self) -> KeysView[str]:
        """The names of the modalities."""
        return self._arrays.keys()

    def items(self) -> ItemsView[str, Any]:
        """The names, each with its array."""
        return self._arrays.items()

    def __getitem__(self, key: Any) -> Any:
        """The array of a modality, or these rows of all of them."""
        if isinstance(key, str):
            if key not in self._arrays:
                raise unknown("modality", key, self._arrays)
            return self._arrays[key]
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:  # as scikit-learn asks
            key = key[0]
        rows = _read_rows(key, self._total)
        return Modalities({name: _take(value, rows) for name, value in self._arrays.items()})

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise InputError(
            f"Modalities of {', '.join(self._arrays)} are not one array; take that of a modality "
            "by its name"
        )

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}: {_describe(value)}" for name, value in self._arrays.items())
        return f"Modalities({self._total} rows; {parts})"


def to_mapping(X: Mapping[str, Any] | Modalities) -> Mapping[str, Any]:
    """Modalities as a dict; a dict as it is."""
    return dict(X.items()) if isinstance(X, Modalities) else X


def _length(value: Any, name: str) -> int | None:
    """The number of rows; None for a modality that is missing."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        sizes = {_length(part, name) for part in value.values()}
        if len(sizes) != 1:
            raise InputError(
                f"Modalities[{name!r}] must hold arrays of one length, found "
                f"{sorted(size or 0 for size in sizes) or 'an empty dict'}"
            )
        return sizes.pop()
    shape = getattr(value, "shape", None)
    if shape is None and hasattr(value, "__len__") and not isinstance(value, str | bytes):
        return len(value)
    if not shape:
        raise InputError(f"Modalities[{name!r}] must hold rows, found {type(value).__name__}")
    return int(shape[0])


def _read_rows(key: Any, total: int) -> Rows:
    """A slice as it is; all else as row numbers."""
    if isinstance(key, slice):
        return key
    rows = key.detach().cpu().numpy() if isinstance(key, Tensor) else np.asarray(key)
    if rows.size == 0 and rows.ndim == 1:
        return np.zeros(0, dtype=np.int64)
    if rows.dtype == np.bool_ and rows.shape == (total,):
        return np.flatnonzero(rows)
    if rows.ndim > 1 or rows.dtype.kind not in "iu":
        raise InputError(
            f"Modalities are indexed by a name, by row numbers, a slice or a mask [{total}], found "
            f"{type(key).__name__} of {rows.dtype} {list(rows.shape)}"
        )
    rows = np.atleast_1d(rows).astype(np.int64)
    outside = rows[(rows < -total) | (rows >= total)]
    if len(outside):
        raise InputError(f"row numbers must lie in 0..{total - 1}, found {outside[0]}")
    return rows


def _take(value: Any, rows: Rows) -> Any:
    """Rows of what holds the samples of a modality, in the same form."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: _take(part, rows) for key, part in value.items()}
    if hasattr(value, "iloc"):
        return value.iloc[rows]
    if isinstance(value, list | tuple):
        places = range(*rows.indices(len(value))) if isinstance(rows, slice) else rows.tolist()
        return [value[place] for place in places]
    return value[rows]


def _describe(value: Any) -> str:
    """The type and shape of what holds the samples of a modality."""
    if value is None:
        return "missing"
    if isinstance(value, Mapping):
        parts = ", ".join(f"{key}: {_describe(part)}" for key, part in value.items())
        return f"{{{parts}}}"
    shape = getattr(value, "shape", None)
    return f"{type(value).__name__} {[len(value)] if shape is None else list(shape)}"
