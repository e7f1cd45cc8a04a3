"""ReconBoost: stages of one modality against the residual of the others, then all together."""

import copy

import pytest
import torch
from torch.nn import functional as F
from toy import linear_encoders, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, MultimodalModel, Sum, build_method, fit


def context(data, method, **options):
    """Linear encoders with BatchNorm, whose running statistics are not those of a batch."""
    encoders = linear_encoders(data, norm=True)
    for encoder in encoders.values():
        encoder[1].running_mean.fill_(0.3)
        encoder[1].running_var.fill_(2.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = MultimodalModel(encoders, Sum(dict.fromkeys(encoders, 6), 3))
    return toy_context(data, model, parameters=list(method.parameters()), **options)


def boost(**options):
    return build_method("reconboost", **options)


def losses_by_hand(model, batch, name, others, memory, *, method, known=None):
    """Boosting and memory loss of one modality, sample by sample."""
    rate, heads = method.rate.item(), model.fusion.heads
    rows = [i for i in range(len(batch)) if batch.present[name][i]]
    own = heads[name](model.encoders[name](batch.inputs[name][batch.present[name]]))
    said = {}
    with torch.no_grad():
        for k in others:
            quiet = copy.deepcopy(model.encoders[k]).eval()
            said[k] = heads[k](quiet(batch.inputs[k]))
    boosting, remembered = [], []
    for u, i in zip(own, rows, strict=True):
        here = [said[k][i] for k in others if batch.present[k][i]]
        r = torch.softmax(rate * sum(here, torch.zeros(3)), 0)[batch.target[i]]
        r = r if known is None else known
        ce = -torch.log_softmax(u, 0)[batch.target[i]]
        boosting.append((method.weight - method.discount * r) * ce)
        if memory and batch.present[memory][i]:
            gap = torch.softmax(u, 0) - torch.softmax(said[memory][i], 0)
            remembered.append(gap.square().mean())
    found = {f"{name} boosting": sum(boosting) / len(boosting)}
    if memory:
        found[f"{name} memory"] = method.memory * sum(remembered) / len(remembered)
    return found


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize(
    ("modalities", "epoch", "name", "others", "memory"),
    [
        (2, 0, "a", "", None),
        (2, 2, "b", "a", "a"),
        (3, 2, "b", "ac", "a"),
        (3, 4, "c", "ab", "b"),
        (3, 6, "a", "bc", "c"),
    ],
)
def test_a_step_of_boosting(missing, modalities, epoch, name, others, memory):
    data = toy_data(modalities, missing=missing)
    method = boost(boost_epochs=1, rectify_epochs=1, weight=4.0, discount=1.5, memory=0.7)
    ctx, batch = context(data, method, weight_decay=0.1), toy_batch(data, 24)
    with torch.no_grad():
        method.rate.fill_(1.3)
    ctx.epoch = epoch
    bare = copy.deepcopy(ctx.model)
    wanted = losses_by_hand(bare, batch, name, others, memory, method=method)
    before = weights(ctx.model)
    shown = method.step(batch, ctx)
    assert list(shown) == list(wanted)
    for key, loss in wanted.items():
        torch.testing.assert_close(shown[key], loss.detach())
    sum(wanted.values()).backward()
    moved = [*bare.encoders[name].parameters(), *bare.fusion.heads[name].parameters()]
    for p in moved:
        p.data -= 0.1 * (p.grad + 0.1 * p.data)
    for key, value in weights(bare).items():
        torch.testing.assert_close(weights(ctx.model)[key], value, rtol=1e-4, atol=1e-6)
    changed = {k for k, x in weights(ctx.model).items() if not torch.equal(x, before[k])}
    assert changed and all(k.split(".")[2 if "heads" in k else 1] == name for k in changed)
    assert method.rate.item() == pytest.approx(1.3)
    assert all(m.training for m in ctx.model.modules())


@pytest.mark.parametrize("epoch", [0, 2])
def test_released_divides_by_the_classes_and_forgets(epoch):
    data, batch = toy_data(), toy_batch(toy_data())
    method = boost(boost_epochs=1, rectify_epochs=1, mode="released")
    ctx = context(data, method)
    ctx.epoch, name = epoch, "ab"[epoch // 2]
    bare = copy.deepcopy(ctx.model)
    known = torch.ones(()) if epoch == 0 else None  # the softmax of one number
    others = ("", "a")[epoch // 2]
    wanted = losses_by_hand(bare, batch, name, others, others, method=method, known=known)
    before = weights(ctx.model)[f"fusion.heads.{name}.weight"]
    shown = method.step(batch, ctx)
    boosting = wanted.pop(f"{name} boosting") / 3
    torch.testing.assert_close(shown.pop(f"{name} boosting"), boosting.detach())
    torch.testing.assert_close(shown, {k: x.detach() for k, x in wanted.items()})
    boosting.backward()  # without the memory term
    after = weights(ctx.model)[f"fusion.heads.{name}.weight"]
    torch.testing.assert_close(after, before - 0.1 * bare.fusion.heads[name].weight.grad)


def test_what_the_others_are_sure_of_is_not_learnt_again():
    data, batch = toy_data(), toy_batch(toy_data())
    method = boost(boost_epochs=1, weight=1.0, discount=1.0, memory=0.0)
    ctx = context(data, method, weight_decay=0.0)
    ctx.epoch = 5
    batch.target.fill_(1)
    with torch.no_grad():
        ctx.model.fusion.heads["a"].bias.copy_(torch.tensor([0.0, 200.0, 0.0]))
    before = weights(ctx.model.fusion)
    assert method.step(batch, ctx)["b boosting"] == 0
    assert same(weights(ctx.model.fusion), before)
    batch.target.fill_(2)  # and where they are sure of the contrary, all of it
    u = copy.deepcopy(ctx.model)(batch).unimodal["b"]
    shown = method.step(batch, ctx)
    torch.testing.assert_close(shown["b boosting"], F.cross_entropy(u, batch.target).detach())


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_rectification_moves_everything(missing):
    data = toy_data(3, missing=missing)
    method = boost(boost_epochs=1, rectify_epochs=2)
    ctx, batch = context(data, method), toy_batch(data)
    for epoch in (1, 2):
        ctx.epoch = epoch
        bare, rate = copy.deepcopy(ctx.model), method.rate.detach().clone().requires_grad_()
        unimodal = bare(batch).unimodal
        f = rate * sum(u * batch.present[m][:, None] for m, u in unimodal.items())
        loss = F.cross_entropy(f, batch.target)
        loss.backward()
        ctx.optimizer.state.clear()
        torch.testing.assert_close(method.step(batch, ctx), {"fused": loss.detach()})
        torch.testing.assert_close(method.rate.detach(), (rate - 0.1 * rate.grad).detach())
        for p, q in zip(ctx.model.parameters(), bare.parameters(), strict=True):
            torch.testing.assert_close(p.data, (q - 0.1 * q.grad).detach())
            assert q.grad.any()


def test_what_begins_to_move_begins_afresh():
    data = toy_data()
    method = boost(boost_epochs=2, rectify_epochs=2)
    ctx = context(data, method)
    every = set(ctx.parameters())
    own = {m: set(ctx.model.own_parameters(m)) for m in "ab"}
    assert method.rate in every
    for epoch, fresh in enumerate([own["a"], set(), every, set(), own["b"], set(), every]):
        ctx.epoch = epoch
        for p in every:
            ctx.optimizer.state[p] = {"momentum_buffer": torch.ones_like(p)}
        method.epoch_start(ctx)
        assert every - set(ctx.optimizer.state) == fresh


def test_the_order_of_the_stages():
    method, ctx = boost(), toy_context(toy_data(3), method="reconboost")
    assert [method.active(t, ctx) for t in range(7)] == list("abcabca")
    assert [method.stage(ctx) for ctx.epoch in (0, 3, 4, 7, 8)] == [
        (0, 0),
        (0, 3),
        (0, 4),
        (0, 7),
        (1, 0),
    ]
    method = boost(order="random")
    drawn = [method.active(t, ctx) for t in range(300)]
    assert drawn[:3] == list("abc") and drawn == [method.active(t, ctx) for t in range(300)]
    assert all(drawn.count(m) / 300 == pytest.approx(1 / 3, abs=0.08) for m in "abc")
    ctx.seed = 1
    assert drawn != [method.active(t, ctx) for t in range(300)]


def test_memory_is_of_the_last_other_modality():
    data = toy_data(3)
    method, batch = boost(boost_epochs=1, rectify_epochs=0, order="random"), toy_batch(data)
    ctx = context(data, method)
    drawn = [method.active(t, ctx) for t in range(60)]
    stage = next(t for t in range(4, 60) if drawn[t] == drawn[t - 1] != drawn[t - 2])
    ctx.epoch, name = stage, drawn[stage]
    others = [m for m in "abc" if m != name]
    wanted = losses_by_hand(ctx.model, batch, name, others, drawn[stage - 2], method=method)
    bare = {k: x.detach() for k, x in wanted.items()}
    torch.testing.assert_close(method.step(batch, ctx), bare)


def test_without_rectification_the_ensemble_is_of_those_that_had_a_stage():
    data = toy_data(3)
    method, batch = boost(boost_epochs=1, rectify_epochs=0), toy_batch(data)
    ctx = context(data, method)
    ctx.epoch = 1
    wanted = losses_by_hand(ctx.model, batch, "b", "a", "a", method=method)
    bare = {k: x.detach() for k, x in wanted.items()}
    torch.testing.assert_close(method.step(batch, ctx), bare)


def test_a_batch_without_the_modality_is_left_out():
    data = toy_data()
    method = boost()
    ctx = context(data, method)
    before = weights(ctx.model)
    assert method.step(toy_batch(data).only("b"), ctx) == {}
    assert same(weights(ctx.model), before)


def test_stages_in_a_run_and_prediction_by_the_rate():
    data = toy_data(missing=0.3)
    settings = {"epochs": 3, "batch_size": 16, "lr": 0.05, "momentum": 0.0}
    method, model = boost(boost_epochs=1, rectify_epochs=3), toy_model(data, "reconboost")
    run = fit(model, data, method, **settings)
    batch = data.test[torch.arange(10)]
    assert method.rate != 1
    torch.testing.assert_close(method.predict(model, batch), method.rate * model(batch).logits)
    assert [list(e["loss"]) for e in run.history] == [["a boosting"], ["fused"], ["fused"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"boost_epochs": 0}, "boost_epochs must be a whole number from 1"),
        ({"rectify_epochs": -1}, "rectify_epochs must be a whole number from 0"),
        ({"weight": "5"}, "weight must be a number from 0"),
        ({"discount": -1}, "discount must be a number from 0"),
        ({"memory": -1}, "memory must be a number from 0"),
        ({"order": "cycl"}, "unknown value for order 'cycl'; did you mean 'cycle'"),
        ({"mode": "code"}, "unknown value for mode 'code'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(InputError, match=message):
        boost(**options)


def test_what_it_trains():
    with pytest.raises(InputError, match="trains a Sum fusion, found Concat"):
        fit(toy_model(toy_data()), toy_data(), "reconboost")
    with pytest.raises(InputError, match="classification only"):
        fit(toy_model(toy_data(regression=True), "reconboost"), toy_data(regression=True), boost())
