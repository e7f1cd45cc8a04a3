"""DGL: the fused loss moves the fusion only, the unimodal losses the encoders only."""

import pytest
import torch
from toy import (
    Calls,
    gradients,
    same,
    toy_batch,
    toy_context,
    toy_data,
    toy_model,
    weights,
)

from counterpoise import Chain, InputError, build_method, fit

SETTINGS = {"epochs": 2, "batch_size": 16, "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}


def dgl(alpha=4.0):
    return build_method("dgl", alpha=alpha)


def made(modalities=3, missing=0.0, fusion="concat", alpha=4.0, **data):
    """A context, a transformed batch and its losses."""
    data = toy_data(modalities, missing, **data)
    model = toy_model(data, "dgl", fusion=fusion, unimodal="ablate")
    ctx = toy_context(data, model)
    method = dgl(alpha)
    batch = method.transform(toy_batch(data), ctx)
    return ctx, batch, method.losses(ctx.model(batch), batch, ctx)


def asked(loss, module):
    return torch.autograd.grad(
        loss, list(module.parameters()), retain_graph=True, allow_unused=True
    )


@pytest.mark.parametrize("fusion", ["concat", "sum", "shared", "late", "film", "gated"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_each_loss_reaches_its_own_part_and_no_other(fusion, missing):
    ctx, _, losses = made(missing=missing, fusion=fusion)
    assert list(losses) == ["fused", "a alone", "b alone", "c alone"]
    assert all(g is None for g in asked(losses["fused"], ctx.model.encoders))
    assert all(g is not None for g in asked(losses["fused"], ctx.model.fusion))
    for name, encoder in ctx.model.encoders.items():
        loss = losses[f"{name} alone"]
        assert all(g is None for g in asked(loss, ctx.model.fusion))
        for other in ctx.model.encoders:
            found = asked(loss, ctx.model.encoders[other])
            assert all((g is not None) == (other == name) for g in found)
        assert any(bool((g != 0).any()) for g in asked(loss, encoder))


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_gradients_equal_two_backward_passes_with_the_fusions_dropped_between(
    modalities, missing, kind
):
    """As the published code: full bias in the unimodal logits, ``psi.grad`` reset in between."""
    data = toy_data(modalities, missing, **({} if kind == "classes" else {kind: True}))
    model = toy_model(data, "dgl")
    ctx, batch = toy_context(data, model), toy_batch(data)
    method = dgl(2.5)
    step = method.transform(batch, ctx)
    method.backward(method.losses(model(step), step, ctx), ctx)
    found = gradients(model)
    model.zero_grad()
    z, head = model.encode(batch), model.fusion.head
    for name, mask in batch.present.items():
        alone = torch.cat([z[m] if m == name else torch.zeros_like(z[m]) for m in z], 1)
        each = ctx.task.loss(head(alone)[mask], batch.target[mask])
        (2.5 * each.mean()).backward(retain_graph=True)
    head.weight.grad = head.bias.grad = None
    whole = torch.cat([x.detach() for x in z.values()], 1)
    ctx.task.loss(head(whole), batch.target).mean().backward()
    for name, wanted in gradients(model).items():
        torch.testing.assert_close(found[name], wanted)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_alpha_scales_the_encoders_gradients_and_leaves_the_fusions(missing):
    grads = {}
    for alpha in (0.0, 1.0, 4.0):
        ctx, _, losses = made(missing=missing, alpha=alpha)
        dgl(alpha).backward(losses, ctx)
        grads[alpha] = gradients(ctx.model)
    for name, one in grads[1.0].items():
        if name.startswith("fusion"):
            assert torch.equal(one, grads[4.0][name]) and torch.equal(one, grads[0.0][name])
        else:
            torch.testing.assert_close(grads[4.0][name], 4 * one)
            assert grads[0.0][name] is None


def test_one_modality_and_alpha_one_is_joint_training():
    data = toy_data(1)
    models = [toy_model(data, name, unimodal="ablate") for name in ("dgl", "joint")]
    fit(models[0], data, dgl(1.0), **SETTINGS)
    fit(models[1], data, "joint", **SETTINGS)
    for key, value in weights(models[1]).items():
        torch.testing.assert_close(weights(models[0])[key], value)


def test_a_step_encodes_once():
    data = toy_data(2, missing=0.4)
    ctx, batch = toy_context(data, method="dgl"), toy_batch(data)
    calls = {m: Calls(encoder) for m, encoder in ctx.model.encoders.items()}
    dgl().step(batch, ctx)
    assert {m: c.rows for m, c in calls.items()} == {
        m: [int(mask.sum())] for m, mask in batch.present.items()
    }


def test_a_modality_that_no_sample_has_gets_no_loss_and_stays():
    data = toy_data()
    ctx, method = toy_context(data, method="dgl", momentum=0.9, weight_decay=0.1), dgl()
    method.step(toy_batch(data), ctx)
    before = weights(ctx.model.encoders["b"])
    assert list(method.step(toy_batch(data).only("a"), ctx)) == ["fused", "a alone"]
    assert same(weights(ctx.model.encoders["b"]), before)


@pytest.mark.parametrize("order", ["dropout first", "dropout last"])
def test_what_another_method_drops_is_absent_whichever_comes_first(order):
    """DGL encodes in its transform; a later one may take modalities away again."""
    data = toy_data(3, missing=0.2)
    model = toy_model(data, "dgl")
    ctx, batch = toy_context(data, model), toy_batch(data)
    drop = build_method("modality-dropout", rates=0.5, granularity="sample")
    pair = (drop, dgl()) if order == "dropout first" else (dgl(), drop)
    chain = Chain(*pair)
    step = chain.transform(batch, ctx)
    found = chain.losses(model(step), step, ctx)
    dropped = drop.transform(batch, ctx)
    wanted = dgl().losses(model(dropped), dropped, ctx)
    assert found.keys() == wanted.keys()
    for name, loss in wanted.items():
        torch.testing.assert_close(found[name], loss)


def test_parameters_that_are_frozen_stay_frozen_and_the_rest_keeps_its_flag():
    ctx, batch, _ = made()
    ctx.model.fusion.head.bias.requires_grad_(False)
    dgl().step(batch, ctx)
    flags = {n: p.requires_grad for n, p in ctx.model.fusion.named_parameters()}
    assert flags == {"head.weight": True, "head.bias": False}


def test_errors():
    with pytest.raises(InputError, match="alpha must be a number from 0, found -1"):
        dgl(-1)
    data = toy_data()
    with pytest.raises(InputError, match="needs a fusion with unimodal=ablate, found slice"):
        fit(toy_model(data), data, "dgl")
    data = toy_data(regression=True)
    with pytest.raises(InputError, match="has a meaning for classification or multilabel only"):
        fit(toy_model(data, "dgl"), data, "dgl")
