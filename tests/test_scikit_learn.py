"""scikit-learn's own tools and checks on the estimators: folds, grids, pipelines, weights."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ParameterGrid,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from counterpoise import ArrayData, InputError, Modalities, MultimodalClassifier
from counterpoise.data.dataset import Dataset
from counterpoise.estimator import MultimodalRegressor

# Made up: some of their samples are equal.
pytestmark = pytest.mark.filterwarnings("ignore:the same samples")

MODERN = tuple(map(int, version("scikit-learn").split(".")[:2])) >= (1, 6)
QUICK = {"epochs": 8, "width": 16, "lr": 0.05, "batch_size": 16, "max_norm": 1.0}


def data(kind: str) -> tuple[Modalities, NDArray[Any]]:
    """60 samples, given away by each of two modalities, of which each is now and then missing."""
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    y: NDArray[Any] = np.array(["oak", "ash", "elm"])[label]
    if kind == "multi-label":
        y = np.stack([label == 0, label < 2], 1).astype(int)
    elif kind == "regression":
        y = label - 0.9
    code = np.eye(3)[label]
    leaf: list[Any] = list(4 * code + 0.3 * rng.normal(size=(60, 3)))
    leaf[7] = None
    bark = torch.from_numpy(4 * code[:, :, None] + 0.3 * rng.normal(size=(60, 3, 10)))
    bark[8] = torch.nan
    return Modalities({"leaf": leaf, "bark": bark}), y


KINDS = ("classes", "multi-label", "regression")


def model(kind: str, **settings: Any) -> Any:
    if kind == "regression":
        return MultimodalRegressor(**{**QUICK, "lr": 0.02, **settings})
    return MultimodalClassifier(**{**QUICK, **settings})


# --- scikit-learn's tools -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_folds(kind: str) -> None:
    X, y = data(kind)
    folds = KFold(3, shuffle=True, random_state=0)
    scores = cross_val_score(model(kind), X, y, cv=folds)
    expected = [
        clone(model(kind))
        .fit({m: X[train][m] for m in X}, y[train])
        .score(dict(X[test].items()), y[test])
        for train, test in folds.split(X)
    ]
    assert scores.tolist() == expected and min(scores) > 0.7
    found = cross_validate(model(kind), X, y, cv=folds, return_estimator=True)
    assert found["test_score"].tolist() == expected and len(found["estimator"]) == 3
    guess = cross_val_predict(model(kind), X, y, cv=folds)
    assert guess.shape == y.shape
    train, test, y_train, y_test = train_test_split(X, y, random_state=0)
    assert (len(train), len(test)) == (45, 15)
    assert model(kind).fit(train, y_train).score(test, y_test) > 0.7


def test_folds_by_class_and_by_group() -> None:
    X, y = data("classes")
    groups = np.arange(60) // 6
    for folds, more in ((StratifiedKFold(3), None), (GroupKFold(3), groups)):
        scores = cross_val_score(model("classes"), X, y, cv=folds, groups=more)
        assert min(scores) > 0.9
    for train, test in GroupKFold(3).split(X, y, groups):
        assert not set(groups[train]) & set(groups[test])


@pytest.mark.parametrize("kind", KINDS)
def test_a_grid(kind: str) -> None:
    X, y = data(kind)
    grid = {"method": ["joint", "mla"], "lr": np.array([1e-9, 0.05]), "width": [np.int64(16)]}
    if kind != "classes":
        grid["method"] = ["joint", "multi-loss"]
    assert len(ParameterGrid(grid)) == 4
    search = GridSearchCV(model(kind), grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_["lr"] == 0.05 and search.best_score_ > 0.7
    assert search.predict(X[:5]).shape == y[:5].shape
    assert search.predict({"leaf": X[:5]["leaf"]}).shape == y[:5].shape  # others may be missing


def _louder(X: Any) -> Any:
    return {**dict(X.items()), "bark": X["bark"] * 2}


def _as_modalities(X: Any) -> Modalities:
    return Modalities(_louder(X))


@pytest.mark.parametrize("change", [_louder, _as_modalities])
def test_a_pipeline(change: Any) -> None:
    """Of a function for each modality, then the estimator."""
    X, y = data("classes")
    pipe = make_pipeline(FunctionTransformer(change), model("classes"))
    assert cross_val_score(pipe, X, y, cv=3, error_score="raise").min() > 0.9
    fitted = pipe.fit(X, y)
    plain = model("classes").fit(change(X), y)
    assert np.array_equal(fitted.predict_proba(X), plain.predict_proba(change(X)))
    grid = {"multimodalclassifier__epochs": [1, 8]}
    best = GridSearchCV(clone(pipe), grid, cv=2, error_score="raise").fit(X, y).best_params_
    assert best == {"multimodalclassifier__epochs": 8}


# --- weights --------------------------------------------------------------------------------------


@pytest.fixture()
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Dataset]:
    """The data of every training."""
    from counterpoise.estimator import base

    found, train = [], base.train

    def spy(model: Any, data: Dataset, *args: Any, **options: Any) -> Any:
        found.append(data)
        return train(model, data, *args, **options)

    monkeypatch.setattr(base, "train", spy)
    return found


@pytest.mark.parametrize("form", [np.array, list, torch.tensor])
def test_weights_have_a_mean_of_one_over_what_is_trained_on(form: Any, seen: list[Dataset]) -> None:
    X, y = data("classes")
    weight = np.arange(60.0) + 1
    numbered = {**dict(X.items()), "row": np.arange(60.0)}
    model("classes", epochs=1).fit(numbered, y, sample_weight=form(weight.tolist()))
    train, held = seen[0].train, seen[0].validation
    assert train.weight is not None and held.weight is not None
    assert train.weight.dtype == torch.float32 and train.weight.mean() == pytest.approx(1)
    rows = train.inputs["row"][:, 0].numpy().astype(int)  # type: ignore[index]  # one tensor
    mean = weight[rows].mean()
    assert np.allclose(train.weight, weight[rows] / mean)
    others = held.inputs["row"][:, 0].numpy().astype(int)  # type: ignore[index]  # one tensor
    assert np.allclose(held.weight, weight[others] / mean)  # by the same factor
    model("classes", epochs=1).fit(numbered, y, sample_weight=weight * 1e300, validation=(X, y))
    assert np.allclose(seen[1].train.weight, weight / weight.mean())
    assert seen[1].validation.weight is None
    model("classes", epochs=1).fit(numbered, y)
    assert seen[2].train.weight is None


@pytest.mark.parametrize("kind", KINDS)
def test_samples_of_weight_0_are_not_learnt(kind: str) -> None:
    """Half of the targets are wrong; with a weight of 0 for these the model learns the rest."""
    X, y = data(kind)
    wrong = np.arange(60) % 2 == 1
    spoilt = np.where(wrong.reshape(-1, *[1] * (y.ndim - 1)), np.roll(y, 1, 0), y)
    made = model(kind, select="last", epochs=20)
    part = {"validation": (X, y)}
    right = made.fit(X, spoilt, sample_weight=1.0 - wrong, **part).score(X, y)
    assert right > 0.9 > clone(made).fit(X, spoilt, **part).score(X, y)


def test_equal_weights_change_nothing() -> None:
    X, y = data("classes")
    plain = model("classes").fit(X, y).predict_proba(X)
    again = model("classes").fit(X, y, sample_weight=np.full(60, 7)).predict_proba(X)
    assert np.array_equal(plain, again)


@pytest.mark.parametrize("routing", [False, True])
def test_weights_go_through_folds_and_grids(routing: bool, seen: list[Dataset]) -> None:
    X, y = data("classes")
    weight = np.where(y == "oak", 3.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=routing):
        made = model("classes", epochs=1)
        if routing:
            made.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(made, {"lr": [0.05]}, cv=2, error_score="raise")
        search.fit(X, y, sample_weight=weight)
        pipe = make_pipeline(FunctionTransformer(), made)
        more = {"sample_weight": weight}
        pipe.fit(X, y, **(more if routing else {"multimodalclassifier__sample_weight": weight}))
    for fitted in seen:
        assert fitted.train.weight is not None
        values = fitted.train.weight.unique()
        assert len(values) == 2 and values[1] / values[0] == pytest.approx(3)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0] * 59, "sample_weight must hold a number for each sample ([60]), found shape [59]"),
        (np.ones((60, 1)), "found shape [60, 1]"),
        (2.0, "found shape []"),
        (["a"] * 60, "sample_weight must hold a number for each sample ([60])"),
        ([1.0, -1.0] * 30, "must be finite and at least 0, found -1.0 in row 1 (30 such rows)"),
        ([1.0] * 59 + [np.nan], "found nan in row 59 (1 such rows)"),
        ([np.inf] * 60, "found inf in row 0 (60 such rows)"),
        ([0.0] * 60, "sample_weight must not be 0 for every sample"),
    ],
)
def test_bad_weights_are_refused(weight: Any, message: str) -> None:
    X, y = data("classes")
    fitted = model("classes", epochs=1).fit(X, y)
    for call in (model("classes").fit, fitted.score):
        with pytest.raises(InputError) as caught:
            call(X, y, sample_weight=weight)
        assert message in str(caught.value) and "\n" not in str(caught.value)


def test_weights_of_what_is_trained_on_may_not_all_be_0(seen: list[Dataset]) -> None:
    X, y = data("classes")
    rows = {**dict(X.items()), "row": np.arange(60.0)}
    model("classes", epochs=1).fit(rows, y)
    held = seen[0].validation.inputs["row"][:, 0].numpy().astype(int)  # type: ignore[index]  # one
    weight = np.isin(np.arange(60), held).astype(float)
    with pytest.raises(InputError, match="must not be 0 for every sample that is trained on"):
        model("classes", epochs=1).fit(rows, y, sample_weight=weight)


def test_score_of_several_numbers_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import r2_score

    X, y = data("regression")
    several = np.stack([y, 10 * np.roll(y, 1)], 1)
    fitted = model("regression", epochs=3).fit(X, several)
    guess = fitted.predict(X)
    assert fitted.score(X, several) == r2_score(several, guess)
    pooled = r2_score(several, guess, multioutput="variance_weighted")
    assert fitted.evaluate(X, several)["bark+leaf"]["r2"] == pytest.approx(pooled)


# --- scikit-learn's checks ------------------------------------------------------------------------

FAILING = {
    "check_sample_weight_equivalence_on_dense_data": "a repeated row is one more sample of a "
    "batch, so the batches of stochastic descent are others than those of a weight of 2",
    "check_sample_weights_invariance": "the same, of scikit-learn before 1.7",
    "check_sample_weight_equivalence": "the same, of scikit-learn 1.6",
    "check_dtype_object": "what is no number raises InputError, a ValueError, and no TypeError",
}


@pytest.mark.parametrize("kind", ["classes", "regression"])
@pytest.mark.filterwarnings("ignore")
def test_the_checks_of_scikit_learn(kind: str) -> None:
    """All but those of FAILING, each of which fails."""
    made = model(kind)
    if not MODERN:
        return _check_one_by_one(made)
    found = check_estimator(made, on_fail=None, on_skip=None)
    failed = {r["check_name"]: r["exception"] for r in found if r["status"] == "failed"}
    assert set(failed) <= set(FAILING), failed
    known = {r["check_name"] for r in found}
    assert set(failed) == set(FAILING) & known, "a check of FAILING passes: take it out"
    assert sum(r["status"] == "passed" for r in found) > 45
    return None


def _check_one_by_one(made: Any) -> None:
    """As scikit-learn before 1.6 lists its checks."""
    passed, failed = 0, {}
    for each, check in check_estimator(made, generate_only=True):
        name = getattr(check, "func", check).__name__
        try:
            check(each)
            passed += 1
        except SkipTest:
            pass
        except Exception as error:
            failed[name] = error
    assert set(failed) <= set(FAILING), failed
    assert passed > 40


def test_tags_say_what_the_estimators_take() -> None:
    for made in (MultimodalClassifier(), MultimodalRegressor()):
        if MODERN:
            tags = made.__sklearn_tags__()
            assert tags.input_tags.dict and tags.input_tags.allow_nan
            assert not tags.input_tags.sparse and not tags.non_deterministic
            several = tags.classifier_tags.multi_label if tags.classifier_tags else True
            assert several and tags.target_tags.multi_output == (tags.classifier_tags is None)
        else:
            assert made._get_tags()["allow_nan"]


def test_a_table_is_one_modality() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    table = rng.normal(size=(40, 3)) + 3 * y[:, None]
    fitted = model("classes").fit(table, y)
    assert fitted.modalities_ == ("x",) and fitted.n_features_in_ == 3
    again = model("classes").fit({"x": table}, y)
    assert not hasattr(again, "n_features_in_")
    proba = again.predict_proba({"x": table})
    assert np.array_equal(fitted.predict_proba(table), proba)
    assert np.array_equal(fitted.predict_proba({"x": table}), proba)
    assert np.array_equal(fitted.predict_proba(torch.from_numpy(table)), proba)
    assert list(fitted.evaluate(table, y)) == ["x"]
    with pytest.raises(InputError, match="X has 2 features, but MultimodalClassifier is expecting"):
        fitted.predict(table[:, :2])
    with pytest.raises(InputError, match="X must be a dict modality -> array, found ndarray"):
        again.predict(table)  # fitted on a dict
    fitted.fit({"x": table}, y)  # what fit learns anew is not left from the last one
    assert not hasattr(fitted, "n_features_in_")


# --- Modalities -----------------------------------------------------------------------------------


def test_every_door_takes_modalities_as_it_takes_a_dict() -> None:
    X, y = data("classes")
    arrays = dict(X.items())
    one, other = model("classes").fit(X, y), model("classes").fit(arrays, y)
    assert np.array_equal(one.predict_proba(X), other.predict_proba(arrays))
    assert one.evaluate(X, y) == other.evaluate(arrays, y)
    assert one.score(X, y) == other.score(arrays, y)
    held = model("classes").fit(X, y, validation=(X[:9], y[:9]))
    again = model("classes").fit(arrays, y, validation=(dict(X[:9].items()), y[:9]))
    assert np.array_equal(held.predict_proba(X), again.predict_proba(X))
    numbers = np.unique(y, return_inverse=True)[1]
    assert ArrayData(X, numbers).fingerprint() == ArrayData(arrays, numbers).fingerprint()
