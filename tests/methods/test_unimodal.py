"""Unimodal: one run of all modalities is a run of each alone."""

import contextlib
import copy

import pytest
import torch
from torch.nn import functional as F
from toy import same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, Late, MultimodalModel, build_method, fit


def part(model, name):
    """The model of one modality, with the same weights."""
    alone = MultimodalModel(
        {name: copy.deepcopy(model.encoders[name])}, Late({name: 8}, model.fusion.outputs)
    )
    alone.fusion.heads[name].load_state_dict(model.fusion.heads[name].state_dict())
    return alone


@pytest.mark.parametrize("fusion", ["late", "sum"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_gradients_are_those_of_each_model_trained_alone(fusion, missing):
    data = toy_data(3, missing=missing)
    model = toy_model(data, "unimodal", fusion=fusion)
    ctx, batch, method = toy_context(data, model), toy_batch(data), build_method("unimodal")
    losses = method.losses(model(batch), batch, ctx)
    method.backward(losses, ctx)
    for name in data.modalities:
        alone, rows = part(model, name), batch.present[name]
        z = alone.encoders[name](batch.inputs[name][rows])
        loss = F.cross_entropy(alone.fusion.heads[name](z), batch.target[rows])
        loss.backward()
        torch.testing.assert_close(losses[name], loss)
        for whole, own in (
            (model.encoders[name], alone.encoders[name]),
            (model.fusion.heads[name], alone.fusion.heads[name]),
        ):
            for p, q in zip(whole.parameters(), own.parameters(), strict=True):
                assert float(q.grad.abs().max()) > 0
                torch.testing.assert_close(p.grad, q.grad)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("method", ["unimodal", "joint"])
def test_one_run_equals_a_run_of_each_modality_to_the_bit(method, optimizer):
    """No parameter is shared, and optimisers work entry by entry."""
    data = toy_data()
    settings = {"epochs": 3, "batch_size": 16, "lr": 0.05, "optimizer": optimizer}
    model = toy_model(data, "unimodal")
    parts = {m: part(model, m) for m in data.modalities}
    first = weights(model)
    fit(model, data, "unimodal", **settings)
    assert not same(weights(model), first)
    for name, alone in parts.items():
        fit(alone, data.select(name), method, **settings)
        assert same(weights(alone.encoders[name]), weights(model.encoders[name]))
        assert same(weights(alone.fusion.heads[name]), weights(model.fusion.heads[name]))


def test_a_modality_that_no_sample_of_the_batch_has_stays_to_the_bit():
    data = toy_data()
    method = build_method("unimodal")
    ctx = toy_context(data, method=method, weight_decay=0.1)
    method.step(toy_batch(data), ctx)
    before = [p.clone() for p in ctx.model.own_parameters("b")]
    losses = method.step(toy_batch(data).only("a"), ctx)
    assert list(losses) == ["a"]
    after = ctx.model.own_parameters("b")
    assert all(torch.equal(p, q) for p, q in zip(before, after, strict=True))


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_together_they_predict_the_mean_of_the_present(missing):
    data = toy_data(3, missing=missing)
    model, batch = toy_model(data, "unimodal"), toy_batch(data)
    found = build_method("unimodal").predict(model, batch)
    for i in range(len(batch)):
        here = [m for m in data.modalities if batch.present[m][i]]
        logits = [part(model, m)(batch).logits[i] for m in here]
        torch.testing.assert_close(found[i], torch.stack(logits).mean(0))


def test_with_extra_heads_prediction_uses_what_was_trained():
    """Or the model is refused: heads that predict must be heads that were trained."""
    data = toy_data()
    model = toy_model(data, "unimodal", unimodal="aux")
    before = weights(model.fusion.heads)
    with contextlib.suppress(InputError):
        fit(model, data, "unimodal", epochs=1)
        assert not same(weights(model.fusion.heads), before)
