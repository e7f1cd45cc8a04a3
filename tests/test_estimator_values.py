"""The estimators and values: means of fit, offsets, indicators, whole modalities, lengths."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from counterpoise import InputError
from counterpoise.estimator import MultimodalClassifier, MultimodalRegressor

N = 80
Y = np.arange(N) % 2
SMALL = {"epochs": 8, "width": 16, "lr": 0.1, "batch_size": 16}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def signal(*shape: int) -> np.ndarray:
    return normal(N, *shape) + 3 * Y.reshape(N, *[1] * len(shape))


def learnt(x: Any, **options: Any) -> MultimodalClassifier:
    model = MultimodalClassifier(**{**SMALL, **options}).fit({"x": x}, Y)
    assert model.score({"x": x}, Y) > 0.9
    return model


def test_values_not_measured_are_filled_with_the_means_of_fit() -> None:
    x = signal(4)
    x[:, 2] += 100
    holed = np.where(normal(N, 4, seed=1) > 1, np.nan, x)
    model = MultimodalClassifier(**SMALL)
    with pytest.warns(UserWarning, match=r"^X\['x'\]: \d+\.\d % of the values of \d+ samples"):
        model.fit({"x": holed, "y": np.ones(N)}, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said at fit
        found = model.predict_proba({"x": holed})
        mean = model._like["x"].mean
        assert found.shape == (N, 2) and mean is not None and abs(mean[2] - 101.5) < 1
        same = model.predict_proba({"x": np.where(np.isnan(holed), mean, holed)})
    assert np.allclose(found, same, atol=1e-6)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict_proba({"x": holed}), found)


def test_the_held_out_part_does_not_decide_the_means() -> None:
    x = signal(2)
    other = {"x": x + 50}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MultimodalClassifier(**SMALL).fit({"x": x}, Y, validation=(other, Y))
    assert np.allclose(model._like["x"].mean, x.mean(0))
    with pytest.warns(UserWarning, match=r"50\.0 % of the values of 1 sample were not measured"):
        model.predict({"x": [[np.nan, 1.0], [1.0, 2.0]]})  # news: fit had none


def test_indicators() -> None:
    x = np.where(Y[:, None] & (normal(N, 3) > -1.5), np.nan, 7.0)  # what is measured tells all
    x[:, 2] = 7
    with pytest.warns(UserWarning, match="were not measured"):
        model = learnt(x, indicators=True)
    assert next(model.model_.encoders["x"].children()).mean.shape == (6,)
    with pytest.warns(UserWarning, match="indicators=True adds"), pytest.raises(AssertionError):
        learnt(x)


@pytest.mark.parametrize("scale", [1e25, 1e-25, 1e300, 1e-300])
@pytest.mark.filterwarnings("ignore:.*float32 cannot hold")
def test_any_scale_is_learnt(scale: float) -> None:
    learnt(signal(3) * scale)


def test_unix_time_is_learnt_and_kept_for_prediction() -> None:
    x = signal(3) + 1.7e9
    with pytest.warns(UserWarning, match=r"^X\['x'\]: float32 cannot hold how its values vary"):
        model = learnt(x)
    assert np.array_equal(model.predict({"x": x[:1]}), model.predict({"x": x})[:1])
    whole = np.round(x).astype(np.int64)
    assert (model.predict({"x": whole}) == model.predict({"x": whole.astype(float)})).all()
    plain = learnt(x - 1.7e9)
    chances = model.predict_proba({"x": x}), plain.predict_proba({"x": x - 1.7e9})
    assert np.allclose(*chances, atol=1e-3)


def test_a_modality_of_none_is_missing() -> None:
    arrays = {"a": signal(3), "b": signal(2)}
    model = MultimodalClassifier(**SMALL).fit(arrays, Y)
    alone = model.predict_proba({"a": arrays["a"]})
    for nothing in (None, [None] * N, (None,) * N):
        given = {"a": arrays["a"], "b": nothing}
        assert np.array_equal(model.predict_proba(given), alone)
        assert list(model.evaluate(given, Y)) == ["a"]
    with pytest.raises(InputError, match="rows of at least one modality, found None for each"):
        model.predict({"a": None, "b": None})
    with pytest.raises(InputError, match=r"X\['b'\] must hold rows, found NoneType"):
        MultimodalClassifier(**SMALL).fit({"a": arrays["a"], "b": None}, Y)


@pytest.mark.parametrize("kind", ["sparse", "masked", "read-only", "object", "tensor"])
def test_arrays_of_all_kinds(kind: str) -> None:
    x = signal(3)
    given: Any = x.copy()
    if kind == "sparse":
        given = sparse.csr_matrix(x)
    elif kind == "masked":
        given = np.ma.array(x, mask=False)
    elif kind == "read-only":
        given.flags.writeable = False
    elif kind == "object":
        given = given.astype(object)
    else:
        given = torch.from_numpy(given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(learnt(given).predict_proba({"x": given}),
                              learnt(x).predict_proba({"x": x}))  # fmt: skip


def test_lengths() -> None:
    lengths = np.random.default_rng(0).integers(4, 12, N)
    rows = [normal(t, 3, seed=t) + 3 * y for t, y in zip(lengths, Y, strict=True)]
    model = learnt(rows)
    whole = model.predict_proba({"x": rows})
    alike = np.stack([rows[k] for k in np.flatnonzero(lengths == 7)])  # of one length, an array
    assert np.allclose(model.predict_proba({"x": alike}), whole[lengths == 7], atol=1e-6)
    longer = [np.concatenate([row, np.zeros((30, 3))]) for row in rows]
    assert np.allclose(model.predict_proba({"x": longer}), whole, atol=1e-6)
    with pytest.warns(UserWarning, match=r"X\['x'\]: 2 of 3 rows are longer than any of training"):
        model.predict({"x": [np.ones((40, 3)), np.ones((13, 3)), np.ones((2, 3))]})
    with pytest.raises(InputError, match=r"rows of torch.float32 \[3\] of \d+ steps at most"):
        model.predict({"x": [normal(5, 2), normal(6, 2)]})


@pytest.mark.filterwarnings("ignore:.*were not measured")
def test_encoders_of_sequences_decide_what_a_channel_is() -> None:
    x = normal(N, 9, 10) + np.arange(9)[:, None] * 10  # by its shape a picture
    x[0, 4, 3] = np.nan
    y = normal(N)
    sequence = MultimodalRegressor(epochs=1, width=8, encoders={"x": "lstm"}).fit({"x": x}, y)
    holes = MultimodalRegressor(epochs=1, width=8).fit({"x": x}, y)
    assert holes._like["x"].mean.shape == (9, 1)  # pictures have all of their pixels
    picture = MultimodalRegressor(epochs=1, width=8, encoders={"x": "cnn2d"}).fit({"x": x}, y)
    assert sequence._like["x"].mean.shape == (9, 1)
    assert picture._like["x"].mean.shape == (1, 1)
