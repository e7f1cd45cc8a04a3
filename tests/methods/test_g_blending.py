"""G-Blending: loss weights by the overfitting-to-generalisation ratio."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toy import Calls, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, build_method, fit
from counterpoise.methods import MultiLoss
from counterpoise.methods.g_blending import OneLoss
from counterpoise.methods.measures import ogr_weights


def ogr(gain, overfit, eps=1e-3):
    """Weights of tasks with these gains and overfittings, all starting from losses of 3 and 4."""
    gain, overfit = torch.tensor(gain), torch.tensor(overfit)
    held_out = torch.full_like(gain, 4.0), 4 - gain
    return ogr_weights((torch.full_like(gain, 3.0), held_out[1] - overfit - 1), held_out, eps)


def test_weights_in_closed_form():
    torch.testing.assert_close(ogr([1.0, 1.0], [1.0, 2.0]), torch.tensor([0.8, 0.2]))
    torch.testing.assert_close(ogr([1.0, 3.0], [1.0, 1.0]), torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(ogr([0.7, 0.7, 0.7], [0.2, 0.2, -0.2]), torch.full((3,), 1 / 3))


def test_guards():
    # What got worse counts as nothing gained, not as its absolute value.
    torch.testing.assert_close(ogr([1.0, -5.0], [1.0, 1.0]), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(ogr([-1.0, -5.0], [1.0, 1.0]), torch.tensor([0.5, 0.5]))
    # No overfitting: the least is eps of the first validation loss, here 0.1 * 4.
    torch.testing.assert_close(ogr([1.0, 1.0], [0.0, 0.8], 0.1), torch.tensor([0.8, 0.2]))
    torch.testing.assert_close(ogr([1.0, torch.nan], [1.0, 1.0]), torch.tensor([1.0, 0.0]))
    zero = torch.zeros(2)
    torch.testing.assert_close(ogr_weights((zero, zero), (zero, zero)), torch.tensor([0.5, 0.5]))


def test_a_common_factor_of_all_losses_changes_nothing():
    train, held_out = torch.rand(2, 4), 1 + torch.rand(2, 4)
    held_out[1] -= 0.9
    found = [ogr_weights(tuple(c * train), tuple(c * held_out)) for c in (1.0, 7.0)]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0].sum(), torch.tensor(1.0))


def estimated(data, start, epochs, first, **settings):
    """The estimate written out: each loss alone, on a copy, in plain PyTorch."""
    ctx = toy_context(data, copy.deepcopy(start), **settings)
    train, held_out = [], []
    for name in (*data.modalities, None):
        model = copy.deepcopy(start).train()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)

        def loss(batch, model=model, name=name):
            if name is None:
                return F.cross_entropy(model(batch).logits, batch.target)
            rows = batch.present[name]
            z = model.encoders[name](batch.inputs[name][rows])
            return F.cross_entropy(model.fusion.aux[name](z), batch.target[rows])

        def whole(model=model, loss=loss):
            model.eval()
            with torch.no_grad():
                pairs = [loss(s[torch.arange(len(s))]) for s in (data.train, data.validation)]
            model.train()
            return pairs

        before = whole()
        for epoch in range(first, first + epochs):
            for batch in ctx.loaders["train"].epoch(epoch):
                loss(batch).backward()
                optimizer.step()
                optimizer.zero_grad()
        after = whole()
        train.append((before[0], after[0]))
        held_out.append((before[1], after[1]))
    gains = [max(0.0, float(v0 - vn)) for v0, vn in held_out]
    gaps = [(vn - tn) - (v0 - t0) for (t0, tn), (v0, vn) in zip(train, held_out, strict=True)]
    least = [0.05 * float(v0) for v0, _ in held_out]
    ratios = [g / max(abs(float(o)), e) ** 2 for g, o, e in zip(gains, gaps, least, strict=True)]
    return torch.tensor(ratios) / sum(ratios)


@pytest.mark.parametrize(("modalities", "missing"), [(2, 0.0), (3, 0.4)])
@pytest.mark.parametrize(
    ("options", "epoch", "length"),
    [
        ({}, 0, 5),
        ({"when": "online", "super_epoch": 3}, 0, 3),
        ({"when": "online", "super_epoch": 3}, 3, 2),  # what is left of the run
    ],
)
def test_the_estimate(modalities, missing, options, epoch, length):
    data = toy_data(modalities, missing=missing)
    method = build_method("g-blending", **options, eps=0.05)
    ctx = toy_context(data, method=method, epochs=5)
    method.setup(ctx)
    assert torch.equal(method.loss_weights, torch.full((modalities + 1,), 1 / (modalities + 1)))
    before, ctx.epoch = weights(ctx.model), epoch
    method.epoch_start(ctx)
    assert same(weights(ctx.model), before)
    assert ctx.model.training
    wanted = estimated(data, ctx.model, length, epoch)
    torch.testing.assert_close(method.loss_weights, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "wanted"), [({}, [0]), ({"when": "online", "super_epoch": 2}, [0, 2, 4])]
)
def test_when_it_estimates(options, wanted):
    data = toy_data()
    method, changed = build_method("g-blending", **options), []
    ctx = toy_context(data, method=method, epochs=5)
    method.setup(ctx)
    for epoch in range(5):
        ctx.epoch = epoch
        method.loss_weights.fill_(-1)
        method.epoch_start(ctx)
        changed += [epoch] if bool((method.loss_weights >= 0).all()) else []
    assert changed == wanted


def test_the_loss_is_weighted():
    data = toy_data(3, missing=0.4)
    method = build_method("g-blending")
    ctx, batch = toy_context(data, method=method), toy_batch(data)
    method.setup(ctx)
    method.loss_weights.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    plain = MultiLoss().losses(ctx.model(batch), batch, ctx)
    found = method.losses(ctx.model(batch), batch, ctx)
    factors = {"fused": 0.4, "a alone": 0.1, "b alone": 0.2, "c alone": 0.3}
    assert found.keys() == factors.keys()
    for name, factor in factors.items():
        torch.testing.assert_close(found[name], factor * plain[name])
    assert list(method.losses(ctx.model(batch), batch.only("b"), ctx)) == ["fused", "b alone"]


def test_all_weight_on_the_fused_loss_is_joint_training():
    data = toy_data(missing=0.3)
    model, joint = toy_model(data, "g-blending"), toy_model(data, unimodal="aux")
    method = build_method("g-blending")
    method.epoch_start = lambda ctx: method.loss_weights.copy_(torch.tensor([0.0, 0.0, 1.0]))
    settings = {"epochs": 2, "batch_size": 16, "lr": 0.05}
    fit(model, data, method, **settings)
    fit(joint, data, "joint", **settings)
    assert same(weights(model.encoders), weights(joint.encoders))
    assert same(weights(model.fusion.head), weights(joint.fusion.head))


def test_a_modality_only_few_samples_have():
    """No step where a batch has none of them, and weight 0 where validation has none."""
    data = toy_data(samples=100)
    data.train.present["b"][1:] = False
    data.validation.present["b"][:] = False
    method = build_method("g-blending")
    ctx = toy_context(data, method=method, epochs=2)
    method.setup(ctx)
    method.epoch_start(ctx)
    assert float(method.loss_weights[1]) == 0
    torch.testing.assert_close(method.loss_weights.sum(), torch.tensor(1.0))


def test_one_loss_trains_and_runs_one_encoder():
    data = toy_data(missing=0.3)
    task = OneLoss("b")
    ctx, batch = toy_context(data, method="g-blending"), toy_batch(data)
    calls = {m: Calls(encoder) for m, encoder in ctx.model.encoders.items()}
    assert list(task.step(batch, ctx)) == ["alone"]
    assert (len(calls["a"]), len(calls["b"])) == (0, 1)
    before = weights(ctx.model)
    assert task.step(batch.only("a"), ctx) == {}  # no sample: momentum and decay rest too
    assert same(weights(ctx.model), before)


def test_losses_are_measured_in_evaluation_mode():
    data = toy_data()
    encoders = {
        m: nn.Sequential(nn.Linear(s[0], 8), nn.Dropout(0.5)) for m, s in data.shapes.items()
    }
    ctx = toy_context(data, toy_model(data, "g-blending", encoders=encoders))
    found = OneLoss(None).whole(ctx.model.train(), ctx, "validation")
    batch = data.validation[torch.arange(len(data.validation))]
    wanted = F.cross_entropy(ctx.model.eval()(batch).logits, batch.target)
    torch.testing.assert_close(found, wanted.detach())


def test_the_fused_head_predicts():
    data = toy_data(3, missing=0.4)
    model, batch = toy_model(data, "g-blending"), toy_batch(data, 60)
    assert torch.equal(build_method("g-blending").predict(model, batch), model(batch).logits)


@pytest.mark.parametrize("options", [{"when": "never"}, {"super_epoch": 0}, {"eps": -1.0}])
def test_bad_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        build_method("g-blending", **options)
