"""ARL: gradients scaled by how sure a modality is, and how little it says."""

import math

import pytest
import torch
from toy import gradients, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, build_method, fit
from counterpoise.methods.arl import asymmetric_weights
from counterpoise.methods.gradients import scale_gradient

SETTINGS = {"epochs": 2, "batch_size": 16, "lr": 0.05}


def arl(**options):
    return build_method("arl", **{"start": 0, **options})


def by_hand(size, doubt, temperature):
    """``w`` in plain numbers."""
    count = len(size)
    c = [s / sum(size) for s in size]
    e = [max(h / sum(doubt), 0.6 / count) for h in doubt]
    v = [1 / x / sum(1 / y for y in e) for x in e]
    scores = [temperature * (1 - c[m]) / (count - 1) * v[m] for m in range(count)]
    return [math.exp(s) / sum(math.exp(t) for t in scores) for s in scores]


def entropy_of(logits, multilabel):
    if not multilabel:
        p = logits.softmax(1)
        return -(p * p.log()).sum(1)
    p = logits.sigmoid()
    return -(p * p.log() + (1 - p) * (1 - p).log()).mean(1)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 8.0])
@pytest.mark.parametrize(
    ("size", "doubt"),
    [([3.0, 1.0], [0.2, 0.9]), ([1.0, 1.0], [0.5, 0.6]), ([5.0, 1.0, 2.0], [0.01, 1.0, 0.7])],
)
def test_weights_follow_the_formula(size, doubt, temperature):
    found = asymmetric_weights(torch.tensor(size), torch.tensor(doubt), temperature)
    torch.testing.assert_close(found, torch.tensor(by_hand(size, doubt, temperature)))
    torch.testing.assert_close(found.sum(), torch.tensor(1.0))


def test_two_modalities_are_as_published():
    """Others' share is the other's, the entropy share is at least 0.3."""
    found = asymmetric_weights(torch.tensor([3.0, 1.0]), torch.tensor([0.1, 0.9]), 8.0)
    v = [1 / 0.3, 1 / 0.9]
    scores = [8 * 0.25 * v[0] / sum(v), 8 * 0.75 * v[1] / sum(v)]
    torch.testing.assert_close(found, torch.tensor(scores).softmax(0))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_equal_shares_or_no_temperature_weigh_equally(count):
    same_for_all = torch.full((count,), 0.7)
    third = torch.full((count,), 1 / count)
    torch.testing.assert_close(asymmetric_weights(same_for_all, same_for_all, 8.0), third)
    varied = torch.rand(count, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(asymmetric_weights(varied, varied.flip(0), 0.0), third)


def test_only_shares_of_the_logits_count_and_nothing_said_is_no_nan():
    size, doubt = torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.2, 0.9, 0.4])
    torch.testing.assert_close(
        asymmetric_weights(size, doubt, 8.0), asymmetric_weights(7 * size, doubt, 8.0)
    )
    zero = torch.zeros(3)
    torch.testing.assert_close(asymmetric_weights(zero, zero, 8.0), torch.full((3,), 1 / 3))


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_scaled_gradients_are_those_of_features_scaled_at_the_encoders_output(
    modalities, missing, multilabel
):
    """``1 + w`` on a parameter's gradient is ``1 + w`` on what enters the encoder from above."""
    data = toy_data(modalities, missing, multilabel=multilabel)
    model = toy_model(data, "arl")
    ctx, batch = toy_context(data, model), toy_batch(data)
    method = arl(gamma=3.0)
    out = model(batch)
    method.backward(method.losses(out, batch, ctx), ctx)
    method.modulate(out, batch, ctx)
    found = gradients(model)
    model.zero_grad()
    size, doubt = [], []
    for name, mask in batch.present.items():
        logits = out.unimodal[name][mask].detach()
        size.append(logits.abs().sum(1).mean().item())
        doubt.append(entropy_of(logits, multilabel).mean().item())
    factors = [1 + torch.tensor(w) for w in by_hand(size, doubt, 8.0)]
    features = zip(model.encode(batch).items(), factors, strict=True)
    again = model.fuse({m: scale_gradient(z, w) for (m, z), w in features}, batch.present)
    assert torch.equal(again.logits, out.logits)
    loss = ctx.task.loss(again.logits, batch.target).mean()
    for name, mask in batch.present.items():
        each = ctx.task.loss(again.unimodal[name][mask], batch.target[mask])
        loss = loss + 3.0 * each.mean()
    loss.backward()
    for name, wanted in gradients(model).items():
        torch.testing.assert_close(found[name], wanted)


def test_before_start_it_is_the_sum_of_all_losses():
    data = toy_data(missing=0.3)
    models = [toy_model(data, name, unimodal="ablate") for name in ("arl", "multi-loss")]
    fit(models[0], data, arl(start=2), **SETTINGS)
    fit(models[1], data, "multi-loss", **SETTINGS)
    assert same(weights(models[0]), weights(models[1]))
    other = toy_model(data, "arl")
    fit(other, data, arl(start=1), **SETTINGS)
    assert not same(weights(models[0]), weights(other))


@pytest.mark.parametrize(("epoch", "weight", "scaled"), [(1, 1, False), (2, 4, True), (3, 4, True)])
def test_start_changes_the_loss_and_the_gradients_together(epoch, weight, scaled):
    data = toy_data()
    ctx, batch, method = toy_context(data, method="arl"), toy_batch(data), arl(start=2)
    ctx.epoch = epoch
    out = ctx.model(batch)
    losses = method.losses(out, batch, ctx)
    alone = ctx.loss(out.unimodal["a"], batch)
    torch.testing.assert_close(losses["a alone"], weight * alone)
    method.backward(losses, ctx)
    before = gradients(ctx.model)
    method.modulate(out, batch, ctx)
    for name, after in gradients(ctx.model).items():
        assert torch.equal(after, before[name]) != (scaled and name.startswith("encoders"))


def test_shares_are_among_the_modalities_of_the_batch():
    data = toy_data(3)
    ctx, method = toy_context(data, method="arl"), arl()
    for names in (("a", "c"), ("b",)):
        batch = toy_batch(data).only(*names)
        ctx.model.zero_grad()
        out = ctx.model(batch)
        method.backward(method.losses(out, batch, ctx), ctx)
        before = gradients(ctx.model.encoders)
        method.modulate(out, batch, ctx)
        after = gradients(ctx.model.encoders)
        factors = {
            k.split(".")[0]: (after[k] / g).nanmean() for k, g in before.items() if g is not None
        }
        assert set(factors) == set(names)
        torch.testing.assert_close(
            sum(factors.values()), torch.tensor(3.0 if len(names) > 1 else 1.0)
        )


def test_errors():
    for option in ("gamma", "T"):
        with pytest.raises(InputError, match=f"{option} must be a number from 0, found -1"):
            arl(**{option: -1})
    with pytest.raises(InputError, match=r"start must be a whole number from 0, found 1\.5"):
        arl(start=1.5)
    data = toy_data(regression=True)
    with pytest.raises(InputError, match="has a meaning for classification or multilabel only"):
        fit(toy_model(data, "arl"), data, "arl")
