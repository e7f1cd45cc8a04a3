"""What each modality adds."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from test_answers import many
from toy import toy_data, toy_model

from counterpoise import InputError, evaluate, fit
from counterpoise.evaluation import contributions


@pytest.mark.parametrize("kind", ["classes", "labels", "numbers"])
def test_they_are_mean_gains_over_all_orders(kind: str) -> None:
    data = toy_data(3, multilabel=kind == "labels", regression=kind == "numbers")
    run = fit(toy_model(data), data, epochs=2, lr=0.05)
    found = {each.modality: each for each in contributions(run.model, data, task=run.task)}
    result = evaluate(run.model, data, task=run.task)
    primary = run.task.primary
    values = {frozenset(s): v[primary] for s, v in result.metrics.items()}
    target = data.train.target.float()
    if kind == "classes":
        constant = torch.bincount(data.train.target).float().log()
    else:
        constant = target.reshape(len(target), -1).mean(0)
        constant = constant.logit(1e-6) if kind == "labels" else constant
    logits = constant.expand(len(data.test), -1)
    values[frozenset()] = run.task.metrics(logits, data.test.target)[primary]
    for name in data.modalities:
        gains = [
            values[frozenset(order[: order.index(name) + 1])]
            - values[frozenset(order[: order.index(name)])]
            for order in permutations(data.modalities)
        ]
        assert found[name].value == pytest.approx(sum(gains) / len(gains), abs=1e-5)
        assert found[name].error == 0 and "±" not in str(found[name])


def test_of_many_they_have_an_error_and_sum_to_the_gain() -> None:
    data = many(12)
    run = fit(toy_model(data), data, epochs=2, lr=0.05)
    found = contributions(run.model, data, task=run.task, orders=8)
    again = contributions(run.model, data, task=run.task, orders=8, seed=1)
    unsure = [each for each in found if each.error > 0]
    assert len(unsure) > 6 and "±" in str(unsure[0])
    total = sum(each.value for each in found)
    assert total == pytest.approx(sum(each.value for each in again), abs=1e-9)
    with pytest.raises(InputError, match="orders must be even, since each comes with its reverse"):
        contributions(run.model, data, orders=5)
