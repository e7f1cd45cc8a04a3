"""Data that set thresholds: their classes are matched by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from folded import check_each

import counterpoise as cp
from counterpoise import InputError
from counterpoise.deploy.other_data import match_thresholds

RNG = np.random.default_rng(0)
CODES = np.arange(300) % 3
X = RNG.normal(size=(300, 3)) + 2 * np.eye(3)[CODES]


def make(*names: str, rows: Any = slice(None), shift: float = 0.0) -> cp.Dataset:
    return cp.ArrayData({"a": X[rows] + shift}, np.array(names)[CODES][rows])


def test_classes_are_matched_by_name() -> None:
    data = make("ant", "bee", "cat")
    other = make("cat", "ant", "bee", shift=0.1)  # their order is that of the words
    found = match_thresholds(other, data.task, data)
    names = [data.task.names[k] for k in found.validation.target.tolist()]  # type: ignore[union-attr,index]
    assert names == [other.task.names[k] for k in other.validation.target.tolist()]  # type: ignore[union-attr,index]
    some = make("ant", "bee", "cat", rows=CODES > 0)  # one class has no row
    found = match_thresholds(some, data.task, data)
    assert set(found.validation.target.tolist()) == {1, 2}
    assert torch.equal(found.validation.target, some.validation.target + 1)


def test_what_cannot_be_matched_is_refused() -> None:
    data = make("ant", "bee", "cat")
    numbers = cp.ArrayData({"a": X}, X[:, 0])
    cases = [
        ("digits", "thresholds must be a data set, found str"),
        (data, "must be other data than those that calibrate"),
        (make("bee", "cat", "dog"), "classes of the model, ant, bee, cat, found bee, cat, dog"),
        (numbers, "task of the model, classification of 3, found regression of 1"),
    ]

    def check(other: Any, line: str) -> None:
        with pytest.raises(InputError, match=line):
            match_thresholds(other, data.task, data)

    check_each(cases, check)
