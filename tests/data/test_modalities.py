"""Arrays that are indexed by rows: all kinds of arrays, all kinds of indices."""

from __future__ import annotations

import doctest
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from folded import check_each

from counterpoise import InputError, Modalities
from counterpoise.data import modalities


class Frame:
    """What of a data frame counts: ``shape``, ``iloc``, and no rows by ``[]``."""

    def __init__(self, rows: Any) -> None:
        self.rows = np.asarray(rows)
        self.shape = self.rows.shape

    @property
    def iloc(self) -> Any:
        return self.rows

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)


NUMBERS = np.arange(12.0).reshape(6, 2)
LIST: list[Any] = [*NUMBERS[:5], None]
ALL = {
    "array": NUMBERS,
    "tensor": torch.from_numpy(NUMBERS),
    "list": LIST,
    "tuple": tuple(LIST),
    "masked": np.ma.masked_array(NUMBERS, NUMBERS > 8),
    "frame": Frame(NUMBERS),
    "ids": {"tokens": torch.arange(12).reshape(6, 2), "mask": NUMBERS > 3},
    "nothing": None,
}


def test_the_documented_example() -> None:
    assert doctest.testmod(modalities) == (0, 5)


def test_rows_of_everything() -> None:
    X = Modalities(ALL)
    assert (len(X), X.shape, list(X), "list" in X, 3 in X) == (6, (6, 8), list(ALL), True, False)
    assert all(X[name] is ALL[name] for name in X)  # nothing is copied
    assert dict(X) == dict(X.items()) == ALL and list(X.keys()) == list(ALL)

    def check(key: Any, rows: list[int]) -> None:
        part = X[key]
        assert isinstance(part, Modalities) and part.shape == (len(rows), 8)
        assert np.array_equal(part["array"], NUMBERS[rows])
        assert torch.equal(part["tensor"], ALL["tensor"][rows])
        for name in ("list", "tuple"):
            assert type(part[name]) is list
            assert all(a is LIST[row] for a, row in zip(part[name], rows, strict=True))
        assert np.array_equal(part["masked"].mask, (NUMBERS > 8)[rows])
        assert np.array_equal(part["frame"], NUMBERS[rows])
        assert torch.equal(part["ids"]["tokens"], ALL["ids"]["tokens"][rows])
        assert np.array_equal(part["ids"]["mask"], (NUMBERS > 3)[rows])
        assert part["nothing"] is None

    mask = np.array([True, False, False, True, False, False])
    check_each(
        [
            (np.array([4, 1, 1]), [4, 1, 1]),
            ((np.array([4, 1]), ...), [4, 1]),
            ([5, 0], [5, 0]),
            (range(2), [0, 1]),
            (torch.tensor([2]), [2]),
            (np.array([-1], dtype=np.int8), [5]),
            (mask, [0, 3]),
            (mask.tolist(), [0, 3]),
            (torch.from_numpy(mask), [0, 3]),
            (slice(1, 3), [1, 2]),
            (slice(1, None, 2), [1, 3, 5]),
            (np.int64(2), [2]),
            (2, [2]),
            ([], []),
        ],
        check,
    )
    assert np.shares_memory(X[:3]["array"], NUMBERS)  # a slice is a view, as of any array
    again = pickle.loads(pickle.dumps(Modalities({"a": NUMBERS})))  # for jobs of scikit-learn
    assert np.array_equal(again["a"], NUMBERS)
    assert Modalities(X).shape == X.shape and X[:2][1:]["list"][0] is LIST[1]


def test_what_fits_not_together_is_refused() -> None:
    X = Modalities({"sound": NUMBERS, "pose": NUMBERS})
    cases: list[tuple[Any, str]] = [
        (lambda: Modalities(NUMBERS), "must be a dict modality -> array, found ndarray"),
        (lambda: Modalities({}), "at least one array, found an empty dict"),
        (lambda: Modalities({"a": None}), "at least one array, found only None"),
        (lambda: Modalities({"a": NUMBERS, "b": NUMBERS[1:]}), "found {'a': 6, 'b': 5}"),
        (lambda: Modalities({"a": 3}), "Modalities['a'] must hold rows, found int"),
        (lambda: Modalities({"a": "abc"}), "Modalities['a'] must hold rows, found str"),
        (lambda: Modalities({"a": np.array(3)}), "must hold rows, found ndarray"),
        (lambda: Modalities({"a": {"x": NUMBERS, "y": [1]}}), "of one length, found [1, 6]"),
        (lambda: X["sund"], "unknown modality 'sund'; did you mean 'sound'?"),
        (lambda: X[[6]], "row numbers must lie in 0..5, found 6"),
        (lambda: X[-7], "row numbers must lie in 0..5, found -7"),
        (lambda: X[[True, False]], "a mask [6], found list of bool [2]"),
        (lambda: X[0.5], "found float of float64 []"),
        (lambda: X[:, 0], "found tuple"),
        (lambda: X[np.zeros((2, 2), dtype=int)], "found ndarray of int64 [2, 2]"),
        (lambda: np.asarray(X), "Modalities of sound, pose are not one array"),
    ]

    def check(call: Any, message: str) -> None:
        with pytest.raises(InputError) as caught:
            call()
        assert message in str(caught.value) and "\n" not in str(caught.value)

    check_each(cases, check)


def test_it_says_what_is_in_it() -> None:
    assert repr(Modalities({**ALL, "frame": None})) == (
        "Modalities(6 rows; array: ndarray [6, 2], tensor: Tensor [6, 2], list: list [6], "
        "tuple: tuple [6], masked: MaskedArray [6, 2], frame: missing, "
        "ids: {tokens: Tensor [6, 2], mask: ndarray [6, 2]}, nothing: missing)"
    )
