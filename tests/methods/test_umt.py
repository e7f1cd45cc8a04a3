"""UMT: joint training near teachers that were trained alone."""

import copy

import pytest
import torch
from torch import nn
from toy import callback, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, build_method, fit
from counterpoise.methods import Joint

SETTINGS = {"epochs": 3, "batch_size": 16, "lr": 0.05}


def started(data, model=None, **options):
    """A method that has been through the start of the first epoch, and its context."""
    method = build_method("umt", **options)
    ctx = toy_context(data, model or toy_model(data, method))
    method.setup(ctx)
    ctx.model.train()
    method.train()
    method.epoch_start(ctx)
    return method, ctx


@pytest.mark.parametrize(("modalities", "missing"), [(2, 0.0), (3, 0.4)])
@pytest.mark.parametrize("weight", [10.0, 0.5])
def test_the_loss_is_the_distance_to_the_teachers(modalities, missing, weight):
    data = toy_data(modalities, missing=missing)
    method, ctx = started(data, weight=weight, teacher_epochs=1)
    batch = toy_batch(data)
    losses = method.losses(ctx.model(batch), batch, ctx)
    joint = Joint().losses(ctx.model(batch), batch, ctx)
    assert torch.equal(losses["fused"], joint["fused"])
    for m, mask in batch.present.items():
        x = batch.inputs[m][mask]
        apart = ctx.model.encoders[m](x) - method.teachers.encoders[m](x)
        torch.testing.assert_close(losses[f"{m} to its teacher"], weight * apart.square().mean())
    assert losses.keys() == {"fused", *(f"{m} to its teacher" for m in data.modalities)}


@pytest.mark.parametrize("epochs", [None, 0, 2])
def test_teachers_are_unimodal_models_from_the_same_start(epochs):
    data = toy_data(missing=0.3)
    method = build_method("umt", teacher_epochs=epochs)
    ctx = toy_context(data, method=method, epochs=3)
    method.setup(ctx)
    alone = copy.deepcopy(method.teachers).requires_grad_(True)
    assert same(weights(alone.encoders), weights(ctx.model.encoders))
    before = weights(ctx.model)
    method.epoch_start(ctx)
    assert same(weights(ctx.model), before)
    if epochs != 0:
        settings = {"lr": 0.1, "batch_size": 16, "epochs": epochs or 3}
        fit(alone, data, "unimodal", **settings)
    assert same(weights(method.teachers), weights(alone))


def noisy(data):
    """A model whose encoders have BatchNorm and dropout."""
    encoders = {
        m: nn.Sequential(nn.Linear(shape[0], 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        for m, shape in data.shapes.items()
    }
    return toy_model(data, "umt", encoders=encoders)


def test_teachers_never_change_after_the_start():
    data = toy_data(missing=0.3)
    model = noisy(data)
    method, states = build_method("umt"), []
    watch = callback(on_epoch=lambda _: states.append(weights(method.teachers)))
    fit(model, data, method, callbacks=[watch], **SETTINGS)
    assert all(same(state, states[0]) for state in states)
    assert states[0]["encoders.a.1.num_batches_tracked"] == 3 * 5  # epochs of teaching, batches
    assert not any(module.training for module in method.train().teachers.modules())
    assert not any(p.requires_grad for p in method.teachers.parameters())


def test_weight_zero_is_joint_training():
    """To the bit, with dropout: the teachers' training draws nothing from the run's numbers."""
    data = toy_data(missing=0.3)
    model = noisy(data)
    joint = copy.deepcopy(model)
    fit(model, data, build_method("umt", weight=0.0), **SETTINGS)
    fit(joint, data, "joint", **SETTINGS)
    assert same(weights(model), weights(joint))


def test_a_student_equal_to_its_teachers_gets_the_joint_gradient():
    data = toy_data(missing=0.3)
    method, ctx = started(data)
    ctx.model.encoders.load_state_dict(method.teachers.encoders.state_dict())
    batch, grads = toy_batch(data), []
    for each in (method, Joint()):
        losses = each.losses(ctx.model(batch), batch, ctx)
        assert all(bool(x == 0) for name, x in losses.items() if name != "fused")
        each.backward(losses, ctx)
        grads.append([p.grad.clone() for p in ctx.model.parameters()])
        ctx.optimizer.zero_grad()
    assert all(torch.equal(p, q) for p, q in zip(*grads, strict=True))


def test_frozen_layers_stay_frozen_in_the_teacher():
    data = toy_data()
    model = toy_model(data, "umt")
    model.encoders["a"].requires_grad_(False)
    method, _ = started(data, model)
    assert same(weights(method.teachers.encoders["a"]), weights(model.encoders["a"]))
    assert not same(weights(method.teachers.encoders["b"]), weights(model.encoders["b"]))


def test_later_epochs_teach_nothing():
    data = toy_data()
    method, ctx = started(data, teacher_epochs=1)
    before = weights(method.teachers)
    ctx.epoch = 1
    method.epoch_start(ctx)
    assert same(weights(method.teachers), before)


def test_a_modality_that_no_sample_has_is_left_alone():
    data = toy_data()
    method, ctx = started(data, teacher_epochs=1)
    batch = toy_batch(data).only("a")
    losses = method.losses(ctx.model(batch), batch, ctx)
    assert list(losses) == ["fused", "a to its teacher"]
    method.backward(losses, ctx)
    assert all(p.grad is None for p in ctx.model.encoder_parameters("b"))


def test_features_that_are_mapped_first_are_refused():
    data = toy_data()
    encoders = {"a": nn.Linear(4, 3), "b": nn.Linear(5, 8)}
    model = toy_model(data, "umt", fusion="shared", encoders=encoders)
    with pytest.raises(InputError, match="one width"):
        fit(model, data, "umt", epochs=1)
    fit(toy_model(data, "umt", fusion="shared"), data, "umt", epochs=1)


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"teacher_epochs": 1.5}])
def test_bad_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        build_method("umt", **options)
