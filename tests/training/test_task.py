"""The settings' metric, class weights and label smoothing, from the settings to every weight."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from settings import OPTIONS
from toy import same, toy_data, toy_model, weights

from counterpoise import (
    METHODS,
    ArrayData,
    Classification,
    InputError,
    Settings,
    build_method,
    fit,
)
from counterpoise.training.run import load_run
from counterpoise.training.task import prepare_task


def rare_data(positives: int = 28, samples: int = 200) -> ArrayData:
    """Two classes, one of them of 14 %, that a linear model tells apart only in part."""
    generator = np.random.default_rng(0)
    target = (np.arange(samples) % (samples // positives) == 0).astype(int)
    inputs = {m: generator.normal(size=(samples, 4)) + 0.8 * target[:, None] for m in "ab"}
    return ArrayData(inputs, target, name="rare")


def test_settings_that_choose_nothing_leave_the_task_and_the_record_alone() -> None:
    data = toy_data()
    assert prepare_task(data, Settings()) is data.task
    plain = Settings().plain()
    assert not {"metric", "class_weights", "label_smoothing"} & set(plain)


def test_every_epoch_computes_the_primary_metric_and_the_end_all(tmp_path: Path) -> None:
    data = toy_data()
    run = fit(toy_model(data), data, epochs=3, metric="auroc", out=tmp_path)
    assert all(set(v) == {"auroc"} for e in run.history for v in e["validation"].values())
    found = run.evaluate(data).metrics["a", "b"]
    assert next(iter(found)) == "auroc" and set(found) == set(Classification.listed)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["identity"]["settings"]["metric"] == "auroc"
    again = load_run(tmp_path, toy_model(data), data, build_method("joint"))
    assert again.evaluate(data).metrics["a", "b"] == found and again.task.primary == "auroc"
    with pytest.raises(InputError, match="metric is 'auroc' there and 'nll' here"):
        fit(toy_model(data), data, epochs=3, metric="nll", out=tmp_path, resume=True)


def test_the_metric_chooses_the_best_epoch_and_nothing_else() -> None:
    data = rare_data()
    settings = {"epochs": 8, "lr": 0.03}
    runs = {m: fit(toy_model(data), data, metric=m, **settings) for m in ("accuracy", "auroc")}
    values = {m: [e["validation"]["a+b"][m] for e in run.history] for m, run in runs.items()}
    for metric, run in runs.items():
        assert run.best_epoch == int(np.argmax(values[metric]))
    assert runs["accuracy"].best_epoch != runs["auroc"].best_epoch
    assert same(weights(runs["accuracy"].model), weights(runs["auroc"].model))
    smallest = fit(toy_model(data), data, metric="nll", **settings)
    assert smallest.best_epoch == int(
        np.argmin([e["validation"]["a+b"]["nll"] for e in smallest.history])
    )


def test_balanced_weights_find_more_of_the_rare_class() -> None:
    data = rare_data()
    found = {}
    for chosen in (None, "balanced"):
        run = fit(toy_model(data), data, epochs=5, class_weights=chosen)
        result = run.evaluate(data)
        found[chosen] = float(result.logits["a", "b"].argmax(1).sum())
        recorded = data.task.with_loss(chosen, target=data.train.target)
        assert run.task.state() == recorded.state()
    assert found["balanced"] > found[None] + 2


def test_weights_come_from_the_training_targets_only() -> None:
    data = rare_data()
    counts = torch.bincount(data.train.target).double()
    task = prepare_task(data, Settings(class_weights="balanced"))
    assert task.state()["weights"] == pytest.approx((counts.sum() / (2 * counts)).tolist())


def test_the_record_holds_the_weights_and_the_data_stay_the_same_data(tmp_path: Path) -> None:
    data = toy_data()
    settings = {"class_weights": [1, 2, 3], "label_smoothing": 0.1, "epochs": 1}
    run = fit(toy_model(data), data, out=tmp_path, **settings)
    about = json.loads((tmp_path / "run.json").read_text())["identity"]["data"]
    assert about["weights"] == pytest.approx(run.task.state()["weights"])
    assert about["smoothing"] == 0.1 and about["fingerprint"] == data.fingerprint()
    assert "weights" not in data.task.state()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_with_class_weights_and_smoothing(name: str) -> None:
    data = toy_data(2)
    found = []
    for changes in ({}, {"class_weights": [1, 1, 8]}, {"label_smoothing": 0.3}):
        model = toy_model(data, name)
        method = build_method(name, **OPTIONS.get(name, {}))
        run = fit(model, data, method, epochs=2, batch_size=16, lr=0.05, **changes)
        found.append(weights(model))
        assert all(bool(x.isfinite().all()) for x in run.evaluate(data).logits.values())
    assert not same(found[0], found[1]) and not same(found[0], found[2])


def test_mistakes_come_before_training() -> None:
    data, numbers = toy_data(), toy_data(regression=True)
    with pytest.raises(InputError, match="unknown metric of classification 'aurok'; did you mea"):
        fit(toy_model(data), data, metric="aurok")
    with pytest.raises(InputError, match="class_weights must hold a number for each of the 3"):
        fit(toy_model(data), data, class_weights=[1, 2])
    with pytest.raises(InputError, match="need a task of classes or labels, found regression"):
        fit(toy_model(numbers), numbers, label_smoothing=0.1)
