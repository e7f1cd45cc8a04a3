"""``torch.set_default_dtype(torch.float64)`` changes no number, or is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from folded import check_each
from torch import nn

import counterpoise as cp
from counterpoise import InputError


@pytest.fixture()
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


rng = np.random.default_rng(0)
Y = np.arange(40) % 2
X = {"a": rng.normal(size=(40, 3)), "b": rng.normal(size=(40, 2, 9))}
METHODS = ("joint", "modality-dropout", "mla", "g-blending", "pmr", "umt", "cggm", "lfm")


def train(method: str) -> dict[str, Any]:
    data = cp.ArrayData(X, Y)
    made = cp.build_method(method)
    model = cp.build_model(data, made, width=8)
    run = cp.fit(model, data, made, epochs=2)
    found = run.evaluate(data)
    estimator = cp.MultimodalClassifier(method, epochs=2, width=8).fit(X, Y)
    regressor = cp.MultimodalRegressor(epochs=2, width=8).fit(X, Y + 0.5)
    return {
        "fingerprint": data.fingerprint(),
        "metrics": found.metrics,
        "loss": run.history[-1]["loss"],
        "proba": estimator.predict_proba(X).tolist(),
        "evaluate": estimator.evaluate(X, Y),
        "numbers": regressor.predict(X).tolist(),
    }


def test_everything_is_as_with_float32() -> None:
    expected = {method: train(method) for method in METHODS}

    def check(method: str) -> None:
        torch.set_default_dtype(torch.float64)
        try:
            found = train(method)
            assert torch.get_default_dtype() == torch.float64  # the user's own comes back
        finally:
            torch.set_default_dtype(torch.float32)
        assert found == expected[method]

    check_each(METHODS, check)


def test_what_cannot_be_float32_is_refused(double: None) -> None:
    data = cp.ArrayData(X, Y)
    with pytest.raises(InputError, match=r"'a' has float64 weights, .*; call \.float"):
        cp.build_model(data, encoders={"a": nn.Linear(3, 4)})
    model = cp.build_model(data, encoders={"a": nn.Linear(3, 4).float()}, width=8)
    with pytest.raises(InputError, match=r"model must be in float32, found torch\.float64"):
        cp.wrap(nn.ModuleDict({"a": nn.Linear(3, 4), "head": nn.Linear(4, 2)}), {"a": "a"}, "head")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loaders = {"train": cp.Loader(data.train, 8)}
    with pytest.raises(InputError, match=r"the default type of tensors is torch.float64"):
        cp.Context(model, optimizer, data.task, loaders)
