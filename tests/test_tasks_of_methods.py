"""Regression and several labels: trained where a method has a meaning for them, else refused."""

from __future__ import annotations

import pytest
import torch
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


REGRESSIONS = [name for name in METHODS if Regression in METHODS[name].tasks]


@pytest.mark.parametrize("name", REGRESSIONS)
def test_the_units_of_a_target_make_no_difference(name: str) -> None:
    """Weights are equal to the bit, and predictions come in the target's units."""
    runs = []
    for factor in (1, 1024):  # a power of 2, so that nothing is rounded
        data = toy_data(3, missing=0.3, samples=60, regression=True)
        for split in data.splits.values():
            split.target = split.target * factor
        model = toy_model(data, name)
        assert model.task is None
        method = build_method(name, **{**OPTIONS.get(name, {}), **OTHERS.get(name, {})})
        run = fit(model, data, method, epochs=2, batch_size=16, lr=0.02)
        found = run.evaluate(data)
        assert model.task is run.task and data.task.state() == Regression().state()
        runs.append((weights(model), weights(method), found, run.history))
    one, large = runs
    assert same(one[0], large[0]) and same(one[1], large[1])
    for subset, logits in one[2].logits.items():
        assert torch.equal(large[2].logits[subset], 1024 * logits)
        for metric, factor in (("mae", 1024), ("r2", 1)):
            wanted = one[2].metrics[subset][metric] * factor
            assert large[2].metrics[subset][metric] == pytest.approx(wanted)
    assert [e["loss"] for e in large[3]] == [e["loss"] for e in one[3]]
    assert large[3][-1]["validation"]["a"]["mae"] == pytest.approx(
        1024 * one[3][-1]["validation"]["a"]["mae"]
    )
