"""JSON as other programs read it: with ``null``, and no NaN or infinity."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from counterpoise.errors import plain


def to_json(value: object, **options: Any) -> str:
    """Strict JSON of plain values, and of numbers of NumPy and torch; what is not finite is null.

    Args:
        value: nested mappings and lists.
        options: of ``json.dumps``.
    """
    return json.dumps(strict(value), allow_nan=False, **options)


def strict(value: Any) -> Any:
    """The same value for strict JSON, which has no NaN and no infinity: ``None`` stands there."""
    if type(value) is list and all(type(item) is str for item in value):
        return value  # a word for each of a million rows
    value = plain(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {plain(key): strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return strict(value.tolist()) if hasattr(value, "tolist") else value
