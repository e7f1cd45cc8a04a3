"""Linear probe: unimodal encoders, and a fused head that learns from their features."""

import pytest
import torch
from torch.nn import functional as F
from toy import (
    gradients,
    linear_encoders,
    same,
    toy_batch,
    toy_context,
    toy_data,
    toy_model,
    weights,
)

from counterpoise import InputError, build_method, fit

SETTINGS = {"epochs": 2, "batch_size": 16, "lr": 0.05}


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("fusion", ["concat", "sum", "film"])
def test_encoders_are_those_of_unimodal_training(modalities, missing, fusion):
    data = toy_data(modalities, missing=missing)
    probe = toy_model(data, "linear-probe", fusion=fusion, unimodal="aux")
    alone = toy_model(data, "unimodal")
    alone.encoders.load_state_dict(probe.encoders.state_dict())
    alone.fusion.heads.load_state_dict(probe.fusion.aux.state_dict())
    start = weights(probe)
    fit(probe, data, "linear-probe", **SETTINGS)
    fit(alone, data, "unimodal", **SETTINGS)
    assert same(weights(probe.encoders), weights(alone.encoders))
    assert same(weights(probe.fusion.aux), weights(alone.fusion.heads))
    head = "fusion.heads.a.weight" if fusion == "sum" else "fusion.head.weight"
    assert not torch.equal(weights(probe)[head], start[head])


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_fused_loss_trains_the_fused_head_only(weight):
    data = toy_data(3, missing=0.4)
    method = build_method("linear-probe", weight=weight)
    ctx, batch = toy_context(data, method=method), toy_batch(data)
    out = ctx.model(batch)
    head = ctx.model.fusion.head
    logits = head(torch.cat([z.detach() for z in out.features.values()], 1))
    wanted = torch.autograd.grad(F.cross_entropy(logits, batch.target), list(head.parameters()))
    alone = [F.cross_entropy(out.unimodal[m][k], batch.target[k]) for m, k in batch.present.items()]
    own = [*ctx.model.encoders.parameters(), *ctx.model.fusion.aux.parameters()]
    expected = torch.autograd.grad(weight * sum(alone), own, retain_graph=True)
    method.backward(method.losses(out, batch, ctx), ctx)
    for p, gradient in zip([*head.parameters(), *own], [*wanted, *expected], strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_maps_to_a_common_width_learn_from_both():
    data = toy_data()
    encoders = linear_encoders(data)
    encoders["b"] = torch.nn.Linear(5, 4)
    model = toy_model(data, "linear-probe", encoders=encoders, fusion="shared")
    ctx, batch = toy_context(data, model), toy_batch(data)
    out, maps = ctx.model(batch), list(model.fusion.maps.parameters())
    alone = sum(F.cross_entropy(out.unimodal[m], batch.target) for m in "ab")
    total = F.cross_entropy(out.logits, batch.target) + alone
    wanted = torch.autograd.grad(total, maps, retain_graph=True)
    method = build_method("linear-probe")
    method.backward(method.losses(out, batch, ctx), ctx)
    for p, gradient in zip(maps, wanted, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_a_modality_that_no_sample_has_is_left_alone():
    data = toy_data()
    ctx, batch = toy_context(data, method="linear-probe"), toy_batch(data).only("a")
    method = build_method("linear-probe")
    method.backward(method.losses(ctx.model(batch), batch, ctx), ctx)
    assert all(p.grad is None for p in ctx.model.own_parameters("b"))
    assert all(p.grad is not None for p in ctx.model.own_parameters("a"))


def test_a_frozen_head_stays_frozen():
    data = toy_data()
    ctx, batch = toy_context(data, method="linear-probe"), toy_batch(data)
    ctx.model.fusion.head.requires_grad_(False)
    method = build_method("linear-probe")
    method.backward(method.losses(ctx.model(batch), batch, ctx), ctx)
    assert {name for name, g in gradients(ctx.model).items() if g is None} == {
        "fusion.head.weight",
        "fusion.head.bias",
    }


def test_incomplete_samples_are_predicted_as_in_multi_loss():
    data = toy_data(3, missing=0.4)
    model, batch = toy_model(data, "linear-probe"), toy_batch(data, 60)
    found = build_method("linear-probe").predict(model, batch)
    assert torch.equal(found, build_method("multi-loss").predict(model, batch))


def test_what_it_cannot_train_is_refused():
    data = toy_data()
    with pytest.raises(InputError, match="unimodal=aux"):
        fit(toy_model(data, unimodal="slice"), data, "linear-probe", epochs=1)
    with pytest.raises(InputError, match="weight"):
        build_method("linear-probe", weight=-1.0)
