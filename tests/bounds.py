"""What must be refused wherever a number is taken: what is none, and what is beyond an end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any

import numpy as np
import torch

from counterpoise import InputError
from counterpoise.core.declared import FLOAT32, Bounds, Rule

NEVER = (
    *(math.inf, -math.inf, math.nan, "x", True, 10**400, -(10**400), 2**70, 1j, b"1", [], {}),
    *(np.float32("inf"), np.float64("nan"), np.bool_(True), torch.tensor(math.inf)),
)


def find_bounds(rule: Rule) -> Bounds | None:
    """The bounds of a rule's numbers, also of those in a mapping or a list."""
    if rule.bounds is not None or rule.items is None:
        return rule.bounds
    return find_bounds(rule.items)


def beyond(bounds: Bounds, whole: bool) -> Iterator[Any]:
    """Numbers just beyond each end, and halves where only whole numbers will do."""
    if bounds.least > -math.inf:
        yield bounds.least - 1 if whole else math.nextafter(bounds.least, -math.inf)
    elif not whole:
        yield -FLOAT32 * 1.1
    if bounds.most < math.inf:
        yield bounds.most + 1 if whole else math.nextafter(bounds.most, math.inf)
    elif not whole:
        yield FLOAT32 * 1.1
    yield from (end for end in (bounds.above, bounds.below) if end is not None)
    if whole:
        yield max(bounds.least, 0) + 0.5


def bad_values(rule: Rule) -> Iterator[Any]:
    """Values that an option must refuse, wrapped where it is a mapping or a list."""
    bounds = find_bounds(rule)
    assert bounds is not None
    numbers, inner = {int, float} & set(rule.kinds), rule.items
    if numbers:
        known = (str in rule.kinds, bool in rule.kinds)
        for value in (*NEVER, *beyond(bounds, whole=float not in numbers)):
            container = type(value) in (list, dict) and inner is not None
            if not (container or (value == "x" and known[0]) or (value is True and known[1])):
                yield value
    if inner is not None:
        for value in bad_values(inner):
            if Mapping in rule.kinds:
                yield {"a": value}
            if Sequence in rule.kinds:
                yield [value] * (rule.count or 1)
    if NoneType not in rule.kinds:
        yield None


def refuse(name: str, call: Callable[[], object]) -> str:
    """The message of the :class:`InputError` that a call raises, in one line that names it."""
    try:
        call()
    except InputError as error:
        text = str(error)
        assert "\n" not in text and len(text) < 500 and name in text, text
        return text
    raise AssertionError("passed")
