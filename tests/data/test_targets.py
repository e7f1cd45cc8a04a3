"""Class or number: one decision, whatever a target is made of."""

from __future__ import annotations

import warnings
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folded import check_each

from counterpoise import ArrayData, Classification, InputError, MultiLabel, Regression
from counterpoise.core.tasks import Sentiment
from counterpoise.data.targets import decide

NAN, WORDS = float("nan"), ["cat", "dog"] * 10
THREE = [0, 1, 2] * 10


def test_whole_numbers_are_classes_however_they_are_written() -> None:
    kinds: list[Any] = [
        THREE,
        np.array(THREE, dtype=np.uint8),
        np.array(THREE, dtype=np.uint64),
        np.array(THREE, dtype=np.float16),
        np.array(THREE)[:, None],
        torch.tensor(THREE),
        torch.tensor(THREE).bfloat16(),
        list(torch.tensor(THREE)),
        [str(v) for v in THREE],
        [f"{v}.0" if k % 2 else str(v) for k, v in enumerate(THREE)],
        [Decimal(v) for v in THREE],
        np.array(THREE, dtype=object),
        [b"0", b"1", b"2"] * 10,
    ]

    def check(value: Any) -> None:
        found = decide(value)
        assert isinstance(found.task, Classification)
        assert found.task.state() == {"task": "classification", "outputs": 3}
        assert found.task.names is None and found.names is None
        assert found.target.dtype == np.int64 and found.target.tolist() == THREE
        assert found.note == "target: 3 classes (0, 1, 2), smallest 10 rows"

    check_each(kinds, check)
    two = decide([True, False] * 5)
    assert two.target.tolist() == [1, 0] * 5 and two.task.outputs == 2


def test_other_classes_are_called_by_their_values() -> None:
    for value, names in (
        ([0, 10**6] * 10, ("0", "1000000")),
        ([1, 2, 3] * 10, ("1", "2", "3")),
        ([-1.0, 1.0] * 10, ("-1", "1")),
        ([2**70, 1] * 10, ("1", str(2**70))),
        ([10**17, 10**17 + 1] * 10, (str(10**17), str(10**17 + 1))),
        (["1", "1.0", 2, "2"] * 5, ("1", "2")),
        (["007", "008"] * 5, ("007", "008")),
        (WORDS, ("cat", "dog")),
        (["b", "a", "NA", None, NAN, "nan", " "] * 4, ("NA", "a", "b")),
    ):
        found = decide(value)
        assert isinstance(found.task, Classification), value
        assert found.names == found.task.names == names
        known = found.target[found.given]
        assert known.min() == 0 and known.max() == len(names) - 1
    assert decide(["b", "a", None]).given.tolist() == [True, True, False]


def test_many_whole_numbers_are_classes_only_where_they_fill_a_range() -> None:
    assert decide(np.arange(30).repeat(5)).task.outputs == 30
    assert decide(np.arange(1, 31).repeat(5)).names == tuple(map(str, range(1, 31)))
    assert decide(np.arange(20) * 7).task.outputs == 20
    for value, found in (
        (np.arange(30).repeat(4), "30 whole numbers from 0 to 29"),
        (np.arange(2, 32).repeat(9), "30 whole numbers from 2 to 31"),
        (np.arange(25, 347, 1.5).round(), "215 whole numbers from 25 to 346"),
        ([str(n) for n in range(1900, 2020)], "120 whole numbers from 1900 to 2019"),
    ):
        with pytest.raises(InputError) as raised:
            decide(value)
        assert str(raised.value) == (
            f"target holds {found}, which may be amounts or classes: pass --task regression "
            '(in Python task="regression") or --task classification'
        )
        assert isinstance(decide(value, "regression").task, Regression)
        assert decide(value, "classification").task.outputs == len(np.unique(value))


def test_fractions_are_numbers_and_what_is_none_has_no_target() -> None:
    found = decide([-0.4, "1.2", NAN, "NA", "inf", float("-inf"), None, "", "n/a", 7])
    assert isinstance(found.task, Regression) and found.target.dtype == np.float32
    assert found.given.tolist() == [True, True] + [False] * 7 + [True]
    assert found.target.tolist() == pytest.approx([-0.4, 1.2] + [0] * 7 + [7])
    assert found.note == "target: regression, from -0.4 to 7, mean 2.6"
    assert decide(np.ma.masked_greater([0.5, 1.5, 9.5], 9)).given.tolist() == [True, True, False]
    assert decide(np.array([[0.5], [1.5]])).target.shape == (2, 1)


def test_words_among_numbers() -> None:
    found = decide(["1", "2"] * 10 + ["oops"])
    assert found.names == ("1", "2") and not found.given[-1]
    with pytest.raises(InputError) as raised:
        decide(["1", "1", "2", "red"])
    assert str(raised.value) == (
        "target holds 3 numbers, such as 1, and 1 words, such as 'red': pass --task "
        'classification (in Python task="classification") or --task regression, or mend them'
    )
    forced = decide(["1", "1.0", "2", "red"], "classification")
    assert forced.names == ("1", "2", "red") and forced.target.tolist() == [0, 0, 1, 2]


def test_rows_of_several() -> None:
    flags = np.array([[0, 1, 1], [1, 0, 0]] * 5)
    for value in (
        flags,
        flags.astype(float),
        flags.astype(bool),
        flags.tolist(),
        flags.astype(str),
    ):
        found = decide(value)
        assert isinstance(found.task, MultiLabel) and found.target.dtype == np.float32
        assert found.target.tolist() == flags.tolist() and found.note == "target: 3 labels"
    one = decide(np.eye(3)[THREE])
    assert isinstance(one.task, MultiLabel) and "exactly one in each row" in one.note
    assert isinstance(decide(flags + 0.5).task, Regression)
    assert decide(flags + 0.5).task.outputs == 3
    with pytest.raises(InputError, match=r"rows of 3 with 2 whole numbers from 0 to 2, neither"):
        decide(2 * flags)
    assert decide(2 * flags, "regression").task.outputs == 3
    gap = decide([[0.5, 1], None, [2, NAN], [3, 4]])
    assert gap.given.tolist() == [True, False, False, True]


def test_a_task_overrules_the_decision_and_is_checked() -> None:
    assert isinstance(decide(THREE, "regression").task, Regression)
    assert decide([0.5, 1.5] * 9, "classification").names == ("0.5", "1.5")
    named = decide([["x", "y"], ["y"], []], "multilabel")
    assert named.names == ("x", "y") and named.given.tolist() == [True, True, False]
    assert named.target.tolist() == [[1, 1], [0, 1], [0, 0]]
    task = Classification(3, ("cat", "dog", "cow"))
    assert decide(WORDS, task).target.tolist() == [0, 1] * 10
    assert decide(THREE, task).task is task
    assert decide(np.array(THREE, dtype=float), Classification(3)).target.dtype == np.int64
    assert decide([1.5, NAN], Sentiment()).given.tolist() == [True, False]
    for value, wrong, message in (
        (WORDS, "regression", "target must hold numbers, found words, such as 'cat'"),
        (np.linspace(0, 1, 50), "classification", "found 50 numbers from 0 to 1; is it regression"),
        (THREE, "multilabel", r"0 or 1 for each label, \[N, K\], or a list of labels in each row"),
        (np.eye(3), "classification", r"one class a row, found rows of 3 .* its argmax\(1\)"),
        (THREE, Classification(2), r"must lie in 0..1 \(2 classes\), found 2"),
        (WORDS, Classification(2, ("cat", "cow")), "must hold numbers, found words"),
        (np.eye(3), Regression(2), r"must be float \[N, 2\]"),
        (THREE, "ranking", "unknown value for task 'ranking'"),
        (THREE, 3, "task must be classification, regression, multilabel or a Task"),
        (np.array(["2020-01-01"], dtype="M8[D]"), None, "numbers or words"),
        ([object()] * 3, None, "must hold numbers or words, found object"),
        ([None] * 3, None, "found nothing but empty rows"),
        (["a"] * 3, None, r"at least 2 classes to learn, found \['a'\]"),
    ):
        with pytest.raises(InputError, match=message):
            decide(value, wrong)  # type: ignore[arg-type]


def test_what_single_precision_cannot_hold_is_refused() -> None:
    day = 1.7e9 + np.linspace(0.5, 100.25, 50)
    for value in (
        day,
        day[:, None] * [1, 1.5],
        10**18 + np.arange(50),
        np.linspace(1, 2, 50) * 1e-44,
    ):
        with pytest.raises(InputError, match="single precision does not hold; subtract an offset"):
            decide(value, "regression")
    with pytest.raises(InputError, match="single precision does not hold"):
        decide([1e300, 1.5])
    year = 1.7e9 + np.linspace(0, 3e7, 50) + 0.5
    np.testing.assert_allclose(decide(year).target, year, atol=65)


def test_rows_without_a_target_are_left_out_of_arrays() -> None:
    x = np.arange(40.0)[:, None]
    y = np.array([0.0, 1.0] * 20)
    y[[3, 8, 39]] = np.nan
    rows = {"train": np.arange(20), "validation": np.arange(20, 30), "test": np.arange(30, 40)}
    with pytest.warns(
        UserWarning, match="target: 3 of 40 rows have none .* first is row 3"
    ) as said:
        data = ArrayData({"x": x}, y, split=rows)
    assert len(said) == 1 and said[0].filename == __file__
    assert data.notes == ("target: 2 classes (0, 1), smallest 18 rows",)
    train = data.train.inputs["x"]
    assert isinstance(train, torch.Tensor)
    assert train[:, 0].tolist() == [k for k in range(20) if k not in (3, 8)]
    assert [len(split) for split in data.splits.values()] == [18, 10, 9]
    x[3] = np.nan  # nobody misses a modality of a row that is left out
    with pytest.warns(UserWarning, match="3 of 40"):
        drawn = ArrayData({"x": x}, y, groups=np.arange(40) // 4)
    assert sum(len(split) for split in drawn.splits.values()) == 37
    with pytest.warns(UserWarning, match="3 of 40"):
        assert isinstance(ArrayData({"x": x}, y, task="regression").task, Regression)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ArrayData({"x": np.ones((40, 1))}, [0, 1] * 20)


LINES = {
    "hapt": "target: 12 classes (0, 1, 2, ... 11), smallest 62 rows",
    "icu-2012": "target: 2 classes (0, 1), smallest 554 rows",
    "leaves100": "target: 100 classes (0, 1, 2, ... 99), smallest 16 rows",
    "lis-myo": "target: 26 classes (0, 1, 2, ... 25), smallest 30 rows",
    "mfeat": "target: 10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), smallest 200 rows",
    "phone-watch-har": "target: 5 classes (0, 1, 2, 3, 4), smallest 342 rows",
    "tcga-breast": "target: 3 classes (0, 1, 2), smallest 44 rows",
    "wiki": "target: 10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), smallest 172 rows",
}


def test_the_decision_on_public_data(real_data: Path) -> None:
    arrays = real_data / "arrays"
    if not arrays.is_dir():
        pytest.skip(f"no public arrays in {arrays}")

    def check(name: str) -> None:
        with np.load(arrays / f"{name}.npz") as stored:
            assert decide(stored["target"]).note == LINES[name]

    check_each(LINES, check)
    with np.load(arrays / "icu-2012-stay.npz") as stored:
        days = stored["target"]
    with pytest.raises(InputError, match=r"83 whole numbers from 1 to 154.*--task regression"):
        decide(days)
    found = decide(days, "regression")
    assert found.note == "target: regression, from 1 to 154, mean 13.66"
    assert len(days) - int(found.given.sum()) == 60 == int(np.isnan(days).sum())
