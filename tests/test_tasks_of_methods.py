"""Regression and several labels: trained where a method has a meaning for them, else refused."""

from __future__ import annotations

import pytest
from settings import OPTIONS
from toy import same, toy_data, toy_model, weights

from counterpoise import METHODS, InputError, MultiLabel, Regression, build_method, fit

# What a method needs for tasks that are not classes; and g-blending for so few samples, where its
# weights would be all on one loss and leave the fused head untrained.
OTHERS = {"mla": {"fusion": "mean"}, "g-blending": {"eps": 0.3}}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_other_tasks(name: str, kind: str) -> None:
    data = toy_data(3, missing=0.3, samples=200, **{kind: True})
    assert isinstance(data.task, {"regression": Regression, "multilabel": MultiLabel}[kind])
    model = toy_model(data, name)
    before = weights(model)
    method = build_method(name, **{**OPTIONS.get(name, {}), **OTHERS.get(name, {})})
    settings = {"epochs": 6, "batch_size": 16, "lr": 0.02 if kind == "regression" else 0.1}
    if isinstance(data.task, method.tasks):
        run = fit(model, data, method, **settings)
        found = run.evaluate(data)
        assert all(bool(x.isfinite().all()) for x in found.logits.values())
        metrics = found.metrics[data.modalities]
        # Better than a constant: the mean, and the labels' frequencies of 1/3 and 2/3.
        assert metrics.get("mae", 0) < 2 / 3 and metrics.get("nll", 0) < 0.6365, metrics
    else:
        with pytest.raises(InputError, match=f"method '{name}' has a meaning for"):
            fit(model, data, method, **settings)
        assert same(before, weights(model))
