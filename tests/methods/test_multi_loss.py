"""Multi-loss: the fused loss plus weighted losses of each modality."""

import pytest
import torch
from torch.nn import functional as F
from toy import same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, build_method, fit


@pytest.mark.parametrize("policy", ["aux", "slice", "ablate"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_losses_are_means_over_the_present(policy, missing, weight):
    data = toy_data(3, missing=missing)
    method = build_method("multi-loss", weight=weight)
    ctx, batch = toy_context(data, toy_model(data, method, unimodal=policy)), toy_batch(data)
    out = ctx.model(batch)
    losses = method.losses(out, batch, ctx)
    torch.testing.assert_close(losses["fused"], F.cross_entropy(out.logits, batch.target))
    for name, mask in batch.present.items():
        wanted = F.cross_entropy(out.unimodal[name][mask], batch.target[mask])
        torch.testing.assert_close(losses[f"{name} alone"], weight * wanted)


def test_the_default_is_an_extra_head_for_each_modality():
    assert toy_model(toy_data(), "multi-loss").fusion.policy == "aux"
    assert build_method("multi-loss").weight == 1


def test_weight_zero_is_joint_training():
    data = toy_data(missing=0.3)
    settings = {"epochs": 2, "batch_size": 16, "lr": 0.05}
    model = toy_model(data, "multi-loss", unimodal="slice")
    joint = toy_model(data)
    assert same(weights(model), weights(joint))
    fit(model, data, build_method("multi-loss", weight=0.0), **settings)
    fit(joint, data, "joint", **settings)
    for key, value in weights(joint).items():
        torch.testing.assert_close(weights(model)[key], value)


def test_a_modality_that_no_sample_has_gets_no_loss_and_stays():
    data = toy_data()
    method = build_method("multi-loss")
    ctx = toy_context(data, method=method, weight_decay=0.1)
    method.step(toy_batch(data), ctx)
    before = [p.clone() for p in ctx.model.own_parameters("b")]
    assert list(method.step(toy_batch(data).only("a"), ctx)) == ["fused", "a alone"]
    after = ctx.model.own_parameters("b")
    assert all(torch.equal(p, q) for p, q in zip(before, after, strict=True))


def test_incomplete_samples_are_predicted_by_the_mean_of_their_own_heads():
    data = toy_data(3, missing=0.4)
    model, batch = toy_model(data, "multi-loss"), toy_batch(data, 60)
    out, found = model(batch), build_method("multi-loss").predict(model, batch)
    kinds = set()
    for i in range(len(batch)):
        here = [m for m in data.modalities if batch.present[m][i]]
        kinds.add(len(here))
        heads = torch.stack([out.unimodal[m][i] for m in here]).mean(0)
        torch.testing.assert_close(found[i], out.logits[i] if len(here) == 3 else heads)
    assert kinds == {1, 2, 3}


@pytest.mark.parametrize("policy", ["slice", "ablate"])
def test_without_extra_heads_the_fused_head_predicts(policy):
    data = toy_data(3, missing=0.4)
    model, batch = toy_model(data, "multi-loss", unimodal=policy), toy_batch(data)
    assert torch.equal(build_method("multi-loss").predict(model, batch), model(batch).logits)


@pytest.mark.parametrize("name", ["fused", "x"])
def test_what_a_modality_is_called_changes_no_loss(name):
    data, other = toy_data(), toy_data(names=(name, "b"))
    totals = []
    for each in (data, other):
        method = build_method("multi-loss")
        ctx, batch = toy_context(each, method=method), toy_batch(each)
        losses = method.losses(ctx.model(batch), batch, ctx)
        totals.append(sum(losses.values()).item())
    assert totals[0] == totals[1]


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_encoders_can_learn_faster_than_heads(factor):
    """Plain gradient descent: each parameter moves by its own rate times its gradient."""
    data = toy_data(missing=0.2)
    method = build_method("multi-loss", encoder_lr=factor)
    ctx, batch = toy_context(data, method=method, momentum=0.0, weight_decay=0.0), toy_batch(data)
    method.setup(ctx)
    assert len(ctx.optimizer.param_groups) == (1 if factor == 1 else 2)
    before = {id(p): p.detach().clone() for p in ctx.model.parameters()}
    grads = {}
    update = ctx.update
    ctx.update = lambda: (grads.update({id(p): p.grad.clone() for p in ctx.parameters()}), update())
    method.step(batch, ctx)
    for rate, part in ((0.1 * factor, ctx.model.encoders), (0.1, ctx.model.fusion)):
        for p in part.parameters():
            torch.testing.assert_close(p.detach(), before[id(p)] - rate * grads[id(p)])


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"encoder_lr": -0.5}, {"encoder_lr": "2"}])
def test_bad_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        build_method("multi-loss", **options)
