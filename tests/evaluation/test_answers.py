"""Many subsets at once say what each of them says by itself."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from folded import check_each
from settings import CASES, build
from toy import toy_data, toy_model

from counterpoise import FUSIONS, ArrayData, Batch, Late, Method, MultimodalModel, evaluate, fit
from counterpoise.core.loader import Loader
from counterpoise.core.metrics import METRICS
from counterpoise.core.tasks import Classification
from counterpoise.evaluation import subsets
from counterpoise.methods.mla import MLA


def one_by_one(model: MultimodalModel, data: ArrayData, method: Method) -> dict[Any, torch.Tensor]:
    """Subset -> logits of the samples that have any of it, by a prediction for each subset."""
    model.eval(), method.eval()
    (batch,) = Loader(data.test, 10_000).whole()
    found = {}
    with torch.no_grad():
        for subset in subsets(data.modalities):
            some = batch.among(model.modalities).only(*subset)
            found[subset] = method.predict(model, some)[some.counts() > 0]
    return found


def check(model: MultimodalModel, data: ArrayData, method: Method) -> None:
    wanted, found = one_by_one(model, data, method), evaluate(model, data, method, subsets="all")
    assert list(found.logits) == list(wanted) and len(found.logits) == len(wanted)
    for subset, logits in wanted.items():
        torch.testing.assert_close(found.logits[subset], logits, atol=1e-5, rtol=1e-4)
        rows = found.rows[subset]
        assert len(rows) == len(logits)
        values = data.task.metrics(logits, data.test.target[rows])
        assert found.metrics[subset].keys() == values.keys()
        for name, value in values.items():
            assert abs(found.metrics[subset][name] - value) < 0.02, (subset, name)


@pytest.mark.parametrize("missing", [pytest.param(0.0, marks=pytest.mark.slow), 0.4])
def test_of_every_method(missing: float) -> None:
    data = toy_data(3, missing=missing, samples=40)

    def one(case: str) -> None:
        method = build(case)
        if isinstance(method, MLA) and not method.stacks:
            return  # its answers depend on the batch, so one of all samples would differ
        model = toy_model(data, method)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit(model, data, method, epochs=1, lr=0.05, batch_size=32)
        check(model, data, method)

    check_each([(case,) for case in CASES], one)


def test_of_every_fusion() -> None:
    data = toy_data(3, missing=0.4, samples=60)

    def one(name: str, policy: str) -> None:
        if FUSIONS[name].steps:
            return
        model = toy_model(data, fusion=name, unimodal=policy)
        check(model, data, Method())

    check_each([(n, p) for n, kind in FUSIONS.items() for p in kind.policies], one)


def test_who_predicts_in_another_way_is_asked_for_each_subset() -> None:
    """The arithmetic of a base class would be another prediction."""

    class Loud(Late):
        def logits(self, features: Any, present: Any, shares: Any) -> torch.Tensor:
            return super().logits(features, present, shares).tanh()

    class Late2(MLA):
        def predict(self, model: MultimodalModel, batch: Batch) -> torch.Tensor:
            return super().predict(model, batch).square()

    data = toy_data(3, missing=0.4, samples=60)
    check(toy_model(data, fusion=Loud), data, Method())
    check(toy_model(data, "mla"), data, Late2())


def test_what_was_measured_stays_when_the_model_learns_on() -> None:
    data = toy_data(3, samples=60)
    model = toy_model(data)
    found = evaluate(model, data)
    before = {subset: logits.clone() for subset, logits in found.logits.items()}
    for parameter in model.parameters():
        parameter.data += 1
    assert all(torch.equal(found.logits[s], before[s]) for s in before)
    with pytest.raises(KeyError):
        found.logits["a", "x"]
    with pytest.raises(KeyError):
        found.rows["a", "x"]


def test_metrics_of_many_predictions_are_those_of_each() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 4, 40, generator=generator)
    logits[0] = 0  # ties: the first class is predicted
    logits[1, 2] = logits[1, 1]
    target = torch.randint(4, (40,), generator=generator)
    task = Classification(4)
    for name in ("accuracy", "nll", "brier"):
        metric = METRICS[name]()
        found = metric.shares(task, logits, target)
        assert found is not None
        for k in range(5):
            wanted = metric.share(task, logits[k].T, target)
            assert wanted is not None
            torch.testing.assert_close(found[k].double(), wanted.double())


def many(count: int, samples: int = 80) -> ArrayData:
    generator = np.random.default_rng(0)
    target = np.arange(samples) % 3
    means = generator.normal(size=(3, count, 4))
    inputs = {f"m{k}": means[target, k] + generator.normal(size=(samples, 4)) for k in range(count)}
    present = {name: generator.random(samples) > 0.3 for name in inputs}
    present["m0"] |= True
    return ArrayData(inputs, target, present=present, name="many")


def test_of_many_modalities_all_metrics_stand_where_they_are_looked_for() -> None:
    data = many(9)
    model = toy_model(data)
    few, every = evaluate(model, data), evaluate(model, data, subsets="all", metrics="primary")
    assert len(few.logits) == 1 + 9 + 64 + 9 and len(every.logits) == 511
    for subset, values in few.metrics.items():
        assert next(iter(values)) == "accuracy"
        assert len(values) == (len(data.task.listed) if len(subset) in (1, 8, 9) else 2)
        rows = few.rows[subset]
        wanted = data.task.metrics(few.logits[subset], data.test.target[rows], ["accuracy", "nll"])
        for name, value in wanted.items():
            assert values[name] == pytest.approx(value, abs=1e-6)
        assert every.metrics[subset]["accuracy"] == pytest.approx(values["accuracy"], abs=1e-6)
    listed = evaluate(model, data, subsets=[("m1", "m2", "m3")])
    assert len(listed.metrics["m1", "m2", "m3"]) == len(data.task.listed)


def test_an_epoch_validates_as_many_subsets_as_there_are_modalities() -> None:
    data = many(20)
    run = fit(toy_model(data), data, epochs=1, best_with="m3+m5")
    found = run.history[0]["validation"]
    assert list(found)[1:2] == ["m3+m5"] and len(found) == 1 + 1 + 20


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("most", 'subsets must be "all", "few" or a list of lists of modalities, found \'most\''),
        ("all", "subsets=all of 20 modalities are 1,048,575; take subsets=few, or name some"),
        (3, 'subsets must be "all", "few" or a list of lists, found 3'),
    ],
)
def test_errors_of_subsets(given: Any, message: str) -> None:
    data = many(20)
    with pytest.raises(ValueError, match=message):
        evaluate(toy_model(data), data, subsets=given)
