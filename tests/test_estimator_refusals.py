"""What the estimators took without a word, and say now."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise import ArrayData, InputError, MultimodalClassifier, MultimodalRegressor

N = 48
KIND = np.arange(N) % 3
RNG = np.random.default_rng(0)
LEAF = np.eye(3)[KIND] + 0.3 * RNG.normal(size=(N, 3))
Y = np.array(["oak", "ash", "elm"])[KIND]
NUMBERS = 10.0 * KIND + RNG.normal(size=N)


def classifier(**options: Any) -> MultimodalClassifier:
    return MultimodalClassifier(**{"epochs": 1, "width": 8, "lr": 0.05, **options})


def regressor(**options: Any) -> MultimodalRegressor:
    return MultimodalRegressor(**{"epochs": 1, "width": 8, "lr": 0.05, **options})


class Frame:
    """As much of a data frame as is asked for."""

    def __init__(self, values: np.ndarray, columns: list[str]) -> None:
        self.values, self.columns, self.shape = values, columns, values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype)


def test_columns_in_another_order_are_refused() -> None:
    model = classifier().fit({"leaf": Frame(LEAF, ["a", "b", "c"])}, Y)
    model.predict({"leaf": Frame(LEAF, ["a", "b", "c"])})
    model.predict({"leaf": LEAF})
    with pytest.raises(InputError, match=r"X\['leaf'\] must have the columns of fit .*'c', 'b'"):
        model.predict({"leaf": Frame(LEAF, ["c", "b", "a"])})


@pytest.mark.parametrize(
    "y",
    [
        1j * NUMBERS,
        np.arange(N).astype("m8[s]"),
        np.arange(N).astype("M8[D]"),
        [10**400, *range(1, N)],
        [],
    ],
)
def test_numbers_that_are_none(y: Any) -> None:
    with pytest.raises(InputError, match="y must hold numbers, "):
        regressor().fit({"leaf": LEAF}, y)


@pytest.mark.parametrize("made", [classifier, regressor])
def test_masked_targets(made: Any) -> None:
    y = np.ma.masked_array(KIND, KIND == 2)
    with pytest.raises(InputError, match="y must hold a value in every row, found masked ones"):
        made().fit({"leaf": LEAF}, y)


def test_masked_and_complex_weights() -> None:
    for weight in (np.ma.masked_array(np.ones(N), KIND == 2), np.ones(N) * 1j):
        with pytest.raises(InputError, match="sample_weight must hold a number for each sample"):
            classifier().fit({"leaf": LEAF}, Y, sample_weight=weight)


def test_labels_of_several_types_in_a_list() -> None:
    with pytest.raises(InputError, match="y must hold labels of one type, found several"):
        classifier().fit({"leaf": LEAF}, [1, "b"] * (N // 2))


def test_predictions_that_are_not_finite() -> None:
    model = classifier().fit({"leaf": LEAF}, Y)
    with pytest.raises(InputError, match="X gives no finite prediction in row 1"):
        model.predict({"leaf": np.array([LEAF[0], [3e38, -3e38, 3e38]])})


def test_a_metric_that_validation_does_not_define() -> None:
    held = {"leaf": LEAF[KIND == 0] + 0.01}, Y[KIND == 0]
    with pytest.warns(UserWarning, match="'auroc' is not defined on the validation split"):
        classifier(metric="auroc").fit({"leaf": LEAF}, Y, validation=held)


def test_groups_that_hold_out_a_class() -> None:
    with pytest.warns(UserWarning, match="groups hold out every sample of some class"):
        classifier().fit({"leaf": LEAF}, Y, groups=KIND)


def test_a_modality_that_validation_lacks_cannot_choose_the_epoch() -> None:
    bark = LEAF + 1
    with pytest.raises(InputError, match="best_with must name a modality that validation samples"):
        classifier(best_with="bark").fit(
            {"leaf": LEAF, "bark": bark}, Y, validation=({"leaf": LEAF + 0.01}, Y)
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"indicators": "no"}, "indicators must be True or False, found 'no'"),
        ({"device": "meta"}, "device 'meta' cannot be used here"),
    ],
)
def test_arguments(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        classifier(**options).fit({"leaf": LEAF}, Y)


def test_rows_without_a_number() -> None:
    with pytest.raises(InputError, match=r"must hold numbers in each row, found shape \[48, 0\]"):
        classifier().fit({"leaf": np.zeros((N, 0))}, Y)


def test_threads_take_turns() -> None:
    def one(_: int) -> float:
        model = classifier(method="modality-dropout", random_state=0)
        fitted = model.fit({"leaf": LEAF, "bark": LEAF + 1}, Y)
        return float(fitted.predict_proba({"leaf": LEAF})[0, 0])

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(one, range(6)))) == 1
    assert torch.get_default_dtype() == torch.float32


# Values.


def split() -> dict[str, range]:
    return {"train": range(30), "validation": range(30, 40), "test": range(40, N)}


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("indicators", [False, True])
def test_gaps_of_test_rows_alone_become_the_training_mean(kind: str, indicators: bool) -> None:
    values = (LEAF + 50).astype(kind)
    values[45:, 0] = np.nan
    with pytest.warns(UserWarning, match="filled with the training mean"):
        data = ArrayData({"leaf": values}, KIND, split=split(), indicators=indicators)
    mean = float(values[:30, 0].mean())
    assert data.test.inputs["leaf"][-3:, 0].tolist() == pytest.approx([mean] * 3, rel=1e-5)


def test_zeros_inside_a_sequence_are_values() -> None:
    """Spikes of 0 and 1: what is 0 must not pass for padding."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    rows = [(rng.random(rng.integers(20, 40)) < 0.2 + 0.5 * k).astype("f4") for k in y]
    model = MultimodalClassifier(epochs=15, width=16).fit({"x": rows}, y)
    assert model.score({"x": rows}, y) > 0.9
