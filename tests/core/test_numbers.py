"""Numbers of NumPy and torch wherever a number is taken; what is none is refused in one line."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from folded import check_each

import counterpoise as cp
from counterpoise import InputError, MultimodalClassifier, Settings
from counterpoise.core.strict_json import to_json
from counterpoise.errors import check_number, plain, show


def test_numbers_are_pythons_own() -> None:
    def check(given: Any, expected: Any) -> None:
        found = plain(given)
        assert found == expected and type(found) is type(expected)

    check_each(
        [
            (np.int64(2), 2),
            (np.float32(0.5), 0.5),
            (np.bool_(True), True),
            (np.str_("sgd"), "sgd"),
            (np.array(3), 3),
            (torch.tensor(3), 3),
            (torch.tensor(0.25, requires_grad=True), 0.25),
            ({"a": np.float32(0.5), "b": [np.int8(1), (torch.tensor(2),)]}, None),
        ][:-1],
        check,
    )
    nested = plain({"a": np.float32(0.5), np.str_("b"): [np.int8(1), (torch.tensor(2),)]})
    assert json.dumps(nested) == '{"a": 0.5, "b": [1, [2]]}'


def test_settings_and_options_take_them() -> None:
    settings = Settings(
        epochs=np.int64(2),
        lr=np.float32(0.5),
        momentum=torch.tensor(0.25),
        optimizer=np.str_("sgd"),
        encoder_lr={"a": np.float16(0.5)},
        patience=np.array(3),
        class_weights=[np.int32(1), torch.tensor(2)],
    )
    assert json.loads(json.dumps(settings.plain()))["encoder_lr"] == {"a": 0.5}
    assert settings == Settings(
        epochs=2,
        lr=0.5,
        momentum=0.25,
        encoder_lr={"a": 0.5},
        patience=3,
        class_weights=[1.0, 2.0],
    )
    method = cp.build_method("g-blending", super_epoch=np.int64(2), eps=np.float32(0.5))
    assert to_json(method.settings()) == to_json(
        cp.build_method("g-blending", super_epoch=2, eps=0.5).settings()
    )
    dropout = cp.build_method("modality-dropout", rates={"audio": np.float32(0.5)})
    assert json.dumps(dropout.settings())
    started = cp.build_method("aug", zero_init=np.bool_(True)).settings()
    assert started == cp.build_method("aug", zero_init=True).settings()
    built = cp.METHODS["g-blending"](super_epoch=torch.tensor(2))  # by its class: records, too
    assert json.dumps(built.settings())
    assert cp.Classification(np.int64(3)).state() == cp.Classification(3).state()
    assert json.dumps(cp.MultiLabel(np.int64(3)).state())
    assert json.dumps(cp.Regression(np.int64(2)).state())


def test_estimators_take_them() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    X = {"a": rng.normal(size=(24, 3)), "b": rng.normal(size=(24, 2))}
    plain_ones = {"epochs": 2, "width": 8, "validation_fraction": 0.25, "random_state": 3}
    given = {
        "epochs": np.int64(2),
        "width": torch.tensor(8),
        "validation_fraction": np.float32(0.25),
        "random_state": np.array(3),
        "select": np.str_("best"),
        "method": np.str_("multi-loss"),
        "method_options": {"weight": np.float32(1)},
        "encoders": {"a": np.str_("mlp")},
    }
    one = MultimodalClassifier("multi-loss", **plain_ones).fit(X, y)
    other = MultimodalClassifier(**given).fit(X, y)
    assert np.array_equal(one.predict_proba(X), other.predict_proba(X))


def test_what_is_no_number_is_refused_in_one_line() -> None:
    def check(call: Any, message: str) -> None:
        with pytest.raises(InputError) as caught:
            call()
        text = str(caught.value)
        assert message in text and "\n" not in text and len(text) < 400

    A = {"a": np.ones((8, 2))}
    Y = [0, 1] * 4

    def fit(**settings: Any) -> Any:
        return lambda: MultimodalClassifier(**settings).fit(A, Y)

    fitted = MultimodalClassifier(epochs=1, width=4, validation_fraction=0.5).fit(A, Y)
    digits = cp.load("digits")
    check_each(
        [
            (lambda: Settings(lr=10**400), "lr must be a number of at most 64 bits"),
            (lambda: Settings(lr=10**5000), "found a int of thousands of digits"),
            (lambda: Settings(epochs=2**63), "epochs must be a number of at most 64 bits"),
            (lambda: Settings(lr=np.nan), "lr must be a number from 0, found nan"),
            (lambda: Settings(lr=np.float32("inf")), "lr must be a finite number, found"),
            (lambda: Settings(epochs=np.bool_(True)), "epochs must be a whole number from 1"),
            (lambda: Settings(epochs=np.float64(2.5)), "epochs must be a whole number from 1"),
            (lambda: Settings(momentum=1.5), "momentum must be a number from 0 and below 1"),
            (lambda: Settings(encoder_lr={"a": 10**400}), "encoder_lr['a'] must be a number of"),
            (lambda: cp.build_method("dgl", alpha=np.inf), "alpha must be a finite number"),
            (lambda: cp.build_method("dgl", alpha=True), "alpha must be a number from 0"),
            (
                lambda: cp.Classification("3"),
                "classes must be a whole number from 2 to 1048576",
            ),
            (lambda: cp.build_model(digits, width=2.5), "width must be a whole number from 1"),
            (lambda: cp.build_model(digits, seed="a"), "seed must be a whole number, found 'a'"),
            (lambda: cp.build_model(digits, encoders=["mlp"]), "encoders must be a dict of"),
            (lambda: cp.build_model(digits, encoders="mlp"), "encoders must be a dict of names"),
            (lambda: cp.build_method("mla+dgl", mla=3), "options of mla must be a dict of names"),
            (fit(encoders=["mlp"]), "encoders must be a dict of names and encoders, found ['mlp']"),
            (fit(encoders="mlp"), "encoders must be a dict of names and encoders, found 'mlp'"),
            (fit(method_options=3), "method_options must be a dict of names and values, found 3"),
            (fit(device="frob", validation_fraction=0.5), "device 'frob' cannot be used here"),
            (fit(device=3.5, validation_fraction=0.5), "device 3.5 cannot be used here"),
            (fit(random_state=-1), "random_state must be a whole number from 0 to 4294967295"),
            (fit(random_state=2**40), "found 1099511627776"),
            (fit(random_state="x"), "must be a whole number, a RandomState or None, found 'x'"),
            (fit(validation_fraction="x"), "validation_fraction must be a number, found 'x'"),
            (fit(select=3), "unknown value for select 3"),
            (fit(epochs="x", verbose=True), "epochs must be a whole number from 1, found 'x'"),
            (lambda: fitted.fit(A, Y, validation=3), "validation must be a pair (X, y), found int"),
            (lambda: fitted.fit(A, Y, validation=(A,)), "must be a pair (X, y), found tuple"),
            (lambda: fitted.fit(A, None), "the target y is None"),
            (
                lambda: cp.evaluate(cp.build_model(digits, width=4), digits, metrics=3),
                "metric must be a name",
            ),
        ],
        check,
    )
    with pytest.raises(TypeError, match=r"^MultimodalClassifier.*unexpected keyword argument 'x'"):
        MultimodalClassifier(x=3)
    with pytest.raises(TypeError, match=r"^MultimodalRegressor.*unexpected keyword argument 'x'"):
        cp.MultimodalRegressor(x=3)


def test_a_checked_number_is_given_back() -> None:
    assert type(check_number("x", np.int64(3), whole=True)) is int
    assert type(check_number("x", torch.tensor(0.5))) is float
    assert show(list(range(1000))).endswith("...") and len(show("a\n" * 500)) == 200


def test_json_has_null_and_no_nan() -> None:
    value = {
        "a": np.nan,
        "b": [float("inf"), np.float32("nan"), 1.5],
        3: torch.tensor([1.0, -np.inf]),
    }
    assert to_json(value) == '{"a": null, "b": [null, null, 1.5], "3": [1.0, null]}'
