"""The scikit-learn door: conventions, missing modalities, errors, and that it learns."""

from __future__ import annotations

import doctest
import inspect
import io
import pickle
import sys
import warnings
from dataclasses import asdict, fields
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import KFold
from torch import nn

from counterpoise import FUSIONS, METHODS, Context, InputError, Method, Settings
from counterpoise.encoders import MLP, CNN1d, CNN2d
from counterpoise.estimator import MultimodalClassifier, MultimodalRegressor, classifier, regressor

X = dict[str, NDArray[Any]]
SMALL = {"epochs": 3, "width": 16, "lr": 0.05}


def take(arrays: X, rows: Any) -> X:
    return {m: a[rows] for m, a in arrays.items()}


def same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other))


@pytest.fixture(scope="module")
def toy() -> tuple[X, NDArray[Any]]:
    """90 samples of three classes, given away by both a vector and a sequence."""
    rng = np.random.default_rng(0)
    y = np.array(["oak", "ash", "elm"])[np.arange(90) % 3]
    code = (np.arange(90) % 3)[:, None] == np.arange(3)
    vector = 4 * code + rng.normal(size=(90, 3))
    sequence = 2 * code[:, :, None] + rng.normal(size=(90, 3, 10))
    return {"vector": vector, "sequence": sequence}, y


@pytest.fixture(scope="module")
def fitted(toy: tuple[X, NDArray[Any]]) -> MultimodalClassifier:
    return MultimodalClassifier(epochs=8, width=16, lr=0.05).fit(*toy)


class Spy(Method):
    """Joint training that notes the samples it is given."""

    name = "spy"

    def __init__(self, *, mark: int = 0) -> None:
        super().__init__()
        self.mark = mark

    def setup(self, ctx: Context) -> None:
        # Register buffers, as a method's state should be.
        for part in ("train", "validation"):
            batches = list(ctx.loaders[part].whole())
            for what in ("a", "b"):
                rows = torch.cat([batch.inputs[what] for batch in batches])  # type: ignore[misc]
                self.register_buffer(f"{part}_{what}", rows)
            self.register_buffer(f"{part}_y", torch.cat([batch.target for batch in batches]))


# --- learning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["joint", "mla", "modality-dropout"])
def test_digits_are_learnt_with_all_and_with_one_modality(method: str) -> None:
    images, y = load_digits(return_X_y=True)
    images, y = images.reshape(-1, 8, 8)[:700], y[:700]
    vector = np.eye(10)[y] + 0.35 * np.random.default_rng(0).normal(size=(700, 10))
    arrays = {"image": images, "vector": vector}
    train, test = take(arrays, slice(500)), take(arrays, slice(500, 700))
    model = MultimodalClassifier(method, epochs=15, width=32, lr=0.05).fit(train, y[:500])
    assert model.score(test, y[500:]) > 0.8
    assert model.score({"image": test["image"]}, y[500:]) > 0.6
    if method != "joint":  # joint training neglects the weaker one: that is why the others exist
        assert model.score({"vector": test["vector"]}, y[500:]) > 0.5


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_regression_is_learnt(loss: str) -> None:
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(150, 3)), "b": rng.normal(size=(150, 4))}
    y = arrays["a"][:, 0] + arrays["b"][:, 0]
    model = MultimodalRegressor(loss=loss, width=16, epochs=15, lr=0.05).fit(
        take(arrays, slice(100)), y[:100]
    )
    test = take(arrays, slice(100, None))
    assert model.predict(test).shape == (50,)
    assert model.score(test, y[100:]) == r2_score(y[100:], model.predict(test)) > 0.6
    assert model.task_.kind == loss
    assert set(model.evaluate(test, y[100:])["a"]) == {"mae", "rmse", "r2", "corr"}


@pytest.mark.parametrize("columns", [1, 2])
def test_regression_gives_back_the_shape_of_y(columns: int) -> None:
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(20, 3)), "b": rng.normal(size=(20, 2))}
    model = MultimodalRegressor(epochs=1, width=8).fit(arrays, np.ones((20, columns)))
    assert model.predict(arrays).shape == (20, columns)


@pytest.fixture(scope="module")
def diabetes() -> tuple[X, NDArray[Any]]:
    """scikit-learn's diabetes: body, blood pressure and sugar, and serum; a score of 25 to 346."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes()
    parts = {"body": slice(0, 3), "pressure": [3, 9], "serum": slice(4, 9)}
    return {m: data.data[:, columns] for m, columns in parts.items()}, data.target


def test_regression_works_as_it_comes(diabetes: tuple[X, NDArray[Any]]) -> None:
    """With no option, in any units; predictions, metrics and scores are in those of ``y``."""
    arrays, y = diabetes
    held = np.arange(len(y)) % 4 == 0
    train, test = take(arrays, ~held), take(arrays, held)
    plain = MultimodalRegressor().fit(train, y[~held])
    score = plain.score(test, y[held])
    assert score > 0.3 and 25 < plain.predict(test).mean() < 346
    found = plain.evaluate(test, y[held])["body+pressure+serum"]
    assert found["r2"] == pytest.approx(score, abs=1e-5) and 30 < found["mae"] < 60
    moved = MultimodalRegressor().fit(train, 1000 * y[~held] + 1e6)
    np.testing.assert_allclose(moved.predict(test), 1000 * plain.predict(test) + 1e6, rtol=1e-4)
    assert moved.score(test, 1000 * y[held] + 1e6) == pytest.approx(score, abs=1e-3)
    with pytest.raises(InputError, match=r"y varies by .* about 1700000000"):
        MultimodalRegressor().fit(arrays, 1.7e9 + y / 1000)
    one = MultimodalRegressor(epochs=1).fit(train, y[~held])
    one.evaluate(take(arrays, slice(0, 1)), y[:1])  # a single row has no spread to be lost


def test_amounts_as_classes_are_warned_of() -> None:
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(90, 3)), "b": rng.normal(size=(90, 2))}
    amounts = np.arange(90) // 3 * 10
    with pytest.warns(UserWarning, match="30 different whole numbers.*MultimodalRegressor") as said:
        MultimodalClassifier(**SMALL).fit(arrays, amounts)
    assert [w.filename for w in said if "different" in str(w.message)] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MultimodalClassifier(**SMALL).fit(arrays, np.arange(90) % 18)
        MultimodalClassifier(**SMALL).fit(arrays, [f"n{k}" for k in amounts])


# --- scikit-learn's conventions -------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MultimodalClassifier, MultimodalRegressor])
def test_parameters_are_stored_and_cloned(kind: Any) -> None:
    encoder = nn.Linear(3, 4)
    options = {"rates": 0.5}
    model = kind("modality-dropout", method_options=options, encoders={"a": encoder}, epochs=2)
    assert model.method_options is options and model.get_params()["encoders"]["a"] is encoder
    assert set(vars(model)) == set(model.get_params())  # the constructor does nothing else
    assert ("loss" in model.get_params()) == (kind is MultimodalRegressor)
    assert is_classifier(model) == (kind is MultimodalClassifier) != is_regressor(model)
    copy = clone(model.set_params(epochs=7, lr=0.5))
    assert (copy.epochs, copy.lr, copy.method) == (7, 0.5, "modality-dropout")
    assert copy.encoders["a"] is not encoder
    with pytest.raises(ValueError, match="Invalid parameter 'epoch'"):
        model.set_params(epoch=1)
    assert repr(kind(epochs=3)) == f"{kind.__name__}(epochs=3)"


@pytest.mark.parametrize("call", ["predict", "predict_proba", "evaluate", "score"])
def test_unfitted_estimators_say_so(call: str, toy: tuple[X, NDArray[Any]]) -> None:
    arguments = toy[: 1 if "predict" in call else 2]
    with pytest.raises(NotFittedError):
        getattr(MultimodalClassifier(), call)(*arguments)


def test_a_failed_fit_leaves_nothing_fitted(toy: tuple[X, NDArray[Any]]) -> None:
    model = MultimodalClassifier(**SMALL).fit(*toy)
    with pytest.raises(InputError):
        model.fit(toy[0], np.arange(89) % 2)
    with pytest.raises(NotFittedError):
        model.predict(toy[0])


def test_fitted_attributes(fitted: MultimodalClassifier, toy: tuple[X, NDArray[Any]]) -> None:
    arrays, y = toy
    assert same(fitted.classes_, ["ash", "elm", "oak"])
    assert fitted.modalities_ == ("vector", "sequence") == fitted.model_.modalities
    assert fitted.n_iter_ == 8 == len(fitted.run_.history)
    assert fitted.method_.name == "joint"
    assert not fitted.model_.training and not fitted.method_.training
    proba = fitted.predict_proba(arrays)
    assert (
        proba.shape == (90, 3) and np.allclose(proba.sum(1), 1, 1e-12, 1e-12) and (proba >= 0).all()
    )
    assert same(fitted.predict(arrays), fitted.classes_[proba.argmax(1)])
    assert fitted.score(arrays, y) == accuracy_score(y, fitted.predict(arrays)) > 0.9


def test_score_takes_sample_weight(fitted: MultimodalClassifier, toy: tuple[X, Any]) -> None:
    arrays, y = toy
    wrong = np.where(np.arange(90) < 30, "oak", y)
    weight = (np.arange(90) >= 30).astype(float)
    assert fitted.score(arrays, wrong, sample_weight=weight) == fitted.score(
        take(arrays, slice(30, None)), y[30:]
    )
    assert fitted.score(arrays, wrong) < fitted.score(arrays, wrong, sample_weight=weight)


# So few samples that diagnose-relearn has nothing to judge by, and says so.
@pytest.mark.filterwarnings("ignore:diagnose-relearn leaves:RuntimeWarning")
@pytest.mark.parametrize("method", sorted(METHODS))
def test_fitting_again_starts_anew(method: str, toy: tuple[X, NDArray[Any]]) -> None:
    arrays, y = toy
    model = MultimodalClassifier(method, **SMALL)
    assert model.fit(arrays, y) is model
    first = model.predict_proba(arrays)
    torch.manual_seed(5)
    assert same(model.fit(arrays, y).predict_proba(arrays), first)
    assert same(clone(model).fit(arrays, y).predict_proba(arrays), first)
    other = clone(model).set_params(random_state=1).fit(arrays, y)
    assert not same(other.predict_proba(arrays), first)
    for copy in (pickle.loads(pickle.dumps(model)), _through_joblib(model)):
        assert same(copy.predict_proba(arrays), first)
        assert same(copy.predict({"vector": arrays["vector"]}), model.predict(take_one(arrays)))


def take_one(arrays: X) -> X:
    return {"vector": arrays["vector"]}


def _through_joblib(model: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def test_random_state_may_be_none_or_a_generator(toy: tuple[X, NDArray[Any]]) -> None:
    one, two = (
        MultimodalClassifier(**SMALL, random_state=np.random.RandomState(3)).fit(*toy)
        for _ in range(2)
    )
    assert same(one.predict_proba(toy[0]), two.predict_proba(toy[0]))
    one, two = (MultimodalClassifier(**SMALL, random_state=None).fit(*toy) for _ in range(2))
    assert not same(one.predict_proba(toy[0]), two.predict_proba(toy[0]))


def test_a_built_method_and_a_class_will_do(toy: tuple[X, NDArray[Any]]) -> None:
    arrays, y = toy
    built = METHODS["mla"](projector="off")
    before = dict(built.state_dict())
    model = MultimodalClassifier(built, **SMALL).fit(arrays, y)
    assert model.method_ is not built and dict(built.state_dict()) == before
    by_class = MultimodalClassifier(METHODS["mla"], method_options={"projector": "off"}, **SMALL)
    again = clone(by_class).fit(arrays, y)
    assert same(again.predict_proba(arrays), model.predict_proba(arrays))


def test_a_loop_over_folds(toy: tuple[X, NDArray[Any]]) -> None:
    arrays, y = toy
    model = MultimodalClassifier(epochs=8, width=16, lr=0.05)
    scores = [
        clone(model).fit(take(arrays, train), y[train]).score(take(arrays, test), y[test])
        for train, test in KFold(3, shuffle=True, random_state=0).split(y)
    ]
    assert min(scores) > 0.8 and not hasattr(model, "model_")


# --- what X and y may be --------------------------------------------------------------------------


def test_arrays_are_never_changed(toy: tuple[X, NDArray[Any]]) -> None:
    arrays = {m: a.astype(np.float32) for m, a in toy[0].items()}
    arrays["vector"][3] = np.nan
    tensors = {m: torch.from_numpy(a.copy()) for m, a in arrays.items()}
    kept, y = {m: a.copy() for m, a in arrays.items()}, toy[1].copy()
    for given in (arrays, tensors):
        model = MultimodalClassifier("modality-dropout", method_options={"mode": "released"})
        model.set_params(**SMALL).fit(given, y).evaluate(given, y)
        model.predict(given)
        for m in kept:
            assert np.array_equal(given[m], kept[m], equal_nan=True)
    assert same(y, toy[1])


def test_tensors_lists_and_arrays_are_the_same(
    fitted: MultimodalClassifier, toy: tuple[X, NDArray[Any]]
) -> None:
    arrays, y = toy
    proba = fitted.predict_proba(arrays)
    for form in (torch.from_numpy, list, lambda a: a.tolist()):
        given = {m: form(a) for m, a in arrays.items()}
        assert np.allclose(fitted.predict_proba(given), proba)
    whole = {m: np.rint(a).astype(int) for m, a in arrays.items()}
    real = {m: a.astype(float) for m, a in whole.items()}
    assert same(fitted.predict_proba(whole), fitted.predict_proba(real))
    assert same(
        fitted.predict_proba(dict(reversed(arrays.items()))), proba
    )  # the order of X is no matter
    again = MultimodalClassifier(epochs=8, width=16, lr=0.05)
    again.fit({m: list(a) for m, a in arrays.items()}, y.tolist())
    assert np.allclose(again.predict_proba(arrays), proba)


@pytest.mark.parametrize(
    "labels", [(7, 3, 5), (True, False, True), (2.0, 1.0, 0.0), ("b", "a", "c")]
)
def test_labels_of_any_kind(labels: tuple[Any, ...], toy: tuple[X, NDArray[Any]]) -> None:
    y = np.array(labels)[np.arange(90) % 3]
    model = MultimodalClassifier(epochs=8, width=16, lr=0.05).fit(toy[0], y)
    assert same(model.classes_, np.unique(labels))
    assert model.predict(toy[0]).dtype == y.dtype
    assert model.score(toy[0], y) > 0.9
    if not isinstance(labels[0], str):
        given = torch.from_numpy(y)
        assert model.evaluate(toy[0], given)["sequence"]["accuracy"] > 0.5


def test_missing_rows_are_as_if_not_given(
    fitted: MultimodalClassifier, toy: tuple[X, NDArray[Any]]
) -> None:
    arrays, _ = toy
    whole = fitted.predict_proba(arrays)
    vector = fitted.predict_proba({"vector": arrays["vector"]})
    sequence = fitted.predict_proba({"sequence": arrays["sequence"]})
    assert not same(vector, whole) and not same(sequence, whole)
    some = {"vector": list(arrays["vector"]), "sequence": arrays["sequence"].copy()}
    some["vector"][1] = None
    some["sequence"][2] = np.nan
    found = fitted.predict_proba(some)
    assert np.allclose(found[1], sequence[1]) and np.allclose(found[2], vector[2])
    assert np.allclose(found[3:], whole[3:])
    nothing = {"vector": arrays["vector"], "sequence": [None] * 90}
    assert np.allclose(fitted.predict_proba(nothing), vector)
    assert np.allclose(fitted.predict_proba(take(arrays, [4]))[0], whole[4])


def test_fit_learns_from_samples_with_missing_parts(toy: tuple[X, NDArray[Any]]) -> None:
    arrays, y = toy
    vector: list[Any] = list(arrays["vector"])
    sequence = arrays["sequence"].copy()
    vector[::4] = [None] * len(vector[::4])
    sequence[1::4] = np.nan
    model = MultimodalClassifier("multi-loss", epochs=8, width=16, lr=0.05)
    model.fit({"vector": vector, "sequence": sequence}, y)
    assert model.score(arrays, y) > 0.9 and model.score(take_one(arrays), y) > 0.8
    assert np.isfinite(model.run_.history[-1]["loss"]["fused"])


def test_evaluate_names_every_subset(
    fitted: MultimodalClassifier, toy: tuple[X, NDArray[Any]]
) -> None:
    arrays, y = toy
    found = fitted.evaluate(arrays, y)
    assert list(found) == ["sequence+vector", "vector", "sequence"]
    for name, metrics in found.items():
        given = {m: arrays[m] for m in name.split("+")}
        assert metrics["accuracy"] == pytest.approx(fitted.score(given, y))
    assert list(fitted.evaluate(take_one(arrays), y)) == ["vector"]
    with pytest.raises(
        InputError, match=r"^y must hold classes known to fit, found 'fir' in row 4$"
    ):
        fitted.evaluate(arrays, ["oak"] * 4 + ["fir"] * 86)


# --- encoders -------------------------------------------------------------------------------------


def test_encoders_by_shape_kind_or_module() -> None:
    rng = np.random.default_rng(0)
    shapes = {"number": (), "vector": (5,), "sequence": (3, 20), "grey": (8, 8), "rgb": (3, 8, 8)}
    arrays = {m: rng.normal(size=(12, *shape)) for m, shape in shapes.items()}
    y = np.arange(12) % 2
    model = MultimodalClassifier(epochs=1, width=8).fit(arrays, y)
    expected = {"number": MLP, "vector": MLP, "sequence": CNN1d, "grey": CNN2d, "rgb": CNN2d}
    assert {m: type(e[1]) for m, e in model.model_.encoders.items()} == expected

    assert set(model.model_.fusion.widths.values()) == {8}

    own = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6))
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    model.set_params(encoders={"grey": "sequence", "vector": own}).fit(arrays, y)
    assert isinstance(model.model_.encoders["grey"][1], CNN1d)
    trained = model.model_.encoders["vector"]
    assert same(  # whole numbers may stand for real ones
        model.predict({"vector": np.eye(5, dtype=int)}), model.predict({"vector": np.eye(5)})
    )
    assert trained is not own and not torch.equal(trained[0].weight, own[0].weight)
    assert all(torch.equal(own.state_dict()[name], tensor) for name, tensor in before.items())
    with pytest.raises(
        InputError, match="unknown modality in encoders 'gray'; did you mean 'grey'"
    ):
        model.set_params(encoders={"gray": "image"}).fit(arrays, y)


# --- validation -----------------------------------------------------------------------------------


def spied(y: NDArray[Any], **options: Any) -> Any:
    """The method of a fit whose inputs are the number of the row, and that of its group."""
    rows = np.arange(len(y), dtype=float)
    groups = options.get("groups", np.zeros(len(y)))
    arrays = {"a": rows, "b": np.asarray(groups, dtype=float)}
    settings = {"validation_fraction": options.pop("fraction", 0.2)}
    settings["random_state"] = options.pop("random_state", 0)
    model = MultimodalClassifier(Spy, epochs=1, width=8, **settings)
    return model.fit(arrays, y, **options).method_


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_a_stratified_part_is_held_out(fraction: float) -> None:
    y = np.repeat([0, 1], [60, 40])
    seen = spied(y, fraction=fraction)
    train, held = seen.train_a[:, 0].tolist(), seen.validation_a[:, 0].tolist()
    assert sorted(train + held) == list(range(100))
    assert len(held) == round(100 * fraction)
    assert int((seen.validation_y == 0).sum()) == round(60 * fraction)
    assert same(y[np.array(held, dtype=int)], seen.validation_y)
    other = spied(y, fraction=fraction, random_state=1)
    assert len(other.validation_a) == len(held)
    assert other.validation_a[:, 0].tolist() != held


def test_a_method_sees_zeros_where_a_sample_is_missing() -> None:
    rows = np.where(np.arange(20) % 3, 1.0, np.nan)
    model = MultimodalClassifier(Spy, epochs=1, width=8, validation_fraction=0.3)
    seen = model.fit({"a": rows, "b": np.ones(20)}, np.arange(20) % 2).method_
    assert sorted(torch.cat([seen.train_a, seen.validation_a])[:, 0].tolist()) == [0] * 7 + [1] * 13


def test_groups_are_held_out_as_a_whole() -> None:
    groups = np.arange(100) // 5
    seen = spied(np.arange(100) % 2, groups=groups)
    train, held = set(seen.train_b[:, 0].tolist()), set(seen.validation_b[:, 0].tolist())
    assert not train & held and len(train) == 16 and len(held) == 4
    names = np.array(list("abcdefghijklmnopqrst"))[groups]
    model = MultimodalClassifier(Spy, epochs=1, width=8, validation_fraction=0.2)
    arrays = {"a": np.arange(100.0), "b": groups.astype(float)}
    again = model.fit(arrays, np.arange(100) % 2, groups=names).method_
    assert set(again.validation_b[:, 0].tolist()) == held


def test_an_explicit_validation_part_is_used_and_not_trained_on(
    toy: tuple[X, NDArray[Any]],
) -> None:
    arrays, y = toy
    train, held = take(arrays, slice(60)), take(arrays, slice(60, None))
    model = MultimodalClassifier(**SMALL, select="last")
    first = model.fit(train, y[:60], validation=(held, y[60:])).predict_proba(arrays)
    found = model.run_.history[-1]["validation"]["sequence+vector"]["accuracy"]
    assert found == pytest.approx(model.score(held, y[60:]))
    shuffled = np.roll(y[60:], 1)
    second = model.fit(train, y[:60], validation=(held, shuffled)).predict_proba(arrays)
    assert same(first, second)
    found = model.run_.history[-1]["validation"]["sequence+vector"]["accuracy"]
    assert found == pytest.approx(model.score(held, shuffled))


@pytest.mark.filterwarnings("ignore:the same samples are in two splits")
def test_select_says_which_epoch_predicts(toy: tuple[X, NDArray[Any]]) -> None:
    arrays, y = toy
    validation = (arrays, np.roll(y, 1))  # labels are wrong, so the longer, the worse
    best, last = (
        MultimodalClassifier("mla", epochs=8, width=16, select=which).fit(
            arrays, y, validation=validation
        )
        for which in ("best", "last")
    )
    history = best.run_.history
    values = [entry["validation"]["sequence+vector"]["accuracy"] for entry in history]
    assert best.run_.best_epoch == int(np.argmax(values)) < 7
    assert best.score(*validation) == pytest.approx(max(values))
    assert max(values) > values[-1]
    assert last.score(*validation) == pytest.approx(values[-1])
    projector = best.method_.projector_matrix  # a method's state belongs to its epoch, too
    assert torch.equal(projector, best.run_.best_weights[1]["projector_matrix"])
    assert not torch.equal(projector, last.method_.projector_matrix)
    # Each run still holds its last epoch, as it says.
    for one, other in zip(best.run_.model.parameters(), last.model_.parameters(), strict=True):
        assert torch.equal(one, other)


def test_all_settings_are_arguments_and_no_others_are_left_out() -> None:
    names = {item.name for item in fields(Settings)} - {"seed"}
    own = {"method", "method_options", "encoders", "fusion", "width", "validation_fraction"}
    own |= {"select", "random_state", "device", "precision", "indicators", "verbose"}
    for kind, more in ((MultimodalClassifier, set()), (MultimodalRegressor, {"loss"})):
        parameters = inspect.signature(kind.__init__).parameters
        assert set(parameters) == names | own | more | {"self"}
        assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in names)
    defaults = MultimodalClassifier().get_params()
    assert Settings(**{name: defaults[name] for name in names}) == Settings()
    for name in names:
        assert f"\n        {name}: " in MultimodalClassifier.__doc__
    changed = MultimodalClassifier(encoder_lr={"a": 0.1}, patience=3)
    assert repr(clone(changed)) == "MultimodalClassifier(encoder_lr={'a': 0.1}, patience=3)"


@pytest.mark.filterwarnings("ignore:the same samples are in two splits")
def test_every_setting_reaches_the_run(toy: tuple[X, NDArray[Any]]) -> None:
    wanted = {"epochs": 2, "batch_size": 16, "optimizer": "adam", "lr": 1e-9}
    wanted |= {"momentum": 0.5, "weight_decay": 0.1, "max_norm": 1.0, "best_with": "vector"}
    wanted |= {"schedule": "step:every=1:factor=0.5", "random_state": 3}
    one = MultimodalClassifier(**wanted, width=8, precision="bf16", fusion="late")
    one.fit(*toy, validation=toy)
    settings = asdict(one.run_.settings)
    assert settings == {**asdict(Settings(seed=wanted.pop("random_state"))), **wanted}
    assert one.model_.precision == "bf16" and isinstance(one.model_.fusion, FUSIONS["late"])
    with pytest.raises(InputError, match="device 'abacus' cannot be used here"):
        clone(one).set_params(device="abacus").fit(*toy)
    # At this rate nothing moves: other weights are other initial weights.
    other = clone(one).set_params(random_state=4).fit(*toy, validation=toy)
    pairs = zip(one.model_.fusion.parameters(), other.model_.fusion.parameters(), strict=True)
    assert not any(torch.allclose(a, b, atol=1e-3) for a, b in pairs)


# --- errors ---------------------------------------------------------------------------------------


def refuse(message: str, call: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


A, B = np.ones((6, 2)), np.ones((6, 3, 9))
GOOD = {"audio": A, "video": B}
Y = [0, 1] * 3
HALF = np.where(np.arange(6)[:, None] < 2, np.nan, A)


@pytest.mark.parametrize(
    ("arrays", "y", "message"),
    [
        (B, Y, "or one table [N, F]: Found array with dim 3"),
        ("ab", Y, "X must be a dict modality -> array, found str"),
        ({}, Y, "X must be a dict modality -> array, found an empty one"),
        ({"audio": A, "video": B[:5]}, Y, "found {'audio': 6, 'video': 5}"),
        ({"audio": A[:0]}, [], "y must hold at least 2 classes"),
        ({"audio": A[:0]}, Y, "at least one, found {'audio': 0}"),
        ({"audio": None}, Y, "X['audio'] must hold rows, found NoneType"),
        ({"audio": [[1, 2], [3]] * 3}, Y, "modality 'audio' holds whole numbers"),
        ({"audio": [A[:2], A[0]] * 3}, Y, "X['audio'] must hold rows of one shape, found [2, 2]"),
        ({"audio": np.full((6, 2), "x")}, Y, "X['audio'] must hold numbers"),
        ({"audio": np.where(A > 0, np.inf, A)}, Y, "X['audio'] must be finite"),
        ({"a+b": A}, Y, "found 'a+b'"),
        ({"audio": HALF, "video": np.where(HALF[:, :, None] > 0, 1, np.nan)}, Y, "in row 0"),
        (
            {"audio": A, "video": A * np.nan},
            Y,
            "modality 'video' is missing in every training sample",
        ),
        ({"audio": np.ones((6, 2), dtype=int)}, Y, "modality 'audio' holds whole numbers"),
        (GOOD, Y[:5], "y must hold one value per row of X (6), found shape [5]"),
        (GOOD, [0, 1, 0, np.nan, 1, 0], "y must hold a label in every row, found nan in row 3"),
        (GOOD, ["a", None] * 3, "y must hold a label in every row, found None in row 1"),
        (GOOD, ["a", np.nan] * 3, "y must hold a label in every row, found nan in row 1"),
        (GOOD, np.array(["a", 1] * 3, dtype=object), "y must hold labels of one type"),
        (
            GOOD,
            [0.5, 1.5] * 3,
            "y must hold labels, found 0.5 in row 0 (Unknown label type",
        ),
        (GOOD, ["a"] * 6, "y must hold at least 2 classes, found 1 class: ['a']"),
        (GOOD, 2 * np.eye(6), "y must hold one label per sample ([N]), found [6, 6]"),
        (GOOD, [0, 1, 2, 3, 4, 5], "X holds 6 samples, too few to hold out"),
    ],
)
def test_bad_arrays_are_refused(arrays: Any, y: Any, message: str) -> None:
    refuse(message, MultimodalClassifier(**SMALL).fit, arrays, y)


def test_several_labels_at_once() -> None:
    """A 0/1 matrix, as scikit-learn has it; probabilities are each label's own."""
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(0)
    y = (generator.random((200, 3)) < 0.4).astype(int)
    X = {
        "a": y + 0.2 * generator.normal(size=y.shape),
        "b": -y + 0.2 * generator.normal(size=y.shape),
    }
    model = MultimodalClassifier("multi-loss", epochs=30, width=16, lr=0.1, random_state=0)
    model.fit(X, y)
    guess = model.predict(X)
    assert guess.shape == y.shape and set(np.unique(guess)) == {0, 1}
    assert model.classes_.tolist() == [0, 1, 2]
    assert (guess == y).mean() > 0.95
    assert model.score(X, y) == pytest.approx((guess == y).all(1).mean())
    chances = model.predict_proba(X)
    assert np.array_equal(chances > 0.5, guess == 1)
    assert not np.allclose(chances.sum(1), 1)
    found = model.evaluate(X, y)["a+b"]["sample-f1"]
    assert found == pytest.approx(f1_score(y, guess, average="samples", zero_division=1.0))
    with pytest.raises(InputError, match=r"0 or 1 for each label \(\[N, K\]\), as at fit"):
        model.evaluate(X, y[:, 0])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 2, np.nan, 4, 5], "y must be finite, found nan in row 3"),
        ([0, 1, 2, 1e300, 4, 5], "y must be finite, found inf in row 3"),
        ([0, 1, 2], "y must hold one value per row of X (6), found shape [3]"),
        (3.0, "y must hold one value per row of X (6), found shape []"),
        (["a"] * 6, "y must hold numbers, [N] or [N, K]"),
        (np.ones((6, 2, 2)), "y must be float [N, 2]"),
    ],
)
def test_bad_targets_of_regression_are_refused(y: Any, message: str) -> None:
    refuse(message, MultimodalRegressor(**SMALL).fit, GOOD, y)


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"method": "mls"}, {}, "unknown method 'mls'; did you mean 'mla'?"),
        ({"method_options": {"x": 1}}, {}, "unknown option of joint 'x'"),
        ({"select": "first"}, {}, "unknown value for select 'first'"),
        ({"optimizer": "sgdd"}, {}, "unknown optimizer 'sgdd'; did you mean 'sgd'?"),
        ({"epochs": 0}, {}, "epochs must be a whole number from 1, found 0"),
        ({"fusion": "con"}, {}, "unknown fusion 'con'"),
        ({"precision": "fp16"}, {}, "unknown precision 'fp16'"),
        ({"validation_fraction": 1.0}, {}, "validation_fraction must lie between 0 and 1, found 1"),
        ({"encoders": {"audio": "image"}}, {}, "are no image"),
        ({}, {"groups": [1, 2, 3]}, "groups must hold one label per sample ([6])"),
        ({}, {"groups": [1] * 6}, "groups must hold at least 2 groups"),
        ({}, {"groups": Y, "validation": (GOOD, Y)}, "leave them out beside validation"),
        ({}, {"validation": (GOOD, [0, 2] * 3)}, "y must hold classes known to fit, found 2"),
        ({}, {"validation": ({"audio": B}, Y)}, "X['audio'] must hold rows of torch.float32 [2]"),
        (
            {},
            {"validation": ({"odio": A}, Y)},
            "unknown modality in X 'odio'; did you mean 'audio'",
        ),
    ],
)
def test_bad_settings_are_refused(settings: Any, options: Any, message: str) -> None:
    model = MultimodalClassifier(**{"validation_fraction": 0.4, **SMALL, **settings})
    refuse(message, model.fit, GOOD, Y, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x: {"vektor": x["vector"]},
            "unknown modality in X 'vektor'; did you mean 'vector'?",
        ),
        (
            lambda x: {"vector": x["vector"][:, :2]},
            "X['vector'] must hold rows of torch.float32 [3] as at fit, found torch.float32 [2]",
        ),
        (lambda x: {"sequence": x["sequence"][..., :9]}, "of torch.float32 [3, 10] as at fit"),
        (lambda x: {"vector": x["vector"][0]}, "as at fit, found torch.float32 [1]"),
        (lambda x: {"vector": [*x["vector"][:7], None]}, "found none in row 7"),
        (lambda x: {"vector": [None, None]}, "found none in row 0"),
        (lambda x: {"vector": x["vector"][:0]}, "at least one, found {'vector': 0}"),
        (lambda x: {**x, "vector": x["vector"][1:]}, "found {'vector': 89, 'sequence': 90}"),
        (lambda x: x["vector"], "X must be a dict"),
    ],
)
def test_bad_arrays_are_refused_in_prediction(
    change: Any, message: str, fitted: MultimodalClassifier, toy: tuple[X, Any]
) -> None:
    for call in (fitted.predict, fitted.predict_proba):
        refuse(message, call, change(toy[0]))
    refuse(message, fitted.score, change(toy[0]), toy[1])
    refuse(message, fitted.evaluate, change(toy[0]), toy[1])


def test_integers_stay_integers() -> None:
    """Token ids, with an encoder of one's own: real numbers would not index its table."""
    ids = np.arange(60).reshape(20, 3) % 5
    arrays = {"ids": ids, "other": np.ones((20, 2))}
    encoders = {"ids": nn.Sequential(nn.Embedding(5, 4), nn.Flatten())}
    model = MultimodalClassifier(epochs=1, encoders=encoders).fit(arrays, np.arange(20) % 2)
    assert same(model.predict({"ids": ids.tolist()}), model.predict({"ids": ids}))
    refuse("must hold rows of torch.int64 [3] as at fit", model.predict, {"ids": ids + 0.5})


# --- progress, examples ---------------------------------------------------------------------------


def test_progress_is_shown_in_a_terminal_only(
    toy: tuple[X, NDArray[Any]], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on many build machines
    MultimodalClassifier(**SMALL, verbose=True).fit(*toy)
    assert capfd.readouterr() == ("", "")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for verbose in (True, False):
        monkeypatch.setattr(sys, "stderr", terminal := Terminal())
        MultimodalClassifier(**SMALL, verbose=verbose).fit(*toy)
        assert ("validation accuracy" in terminal.getvalue()) == verbose
        assert ("100%" in terminal.getvalue()) == verbose


def test_the_documented_examples_run() -> None:
    assert doctest.testmod(classifier) == (0, 11)
    assert doctest.testmod(regressor) == (0, 8)
