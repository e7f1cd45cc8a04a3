"""The context: means over the batch, one place where weights move, keyed draws."""

import copy

import pytest
import torch
from torch.nn import functional as F
from toy import (
    Calls,
    gradients,
    linear_encoders,
    same,
    toy_batch,
    toy_context,
    toy_data,
    toy_model,
    weights,
)

from counterpoise import Concat, Context, MultimodalModel, Regression, evaluate, fit
from counterpoise.core import ranks
from counterpoise.engine.loop import train_epoch
from counterpoise.methods.joint import Joint

NONE = torch.zeros(16, dtype=torch.bool)
HALF = torch.arange(16) % 2 == 0
VALUES = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))


def moved(ctx):
    """Train one step on the first batch."""
    ctx.loss(ctx.model(toy_batch_of(ctx)).logits, toy_batch_of(ctx)).backward()
    ctx.update()


def toy_batch_of(ctx):
    return ctx.loaders["train"].samples[torch.arange(16)]


def test_mean_is_over_the_samples_that_the_mask_keeps():
    ctx = toy_context()
    torch.testing.assert_close(ctx.mean(VALUES), VALUES.mean(0))
    torch.testing.assert_close(ctx.mean(VALUES, HALF), VALUES[HALF].mean(0))
    torch.testing.assert_close(ctx.mean(VALUES[:, 0], HALF), VALUES[HALF, 0].mean())
    assert torch.equal(ctx.mean(VALUES, ~NONE), ctx.mean(VALUES))


def test_mean_over_nothing_is_zero_with_zero_gradients():
    values = VALUES.clone().requires_grad_()
    mean = toy_context().mean(values, NONE)
    assert torch.equal(mean, torch.zeros(3))
    mean.sum().backward()
    assert torch.equal(values.grad, torch.zeros(16, 3))


def test_loss_is_the_mean_cross_entropy_of_the_kept():
    data = toy_data()
    ctx, batch = toy_context(data), toy_batch(data)
    torch.testing.assert_close(ctx.loss(VALUES, batch), F.cross_entropy(VALUES, batch.target))
    torch.testing.assert_close(
        ctx.loss(VALUES, batch, HALF), F.cross_entropy(VALUES[HALF], batch.target[HALF])
    )
    assert float(ctx.loss(VALUES, batch, NONE)) == 0


def test_stat_is_a_detached_mean():
    values = VALUES.clone().requires_grad_()
    stat = toy_context().stat(values, HALF)
    assert not stat.requires_grad
    torch.testing.assert_close(stat, VALUES[HALF].mean(0))
    assert torch.equal(toy_context().stat(values, NONE), torch.zeros(3))


def on_two_ranks(monkeypatch, compute):
    """``compute(rank)`` for two ranks that hold every other row; sums are those of both."""
    monkeypatch.setattr(ranks, "world", lambda: 2)
    sent = {0: [], 1: []}
    for rank in (0, 1):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(ranks, "all_sum", lambda x, rank=rank: sent[rank].append(x) or x)
        compute(rank)
    found = []
    for rank in (0, 1):
        totals = iter([left + right for left, right in zip(sent[0], sent[1], strict=True)])
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(ranks, "all_sum", lambda _, totals=totals: next(totals))
        found.append(compute(rank))
    monkeypatch.undo()
    return found


@pytest.mark.parametrize("mask", [HALF, NONE, torch.arange(16) < 3, None])
def test_a_mean_is_global_on_every_rank_and_so_is_its_gradient(monkeypatch, mask):
    """Also through a function of the mean that is not linear."""
    ctx = toy_context()
    values = VALUES.clone().requires_grad_()
    wanted = ctx.mean(values, mask)
    wanted.square().sum().backward()

    def compute(rank):
        mine = VALUES[rank::2].clone().requires_grad_()
        mean = ctx.mean(mine, None if mask is None else mask[rank::2])
        mean.square().sum().backward()
        return mean.detach(), mine.grad

    gradient = torch.zeros_like(VALUES)
    for rank, (mean, own) in enumerate(on_two_ranks(monkeypatch, compute)):
        torch.testing.assert_close(mean, wanted.detach())
        gradient[rank::2] = own / 2  # gradients are averaged over the ranks
    torch.testing.assert_close(gradient, values.grad)


def test_any():
    ctx = toy_context()
    assert ctx.any(HALF) is True
    assert ctx.any(NONE) is False


def test_update_clears_gradients_to_none():
    ctx = toy_context()
    moved(ctx)
    assert all(g is None for g in gradients(ctx.model).values())


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_modality_that_took_no_part_stays_to_the_bit(optimizer):
    """Momentum and decay would move it, had its gradients been zeros."""
    data = toy_data()
    ctx = toy_context(data, optimizer=optimizer, lr=0.01, weight_decay=0.1)
    moved(ctx)
    before = weights(ctx.model.encoders["b"])
    batch = toy_batch(data).only("a")
    ctx.loss(ctx.model(batch).logits, batch).backward()
    ctx.update()
    assert same(before, weights(ctx.model.encoders["b"]))


@pytest.mark.parametrize("max_norm", [0.01, None])
def test_update_clips_the_global_norm(max_norm):
    ctx = toy_context(max_norm=max_norm, momentum=0.0, weight_decay=0.0, lr=1.0)
    before = weights(ctx.model)
    moved(ctx)
    after = weights(ctx.model)
    norm = torch.stack([(after[k] - before[k]).square().sum() for k in after]).sum().sqrt()
    assert float(norm) > 0.05 if max_norm is None else float(norm) == pytest.approx(0.01, rel=1e-3)


def test_a_norm_below_the_limit_is_left_alone():
    free, clipped = toy_context(), toy_context(max_norm=1e6)
    moved(free)
    moved(clipped)
    assert same(weights(free.model), weights(clipped.model))


def test_features_are_those_of_evaluation_in_the_splits_order():
    data = toy_data(missing=0.3)
    encoders = linear_encoders(data, norm=True)
    ctx = toy_context(data, MultimodalModel(encoders, Concat({"a": 6, "b": 6}, 3)))
    before = weights(ctx.model)
    for split in ("train", "validation"):
        samples = data.splits[split]
        found = ctx.features(split)
        assert ctx.model.training
        assert same(before, weights(ctx.model))
        for name, (features, target) in found.items():
            mask = samples.present[name]
            assert torch.equal(target, samples.target[mask])
            with torch.no_grad():
                wanted = encoders[name].eval()(samples.inputs[name][mask])
            ctx.model.train()
            torch.testing.assert_close(features, wanted)
            assert not features.requires_grad


def test_features_encode_each_present_row_once():
    data = toy_data(missing=0.3)
    ctx = toy_context(data)
    calls = Calls(ctx.model.encoders["b"])
    ctx.features("train")
    assert sum(calls.rows) == int(data.train.present["b"].sum())


def test_draws_are_keyed_by_seed_epoch_sample_and_salt():
    ctx, index = toy_context(), torch.arange(500)
    draws = ctx.uniform(index, "x")
    assert torch.equal(ctx.uniform(index.flip(0), "x").flip(0), draws)
    assert torch.equal(toy_context().uniform(index, "x"), draws)
    torch.rand(3)
    assert torch.equal(ctx.uniform(index, "x"), draws)
    others = [ctx.uniform(index, "y"), toy_context(seed=1).uniform(index, "x")]
    ctx.epoch = 1
    others.append(ctx.uniform(index, "x"))
    for other in others:
        assert int((other == draws).sum()) == 0


def test_a_method_never_meets_test_data(monkeypatch):
    data = toy_data()
    model = toy_model(data)
    seen, real = [], Context.__init__

    def spy(self, model, optimizer, task, loaders, **options):
        seen.append(set(loaders))
        real(self, model, optimizer, task, loaders, **options)

    monkeypatch.setattr(Context, "__init__", spy)
    fit(model, data, epochs=1)
    assert seen == [{"train", "validation"}]


def test_weights_do_not_depend_on_test_data():
    data, other = toy_data(), toy_data()
    other.test.inputs["a"].fill_(torch.nan)
    other.test.target.fill_(0)
    runs = [fit(toy_model(data), d, "diagnose-relearn", epochs=3) for d in (data, other)]
    assert same(weights(runs[0].model), weights(runs[1].model))


def test_parameters_and_batches():
    ctx = toy_context()
    assert {id(p) for p in ctx.parameters()} == {id(p) for p in ctx.model.parameters()}
    assert ctx.batches == 5


def scores_by_hand(ctx, out, batch, least=8):
    names = ctx.model.modalities
    score = {m: ctx.task.score(out.unimodal[m], batch.target).detach() for m in names}
    table = torch.full((len(names), len(names)), torch.nan)
    for i, m in enumerate(names):
        for j, k in enumerate(names):
            both = batch.present[m] & batch.present[k]
            rows = both if int(both.sum()) >= least else batch.present[m]
            if rows.any():
                table[i, j] = score[m][rows].mean()
    return table


@pytest.mark.parametrize("least", [1, 8, 100])
@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_scores_compare_a_pair_on_the_samples_that_have_both(missing, least):
    data = toy_data(3, missing=missing)
    ctx, batch = toy_context(data), toy_batch(data, 24)
    out = ctx.model(batch)
    found = ctx.scores(out, batch, least)
    assert not found.requires_grad
    torch.testing.assert_close(found, scores_by_hand(ctx, out, batch, least))
    alone = batch.only("b")
    found = ctx.scores(ctx.model(alone), alone)
    assert found[0].isnan().all() and not found[1, 1].isnan()


def test_gathered_rows_are_the_global_batch_with_its_gradient(monkeypatch):
    ctx, whole = toy_context(), VALUES.clone().requires_grad_()
    (whole * whole.roll(1, 0)).sum().backward()
    gradient = torch.zeros_like(VALUES)
    monkeypatch.setattr(ranks, "world", lambda: 2)
    monkeypatch.setattr(ranks, "gather", lambda values: VALUES.clone())
    for rank in (0, 1):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        mine = VALUES[rank::2].clone().requires_grad_()
        found = ctx.gather(mine)
        torch.testing.assert_close(found.detach(), VALUES)
        (found * found.roll(1, 0)).sum().backward()
        gradient[rank::2] = mine.grad / 2  # as averaging over the ranks does
    torch.testing.assert_close(gradient, whole.grad)


def test_gradients_of_a_loss_leave_grad_alone():
    data = toy_data()
    ctx, batch = toy_context(data), toy_batch(data)
    frozen = next(ctx.model.encoders["a"].parameters()).requires_grad_(False)
    loss = ctx.loss(ctx.model(batch).logits, batch)
    found = ctx.gradients(loss, retain_graph=True)
    assert all(p.grad is None for p in ctx.parameters())
    loss.backward()
    for p, gradient in zip(ctx.parameters(), found, strict=True):
        assert (gradient is None) == (p.grad is None) == (p is frozen)
        assert gradient is None or torch.equal(gradient, p.grad)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_branch_trains_another_model_with_a_fresh_optimizer_of_the_same_kind(optimizer):
    data = toy_data()
    ctx = toy_context(data, optimizer=optimizer, weight_decay=0.01)
    before, other = weights(ctx.model), toy_model(data, seed=5)
    branch = ctx.branch(other)
    assert type(branch.optimizer) is type(ctx.optimizer)
    assert branch.optimizer.defaults == ctx.optimizer.defaults
    assert branch.parameters() == list(other.parameters())
    batch = toy_batch(data)
    branch.loss(branch.model(batch).logits, batch).backward()
    branch.update()
    assert same(before, weights(ctx.model)) and not ctx.optimizer.state
    assert not same(weights(toy_model(data, seed=5)), weights(other))


def test_a_part_with_a_learning_rate_of_its_own():
    data = toy_data()
    ctx = toy_context(data, lr=0.1)
    chosen, before = ctx.model.encoder_parameters("a"), weights(ctx.model)
    everything = {id(p) for p in ctx.parameters()}
    ctx.scale_lr(chosen, 3.0)
    assert {id(p) for p in ctx.parameters()} == everything
    assert [group["lr"] for group in ctx.optimizer.param_groups] == [0.1, pytest.approx(0.3)]
    batch = toy_batch(data)
    ctx.loss(ctx.model(batch).logits, batch).backward()
    wanted = {
        name: before[name] - (0.3 if name.startswith("encoders.a.") else 0.1) * p.grad
        for name, p in ctx.model.named_parameters()
    }
    ctx.optimizer.param_groups[0]["momentum"] = ctx.optimizer.param_groups[1]["momentum"] = 0
    ctx.update()
    for name, p in ctx.model.named_parameters():
        torch.testing.assert_close(p.detach(), wanted[name], rtol=0, atol=1e-3)


def test_a_module_that_a_method_made_is_trained():
    ctx, layer = toy_context(), torch.nn.Linear(2, 1)
    ctx.adopt(layer)
    start = layer.weight.detach().clone()
    layer(torch.ones(1, 2)).sum().backward()
    ctx.update()
    assert not torch.equal(layer.weight, start)


def test_a_share_of_the_features_is_other_samples_in_each_epoch():
    data = toy_data(samples=200)
    ctx = toy_context(data)
    whole = ctx.features("train")["a"]
    assert len(whole[1]) == len(data.train)
    ctx.epoch = 1
    first, again = ctx.features("train", 0.3)["a"], ctx.features("train", 0.3)["a"]
    assert len(first[1]) == 48  # 3 of 8 batches
    assert torch.equal(first[0], again[0])
    ctx.epoch = 2
    assert not torch.equal(first[0], ctx.features("train", 0.3)["a"][0])
    assert len(ctx.features("train", 0.0)["a"][1]) == 16  # one batch at least


def test_a_generator_follows_seed_epoch_and_batch():
    def draw(**place):
        ctx = toy_context(seed=place.get("seed", 0))
        ctx.epoch, ctx.batch = place.get("epoch", 0), place.get("batch", 0)
        return torch.rand(3, generator=ctx.generator()).tolist()

    assert draw() == draw()
    assert len({tuple(draw(**{k: 1})) for k in ("seed", "epoch", "batch")} | {tuple(draw())}) == 4


def test_a_context_fits_a_regression_and_tells_the_model():
    """So that a loop of one's own, and `evaluate` after it, work as they come."""
    data = toy_data(samples=200, regression=True)
    for split in data.splits.values():
        split.target = 1000 * split.target + 1e6
    ctx = toy_context(data, lr=0.05)
    assert ctx.task.mean == pytest.approx([float(data.train.target.double().mean())])
    assert ctx.model.task is ctx.task and not {"mean", "scale"} & set(data.task.state())
    assert not any("task" in name for name in ctx.model.state_dict())
    method = Joint()
    method.setup(ctx)
    for epoch in range(5):
        train_epoch(method, ctx, epoch)
    found = evaluate(ctx.model, data)
    assert found.metrics["a", "b"]["r2"] > 0.5 and found.metrics["a", "b"]["mae"] < 1000
    assert abs(float(found.outcome("a", "b").mean()) - found.metrics["a", "b"]["mae"]) < 1
    branch = ctx.branch(copy.deepcopy(ctx.model))
    assert branch.task is ctx.task is branch.model.task
    # A second context on the same model, with a task that is fitted, keeps that one.
    again = Context(ctx.model, ctx.optimizer, Regression(mean=0, scale=1), ctx.loaders)
    assert again.task.state() == Regression().state() and ctx.model.task is again.task
